"""Dreams that one comes near to: what counts as too coarse, what is left out, and from where the newer one is shown."""

import numpy as np
import pytest
from roam.world.pose import Camera, Motion, Pose
from roam.world.spatial.anew import COARSE, in_its_place, left_out, without_coarse
from roam.world.spatial.view_memory import ViewMemory
from roam.world.spatial.warp import DREAMT, DREAMT_ANEW, SEEN, View, warp

CAMERA, HERE = Camera(64, 64), Pose.at(0, 0, 1.5)
FRESH = np.ones((64, 64), bool)


def wall(depth=4.0, origin=DREAMT, shade=90, fresh=None):
    fresh = np.ones((64, 64), bool) if fresh is None and origin != SEEN else fresh
    return View(np.full((64, 64, 3), shade, np.uint8), np.full((64, 64), depth, np.float32), HERE, fresh, origin)


def walked(forward):
    return HERE.moved(Motion(forward=forward))


@pytest.mark.parametrize("forward", [0.0, 1.0, 2.0, 3.0])
def test_a_surface_is_magnified_by_as_much_as_it_is_nearer(forward):
    scale = warp([wall()], walked(forward), CAMERA).scale
    assert scale[30:34, 30:34] == pytest.approx(4 / (4 - forward), rel=0.05)


def test_who_only_turns_magnifies_nothing():
    turned = warp([wall()], HERE.moved(Motion(yaw_deg=30)), CAMERA)
    known = turned.covered.copy()
    known[[0, -1]] = known[:, [0, -1]] = False
    assert turned.scale[known].max() < 1.15


def test_a_surface_that_was_seen_at_a_slant_is_magnified_by_what_one_sees_of_it_now():
    """From beside, a wall is a few columns; from before it, each of them is a wide stripe."""
    rays = CAMERA.rays
    slanted = Pose.at(0, 0, 1.5, yaw_deg=-75)
    axes = slanted.rotation
    forward = rays @ axes[0]  # towards the wall at x = 4
    depth = np.where(forward > 0.02, 4 / np.maximum(forward, 0.02), 0).astype(np.float32)
    view = View(np.zeros((64, 64, 3), np.uint8), depth, slanted, (depth > 0) & (depth < 30), DREAMT)
    there = Pose((0.0, -6.0, 1.5), HERE.wxyz)
    shown = warp([view], there, CAMERA)
    near = shown.covered & (shown.scale > 0)
    assert near.any() and np.median(shown.scale[near]) > 1.5


def test_a_dream_that_is_too_coarse_is_left_out_and_what_was_seen_never_is():
    near, far = walked(3.3), walked(1.0)
    dreamt = warp([wall()], near, CAMERA)
    assert dreamt.covered.all() and dreamt.scale.min() > COARSE
    holes = without_coarse(dreamt)
    assert not holes.covered.any() and left_out(holes).all() and (holes.before.pixels == 90).all()
    assert without_coarse(warp([wall()], far, CAMERA)).covered.all()
    assert without_coarse(warp([wall(origin=SEEN)], near, CAMERA)).covered.all()


def test_beside_what_was_seen_a_coarse_dream_is_left_out_alone_and_without_crumbs():
    left = np.zeros((64, 64), bool)
    left[:, :32] = True
    seen = View(np.full((64, 64, 3), 200, np.uint8), np.full((64, 64), 4.0, np.float32), HERE, left, SEEN)
    carried = without_coarse(warp([seen, wall(fresh=~left)], walked(2.4), CAMERA))
    assert carried.covered[:, :31].all() and not carried.covered[:, 33:].any()
    assert (carried.pixels[:, :31] == 200).all() and (carried.pixels[:, 33:] == 200).all()  # filled from beside


@pytest.fixture
def memory():
    """A wall that was seen, one that was dreamt in the same place, one behind; and from near by the second again."""
    memory = ViewMemory(CAMERA).with_view(2, wall()).with_view(4, wall(depth=9.0))
    new = View(np.full((64, 64, 3), 7, np.uint8), np.full((64, 64), 1.6, np.float32), walked(2.4), FRESH, DREAMT_ANEW)
    return memory.with_view(6, new)


@pytest.mark.parametrize(("forward", "shade"), [(0.0, 90), (1.0, 90), (2.0, 7), (2.4, 7)])
def test_a_new_dream_stands_in_for_an_older_one_from_near_by_and_from_far_off_that_is_there_again(
    memory, forward, shade
):
    shown = memory.carried(walked(forward))
    assert shown.before is None and (shown.pixels[28:36, 28:36] == shade).all()
    assert (shown.pixels[shown.covered] == shade).mean() > (0.99 if shade == 90 else 0.6)


def test_the_newest_dreams_are_what_looks_and_collisions_find(memory):
    whole, latest = dict(memory.items()), dict(memory.latest())
    assert whole[2].fresh.all() and latest[6] is whole[6] and latest[4] is whole[4]
    assert not latest[2].fresh[24:40, 24:40].any() and latest[2].fresh[:4].all()  # what the new view shows, and no more
    assert all(any(view is held for held in latest.values()) for view in memory.choose(HERE))
    ahead = memory.surface[np.abs(memory.surface[:, 1:] - (0, 1.5)).max(1) < 0.3]
    assert ahead[:, 0].min() == pytest.approx(4.0, abs=0.1)


def test_what_was_truly_seen_stays_and_only_a_dream_that_was_dreamt_anew_stands_in_for_others():
    seen = ViewMemory(CAMERA).with_view(0, wall(origin=SEEN))
    for origin in (DREAMT, DREAMT_ANEW):
        new = View(np.full((64, 64, 3), 7, np.uint8), np.full((64, 64), 1.6, np.float32), walked(2.4), FRESH, origin)
        assert dict(seen.with_view(6, new).latest())[0] is dict(seen.items())[0]
    usual = View(new.pixels, new.depth, new.pose, FRESH, DREAMT)
    assert dict(ViewMemory(CAMERA).with_view(2, wall()).with_view(6, usual).latest())[2].fresh.all()


def test_what_is_dreamt_anew_stands_where_the_older_dream_stood():
    carried = without_coarse(warp([wall()], walked(2.4), CAMERA))
    placed = in_its_place(np.full((64, 64), 2.6, np.float32), carried)
    assert placed == pytest.approx(1.6, rel=0.05)
    assert in_its_place(np.full((64, 64), 30.0, np.float32), carried) == pytest.approx(30.0)  # the sky beside a house
