"""Things in a dream out of doors stand where their feet are."""

import numpy as np
import pytest
from roam.world.pose import Camera
from roam.world.spatial.planar.standing import FARTHEST_M, standing

RAYS = Camera(64, 64).rays[..., [2, 0, 1]] * np.float32([1, -1, -1])  # a level view: forward, left, up
UP = RAYS[..., 2]
EYE = 1.5


def view(rows, columns, metres):
    depth = np.where(UP < 0, EYE / np.maximum(-UP, 1e-3), 100.0).astype(np.float32)
    pixels = np.full((64, 64, 3), 60, np.uint8)
    depth[rows, columns], pixels[rows, columns] = metres, 200
    return pixels, depth, np.zeros((64, 64), bool)


def test_a_thing_is_as_far_as_the_ground_at_its_foot():
    rows, columns = slice(24, 37), slice(20, 26)
    _, depth = standing(RAYS, *view(rows, columns, 20.0), EYE)
    foot = EYE / -UP[36, 22]
    assert depth[rows, columns] == pytest.approx(foot, rel=1e-3) and 6 < foot < 20


def test_a_thing_whose_foot_is_over_the_farthest_ground_goes_down_to_it():
    rows, columns = slice(26, 32), slice(20, 26)
    pixels, depth = standing(RAYS, *view(rows, columns, 15.0), EYE)
    assert depth[28, 22] == FARTHEST_M
    foot = int(np.flatnonzero(depth[:, 22] == FARTHEST_M).max())
    assert EYE / -UP[foot + 1, 22] <= FARTHEST_M and (pixels[28 : foot + 1, 20:26] == 200).all()


@pytest.mark.parametrize(
    ("rows", "columns", "metres", "is_known"),
    [
        (slice(20, 60), slice(20, 30), 3.0, False),  # near: its depth is well known
        (slice(24, 37), slice(0, 6), 20.0, False),  # cut by the border
        (slice(24, 37), slice(20, 26), 20.0, True),  # in part known before
    ],
)
def test_other_things_stay_as_they_are(rows, columns, metres, is_known):
    pixels, depth, covered = view(rows, columns, metres)
    covered[30, 22] = is_known
    after = standing(RAYS, pixels, depth, covered, EYE)
    assert np.array_equal(after[0], pixels) and np.array_equal(after[1], depth)


def test_a_thing_behind_a_nearer_one_neither_moves_nor_is_drawn_over_it():
    """The gable of a far house over the roof of a near one was continued down to the ground, through the near house."""
    pixels, depth, covered = view(slice(20, 24), slice(20, 26), 30.0)
    house = np.s_[24:48, 16:30]
    depth[house], pixels[house] = 5.5, 120
    after = standing(RAYS, pixels, depth, covered, EYE)
    assert np.array_equal(after[0], pixels) and np.array_equal(after[1], depth)


def test_what_is_continued_down_goes_on_behind_what_is_nearer():
    pixels, depth, covered = view(slice(26, 31), slice(16, 30), 15.0)
    post = np.s_[31:50, 20:24]
    depth[post], pixels[post] = 5.5, 120
    after, there = standing(RAYS, pixels, depth, covered, EYE)
    assert (after[post] == 120).all() and (there[post] == 5.5).all()
    assert (after[31:34, 17] == 200).all()
