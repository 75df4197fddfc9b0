"""Trees and other slender things in a dream stand where their foot is, and stay the same when one comes near."""

from __future__ import annotations

import numpy as np
from roam.world.spatial.planar.facades import straightened
from roam.world.spatial.warp import Warp

from tests.world.spatial.planar.test_facades import CROWN, EYE, SIZE, SKY, house, put, unknown, view

BARK = (110, 60, 30)
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]


def tree(rays: np.ndarray, far: float, across: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Where the crown and the trunk of a tree are that is 3.6 m high and stands so many metres ahead."""
    at = np.full(SIZE, far, np.float32)
    scale = 8 / far
    crown = np.hypot(ROWS - (64 - 14 * scale), COLUMNS - across) < 9 * scale
    wide = max(2, round(2 * scale))
    return crown, house(rays, at, np.full(SIZE, 2.2), across - wide, across + wide) & ~crown


def planted(far: float, *, crown_at: float | None = None):
    """A meadow with a tree, whose crown was painted as far as crown_at metres: rays, pixels, depth, crown, trunk."""
    rays, pixels, depth = view()
    crown, trunk = tree(rays, far)
    put(trunk, np.full(SIZE, far, np.float32), BARK, pixels, depth)
    put(crown, np.full(SIZE, crown_at or far, np.float32), CROWN, pixels, depth)
    return rays, pixels, depth, crown, trunk


def test_a_crown_is_as_far_as_its_trunk():
    for painted in (2.5, 5.0, 12.0):
        rays, pixels, depth, crown, trunk = planted(8.0, crown_at=painted)
        same, there, _ = straightened(rays, pixels, depth, unknown(depth), EYE)
        assert np.abs(there[crown | trunk] / 8 - 1).max() < 0.1, painted
        assert (same[crown] == CROWN).all() and (same[trunk] == BARK).all()


def test_a_trunk_that_is_painted_at_a_wrong_distance_stands_where_its_foot_is():
    rays, pixels, depth, crown, trunk = planted(8.0)
    depth[crown | trunk] = 5.0
    _, there, _ = straightened(rays, pixels, depth, unknown(depth), EYE)
    assert np.abs(there[crown | trunk] / 8 - 1).max() < 0.15


def test_haze_in_the_colour_of_the_sky_around_a_tree_becomes_sky():
    rays, pixels, depth, crown, trunk = planted(8.0)
    around = (np.hypot(ROWS - 50, COLUMNS - 64) < 14) & ~crown & (rays[..., 2] > 0)
    depth[around] = 8.0
    _, there, _ = straightened(rays, pixels, depth, unknown(depth), EYE)
    assert (there[crown] < 9).all() and (there[around & ~trunk] > 60).mean() > 0.9


def test_a_tree_that_is_dreamt_anew_from_nearer_stays_the_same_tree():
    rays, older, there, crown, trunk = planted(4.0)
    _, pixels, depth = view()
    other = np.hypot(ROWS - 20, COLUMNS - 92) < 18  # painted: another crown, beside where it was
    put(other, np.full(SIZE, 3.5, np.float32), CROWN, pixels, depth)
    covered = np.zeros(depth.shape, bool)
    covered[:, :10] = True
    before = Warp(older, np.ones(depth.shape, bool), there)
    kept, now, is_put = straightened(rays, pixels, depth, Warp(older, covered, there, before=before), EYE)
    is_tree = crown | trunk
    assert (is_put == is_tree).mean() > 0.99
    assert np.abs(kept[crown].astype(int) - CROWN).max(-1).mean() < 6
    assert np.abs(kept[trunk].astype(int) - BARK).max(-1).mean() < 25
    assert np.abs(now[is_put] / 4 - 1).max() < 0.11
    beside = other & ~is_put & (COLUMNS < 64 + 30)
    assert beside.any() and (now[beside] > 60).mean() > 0.95, "what was dreamt beside it stays"


def test_a_tree_that_is_kept_has_an_even_outline():
    rays, older, there, crown, trunk = planted(4.0)
    ragged = crown & ~((ROWS // 3 + COLUMNS // 3) % 2 == 0) | (crown & (np.hypot(ROWS - 36, COLUMNS - 64) < 15))
    older[crown & ~ragged], there[crown & ~ragged] = SKY, 100
    _, pixels, depth = view()
    before, nothing = Warp(older, np.ones(depth.shape, bool), there), np.zeros(depth.shape, bool)
    _, _, is_put = straightened(rays, pixels, depth, Warp(older, nothing, there, before=before), EYE)
    border = lambda mask: int((mask[:, 1:] != mask[:, :-1]).sum() + (mask[1:] != mask[:-1]).sum())  # noqa: E731
    assert is_put.any() and border(is_put) < 0.8 * border(ragged | trunk)
