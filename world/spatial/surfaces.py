"""A depth map as connected surfaces, which are drawn from another place without gaps.

Every pixel is a small tile. If it and its neighbour are on one surface their tiles share corners, so a surface stays
whole however near it comes; if they are on two, each tile ends half way between. Knows nothing of colour.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..axes import along, on_screen, ray_at
from ..compiled import njit
from .pieces import APART, LEVEL

NEAR = 0.05  # metres; nothing nearer than this is drawn
HIGHEST = np.float32(1e9)  # inverse depth above that of any surface: where a search for the least begins
_FLAT = 1e-9  # square pixels: twice the area of a triangle; below this it is seen edge-on
_EDGE = 1e-4  # of a triangle's sides, by which it is enlarged, so that no seam opens between two triangles
_SMALL = 1.02  # a tile of a pixel or two is drawn as a parallelogram, a fiftieth larger to each side
_WHOLE, _SEVERAL, _BEHIND = 0, 1, 2  # what a corner is: one place, of several surfaces, or behind the camera


class Target(NamedTuple):
    """The view that is drawn: turn (3, 3) and shift (3,) lead from the source's axes to its own; focal in pixels; shape
    (h, w)."""

    turn: np.ndarray
    shift: np.ndarray
    focal: float
    shape: tuple[int, int]


@njit(cache=True, nogil=True, inline="always")
def is_one(a, b):
    """Whether two neighbouring inverse depths are on one surface; 0 is nothing at all."""
    low, high = min(a, b), max(a, b)
    return low > 0 and (low > APART * high or high - low < LEVEL)


@njit(cache=True, nogil=True, fastmath=True)
def draw(inverse, turn, shift, focal, out):
    """Draw tiles into a view: inverse (H, W) float32, one over metres, 0 where there is nothing; turn (3, 3) and shift
    (3,) lead from the source's axes to the target's; out (h, w) float32, inverse depth there, the nearest stays."""
    H, W = inverse.shape
    framed = np.zeros((H + 2, W + 2), np.float32)  # with nothing around it, so that every corner has four tiles
    framed[1:-1, 1:-1] = inverse
    places, kinds = np.empty((2, W + 1, 3)), np.empty((2, W + 1), np.int64)  # of the corners of two rows
    tile, target = np.empty((4, 3)), Target(turn, shift, focal, out.shape)
    for y in range(H + 1):
        for x in range(W + 1):
            around = framed[y : y + 2, x : x + 2]
            across, down = ray_at(x - 0.5, focal, W), ray_at(y - 0.5, focal, H)  # corners are beside pixels' centres
            kinds[y % 2, x] = _corner(around, across, down, target, places[y % 2, x])
        for u in range(W if y else 0):
            if inverse[y - 1, u] > 0 and _cut(framed, y - 1, u, places, kinds, target, tile):
                _draw_tile(tile, out)


@njit(cache=True, nogil=True, inline="always", fastmath=True)
def _corner(around, x, y, target, place):
    """Where a corner on the ray (x, y, 1) is in the target if the tiles around it, (2, 2), are on one surface; returns
    whether, or why not."""
    low, high, total, count = HIGHEST, np.float32(0), np.float32(0), 0
    for v in range(2):
        for u in range(2):
            d = around[v, u]
            if d > 0:
                low, high, total, count = min(low, d), max(high, d), total + d, count + 1
    if not count or not is_one(low, high):
        return _SEVERAL
    return _WHOLE if _project(x, y, total / count, target, place) else _BEHIND


@njit(cache=True, nogil=True, inline="always", fastmath=True)
def _cut(framed, v, u, places, kinds, target, tile):
    """Put the corners of a tile in the target into `tile`; returns whether all of them are in front of it."""
    H, W, focal = framed.shape[0] - 2, framed.shape[1] - 2, target.focal
    for k in range(4):
        y, x = v + k // 2, u + k % 2
        kind = kinds[y % 2, x]
        if kind == _WHOLE:
            tile[k] = places[y % 2, x]
        elif kind == _BEHIND:
            return False
        else:  # 3 - k is this tile's place among the four around the corner
            joined = at_corner(framed[y : y + 2, x : x + 2], 3 - k)
            if not _project(ray_at(x - 0.5, focal, W), ray_at(y - 0.5, focal, H), joined, target, tile[k]):
                return False
    return True


@njit(cache=True, nogil=True, fastmath=True)
def at_corner(around, own):
    """The inverse depth at a corner for one of the four tiles around it, (2, 2): the mean of those on the same
    surface, directly or through another tile."""
    is_in = 1 << own
    for _ in range(3):
        for a in range(4):
            for b in range(4):
                if is_in >> b & 1 and is_one(around[a // 2, a % 2], around[b // 2, b % 2]):
                    is_in |= 1 << a
    total, count = 0.0, 0
    for a in range(4):
        if is_in >> a & 1:
            total, count = total + around[a // 2, a % 2], count + 1
    return total / count


@njit(cache=True, nogil=True, inline="always", fastmath=True)
def _project(x, y, inverse, target, out):
    """Put into `out` where the point of that inverse depth on a source's ray (x, y, 1) is in the target: pixels across
    and down, and inverse depth there. Returns whether it is before the target's camera."""
    turn, shift, focal, (h, w) = target
    z = along(turn, shift, 2, x, y, 1.0, inverse)
    if not z > NEAR * inverse:
        return False
    out[0] = on_screen(along(turn, shift, 0, x, y, 1.0, inverse), z, focal, w)
    out[1] = on_screen(along(turn, shift, 1, x, y, 1.0, inverse), z, focal, h)
    out[2] = inverse / z
    return True


@njit(cache=True, nogil=True, inline="always", fastmath=True)
def _draw_tile(tile, out):
    """Draw a tile as two triangles, or at once where it is no larger than a pixel or two; inverse depth is linear on
    screen."""
    h, w = out.shape
    u0 = max(int(np.ceil(min(tile[0, 0], tile[1, 0], tile[2, 0], tile[3, 0]) - 0.5)), 0)
    u1 = min(int(np.floor(max(tile[0, 0], tile[1, 0], tile[2, 0], tile[3, 0]) - 0.5)), w - 1)
    v0 = max(int(np.ceil(min(tile[0, 1], tile[1, 1], tile[2, 1], tile[3, 1]) - 0.5)), 0)
    v1 = min(int(np.floor(max(tile[0, 1], tile[1, 1], tile[2, 1], tile[3, 1]) - 0.5)), h - 1)
    if u0 > u1 or v0 > v1:
        return
    is_small = u1 - u0 < 2 and v1 - v0 < 2
    _draw_half(tile, (0, 1, 2), (u0, u1, v0, v1), _SMALL if is_small else 0.0, out)
    if not is_small:
        _draw_half(tile, (3, 2, 1), (u0, u1, v0, v1), 0.0, out)


@njit(cache=True, nogil=True, fastmath=True)
def _draw_half(tile, corners, box, whole, out):
    """Draw the triangle that three of a tile's corners make, its edges included, in a box of first and last columns and
    rows. whole: 0, or _SMALL for the parallelogram that it is half of."""
    (i, j, k), (u0, u1, v0, v1) = corners, box
    ax, ay = tile[i, 0], tile[i, 1]
    bx, by, cx, cy = tile[j, 0] - ax, tile[j, 1] - ay, tile[k, 0] - ax, tile[k, 1] - ay
    area = bx * cy - by * cx
    if abs(area) < _FLAT:
        return
    scale, db, dc = 1 / area, tile[j, 2] - tile[i, 2], tile[k, 2] - tile[i, 2]
    least = -_EDGE if whole == 0 else 1 - whole
    for v in range(v0, v1 + 1):
        for u in range(u0, u1 + 1):
            px, py = u + 0.5 - ax, v + 0.5 - ay
            s, t = (px * cy - py * cx) * scale, (py * bx - px * by) * scale
            if s < least or t < least or (s + t > 1 + _EDGE if whole == 0 else max(s, t) > whole):
                continue
            d = tile[i, 2] + s * db + t * dc
            if d > out[v, u]:
                out[v, u] = d
