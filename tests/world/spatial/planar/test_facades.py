"""Dreamt houses stand straight, and trees, what was there before and tilted views are left alone."""

from __future__ import annotations

import numpy as np
import pytest
from roam.world.pose import Camera, Pose
from roam.world.spatial.planar.facades import straightened
from roam.world.spatial.planar.planes import rays_from
from roam.world.spatial.warp import Warp

EYE, SIZE = 1.5, 128
CAMERA = Camera(SIZE, SIZE)
SKY, GRASS, WALL, CROWN = (130, 180, 230), (60, 120, 50), (200, 120, 140), (20, 70, 20)


def view() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rays, pixels and depth of a meadow under the sky."""
    rays = rays_from(Pose.at(0, 0, EYE), CAMERA)
    up = rays[..., 2]
    depth = np.where(up < -1e-3, EYE / np.maximum(-up, 1e-3), 100).clip(0, 100).astype(np.float32)
    pixels = np.where((up < 0)[..., None], GRASS, SKY).astype(np.uint8)
    return rays, pixels, depth


def put(where: np.ndarray, far: np.ndarray, colour, pixels: np.ndarray, depth: np.ndarray) -> None:
    """A thing as far as `far` (W,) in each column, on the mask `where` (H, W)."""
    pixels[where], depth[:] = colour, np.where(where, np.broadcast_to(far, depth.shape), depth)


def house(rays: np.ndarray, far: np.ndarray, height: np.ndarray, first: int, last: int) -> np.ndarray:
    """Where a house stands from the ground to `height` (W,) metres, in columns from first to last."""
    metres, columns = EYE + rays[..., 2] * far, np.arange(SIZE)
    return (metres >= 0) & (metres <= height) & (columns >= first) & (columns < last)


def unknown(depth: np.ndarray) -> Warp:
    """A view of which nothing is known."""
    return Warp(np.zeros((*depth.shape, 3), np.uint8), np.zeros(depth.shape, bool), np.zeros_like(depth))


def eaves(depth: np.ndarray, columns: range) -> np.ndarray:
    """The first row in each column that is no sky."""
    return (depth[:, columns] < 60).argmax(0)


def off_a_line(values: np.ndarray) -> float:
    """The largest distance of values (n,) from the straight line that fits them best."""
    places = np.arange(len(values))
    return float(np.abs(values - np.polyval(np.polyfit(places, values, 1), places)).max())


@pytest.fixture
def wavy():
    """A house with wavy sides and eaves, in columns from 30 to 90, that goes off to the right; nothing known before."""
    rays, pixels, depth = view()
    columns = np.arange(SIZE)
    far = (1 / (0.14 - 0.0006 * columns)) * (1 + 0.03 * np.sin(columns / 4))
    put(house(rays, far, 4 + 0.25 * np.sin(columns / 5), 30, 90), far.astype(np.float32), WALL, pixels, depth)
    return rays, pixels, depth, np.zeros(depth.shape, bool)


def test_a_wavy_house_stands_straight(wavy):
    rays, pixels, depth, covered = wavy
    assert off_a_line(eaves(depth, range(35, 85))) > 2
    straight, there, is_house = straightened(rays, pixels, depth, Warp(pixels, covered, depth), EYE)
    assert off_a_line(eaves(there, range(35, 85))) <= 1
    inverse = 1 / there[60, 35:85]
    assert off_a_line(inverse) < 0.01 * inverse.mean()
    foot = SIZE - 1 - is_house[::-1, 35:85].argmax(0)
    metres = EYE + rays[foot, range(35, 85), 2] * there[60, 35:85]
    assert (metres >= 0).all() and (metres < 0.15).all()
    assert (straight[is_house] == WALL).mean() > 0.97
    assert (np.abs(straight[~is_house].astype(int) - WALL).sum(-1) > 60).mean() > 0.999, "it is left beside the house"


def test_two_sides_meet_at_a_corner():
    rays, pixels, depth = view()
    columns = np.arange(SIZE)
    far = 1 / (0.15 - 0.002 * np.abs(columns - 64)) * (1 + 0.02 * np.sin(columns / 3))
    put(house(rays, far, np.full(SIZE, 4.0), 34, 94), far.astype(np.float32), WALL, pixels, depth)
    _, there, is_house = straightened(rays, pixels, depth, unknown(depth), EYE)
    inverse = np.where(is_house.any(0), 1 / there[60], 0)
    assert abs(int(inverse.argmax()) - 64) <= 3
    assert off_a_line(inverse[38:60]) < 0.001 and off_a_line(inverse[68:90]) < 0.001


def test_a_tree_stays_as_it_is():
    rays, pixels, depth = view()
    v, u = np.mgrid[:SIZE, :SIZE]
    far = np.full(SIZE, 8.0, np.float32)
    trunk = house(rays, far, np.full(SIZE, 3.0), 62, 67)
    put(((v - 45) ** 2 + (u - 64) ** 2 < 18**2) | trunk, far, CROWN, pixels, depth)
    same, there, _ = straightened(rays, pixels, depth, unknown(depth), EYE)
    assert (same == pixels).mean() > 0.999 and np.abs(there / depth - 1).max() < 0.02


def test_what_hangs_in_the_air_is_taken_away():
    rays, pixels, depth = view()
    v, u = np.mgrid[:SIZE, :SIZE]
    put((v - 25) ** 2 + (u - 50) ** 2 < 9**2, np.full(SIZE, 10, np.float32), WALL, pixels, depth)
    clear, there, _ = straightened(rays, pixels, depth, unknown(depth), EYE)
    assert (clear[:60] == SKY).all() and (there[:60] == 100).all()


def test_what_was_there_before_does_not_change(wavy):
    rays, pixels, depth, covered = wavy
    covered[:, 60:] = True
    straight, there, is_house = straightened(rays, pixels, depth, Warp(pixels, covered, depth), EYE)
    assert is_house[:, :60].any() and not is_house[covered].any()
    assert (straight[covered] == pixels[covered]).all() and (there[covered] == depth[covered]).all()


def test_a_thing_before_a_house_stays_before_it(wavy):
    rays, pixels, depth, covered = wavy
    near = np.full(SIZE, 4, np.float32)
    trunk = house(rays, near, np.full(SIZE, 2.5), 55, 60)
    put(trunk, near, CROWN, pixels, depth)
    straight, there, _ = straightened(rays, pixels, depth, Warp(pixels, covered, depth), EYE)
    assert (straight[trunk] == CROWN).all() and (there[trunk] == 4).all()


def test_a_tilted_view_is_left_alone(wavy):
    _, pixels, depth, covered = wavy
    rays = rays_from(Pose.at(0, 0, EYE, pitch_deg=10), CAMERA)
    same, there, is_house = straightened(rays, pixels, depth, Warp(pixels, covered, depth), EYE)
    assert same is pixels and there is depth and not is_house.any()


def test_a_house_that_is_dreamt_anew_from_nearer_stays_the_same_house():
    rays, pixels, depth = view()
    far, older, there = np.full(SIZE, 5.0, np.float32), pixels.copy(), depth.copy()
    stands = house(rays, far, np.full(SIZE, 3.0), 30, 90)
    put(stands, far, WALL, older, there)
    # painted: the house melted, its left half is gone and its right half has grown
    put(house(rays, far, 3 + 0.9 * np.sin(np.arange(SIZE) / 3), 60, 98), far, CROWN, pixels, depth)
    before = Warp(older, np.ones(depth.shape, bool), there)
    covered = np.zeros(depth.shape, bool)
    covered[:, :10] = True
    straight, now, is_house = straightened(rays, pixels, depth, Warp(older, covered, there, before=before), EYE)
    assert (is_house == stands).mean() > 0.99
    assert (straight[stands & is_house] == WALL).mean() > 0.97
    assert np.abs(now[is_house] / far[0] - 1).max() < 0.02
    beside = ~stands & ~is_house
    assert (np.abs(straight[beside].astype(int) - CROWN).sum(-1) > 20).mean() > 0.99, "what melted stays beside it"


def test_where_nothing_was_dreamt_before_a_house_is_what_was_painted_last(wavy):
    rays, pixels, depth, covered = wavy
    plain, older = view()[1:], Warp(view()[1], np.ones(depth.shape, bool), view()[2])
    without = straightened(rays, pixels, depth, Warp(plain[0], covered, plain[1]), EYE)
    anew = straightened(rays, pixels, depth, Warp(plain[0], covered, plain[1], before=older), EYE)
    assert anew[2].sum() == without[2].sum() > 0 and (anew[0] == without[0]).all()
