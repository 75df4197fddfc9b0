"""The second shipped model: it has a name, its own transformer, and the tokenizer, depth and painter of the first."""

import json
import shutil

import pytest
import torch
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.world.action import parse_action
from roam.world.checkpoint import EMBEDDED, LARGE, CheckpointError, folder_of, load_checkpoint
from roam.world.engine import Engine


def test_it_is_called_by_its_name_unless_a_folder_here_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder_of("large") == LARGE and folder_of(None) == folder_of("embedded") == EMBEDDED
    (tmp_path / "large").mkdir()
    assert folder_of("large").resolve() == tmp_path / "large"


def test_it_is_larger_and_reads_and_paints_as_the_other_one_does():
    large, small = load_checkpoint("large"), load_checkpoint()
    assert large.model.config.hidden_size > small.model.config.hidden_size and large.digest != small.digest
    for part in ("vision", "depth", "painter"):
        for name, weight in getattr(small, part).state_dict().items():
            assert torch.equal(getattr(large, part).state_dict()[name], weight)


def test_it_dreams(monkeypatch):
    first = SceneSession(make_scene("dev", 1)).frame
    engine = Engine.from_checkpoint("large", device="cpu", dream_steps=2)
    frames = [engine.session(first, seed=seed).step(parse_action("turn left 45 degrees")) for seed in (1, 1, 2)]
    assert (frames[0].pixels == frames[1].pixels).all() and (frames[0].pixels != frames[2].pixels).any()


def test_a_share_of_what_cannot_be_shared_is_refused(tmp_path):
    shutil.copytree(LARGE, tmp_path / "mine")
    (tmp_path / "mine" / "digests.json").unlink()
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    (tmp_path / "mine" / "config.json").write_text(json.dumps(config | {"shared": ["model"]}))
    with pytest.raises(CheckpointError, match="'model' is no part that can be shared"):
        load_checkpoint(tmp_path / "mine")


def test_no_file_of_weights_is_over_40_megabytes():
    assert all(path.stat().st_size <= 40_000_000 for path in EMBEDDED.rglob("*.safetensors"))
