"""A dreamt horizon that one has walked up to is dreamt anew, crumbs before the sky are left out."""

import numpy as np
import pytest
from roam.world.pose import Camera, Motion, Pose
from roam.world.spatial import crumbs
from roam.world.spatial.crumbs import without_crumbs
from roam.world.spatial.horizon import HIGH, LOW, STALE_M, without_horizon
from roam.world.spatial.view_memory import ViewMemory
from roam.world.spatial.warp import DREAMT, SEEN, View, warp

CAMERA, HERE = Camera(64, 64), Pose.at(0, 0, 1.5)
UP = CAMERA.rays[..., 1] * -1
SKY = np.array([120, 160, 230], np.uint8)


def plain(pose=HERE, origin=DREAMT, things=()):
    """Ground and sky, and things: (rows, columns, depth, shade)."""
    depth = np.where(UP < 0, 1.5 / np.maximum(-UP, 0.02), 100.0).astype(np.float32)
    pixels = np.where((UP < 0)[..., None], np.uint8(60), SKY)
    for rows, columns, metres, shade in things:
        depth[rows, columns], pixels[rows, columns] = metres, shade
    return View(pixels, depth, pose, np.ones((64, 64), bool) if origin != SEEN else None, origin)


def shown(view, forward=0.0):
    pose = HERE.moved(Motion(forward=forward))
    return warp([view], pose, CAMERA), pose


def far(metres, columns=slice(None)):
    walked = np.zeros(32)
    walked[columns] = metres
    return lambda pose: walked


def test_a_horizon_is_dreamt_anew_where_it_was_dreamt_far_from_here():
    known, pose = shown(plain())
    assert without_horizon(known, pose, far(STALE_M - 0.1)) is known
    anew = without_horizon(known, pose, far(STALE_M + 0.1))
    gone = known.covered & ~anew.covered
    assert anew.has_new_horizon and anew.before is None
    level = CAMERA.rays[:, 32, 1] * -1
    ahead = gone[:, 28:36]
    assert ahead[(level > 0.02) & (level < HIGH - 0.02)].all() and ahead[(level < -0.04) & (level > 0.03 - LOW)].all()
    assert not ahead[level > HIGH + 0.02].any() and not ahead[level < -LOW - 0.02].any()


def test_what_was_seen_what_stands_before_the_sky_and_what_is_new_beside_it_stay():
    seen, pose = shown(plain(origin=SEEN))
    assert without_horizon(seen, pose, far(9.0)) is seen
    house = (slice(20, 40), slice(10, 20), 8.0, 200)
    anew = without_horizon(shown(plain(things=[house]))[0], pose, far(9.0))
    assert anew.covered[22:38, 11:19].all() and (anew.pixels[22:38, 11:19] == 200).all()
    half = without_horizon(shown(plain())[0], pose, far(9.0, slice(10, None)))
    assert half.covered[:, :19].all() and not half.covered[26:31, 22:].any()


@pytest.mark.parametrize(("stale", "is_new"), [(slice(0, 16), False), (slice(0, 24), True)])
def test_a_little_stale_sky_does_not_matter_nor_does_a_sliver_of_new_sky_in_it(stale, is_new):
    known, pose = shown(plain())
    assert without_horizon(known, pose, far(9.0, stale)).has_new_horizon == is_new
    with_sliver = far(9.0)(pose).copy()
    with_sliver[14:17] = 0.2
    assert not without_horizon(known, pose, lambda pose: with_sliver).covered[26:31, 28:34].any()


def test_a_memory_dreams_a_horizon_once_and_shows_what_came_there_from_everywhere():
    memory, there = ViewMemory(CAMERA).with_view(0, plain()), HERE.moved(Motion(forward=5.0))
    assert not memory.carried(HERE).has_new_horizon and memory.carried(there).has_new_horizon
    house = (slice(26, 37), slice(28, 36), 12.0, 200)
    memory = memory.with_view(2, plain(there, things=[house]))
    assert not memory.carried(there).has_new_horizon and not memory.carried(HERE).has_new_horizon
    for pose in (HERE, there):  # the sky that was seen through it is forgotten
        seen = memory.carried(pose)
        assert (seen.pixels[30:34, 30:34] == 200).all(), pose
        assert seen.depth[32, 32] == pytest.approx(12.0 + (5.0 if pose is HERE else 0.0), rel=0.05)


@pytest.mark.parametrize(
    ("thing", "stays"),
    [
        ((slice(10, 14), slice(30, 34), 8.0, 20), False),
        ((slice(4, 14), slice(28, 38), 8.0, 20), True),  # as large as a thing may be
        ((slice(10, 14), slice(60, 64), 8.0, 20), True),  # goes on beyond the view
        ((slice(28, 34), slice(30, 33), 8.0, 20), True),  # stands on the ground
    ],
)
def test_crumbs_before_the_sky_are_left_out(thing, stays):
    known, pose = shown(plain(things=[thing]))
    cleaned = without_crumbs(known, pose)
    there = cleaned.pixels[thing[0], thing[1]]
    assert (there == 20).all() if stays else (there == SKY).all()
    assert (cleaned is known) == stays


def test_crumbs_that_were_seen_stay():
    known, pose = shown(plain(origin=SEEN, things=[(slice(10, 14), slice(30, 34), 8.0, 20)]))
    assert without_crumbs(known, pose) is known
    assert crumbs.crumbs(known.depth, pose).any()
