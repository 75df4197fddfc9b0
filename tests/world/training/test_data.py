"""Recordings as the recipes read them: from disk as one array, and with or without depth and poses."""

from dataclasses import replace

import numpy as np
import pytest
from roam.scenes.recorder import write_rollouts
from roam.scenes.recording.sources import record_rollout
from roam.scenes.recording.walked import Walked
from roam.world.action import parse_action
from roam.world.engine import Engine
from roam.world.frame import Frame
from roam.world.pose import Camera
from roam.world.training.canvases import carried_views, scaled_off
from roam.world.training.data import Rows, load_walks
from roam.world.training.recipe import USUAL, run_recipe, stages_for

from .test_recipe import TINY


def test_rows_on_disk_are_indexed_like_one_array():
    parts = [np.arange(24).reshape(2, 3, 4), np.arange(24, 36).reshape(1, 3, 4)]
    whole, rows = np.concatenate(parts), Rows(parts)
    picks = np.array([2, 0, 2]), np.array([1, 2, 0])
    for key in (1, -1, (2, 1), slice(None), (slice(None), slice(None, None, 2)), (slice(0, 2), 1), picks, picks[0]):
        assert (rows[key] == whole[key]).all() and rows[key].shape == whole[key].shape
    assert rows.shape == (3, 3, 4) and Rows(parts, 2).shape == (2, 3, 4)
    with pytest.raises(IndexError):
        rows[3]


def test_a_recorded_depth_of_nothing_is_learnt_from_like_what_touches_the_camera():
    walk = record_rollout("train", 0, 2, Camera())
    depth = walk.depth.copy()
    depth[0, 5, 5:7] = 0
    off = scaled_off(depth, np.random.default_rng(0))
    assert off.min() > 0
    (carried,) = carried_views(walk.pixels, off, walk.poses, walk.actions, is_true=True)
    assert carried.covered.mean() > 0.5


def test_a_model_is_learnt_from_frames_and_words_alone(tmp_path):
    """Without depth and poses there is no memory of places, and each prediction begins with the frame before."""
    for split in ("train", "dev"):
        walks = [record_rollout(split, number, 5, Camera()) for number in range(4)]
        plain = [Walked(walk.world, walk.pixels, None, None, walk.actions) for walk in walks]
        write_rollouts(tmp_path / f"{split}-000000.safetensors", split, range(4), plain)
    stages = stages_for(tmp_path)
    assert stages == ("tokenizer", "canvases", "world", "pack")
    checkpoint = run_recipe(tmp_path / "run", replace(TINY, data=str(tmp_path)), stages=stages)
    engine = Engine.from_checkpoint(checkpoint, device="cpu")
    session = engine.session(Frame(0, np.array(load_walks(tmp_path, "dev").pixels[0, 0])))
    frame = session.step(parse_action("turn left"))
    assert frame.pose is None and frame.pixels.shape == (128, 128, 3) and not len(session.memory)


def test_recordings_with_depth_and_keyframes_teach_every_stage(tmp_path):
    walk = [record_rollout("train", 0, 3, Camera(16, 16))]
    for folder in (tmp_path, tmp_path / "keyframes"):
        folder.mkdir(exist_ok=True)
        write_rollouts(folder / "train-000000.safetensors", "train", range(1), walk)
    assert stages_for(tmp_path) == USUAL[1:]
    (tmp_path / "keyframes" / "train-000000.safetensors").unlink()
    assert "dream" not in stages_for(tmp_path) and "depth" in stages_for(tmp_path)
