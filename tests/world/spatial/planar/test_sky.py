"""A dreamt sky is far away, even, and in the colours of the sky that was seen."""

from __future__ import annotations

import numpy as np
import pytest
from roam.world.pose import Camera, Pose
from roam.world.spatial.planar.planes import rays_from
from roam.world.spatial.planar.sky import FAR_M, with_even_sky
from roam.world.spatial.warp import View

POSE, SIZE = Pose.at(0, 0, 1.5), 128
UP = rays_from(POSE, Camera(SIZE, SIZE))[..., 2]
HORIZON, ZENITH = np.array((220, 225, 235)), np.array((90, 130, 210))


def sky() -> np.ndarray:
    """(H, W, 3): a sky with a cloud."""
    share = np.minimum(UP * 1.6, 1)[..., None].clip(0)
    pixels = HORIZON + (ZENITH - HORIZON) * share
    pixels[20:35, 70:110] += 0.4 * (255 - pixels[20:35, 70:110])
    pixels[UP < 0] = (60, 120, 50)
    return pixels.astype(np.uint8)


DEPTH = np.where(UP > 0, 100, (1.5 / np.maximum(-UP, 0.02)).clip(0, 50)).astype(np.float32)


@pytest.mark.parametrize("haze", [(180, 90, 200), (70, 140, 90), (30, 30, 60)])
def test_a_painted_sky_has_the_colours_of_the_one_that_was_seen(haze):
    covered = np.zeros((SIZE, SIZE), bool)
    covered[:, 64:] = True
    pixels, depth = sky(), DEPTH.copy()
    pixels[5:50, 10:40] = haze
    depth[5:50, 10:40] = 80
    shown, far = with_even_sky(POSE, pixels, depth, covered, [View(sky(), DEPTH, POSE)])
    assert np.abs(shown[5:50, 10:40].astype(float) - sky()[5:50, 10:40]).max() < 60  # a cloud at most
    assert (far[5:50, 10:40] == FAR_M).all()
    assert np.array_equal(shown[:, 64:], pixels[:, 64:])
    grey = shown[5:50, 10:40].astype(float)
    assert (grey[..., 2] > grey[..., 1]).all() and (grey[..., 1] > grey[..., 0]).all()  # blue to white, as seen


def test_a_cloud_of_the_usual_kind_stays_and_without_a_sky_to_go_by_the_painted_one_does():
    covered = np.zeros((SIZE, SIZE), bool)
    pixels = sky()
    shown, _ = with_even_sky(POSE, pixels, DEPTH, covered, [View(sky(), DEPTH, POSE)])
    assert shown[27, 90].astype(int).sum() > shown[27, 20].astype(int).sum() + 40
    purple = np.where((UP > 0)[..., None], (150, 60, 160), pixels).astype(np.uint8)
    shown, _ = with_even_sky(POSE, purple, DEPTH, covered, [])
    assert (shown[UP > 0.1] == (150, 60, 160)).all()
