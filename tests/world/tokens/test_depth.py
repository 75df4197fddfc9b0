"""The depth refiner: what it does not change, what it learns, and that a session uses it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from roam.world.action import parse_action
from roam.world.checkpoint import CheckpointError, load_checkpoint
from roam.world.engine import Engine
from roam.world.spatial.planar.seen import settled
from roam.world.spatial.smoothing import smoothed
from roam.world.tokens.depth import DepthConfig, DepthRefiner
from roam.world.training.depth import depth_loss

SMALL = DepthConfig(size=32, widths=(8, 8, 12), heads=2)


def test_before_training_depth_stays_as_it_is():
    pixels, depth = torch.zeros(1, 32, 32, 3, dtype=torch.uint8), torch.rand(1, 32, 32) * 5 + 0.5
    torch.testing.assert_close(DepthRefiner(SMALL).refine(pixels, depth), depth, rtol=1e-4, atol=1e-4)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"wanted \(B, 32, 32, 3\)"):
        DepthRefiner(SMALL).refine(torch.zeros(1, 64, 64, 3, dtype=torch.uint8), torch.ones(1, 64, 64))


def test_it_learns_an_edge_that_the_pixels_show_and_the_depth_does_not():
    torch.manual_seed(0)
    model, rng = DepthRefiner(SMALL), np.random.default_rng(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(50):
        edges = rng.integers(8, 24, 8)
        near = torch.from_numpy(np.arange(32)[None, None, :] < edges[:, None, None]).expand(8, 32, 32)
        truth = torch.where(near, 1.0, 4.0)
        pixels = (near.float() * 2 - 1)[:, None].expand(8, 3, 32, 32)
        loss = depth_loss(model, pixels, torch.full((8, 32, 32), 2.0).log(), truth, 0.3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.3 * losses[0]


def fine(engine, pixels):
    """The depth of pixels (H, W, 3) as the refiner corrects it."""
    _, coarse = Engine(replace(engine.checkpoint, depth=None)).show(engine.encode(pixels))
    refined = engine.codec.refiner.refine(torch.from_numpy(pixels)[None], torch.from_numpy(coarse)[None])
    return refined[0].half().float().numpy()


def test_a_session_shows_the_depth_that_the_pixels_correct(checkpoint_folder, first_frame):
    checkpoint = load_checkpoint(checkpoint_folder)
    engine = Engine(checkpoint)
    frame = engine.session(first_frame).frame
    wanted, mirrored = (fine(engine, pixels) for pixels in (first_frame.pixels, first_frame.pixels[:, ::-1].copy()))
    wanted = smoothed(np.sqrt(wanted * mirrored[:, ::-1]), first_frame.pixels)
    wanted = settled(first_frame.pose, first_frame.pixels, wanted)
    np.testing.assert_allclose(frame.depth, wanted, rtol=2e-3)
    without = Engine(replace(checkpoint, depth=None)).session(first_frame)
    assert np.abs(without.frame.depth - wanted).max() > 1e-2
    assert without.step(parse_action("turn left")).depth.shape == (128, 128)


def test_depth_of_another_size_than_the_tokenizer_is_refused(checkpoint_folder, tmp_path):
    parts = json.loads((checkpoint_folder / "config.json").read_text())
    parts["depth"]["size"] = 64
    (tmp_path / "config.json").write_text(json.dumps(parts))
    with pytest.raises(CheckpointError, match="64 pixels a side, the tokenizer for 128"):
        load_checkpoint(tmp_path)
