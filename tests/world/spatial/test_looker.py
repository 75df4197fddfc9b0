"""Looks into a memory of views: what they show, what is unknown, and that the difference between two eyes agrees
with depth."""

import math

import numpy as np
import pytest
from roam.world.frame import Frame
from roam.world.pose import Camera, Motion, Pose
from roam.world.sight import Gaze, LookError
from roam.world.spatial.looker import Looker, Remembered
from roam.world.spatial.view_memory import ViewMemory
from roam.world.spatial.warp import View, warp

CAMERA = Camera(64, 64)
HERE = Pose.at(0, 0, 1.5)
LOOKER = Looker(CAMERA)


def chequered(pose, depth=2.0):
    """A wall across the view, with a pattern that is fixed to it."""
    rays = CAMERA.rays * depth
    on = (np.floor(rays[..., 0] * 2) + np.floor(rays[..., 1] * 2)) % 2
    smooth = rays[..., 0] * 20
    pixels = np.stack([60 + 100 * on, 120 + smooth, np.full(on.shape, 90.0)], -1).clip(0, 255).astype(np.uint8)
    return View(pixels, np.full((64, 64), depth, np.float32), pose)


def outlook(*views, looker=LOOKER):
    memory = ViewMemory(CAMERA)
    for number, view in enumerate(views):
        memory = memory.with_view(number, view)
    frames = [Frame(k, view.pixels, depth=view.depth, pose=view.pose) for k, view in enumerate(views)]
    return Remembered(memory, frames, looker)


def tilted(pose, *, axis, degrees):
    """The pose turned about one of the camera's own axes: 0 to the right (pitch), 1 down (yaw), 2 forward (roll)."""
    half = math.radians(degrees) / 2
    turn = [math.cos(half), 0.0, 0.0, 0.0]
    turn[1 + axis] = math.sin(half)
    (a, b, c, d), (w, x, y, z) = pose.wxyz, turn
    product = (
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    )
    return Pose(pose.position, product)


def test_a_look_from_a_frames_own_pose_is_that_frame_to_the_bit():
    views = [chequered(HERE), chequered(HERE.moved(Motion(yaw_deg=70)), depth=3.0)]
    for view in views:
        seen = outlook(*views).look(Gaze(view.pose, CAMERA))
        assert (seen.pixels == view.pixels).all() and (seen.depth == view.depth).all() and not seen.unknown.any()


def test_a_look_from_close_by_is_what_the_slow_way_carries_there():
    view = chequered(HERE)
    for motion in (Motion(forward=0.2), Motion(right=0.3, yaw_deg=10), Motion(forward=-0.5, pitch_deg=12)):
        pose = HERE.moved(motion)
        seen, carried = outlook(view).look(Gaze(pose, CAMERA)), warp([view], pose, CAMERA)
        both = carried.covered & ~seen.unknown
        assert both.mean() > 0.5 and (carried.covered != ~seen.unknown).mean() < 0.01
        assert np.abs(seen.pixels[both].astype(int) - carried.pixels[both]).mean() < 1
        assert np.allclose(seen.depth[both], carried.depth[both], rtol=0.01)


def test_what_nobody_has_seen_is_unknown_and_filled_from_around():
    seen = outlook(chequered(HERE)).look(Gaze(HERE.moved(Motion(yaw_deg=40)), CAMERA))
    assert seen.unknown[:, :24].all() and not seen.unknown[8:-8, 48:].any()
    assert (seen.depth[seen.unknown] > 0).all() and seen.pixels[seen.unknown].min() > 20
    behind = outlook(chequered(HERE)).look(Gaze(HERE.moved(Motion(yaw_deg=180)), CAMERA))
    assert behind.unknown.all() and not behind.depth.any() and (behind.pixels == 128).all()


def test_a_rolled_head_sees_the_same_turned_on_screen():
    view = chequered(HERE)
    upright, rolled = (outlook(view).look(Gaze(pose, CAMERA)) for pose in (HERE, tilted(HERE, axis=2, degrees=90)))
    turned = np.rot90(upright.pixels)  # the head's right side is down now: what was to the right is up
    assert np.abs(turned.astype(int) - rolled.pixels)[2:-2, 2:-2].mean() < 4


def test_straight_down_and_straight_up_can_be_looked_at():
    floor = tilted(HERE, axis=0, degrees=-90)
    seen = outlook(chequered(floor)).look(Gaze(tilted(HERE, axis=0, degrees=-80), CAMERA))
    assert not seen.unknown[20:, :].all() and (~seen.unknown).mean() > 0.5
    assert outlook(chequered(floor)).look(Gaze(tilted(HERE, axis=0, degrees=90), CAMERA)).unknown.all()


@pytest.mark.parametrize("depth", [1.0, 2.5, 6.0])
def test_what_two_eyes_see_differs_by_what_depth_says(depth):
    gaze = Gaze(HERE, Camera(128, 96, 80.0), ipd_m=0.064)
    seen = outlook(chequered(HERE, depth)).look(gaze)
    assert seen.pixels.shape == (96, 256, 3)
    (left, left_depth, _), (right, _, _) = seen.eye(0), seen.eye(1)
    disparity = gaze.camera.focal * gaze.ipd_m / depth
    assert np.allclose(left_depth[30:60, 30:60], depth, rtol=0.01)
    part = np.s_[30:60, 40:90]
    errors = [np.abs(np.roll(right, shift, 1)[part].astype(int) - left[part]).mean() for shift in range(-12, 13)]
    assert abs(np.argmin(errors) - 12 - disparity) <= 1  # what the right eye sees is shifted to the left


def test_the_eyes_stand_to_both_sides_of_the_pose():
    left, right = Gaze(HERE, CAMERA, ipd_m=0.06).eyes
    assert np.allclose(left.position, (0, 0.03, 1.5)) and np.allclose(right.position, (0, -0.03, 1.5))


def test_any_size_and_width_of_view_shows_the_same_places():
    view = chequered(HERE)
    small, large = (outlook(view).look(Gaze(HERE, Camera(side, side, 60.0))) for side in (32, 256))
    assert np.abs(large.pixels[4::8, 4::8].astype(int) - small.pixels)[2:-2, 2:-2].mean() < 12
    wide = outlook(view).look(Gaze(HERE, Camera(64, 32, 140.0)))
    assert wide.unknown[:, :8].all() and not wide.unknown[10:22, 28:36].any()


def test_what_a_look_shows_does_not_depend_on_the_looks_before_it():
    views = [chequered(HERE.moved(Motion(yaw_deg=45.0 * k)), depth=2.0 + k) for k in range(8)]
    gazes = [Gaze(HERE.moved(Motion(forward=0.1 * k, yaw_deg=37.0 * k)), CAMERA, 0.06) for k in range(12)]
    fresh = [outlook(*views, looker=Looker(CAMERA)).look(gaze) for gaze in gazes]
    used = outlook(*views)
    for gaze, wanted in [*zip(gazes, fresh, strict=True), *zip(gazes, fresh, strict=True)][::-1]:
        assert (used.look(gaze).pixels == wanted.pixels).all()


@pytest.mark.parametrize(
    "gaze",
    [
        lambda: Gaze(HERE, Camera(2000, 64)),
        lambda: Gaze(HERE, Camera(4, 64)),
        lambda: Gaze(HERE, Camera(64, 64, 160)),
        lambda: Gaze(HERE, CAMERA, ipd_m=3.0),
        lambda: Gaze(HERE, CAMERA, ipd_m=-0.1),
        lambda: Gaze(Pose((0, 0, 0), (1, 1, 0, 0)), CAMERA),
        lambda: Gaze(Pose((float("nan"), 0, 0), (1, 0, 0, 0)), CAMERA),
    ],
)
def test_a_look_beyond_the_limits_is_refused_in_one_sentence(gaze):
    with pytest.raises(LookError, match="wanted"):
        gaze()


def test_a_world_without_poses_has_no_looks():
    with pytest.raises(LookError, match="no poses"):
        Remembered(ViewMemory(CAMERA), [Frame(0, np.zeros((64, 64, 3), np.uint8))], LOOKER)
