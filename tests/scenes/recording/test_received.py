"""Frames that a game sends become recordings that a model can be trained on."""

import numpy as np
import pytest
from roam.scenes.recorder import load_recording
from roam.scenes.recording.manifest import read_manifest
from roam.scenes.recording.received import MAX_OPEN, ReceivedFolder, Sender, SentFrame
from roam.scenes.render import render
from roam.scenes.scene import SceneError
from roam.scenes.splits import make_scene
from roam.world.action import parse_action
from roam.world.pose import Camera

GAME = Sender("maze", "a maze", "CC0")


def frame(k: int, **other) -> SentFrame:
    parts = dict(
        pixels=np.full((100, 100, 3), 10 * k, np.uint8),
        fov_deg=90.0,
        depth=np.full((100, 100), 2.0, np.float32),
        pose=make_scene("train", 0).spawn_pose,
        action=parse_action("turn left") if k else None,
    )
    return SentFrame(**{**parts, **other})


def test_whole_pieces_are_files_and_the_rest_is_told(tmp_path):
    folder = ReceivedFolder(tmp_path, GAME, frames=3)
    counts = [folder.add("a", 1, "train", "level 1", frame(k)) for k in range(8)]
    assert counts == [0, 0, 1, 1, 1, 2, 2, 2] and folder.end("a", 1) == 2 and folder.end("a") == 0
    held = load_recording(tmp_path / "train-000001.safetensors")
    assert held.pixels[0, :, 0, 0, 0].tolist() == [30, 40, 50] and held.worlds == ("level 1",)
    assert [action.text for action in held.actions[0]] == ["turn left"] * 2 and len(held.poses[0]) == 3
    manifest = read_manifest(tmp_path)
    assert (manifest.source, manifest.licence, manifest.splits) == ("maze", "CC0", {"train": ("level 1",)})
    again = ReceivedFolder(tmp_path, GAME, frames=3)
    for k in range(3):
        again.add("b", 1, "dev", "level 2", frame(k))
    assert (tmp_path / "dev-000002.safetensors").exists() and again.num_walks == 3
    with pytest.raises(SceneError, match="source is maze"):
        ReceivedFolder(tmp_path, Sender("another"), frames=3)


def test_a_wider_picture_is_cut_to_what_our_camera_sees(tmp_path):
    scene = make_scene("train", 3)
    wide, ours = Camera(256, 256, 110.0), Camera()
    view, wanted = render(scene, scene.spawn_pose, wide), render(scene, scene.spawn_pose, ours)
    folder = ReceivedFolder(tmp_path, GAME, frames=1)
    folder.add("a", 1, "train", "3", SentFrame(view.pixels, 110.0, view.depth, scene.spawn_pose, None))
    held = load_recording(tmp_path / "train-000000.safetensors")
    assert np.abs(held.pixels[0, 0].astype(int) - wanted.pixels).mean() < 6
    assert np.median(np.abs(held.depth[0, 0] - wanted.depth) / wanted.depth) < 0.03


@pytest.mark.parametrize(
    ("first", "then", "says"),
    [
        ({}, dict(depth=None), "no depth"),
        (dict(pose=None), {}, "a pose"),
        ({}, dict(action=None), "what led to it"),
        (dict(fov_deg=60.0), {}, "shows too little"),
    ],
)
def test_a_frame_that_does_not_go_with_the_others_is_refused(tmp_path, first, then, says):
    folder = ReceivedFolder(tmp_path, GAME, frames=3)
    with pytest.raises(SceneError, match=says):
        for k, other in enumerate((first, then)):
            folder.add("a", 1, "train", "1", frame(k, **other))
    folder.end("a")
    for k in range(3):
        folder.add("a", 1, "train", "1", frame(k))
    assert folder.num_walks == 1


def test_a_world_belongs_to_one_split_and_a_sender_has_few_rollouts_open(tmp_path):
    folder = ReceivedFolder(tmp_path, GAME, frames=1)
    folder.add("a", 1, "train", "1", frame(0))
    with pytest.raises(SceneError, match="belongs to one"):
        folder.add("a", 2, "test", "1", frame(0))
    with pytest.raises(SceneError, match="begin another"):
        folder.add("a", 1, "train", "2", frame(0))
    for number in range(2, 1 + MAX_OPEN):
        folder.add("a", number, "train", "1", frame(0))
    with pytest.raises(SceneError, match="end one first"):
        folder.add("a", 99, "train", "1", frame(0))
    folder.add("b", 99, "train", "1", frame(0))


def test_a_disk_that_fails_loses_nothing_that_was_whole(tmp_path, monkeypatch):
    folder = ReceivedFolder(tmp_path, GAME, frames=2)
    for k in range(2):
        folder.add("a", 1, "train", "1", frame(k))

    def full(*_, **__):
        raise OSError("no room")

    monkeypatch.setattr("roam.scenes.recorder.save_file", full)
    folder.add("a", 1, "train", "1", frame(1))
    with pytest.raises(SceneError, match="what was recorded before it stays"):
        folder.add("a", 1, "train", "1", frame(1))
    monkeypatch.undo()
    for _ in range(2):
        folder.add("a", 1, "train", "1", frame(1))
    assert folder.num_walks == 2 and len(list(tmp_path.glob("*.safetensors"))) == 2
