"""Walks that are rendered during training: their canvases, their mirror images, and the painter's glimpses."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from roam.scenes.recording.sources import record_rollout
from roam.world.checkpoint import EMBEDDED, load_checkpoint
from roam.world.pose import Camera
from roam.world.tokens.text import TextTokenizer
from roam.world.training.canvases import save_canvases
from roam.world.training.dream import DreamRecipe, dream_batch
from roam.world.training.fresh import (
    LEAST_SHARE,
    PER_SHARD,
    FreshShards,
    Growing,
    canvases_of,
    fresh_glimpses,
    glimpses_of,
    joined_canvases,
    mirrored,
)
from roam.world.training.painter import PainterRecipe
from roam.world.training.recipe import Recipe, make_trainer, run_recipe
from roam.world.training.sizes import on_gpu

TEXT = TextTokenizer()


@pytest.fixture(scope="module")
def vision():
    return load_checkpoint(EMBEDDED).vision


@pytest.fixture(scope="module")
def walked():
    return record_rollout("train", 77, 3, Camera(), "keyframes")


def test_a_mirrored_action_goes_to_the_other_side_and_back():
    assert mirrored("turn left 30 degrees") == "turn right 30 degrees"
    assert mirrored("strafe rightward") == "strafe leftward"
    assert mirrored("walk forward") == "walk forward"


def test_the_second_row_is_the_walk_in_a_mirror(vision, walked):
    rows = canvases_of(walked, 77, vision, TEXT, 15)
    seen = torch.from_numpy(np.ascontiguousarray(walked.pixels[:, :, ::-1]))
    with torch.inference_mode():
        assert (rows.tokens[1] == vision.encode(seen).flatten(1).numpy()).all()
    h, w = vision.config.grid
    sides = rows.coverage.reshape(2, 3, h, w)
    assert (sides[0] == sides[1][..., ::-1]).all() and sides[0, 1:].any() and not sides[:, 0].any()
    for t, action in enumerate(walked.actions, 1):
        ids = TEXT.encode(mirrored(action.text))
        assert rows.text[1, t, : len(ids)].tolist() == ids


@pytest.mark.slow(reason="a process that imports all and renders sixteen walks")
def test_a_run_draws_from_what_has_come_to_its_folder(vision, walked, tmp_path):
    begun = canvases_of(walked, 77, vision, TEXT, 15)
    data = Growing(begun, tmp_path)
    assert data.refresh() == 2
    with FreshShards(tmp_path, vision, first=500, frames=3, capacity=15, processes=1):
        end = time.monotonic() + 400
        while data.refresh() == 2 and time.monotonic() < end:
            time.sleep(0.2)
    assert len(data.canvases.tokens) >= 2 + 16
    ours = canvases_of(record_rollout("train", 500, 3, Camera(), "keyframes"), 500, vision, TEXT, 15)
    assert (data.canvases.tokens[2:4] == ours.tokens).all() and (data.canvases.warped[2:4] == ours.warped).all()
    assert not list(tmp_path.glob("*.partial")) or data.refresh() >= 18  # an unfinished file does not count
    with pytest.raises(FileNotFoundError, match="no canvases"):
        _ = Growing(None, tmp_path / "empty").canvases


def test_few_new_rows_wait_until_copying_the_rest_is_worth_it(vision, walked, tmp_path):
    begun = canvases_of(walked, 77, vision, TEXT, 15)
    many = joined_canvases([begun] * (2 * PER_SHARD * LEAST_SHARE // 2 + 1))  # just too many for one shard
    data = Growing(many, tmp_path)
    shard = joined_canvases([begun] * PER_SHARD)
    save_canvases(shard, tmp_path / "fresh-0000000.safetensors")
    assert data.refresh() == len(many.tokens) == len(data.canvases.tokens)
    save_canvases(shard, tmp_path / "fresh-0000008.safetensors")
    assert data.refresh() == len(many.tokens) + 2 * len(shard.tokens) == len(data.canvases.tokens)


def test_the_batch_of_a_step_is_that_steps_alone(vision, walked, tmp_path):
    run_recipe(tmp_path, Recipe(), stages=(), begin=EMBEDDED)
    trainer, recipe = make_trainer(tmp_path, Recipe()), DreamRecipe(walks=2, copies=2)
    data = canvases_of(walked, 77, vision, TEXT, 15)
    first, again, next_ = (dream_batch(trainer, data, recipe, step, "cpu") for step in (3, 3, 4))
    assert all(torch.equal(value, getattr(again, name)) for name, value in vars(first).items())
    assert not torch.equal(first.canvases, next_.canvases)


@pytest.mark.slow(reason="a process that imports all and renders walks")
def test_glimpses_come_in_order_and_go_on_where_a_run_stopped():
    recipe = PainterRecipe(batch=5)
    came = fresh_glimpses(recipe, first=900, frames=3, processes=1, step=1)
    second = next(came)
    came.close()
    ours = glimpses_of(1, 900, 3, recipe)
    assert len(second) == 5
    for a, b in zip(second, ours, strict=True):
        assert (a.pixels == b.pixels).all() and (a.carried.covered == b.carried.covered).all()


def test_after_the_last_scene_the_first_come_again():
    recipe = PainterRecipe(batch=4)
    assert (glimpses_of(0, 999_997, 3, recipe)[0].pixels == glimpses_of(2, 999_997, 3, replace(recipe))[0].pixels).any()


def test_a_gpu_gets_larger_batches_and_new_walks_of_our_own_scenes_alone():
    recipe = on_gpu(Recipe())
    assert recipe.fresh > 0 and recipe.dream.walks > Recipe().dream.walks
    assert on_gpu(replace(Recipe(), data="somewhere")).fresh == 0
