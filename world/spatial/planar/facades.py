"""Houses in a dream out of doors: their sides are even and upright, and end in straight lines above and below.

A model of a few tokens a view dreams them wavy. Pixels of those that are found (houses.py) are moved up and down in
their columns, so that eaves and foot lie on straight lines, and their sides are evened (fronts.py). Things that hang
in the air with nothing below are removed. Knows nothing of models.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ..anew import left_out
from ..warp import Warp
from .background import go_on, near
from .fronts import Front, evened
from .houses import LEAST, LOWEST, House, Scene, fitted, parts_of
from .planes import FAR, ON_DREAMT, off
from .trees import keep_things, stand

BESIDE = 5  # columns among which eaves are evened
RIM = 3  # pixels beside a thing that may be part of it
AIR = 0.7  # metres; a thing that ends higher above the ground hangs in the air
FOOT = 0.4  # share of the house's height in the view, below its foot, in which its colour on the ground is a stain
BEFORE = 0.88  # a thing stands before a house if its depth is less than this share of the house's
MELTED = 12  # pixels around a house in which what an older dream has not is a part of it that melted
LEVEL = 1e-3  # a view is level if the upward part of its middle row's rays is at most this


def straightened(
    rays: np.ndarray, pixels: np.ndarray, depth: np.ndarray, carried: Warp, eye: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Straighten the houses of a view out of doors. pixels (H, W, 3) uint8; depth (H, W) float32; carried: what was
    known before, which stays; rays (H, W, 3) in the world's axes, whose third is up; eye: metres above the ground. A
    house of an older dream that was left out to be dreamt anew stays the same house. Returns pixels, depth, and where
    (H, W) bool houses were put. A view that is not level is left as it is."""
    up, is_house = rays[:, 0, 2], np.zeros(depth.shape, bool)
    if np.ptp(rays[0, :, 2]) > LEVEL or abs(float(up[0] + up[-1])) > LEVEL:
        return pixels, depth, is_house
    ground = np.where(up < 0, eye / np.maximum(-up, 1e-6), np.inf)[:, None].astype(np.float32)
    ground = np.broadcast_to(ground, depth.shape)
    scene = Scene(pixels.astype(np.int16), depth, carried.covered, up, eye, ground)
    pixels, depth, is_thing = pixels.copy(), depth.copy(), np.zeros(depth.shape, bool)
    if carried.before is not None:
        older, far = carried.before, np.float32(2 * FAR)
        there = np.where(older.covered & (older.depth > 0), older.depth, far)
        older_scene = Scene(older.pixels.astype(np.int16), there, carried.covered, up, eye, ground)
        _keep_houses(older_scene, scene, left_out(carried), is_house, pixels, depth)
        is_thing = keep_things(older_scene, scene, left_out(carried), is_house, pixels, depth)
        scene = Scene(pixels.astype(np.int16), depth.copy(), carried.covered | is_house | is_thing, up, eye, ground)
    for where in scene.things:
        if _hangs(scene, where):
            others = [other for other in scene.things if other is not where]
            gone = near(where, RIM, RIM) & ~np.any([scene.covered, is_house, *others], 0)
            go_on(pixels, depth, gone, scene.is_behind & ~gone & ~is_house)
            continue
        for part in parts_of(scene, where):
            house = fitted(scene, part)
            if house is not None:
                _clear(scene, house, is_house, pixels, depth)
                _build(scene, house, is_house, pixels, depth)
    scene = Scene(pixels.astype(np.int16), depth.copy(), carried.covered | is_thing, up, eye, ground)
    is_thing |= stand(scene, is_house, pixels, depth)
    return pixels, depth, is_house | is_thing


def _keep_houses(
    older: Scene, new: Scene, is_left_out: np.ndarray, is_house: np.ndarray, pixels: np.ndarray, depth: np.ndarray
) -> None:
    """Draw the houses of an older dream once more, with as many pixels as they have now. The model, which sees few
    tokens of a near wall, would melt them. is_left_out (H, W) bool: where the older dream was to be dreamt anew."""
    for where in older.things:
        for part in parts_of(older, where):
            house = fitted(older, part) if np.count_nonzero(part & is_left_out) >= LEAST else None
            if house is None:
                continue
            is_melted = older.is_behind & ~new.is_behind & near(house.where, MELTED, MELTED)
            back = is_left_out & (house.where | is_melted)
            pixels[back], depth[back] = older.pixels[back], older.depth[back]
            _build(older, house, is_house, pixels, depth, fine=new.pixels)


def _build(
    scene: Scene,
    house: House,
    is_house: np.ndarray,
    pixels: np.ndarray,
    depth: np.ndarray,
    *,
    fine: np.ndarray | None = None,
) -> None:
    """Draw a house straight and with even sides, and mark in is_house (H, W) bool where it is. fine: as of `evened`."""
    put = _put(scene, house, pixels, depth)
    is_house[put] = True
    evened(_front(scene, house, put), pixels, fine)


def _hangs(scene: Scene, where: np.ndarray) -> bool:
    """Whether a thing hangs in the air, with nothing below that it may stand on, in view or beside it."""
    outline = scene.outline(where)
    if not len(outline.columns) or where[:, [0, -1]].any() or (where & scene.covered).any():
        return False
    lowest = scene.metres(outline.bottom, outline.depth).min()
    below = np.minimum(outline.bottom + 2, len(where) - 1)
    return bool(lowest > AIR and scene.is_behind[below, outline.columns].mean() > 0.9)


def _clear(scene: Scene, house: House, kept: np.ndarray, pixels: np.ndarray, depth: np.ndarray) -> None:
    """Take a house away from where it was dreamt, with stains of its colour on the ground before it. Ground and sky are
    continued there from beside, except where another house stands already, `kept` (H, W) bool."""
    is_ground = scene.is_ground & ~house.where
    gone = house.where.copy()
    if is_ground.sum() >= LEAST:
        rows = np.arange(len(pixels))[:, None]
        foot = np.searchsorted(-scene.up, scene.eye * house.inverse)
        below = np.zeros_like(gone)
        below[:, house.columns] = (rows >= foot) & (rows < foot + FOOT * (foot - house.top))
        below = near(below, 0, RIM)
        own, other = (
            np.abs(scene.pixels - np.median(scene.pixels[where], 0)).sum(-1) for where in (house.where, is_ground)
        )
        gone |= below & (own < other) & is_ground
    rim, halo = near(house.where, 1, 1) & scene.is_behind, near(house.where, RIM, RIM)
    gone = (gone | rim | (halo & (scene.is_crumb | (scene.depth >= FAR)))) & ~scene.covered & ~kept
    go_on(pixels, depth, gone, scene.is_behind & ~gone & ~kept)


def _put(scene: Scene, house: House, pixels: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw a house straight, behind what stands before it. Returns its rows and columns (n,)."""
    heights = scene.eye + scene.up[:, None] / house.inverse
    inside = (heights >= 0) & (heights <= house.height)
    first, last = inside.argmax(0), len(inside) - 1 - inside[::-1].argmax(0)
    top = np.where(house.top <= 1, first, _within(house.top))
    share = (np.arange(len(inside))[:, None] - first) / np.maximum(last - first, 1)
    source = np.clip(np.rint(top + share * (house.bottom - top)), 0, len(inside) - 1).astype(np.int64)
    there, now = (1 / house.inverse).astype(np.float32), depth[:, house.columns]
    is_free = (now > BEFORE * there) | (house.where & (depth == scene.depth))[:, house.columns]
    rows, places = np.nonzero(inside & is_free & ~scene.covered[:, house.columns])
    columns = house.columns[places]
    pixels[rows, columns] = scene.pixels[source[rows, places], columns]
    depth[rows, columns] = there[places]
    return rows, columns


def _front(scene: Scene, house: House, put: tuple[np.ndarray, np.ndarray]) -> Front:
    """What is shown of a house, drawn in those rows and columns (n,)."""
    where, inverse = np.zeros(scene.depth.shape, bool), np.full(scene.depth.shape[1], np.nan)
    where[put], inverse[house.columns] = True, house.inverse
    heights, has_eaves = scene.eye + scene.up[:, None] / inverse, np.isfinite(house.height)
    height = house.height if has_eaves else float(np.max(heights[put], initial=LOWEST))
    eaves = has_eaves & (heights[0] > height)
    known = scene.covered & (off(scene.depth, 1 / inverse) < ON_DREAMT)
    return Front(where, heights, height, eaves, known, (math.ceil(house.corner),) if np.isfinite(house.corner) else ())


def _within(top: np.ndarray) -> np.ndarray:
    """Rows (n,) a little below the ragged rows `top`, never above any beside, and without their steps."""
    lowest = cv2.dilate(top.astype(np.float32)[None], np.ones((1, BESIDE), np.uint8))
    return cv2.blur(lowest, (BESIDE, 1))[0]
