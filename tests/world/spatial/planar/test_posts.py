"""Posts, lamps and signs of a true picture stand where their foot is, whatever depth was estimated for them."""

from __future__ import annotations

import cv2
import numpy as np
from roam.world.pose import Camera, Pose
from roam.world.spatial.planar.planes import rays_from
from roam.world.spatial.planar.posts import stand_up
from roam.world.spatial.planar.seen import settled

EYE, SIZE = 1.5, 128
POSE = Pose.at(0, 0, EYE)
RAYS = rays_from(POSE, Camera(SIZE, SIZE))
UP = RAYS[..., 2]
FLOOR = np.where(UP < -1e-3, EYE / np.maximum(-UP, 1e-3), np.inf).astype(np.float32)
GREY, PURPLE, DARK = (75, 75, 85), (140, 40, 130), (80, 25, 75)


def meadow() -> tuple[np.ndarray, np.ndarray]:
    """pixels and depth of a meadow under a sky."""
    return np.where((UP < 0)[..., None], (70, 110, 60), (150, 180, 230)).astype(np.uint8), FLOOR.clip(0, 100)


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    where = np.zeros((SIZE, SIZE), bool)
    where[top:bottom, left:right] = True
    return where


def sign(pixels: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """A sign is painted into a picture, and its depth, as a network guesses it; where its post and its board are, and
    how far they are."""
    post, board = box(44, 98, 60, 64), box(44, 60, 50, 74) & ~box(44, 60, 60, 64)
    distance = float(FLOOR[97, 62])
    pixels[board], pixels[post] = PURPLE, GREY
    pixels[box(44, 60, 64, 69)] = DARK
    for row in range(44, 98):  # the foot as the ground beside it, the top too near, the right of the board as the house
        depth[row, 60:64] = distance * np.interp(row, (44, 70, 98), (0.85, 1.3, 1.0))
    depth[board] = distance * 1.1
    depth[box(44, 60, 66, 74)] = 6.0
    return post, board, distance


def off(depth: np.ndarray, other: float) -> np.ndarray:
    return np.abs(np.log(depth / other))


def test_a_sign_is_as_far_as_the_foot_of_its_post():
    pixels, depth = meadow()
    house = box(20, 78, 66, 110)
    pixels[house], depth[house] = (90, 85, 130), 7.0
    post, board, distance = sign(pixels, depth)
    assert off(depth, distance)[post].max() > 0.2 and off(depth, distance)[board].max() > 0.4
    found = settled(POSE, pixels, depth)
    assert off(found, distance)[post].max() < 0.05
    assert off(found, distance)[board].max() < 0.08
    away = house & ~(cv2.dilate((post | board).astype(np.uint8), np.ones((9, 9))) > 0)
    assert off(found, 7.0)[away].max() < 0.01


def test_the_shade_of_a_lamp_is_as_far_as_its_post_and_the_wall_above_it_stays():
    pixels, depth = np.full((SIZE, SIZE, 3), 150, np.uint8), np.full((SIZE, SIZE), 5.0, np.float32)
    floor = FLOOR < 5
    pixels[floor], depth[floor] = (120, 90, 60), FLOOR[floor]
    rows, columns = np.mgrid[:SIZE, :SIZE]
    post, shade = box(72, 100, 62, 65), np.hypot(rows - 62, columns - 63) < 10
    pixels[post], pixels[shade] = GREY, (40, 180, 190)
    distance = float(FLOOR[99, 63])
    depth[post], depth[shade] = distance * 1.2, distance * 0.9
    found = stand_up(FLOOR, pixels, depth, is_room=True)
    assert off(found, distance)[post].max() < 0.01 and off(found, distance)[shade].max() < 0.11
    rest = ~(cv2.dilate((post | shade).astype(np.uint8), np.ones((5, 5))) > 0)
    assert np.array_equal(found[rest], depth[rest])


def test_planks_stripes_of_a_wall_and_things_in_the_air_are_no_posts():
    pixels, depth = meadow()
    pixels[(UP < 0) & (np.arange(SIZE) // 6 % 2 == 0)] = (120, 90, 60)  # planks
    house = box(20, 90, 30, 100)
    pixels[house], depth[house] = (150, 150, 90), FLOOR[89, 60]
    pixels[house & (np.arange(SIZE) // 5 % 2 == 0)] = (90, 60, 90)  # a wall with stripes
    pixels[box(20, 50, 10, 13)], depth[box(20, 50, 10, 13)] = GREY, 6.0  # a branch
    assert np.array_equal(stand_up(FLOOR, pixels, depth, is_room=False), depth)
