"""A run that begins with a checkpoint can go on training its tokenizer and depth, for worlds that look different."""

from dataclasses import replace

import pytest
import torch
from roam.scenes.recorder import record
from roam.world.checkpoint import EMBEDDED, load_checkpoint
from roam.world.tokens.painter import Painter
from roam.world.tokens.vision import VisionTokenizer
from roam.world.training.depth import DepthRecipe
from roam.world.training.painter import texture_loss
from roam.world.training.recipe import Recipe, run_recipe
from roam.world.training.tokenizer import TokenizerRecipe


@pytest.mark.slow(reason="three stages begin with the embedded model, twice")
@pytest.mark.parametrize("rate", [0.0, 1e-3])
def test_tokenizer_and_depth_go_on_from_those_of_the_checkpoint(tmp_path, rate):
    """At a rate of 0 nothing is learnt, so the packed weights are the first ones; at another rate both have changed."""
    for split in ("train", "dev"):
        record(tmp_path / "data", split, 1, frames=2)
    tokenizer = TokenizerRecipe(steps=1, batch=1, max_seconds=1e9, peak=rate, polish_peak=rate)
    refiner = DepthRecipe(steps=1, batch=1, max_seconds=1e9, peak=rate)
    recipe = replace(Recipe(), data=str(tmp_path / "data"), tokenizer=tokenizer, refiner=refiner)
    packed = run_recipe(tmp_path / "run", recipe, stages=("tokenizer", "depth", "pack"), begin=EMBEDDED)
    begun, done = load_checkpoint(EMBEDDED), load_checkpoint(packed)
    for part in ("vision", "depth"):
        before, after = (
            torch.cat([weight.flatten() for weight in getattr(one, part).parameters()]) for one in (begun, done)
        )
        assert torch.equal(before, after) == (rate == 0.0), part
        torch.testing.assert_close(before, after, atol=0.01, rtol=0)
    assert all(torch.equal(weight, done.model.state_dict()[name]) for name, weight in begun.model.state_dict().items())


def test_a_painter_follows_what_the_decoder_it_began_as_has_learnt():
    begun = load_checkpoint(EMBEDDED)
    assert isinstance(begun.vision, VisionTokenizer)
    moved, painter = load_checkpoint(EMBEDDED).vision, Painter(begun.painter.config)
    for weight in moved.parameters():
        weight.add_(0.01)
    painter.begin_as(begun.vision)
    painter.follow(begun.vision, moved)
    wanted = Painter(begun.painter.config)
    wanted.begin_as(moved)
    for name in ("first", "whole1", "near2", "up1", "low1", "out"):
        for key, weight in getattr(wanted, name).state_dict().items():
            torch.testing.assert_close(getattr(painter, name).state_dict()[key], weight)


def test_textures_are_asked_for_wherever_their_edges_lie():
    """Another draw of the same texture is right, its mean colour is not, and independent noise in each pixel less
    so."""
    torch.manual_seed(0)
    coarse = lambda: torch.nn.functional.interpolate(torch.rand(2, 3, 32, 32), scale_factor=4)  # noqa: E731
    truth, another = coarse(), coarse()
    flat, noise = truth.mean((2, 3), keepdim=True).expand_as(truth), torch.rand(truth.shape)
    losses = [texture_loss(made, truth).item() for made in (truth, another, flat, noise)]
    assert losses[0] == 0 and losses[1] < 0.5 * min(losses[2:])
