"""Views that are carried to new poses, and the choice of views."""

import cv2
import numpy as np
from roam.world.pose import Camera, Motion, Pose
from roam.world.spatial.smoothing import parted, smoothed
from roam.world.spatial.view_memory import ViewMemory, visible_pages
from roam.world.spatial.warp import View, Warp, fill, joined, remembered, sharpened, warp

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
    assert (carried.pixels == 100).all()  # holes take the colour of their neighbours


def test_the_nearer_surface_wins_and_later_views_only_fill_holes():
    near, far = wall(HERE, 50, depth=1.0), wall(HERE, 200, depth=5.0)
    assert (warp([near, far], HERE, CAMERA).pixels == 50).all()
    turned = HERE.moved(Motion(yaw_deg=30))
    both = warp([wall(HERE, 50), wall(turned, 200)], turned.moved(Motion(yaw_deg=-1)), CAMERA)
    assert both.covered.all() and {50, 200} <= set(np.unique(both.pixels))


def test_what_was_seen_from_the_very_place_is_shown_as_it_was():
    """A surface seen from elsewhere is off by the error of its depth, and a few of its pixels once covered the view
    from the very place."""
    own = View(np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8), wall(HERE, 0).depth, HERE)
    others = [wall(HERE.moved(Motion(yaw_deg=yaw)), 200, depth=0.7 * wall(HERE, 0).depth[0, 0]) for yaw in (-10, 10)]
    for views in ([own, *others], [*others, own]):
        again = HERE.moved(Motion(yaw_deg=15)).moved(Motion(yaw_deg=-15))
        assert (warp(views, again, CAMERA).pixels == own.pixels).all()


def test_only_what_a_view_showed_first_is_carried_from_it():
    left = np.zeros((64, 64), bool)
    left[:, :32] = True
    view = View(np.full((64, 64, 3), 90, np.uint8), np.full((64, 64), 2.0, np.float32), HERE, left)
    carried = warp([view], HERE, CAMERA)
    assert carried.covered[:, :30].all() and not carried.covered[:, 34:].any()
    assert np.allclose(carried.depth[carried.covered], 2.0)


def test_a_later_view_hides_an_earlier_one_only_where_it_is_clearly_nearer():
    aside = HERE.moved(Motion(right=-2.0))  # from there a surface near ahead of here is out of sight
    beside = HERE.moved(Motion(yaw_deg=1))
    assert (warp([wall(aside, 50, depth=9.0), wall(beside, 200, depth=8.9)], HERE, CAMERA).pixels[:, :40] == 50).all()
    assert (warp([wall(aside, 50, depth=9.0), wall(HERE, 200, depth=1.0)], HERE, CAMERA).pixels == 200).all()


def test_a_later_view_hides_nothing_where_the_earlier_one_looked_through_it():
    assert (warp([wall(HERE, 50, depth=5.0), wall(HERE, 200, depth=2.0)], HERE, CAMERA).pixels == 50).all()
    aside = HERE.moved(Motion(right=-1.2))
    beside = HERE.moved(Motion(yaw_deg=1))
    shown = warp([wall(aside, 50, depth=5.0), wall(beside, 200, depth=1.0)], HERE, CAMERA).pixels[32, :, 0]
    assert shown[8] == 50 and shown[40] == 200  # on the left the view from aside saw past it, on the right it could not


def test_a_dreamt_view_keeps_the_surfaces_carried_into_it_and_joins_new_ones_to_them():
    turned = HERE.moved(Motion(yaw_deg=20))
    carried = warp([wall(HERE, 50, depth=2.0)], turned, CAMERA)
    decoded = np.full((64, 64), 3.0, np.float32)  # a decoder that takes everything for one half farther than it is
    view = remembered(np.full((64, 64, 3), 50, np.uint8), decoded, turned, carried, carried.covered)
    inner = carried.covered & ~view.fresh
    assert np.allclose(view.depth[inner], carried.depth[inner], rtol=1e-3)
    known = carried.depth[carried.covered].mean()
    assert abs(view.depth[~carried.covered].mean() / known - 1) < 0.2  # it was off by 50 %
    assert view.fresh[~carried.covered].all() and not view.fresh.all()


def test_depth_far_from_anything_known_stays_sane():
    depth, known = np.full((64, 64), 50.0, np.float32), np.full((64, 64), 0.1, np.float32)
    where = np.zeros((64, 64), bool)
    assert (joined(depth, known, where) == depth).all()
    where[0, 0] = True
    assert np.isfinite(joined(depth, known, where)).all() and joined(depth, known, where).min() > 10


def test_a_soft_edge_between_two_surfaces_becomes_a_hard_one_where_the_picture_has_it():
    depth = np.full((64, 64), 2.0, np.float32)
    depth[:, 40:] = 10.0
    depth[:, 28:40] = np.linspace(2, 10, 12, dtype=np.float32)
    pixels = np.full((64, 64, 3), 40, np.uint8)
    pixels[:, 34:] = 200
    edge = sharpened(depth, pixels)
    assert np.log(edge[:, :34].max() / 2) < 0.6 and edge[:, 36:].min() > 6
    assert (sharpened(np.full((64, 64), 3.0, np.float32), pixels) == 3).all()


def test_no_views_cover_nothing():
    assert not warp([], HERE, CAMERA).covered.any()


def test_memory_picks_the_last_view_then_the_one_that_shows_what_is_missing():
    memory = ViewMemory(CAMERA)
    for index, yaw in enumerate((0, 60, 180, 120)):
        memory = memory.with_view(index, wall(Pose.at(0, 0, 1.5, yaw), index))
    chosen = memory.choose(Pose.at(0, 0, 1.5, 90), count=2)
    assert [int(view.pixels[0, 0, 0]) for view in chosen] == [3, 1]
    assert len(memory.choose(Pose.at(0, 0, 1.5, 90))) == 2  # the others show nothing more


def test_memory_is_bounded_and_forgets_what_other_views_show_as_well():
    memory, elsewhere = ViewMemory(CAMERA, limit=8), Pose.at(0, 0, 1.5, 180)
    memory = memory.with_view(0, wall(elsewhere, 0)).with_view(1, wall(HERE, 0))
    for index in range(2, 40):
        memory = memory.with_view(index, wall(HERE.moved(Motion(forward=-0.001 * index)), 0))
    assert len(memory) <= 8 and memory.indices[0] == 0 and memory.indices[-1] == 39
    assert len(memory.choose(elsewhere)) == 1
    assert memory.only([39]).indices == (39,)


def test_of_a_near_and_a_far_view_of_the_same_wall_the_near_one_is_kept():
    near, memory = HERE.moved(Motion(forward=1.0)), ViewMemory(CAMERA, limit=8)
    memory = memory.with_view(0, wall(near, 0, depth=1.0))
    for index in range(1, 20):
        memory = memory.with_view(index, wall(HERE, 0))
    assert 0 in memory.indices


def test_a_view_that_showed_nothing_first_is_not_kept():
    memory = ViewMemory(CAMERA).with_view(0, wall(HERE, 0))
    nothing = View(np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 2.0, np.float32), HERE, np.zeros((64, 64), bool))
    assert memory.with_view(1, nothing).indices == (0,)


def test_a_step_sees_the_last_pages_of_its_window():
    assert visible_pages([3, 1, 4, 1, 5], 2) == [1, 5] and visible_pages([3], 12) == [3]


def post(shade, *, left=28, right=36, depth=2.0, behind=8.0):
    """A post before a wall of shade 200."""
    pixels, deep = np.full((64, 64, 3), 200, np.uint8), np.full((64, 64), behind, np.float32)
    pixels[:, left:right], deep[:, left:right] = shade, depth
    return View(pixels, deep, HERE)


def test_what_comes_near_stays_whole_however_large_it_grows():
    """Points were once drawn at most seven pixels wide, and what lay behind showed between them."""
    shown = warp([post(50)], HERE.moved(Motion(forward=1.7)), CAMERA)
    near = shown.pixels[..., 0] == 50
    assert near.sum(1).min() > 45 and near[:, 12:52].all() and shown.covered[:, 12:52].all()


def test_a_slope_and_a_level_ground_have_no_gaps():
    rows = np.arange(64)[:, None] + 0.5 - 32
    ground = np.where(rows > 0, 1.5 * CAMERA.focal / np.maximum(rows, 0.5), 100.0) * np.ones((1, 64))
    view = View(np.full((64, 64, 3), 80, np.uint8), ground.astype(np.float32), HERE)
    for motion in (Motion(forward=2.0), Motion(forward=1.0, right=1.0), Motion(right=-0.5, yaw_deg=5)):
        covered = warp([view], HERE.moved(motion), CAMERA).covered
        assert covered[36:56, 24:40].all()


def test_an_outline_is_not_left_behind_by_what_it_is_of():
    """Half of the pixels at an edge belong to the thing. Those that had the wall's depth once stayed
    behind as an outline on the wall."""
    view = post(40)
    view.pixels[:, [27, 36]] = 120  # the blend of both, with the depth of the wall
    assert (warp([view], HERE, CAMERA).pixels == view.pixels).all()
    aside = warp([view], HERE.moved(Motion(right=1.5)), CAMERA)
    assert (aside.pixels == 120).all(-1).sum() <= 64 and (aside.pixels[..., 0] == 40).any()


def test_what_opens_behind_a_thing_is_filled_with_what_is_behind_it():
    aside = warp([post(50)], HERE.moved(Motion(right=0.6)), CAMERA)
    assert not aside.covered.all()
    assert (aside.pixels[~aside.covered] == 200).all() and (aside.depth[~aside.covered] > 7).all()


def test_what_opens_beside_a_post_before_the_horizon_is_filled_with_ground_and_not_with_sky():
    rows = np.arange(64)[:, None].repeat(64, 1)
    depth = np.where(rows > 32, 48 / (rows - 31.5), 100).astype(np.float32)
    pixels = np.where((rows > 32)[..., None], (60, 120, 50), (200, 220, 250)).astype(np.float32)
    covered = np.ones((64, 64), bool)
    pixels[20:60, 30:33], depth[20:60, 30:33] = (40, 40, 40), 1.2
    covered[20:60, 26:30] = False
    pixels[~covered], depth[~covered] = 0, 0
    fill(pixels, covered, depth)
    for row in (20, 26):
        assert (pixels[row, 26:30] > 180).all()
    for row in range(38, 58):  # almost as the ground beside it; none is as pale as the sky or as dark as the post
        assert np.abs(pixels[row, 26:30] - (60, 120, 50)).max() < 30, row


def test_a_rim_is_no_room_for_anything_and_a_gap_is():
    covered = np.ones((64, 64), bool)
    covered[:, 10:13] = False
    seen = lambda: Warp(np.zeros((64, 64, 3), np.uint8), covered, np.ones((64, 64), np.float32))  # noqa: E731
    assert seen().open == 0.0
    covered[:, 50:57] = False  # to be painted, with nothing to decide
    assert abs(seen().open - 7 / 64) < 1e-6 and seen().room == 0.0
    covered[:, 30:42] = False
    assert abs(seen().room - 12 / 64) < 1e-6


def test_a_point_that_hangs_in_the_air_alone_goes_to_what_it_looks_like():
    depth, pixels = np.full((64, 64), 8.0, np.float32), np.full((64, 64, 3), 90, np.uint8)
    depth[20, 20] = depth[40, 30] = depth[40, 31] = 2.0
    depth[:, 50] = 2.0  # a post of one pixel's width is kept
    pixels[:, 50] = 200
    even = smoothed(depth, pixels)
    assert (np.abs(np.delete(even, 50, 1) - 8) < 0.5).all() and (even[8:-8, 50] < 2.5).all()


def test_smoothing_evens_a_wavy_wall_and_keeps_its_edge():
    rng = np.random.default_rng(0)
    across = np.arange(64)[None] * np.ones((64, 1))
    wall_depth = np.where(across < 32, 1 / (0.2 + 0.002 * across), 9.0)
    pixels = np.where(across < 32, 60, 180)[..., None].repeat(3, 2).astype(np.uint8)
    noisy = (wall_depth * np.exp(rng.normal(0, 0.05, (64, 64)))).astype(np.float32)
    even = smoothed(noisy, pixels)
    error = lambda depth: np.abs(np.log(depth / wall_depth))  # noqa: E731
    assert error(even).mean() < 0.4 * error(noisy).mean() and error(even).max() < 0.2


def test_smoothed_where_it_is_wanted_depth_is_what_it_is_when_all_is():
    rng = np.random.default_rng(1)
    depth = np.exp(rng.normal(1, 0.1, (32, 48))).astype(np.float32)
    pixels = rng.integers(0, 255, (32, 48, 3), dtype=np.uint8)
    where = rng.uniform(size=depth.shape) < 0.4
    some = smoothed(depth, pixels, where)
    assert (some == np.where(where, smoothed(depth, pixels), depth)).all()


def test_what_is_dreamt_between_two_surfaces_is_one_of_them():
    """A rim with a depth nearer than its house, or halfway to the sky, once came off it as one walked on, as a line
    in the air."""
    depth = np.full((48, 48), 100.0, np.float32)
    pixels = np.full((48, 48, 3), (140, 180, 220), np.uint8)
    house = np.zeros((48, 48), bool)
    house[12:40, 10:38] = True
    pixels[house], depth[house] = (150, 90, 70), 6.0
    pixels[house & ~cv2.erode(house.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)] = (90, 60, 50)
    wrong = depth.copy()
    wrong[12:40, 10:12], wrong[12:14, 10:38], wrong[20:30, 38:40] = 4.0, 25.0, 30.0
    wrong[5, 5] = 20.0  # a speck
    everywhere = np.ones(depth.shape, bool)
    mended = parted(wrong, pixels, everywhere)
    assert (np.abs(np.log(mended / depth)) < 0.1).mean() > 0.995 > (np.abs(np.log(wrong / depth)) < 0.1).mean()
    assert (parted(wrong, pixels, ~everywhere) == wrong).all()
    ground = (1.5 * 40 / np.maximum(np.arange(48.0, dtype=np.float32) - 6, 0.6))[:, None] + np.zeros(
        (48, 48), np.float32
    )
    off = np.abs(np.log(parted(ground, np.full((48, 48, 3), 90, np.uint8), everywhere) / ground))
    assert off[14:44].max() < 1e-6


def test_a_pinhole_in_a_surface_is_closed_whichever_view_shows_through_it():
    """Walking up to a dreamt house, single pixels of sky once shone through its edge."""
    depth, pixels = np.full((64, 64), 100.0, np.float32), np.full((64, 64, 3), (140, 180, 220), np.uint8)
    depth[16:48, 16:48], pixels[16:48, 16:48] = 4.0, (150, 90, 70)
    for v in range(18, 46, 4):
        depth[v, 18:46:4], pixels[v, 18:46:4] = 100.0, (140, 180, 220)
    carried = warp([View(pixels, depth, HERE)], HERE.moved(Motion(forward=0.05)), CAMERA)
    assert (carried.depth[20:44, 20:44] < 5).all() and (carried.pixels[20:44, 20:44, 0] > 142).all()
    here = warp([View(pixels, depth, HERE)], HERE, CAMERA)
    assert (here.depth == depth).all()  # from its own place it looks as it did
