"""The picture that shows what successive checkpoints dream."""

import cv2
from roam.bench.imagination import strip
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.world.checkpoint import EMBEDDED


def test_it_has_a_row_a_scene_and_a_column_a_checkpoint_beside_the_truth(tmp_path, monkeypatch):
    monkeypatch.setattr(strip, "TURNS", 2)
    strip.main([str(tmp_path / "strip.png"), f"{EMBEDDED}=ours", "--scenes", "1"])
    shown = cv2.imread(str(tmp_path / "strip.png"))[strip.TITLE :, :, ::-1]
    assert shown.shape == (128, 5 * 128, 3)
    first = SceneSession(make_scene("dev", 0)).frame.pixels
    assert (shown[:, :128] == first).all() and (shown[:, 128:384] != shown[:, 384:]).any()
