"""Depth stays as it is where the model is sure of it, and becomes a smooth relief where the model contradicts
itself."""

import numpy as np
import pytest
from roam.world.tokens.doubt import calmed, doubt

RNG = np.random.default_rng(0)


def steep(depth):
    return float((np.abs(np.diff(np.log(depth), axis=1)) > 0.2).mean())


def test_a_model_that_agrees_with_its_mirror_image_has_no_doubt_and_keeps_its_depth():
    depth = RNG.uniform(1, 30, (128, 128)).astype(np.float32)
    assert doubt(depth, depth * 1.03) == 0.0
    assert calmed(depth, 0.0) is depth


def test_doubt_grows_with_the_contradiction_up_to_one():
    depth = np.full((128, 128), 4.0, np.float32)
    doubts = [doubt(depth, depth * np.exp(apart)) for apart in (0.05, 0.09, 0.12, 0.5)]
    assert doubts == sorted(doubts) and doubts[0] == 0 and doubts[-1] == 1


def test_what_is_torn_becomes_smooth_and_shallow_and_stays_about_as_far():
    y, x = np.mgrid[:128, :128]
    torn = np.where((x // 9 + y // 7) % 3 == 0, 9.0, 2.5) * np.exp(RNG.normal(0, 0.1, x.shape))
    calm = calmed(torn.astype(np.float32), 1.0)
    assert steep(torn) > 0.1 and steep(calm) == 0.0
    assert np.median(calm) == pytest.approx(np.median(torn), rel=0.15) and calm.dtype == np.float32
    half = calmed(torn.astype(np.float32), 0.5)
    assert np.log(half).std() < np.log(torn).std()


def test_a_picture_that_nobody_can_place_is_not_walked_through_in_two_steps():
    """A cup of coffee was once placed half a metre off: after a walk of 1.2 m nothing was left of it."""
    near = RNG.uniform(0.3, 0.6, (128, 128)).astype(np.float32)
    assert calmed(near, 1.0).min() > 1.5 and (calmed(near, 0.0) == near).all()


def test_even_depth_stays_even():
    even = np.full((128, 128), 3.0, np.float32)
    np.testing.assert_allclose(calmed(even, 1.0), even, rtol=1e-5)


def test_a_photograph_is_walked_the_same_each_time_and_a_rendered_frame_is_none(engine, first_frame):
    one, two = (engine.session(first_frame, photograph=True) for _ in range(2))
    assert (one.frame.depth == two.frame.depth).all() and (one.frame.pixels == first_frame.pixels).all()
