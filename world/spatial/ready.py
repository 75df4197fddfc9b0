"""Prepares a remembered view for drawing from any pose: the work that does not depend on the eye (eye.py).

A view's pixels are tiles that share corners; a block of tiles that is flat, or a flat quarter of a block, is drawn at
once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import njit
from .surfaces import HIGHEST, at_corner, is_one
from .warp import is_rim

SIDE = 4  # tiles a side of a block
FLAT = 0.004  # share of its inverse depth by which a block's corners may deviate from a plane
EMPTY, WHOLE, MIXED = 0, 1, 2  # kinds of blocks: nothing to draw, one flat piece, or single tiles
QUARTER = SIDE // 2  # tiles a side of a quarter of a block
# the bits that say what a block is, and the first of four bits that say which quarters are flat
KIND, FLAT_QUARTERS = 3, 4
RIM, SMOOTH = 1, 2  # flags of a texel: next to something nearer; on one surface with those right of it and below
NOTHING, TORN = -1.0, 0.0  # in place of a corner's inverse depth: it belongs to no tile, or to several surfaces


class Ready(NamedTuple):
    """Views of one size made ready, each in a slot. texels, beyond (n, H, W) uint32: red, green, blue and flags from
    the lowest byte on; the colour that a rim has a little off it. inverse (n, H, W) float32, 0 where a view did not
    show a thing first; depth (n, H, W) float32. corners (n, H + 1, W + 1) float32: inverse depth of the corners of
    tiles; parts (n, H, W, 4) float32: that of a tile's own corners where several surfaces meet; blocks (n, h, w) uint8.
    """

    texels: np.ndarray
    beyond: np.ndarray
    inverse: np.ndarray
    depth: np.ndarray
    corners: np.ndarray
    parts: np.ndarray
    blocks: np.ndarray

    @staticmethod
    def of(num_slots: int, H: int, W: int) -> Ready:
        n, colour, real = num_slots, np.uint32, np.float32
        return Ready(
            np.zeros((n, H, W), colour),
            np.zeros((n, H, W), colour),
            np.zeros((n, H, W), real),
            np.zeros((n, H, W), real),
            np.zeros((n, H + 1, W + 1), real),
            np.zeros((n, H, W, 4), real),
            np.zeros((n, -(-H // SIDE), -(-W // SIDE)), np.uint8),
        )


@njit(cache=True, nogil=True)
def make_ready(slot, ready, pixels, depth, fresh):
    """Prepare one view."""
    H, W = depth.shape
    inverse, corners, parts = ready.inverse[slot], ready.corners[slot], ready.parts[slot]
    ready.depth[slot] = depth
    framed = np.zeros((H + 2, W + 2), np.float32)  # with nothing around it, so that every corner has four tiles
    for v in range(H):
        for u in range(W):
            inverse[v, u] = np.float32(1) / depth[v, u] if fresh[v, u] and depth[v, u] > 0 else np.float32(0)
        framed[v + 1, 1:-1] = inverse[v]
    for y in range(H + 1):
        for x in range(W + 1):
            corners[y, x] = _corner(framed[y : y + 2, x : x + 2])
    for v in range(H):
        for u in range(W):
            for k in range(4 if inverse[v, u] > 0 else 0):
                y, x = v + k // 2, u + k % 2
                if corners[y, x] == TORN:
                    parts[v, u, k] = at_corner(framed[y : y + 2, x : x + 2], 3 - k)
    blocks = ready.blocks[slot]
    for b in range(blocks.shape[0]):
        for a in range(blocks.shape[1]):
            blocks[b, a] = _block(inverse, corners, SIDE * b, SIDE * a)
    _ready_colours(ready.texels[slot], ready.beyond[slot], pixels, depth, corners)


@njit(cache=True, nogil=True, inline="always")
def _corner(around):
    """The inverse depth of a corner of four tiles (2, 2), if they are on one surface."""
    low, high, total, count = HIGHEST, np.float32(0), np.float32(0), 0
    for k in range(4):
        d = around[k // 2, k % 2]
        if d > 0:
            low, high, total, count = min(low, d), max(high, d), total + d, count + 1
    if not count:
        return np.float32(NOTHING)
    return total / np.float32(count) if is_one(low, high) else np.float32(TORN)


@njit(cache=True, nogil=True)
def _block(inverse, corners, v, u):
    """What the block at (v, u) is, and which of its quarters are flat."""
    shown = _shown(inverse, v, u, SIDE)
    if shown == SIDE * SIDE and _is_flat(corners, v, u, SIDE):
        return WHOLE
    if not shown:
        return EMPTY
    kind = MIXED
    for c in range(4):
        y, x = v + QUARTER * (c // 2), u + QUARTER * (c % 2)
        if _shown(inverse, y, x, QUARTER) == QUARTER * QUARTER and _is_flat(corners, y, x, QUARTER):
            kind += FLAT_QUARTERS << c
    return kind


@njit(cache=True, nogil=True)
def _shown(inverse, v, u, side):
    """How many of a square of tiles are shown."""
    H, W = inverse.shape
    shown = 0
    for y in range(v, min(v + side, H)):
        for x in range(u, min(u + side, W)):
            shown += inverse[y, x] > 0
    return shown


@njit(cache=True, nogil=True)
def _is_flat(corners, v, u, side):
    """Whether the inverse depth of a square's corners is linear across it."""
    a, b, c, d = corners[v, u], corners[v, u + side], corners[v + side, u], corners[v + side, u + side]
    if abs(a + d - b - c) > FLAT * a:  # drawn as two triangles, so its four corners must be on one plane as well
        return False
    for y in range(side + 1):
        for x in range(side + 1):
            here = corners[v + y, u + x]
            if not here > 0 or abs(a + (c - a) * y / side + (b - a) * x / side - here) > FLAT * here:
                return False
    return True


@njit(cache=True, nogil=True)
def _ready_colours(texels, beyond, pixels, depth, corners):
    """Pack colours with flags of their surroundings. A rim next to something nearer has colours that are half that
    object's."""
    H, W = depth.shape
    rims = np.empty((H, W), np.bool_)
    for v in range(H):
        for u in range(W):
            rims[v, u] = is_rim(depth, v, u)
    for v in range(H):
        for u in range(W):
            flags = SMOOTH if corners[v + 1, u + 1] > 0 else 0
            total, red, green, blue = 0.0, 0.0, 0.0, 0.0
            for b in range(max(v - 2, 0), min(v + 3, H) if rims[v, u] else 0):
                for a in range(max(u - 2, 0), min(u + 3, W)):
                    if not rims[b, a] and is_one(1 / depth[b, a], 1 / depth[v, u]):
                        share = 1.0 / ((b - v) ** 2 + (a - u) ** 2)
                        total += share
                        red += share * pixels[b, a, 0]
                        green += share * pixels[b, a, 1]
                        blue += share * pixels[b, a, 2]
            if total > 0:
                flags += RIM
                beyond[v, u] = int(red / total) + (int(green / total) << 8) + (int(blue / total) << 16)
            own = int(pixels[v, u, 0]) + (int(pixels[v, u, 1]) << 8) + (int(pixels[v, u, 2]) << 16)
            texels[v, u] = own + (flags << 24)
