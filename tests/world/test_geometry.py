"""Views carried into new poses, and which of them are chosen."""

import numpy as np
from roam.world.geometry import View, warp
from roam.world.memory import ViewMemory, visible_pages
from roam.world.pose import Camera, Motion, Pose

CAMERA = Camera(64, 64)
HERE = Pose.at(0, 0, 1.5)


def wall(pose, shade, depth=2.0):
    return View(np.full((64, 64, 3), shade, np.uint8), np.full((64, 64), depth, np.float32), pose)


def test_a_view_carried_nowhere_is_itself():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    carried = warp([View(pixels, np.full((64, 64), 3.0, np.float32), HERE)], HERE, CAMERA)
    assert carried.covered.all() and np.abs(carried.pixels.astype(int) - pixels).max() <= 1


def test_turning_left_uncovers_the_left_and_says_so():
    carried = warp([wall(HERE, 100)], HERE.moved(Motion(yaw_deg=20)), CAMERA)
    coverage = carried.coverage((8, 8))
    assert coverage[4, 0] == 0 and coverage[4, -1] == 1
    assert (carried.pixels == 100).all()  # holes take the colour of what is next to them


def test_the_nearer_surface_wins_and_later_views_only_fill_holes():
    near, far = wall(HERE, 50, depth=1.0), wall(HERE, 200, depth=5.0)
    assert (warp([near, far], HERE, CAMERA).pixels == 50).all()
    turned = HERE.moved(Motion(yaw_deg=30))
    both = warp([wall(HERE, 50), wall(turned, 200)], turned, CAMERA)
    assert both.covered.all() and {50, 200} <= set(np.unique(both.pixels))


def test_no_views_cover_nothing():
    assert not warp([], HERE, CAMERA).covered.any()


def test_memory_picks_the_last_view_then_the_one_that_shows_what_is_missing():
    memory = ViewMemory(CAMERA)
    for index, yaw in enumerate((0, 60, 180, 120)):
        memory = memory.with_view(index, wall(Pose.at(0, 0, 1.5, yaw), index))
    chosen = memory.choose(Pose.at(0, 0, 1.5, 90), count=2)
    assert [int(view.pixels[0, 0, 0]) for view in chosen] == [3, 1]
    assert len(memory.choose(Pose.at(0, 0, 1.5, 90))) == 2  # the others show nothing more


def test_memory_is_bounded_and_keeps_old_and_new():
    memory = ViewMemory(CAMERA, limit=8)
    for index in range(40):
        memory = memory.with_view(index, wall(HERE, 0))
    assert len(memory) <= 8 and memory.indices[-1] == 39 and memory.indices[0] < 20
    assert memory.only([39]).indices == (39,)


def test_a_step_sees_the_last_pages_of_its_window():
    assert visible_pages([3, 1, 4, 1, 5], 2) == [1, 5] and visible_pages([3], 12) == [3]
