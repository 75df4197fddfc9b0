"""Walls of dreamt houses become even, stains become doors, wavy brush strokes a roof's edge; a bush stays a bush."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from roam.world.spatial.planar.fronts import Front, evened

WALL, DOOR, ROOF, BUSH = (
    np.array(colour, float) for colour in ((150, 170, 190), (70, 40, 30), (110, 70, 50), (20, 90, 20))
)
H, W, PER_METRE = 96, 96, 20  # pixels
HEIGHT = 4.0


@pytest.fixture
def front() -> Front:
    """A house seen from before it, 4 metres high and 3.5 wide."""
    heights = np.broadcast_to((90 - np.arange(H)[:, None]) / PER_METRE, (H, W)).copy()
    where = (heights >= 0) & (heights <= HEIGHT)
    where[:, :10], where[:, 80:] = False, False
    heights[:, :10], heights[:, 80:] = np.nan, np.nan
    return Front(where, heights, HEIGHT, where.any(0), np.zeros((H, W), bool), ())


def painted(front: Front, seed: int = 3) -> np.ndarray:
    """Its wall as a cloud: the colour wanders over tens of pixels."""
    v, u = np.mgrid[:H, :W]
    cloud = 14 * np.sin(u / 13 + seed)[..., None] + 6 * np.cos(v / 17)[..., None]
    return np.where(front.where[..., None], np.clip(WALL + cloud, 0, 255), (90, 120, 60)).astype(np.uint8)


def test_a_cloudy_wall_becomes_even_and_nothing_else_changes(front):
    pixels = painted(front)
    before = pixels.copy()
    evened(front, pixels)
    assert pixels[front.where].std(0).max() < 0.4 * before[front.where].std(0).max()
    assert (pixels[~front.where] == before[~front.where]).all()


def test_each_side_keeps_its_own_light(front):
    pixels = painted(front)
    pixels[:, 50:80] = np.where(front.where[:, 50:80, None], 0.6 * pixels[:, 50:80], pixels[:, 50:80])
    evened(replace(front, starts=(50,)), pixels)
    left, right = pixels[30:80, 12:48].mean(), pixels[30:80, 52:78].mean()
    assert 0.5 < right / left < 0.7
    assert np.abs(np.diff(pixels[50, 45:55].mean(-1))).max() > 40, "they meet at an edge"


def test_a_stain_at_the_foot_becomes_a_rectangular_door(front):
    pixels = painted(front)
    v, u = np.mgrid[:H, :W]
    stain = front.where & (front.heights < 2.0 + 0.25 * np.sin(u / 2)) & (np.abs(u - 45 - 1.5 * np.sin(v / 3)) < 10)
    pixels[stain] = np.clip(DOOR + 12 * np.sin(v[stain] / 5)[:, None], 0, 255)
    evened(front, pixels)
    is_door = front.where & (np.abs(pixels - DOOR).sum(-1) < 40)
    rows, columns = np.flatnonzero(is_door.any(1)), np.flatnonzero(is_door.any(0))
    box = is_door[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert box.mean() > 0.97 and 14 <= box.shape[1] <= 24 and 34 <= box.shape[0] <= 46
    assert front.heights[rows[-1], 45] < 0.1, "it begins at the ground"
    assert np.unique(pixels[is_door], axis=0).shape[0] == 1, "and has one colour"


def test_a_brush_stroke_along_the_eaves_becomes_a_straight_edge(front):
    pixels = painted(front)
    below = HEIGHT - front.heights
    stroke = front.where & (below < 0.35 + 0.1 * np.sin(np.arange(W) / 3))
    pixels[stroke] = ROOF
    evened(front, pixels)
    is_roof = front.where & (np.abs(pixels - ROOF).sum(-1) < 10)
    thick = is_roof[:, 10:80].sum(0)
    assert np.ptp(thick) == 0 and 4 <= thick[0] <= 10


def test_without_its_eaves_in_view_a_house_has_no_roof(front):
    pixels = painted(front)
    stroke = front.where & (HEIGHT - front.heights < 0.4)
    pixels[stroke] = ROOF
    evened(replace(front, eaves=np.zeros(W, bool)), pixels)
    assert (np.abs(pixels[stroke].astype(int) - ROOF.astype(int)).sum(-1) < 60).mean() > 0.6, "it stays as painted"


def test_a_bush_before_the_wall_stays_as_it_was_painted(front):
    pixels = painted(front)
    v, u = np.mgrid[:H, :W]
    bush = (v - 55) ** 2 + (u - 45) ** 2 < 11**2  # hangs at two metres: no door
    pixels[bush] = BUSH
    evened(front, pixels)
    inner = (v - 55) ** 2 + (u - 45) ** 2 < 8**2
    assert np.abs(pixels[inner].astype(int) - BUSH.astype(int)).max() < 12


def test_a_wall_of_which_some_was_there_goes_on_in_that_colour(front):
    pixels = painted(front)
    known = front.where.copy()
    known[:, :50] = False
    pixels[known] = (130, 165, 170)
    evened(replace(front, where=front.where & ~known, known=known), pixels)
    assert np.abs(pixels[30:70, 12:46].reshape(-1, 3).mean(0) - (130, 165, 170)).max() < 8
