"""What a depth map is of: surfaces that hang together from pixel to pixel, drawn from another place without a gap.

Every pixel is a small tile. Where it and its neighbour are of one surface their tiles share their corners, so that what
comes near stays whole however large it grows; where they are of two, each ends half way between. Knows nothing of colour.
"""

from __future__ import annotations

import numpy as np

from ..compiled import njit

NEAR = 0.05  # metres, before which nothing is drawn
APART = 0.8  # ratio of depths from which on two neighbours are of two surfaces
LEVEL = 0.012  # per metre: of inverse depth, by which even a level ground goes on from one row to the next
_NONE, _SEVERAL, _BEHIND = 0, 1, 2  # why a corner has no place of its own


@njit(cache=True, nogil=True, inline="always")
def is_one(a, b):
    """Whether two inverse depths side by side are of one surface; 0 is nothing at all."""
    low, high = min(a, b), max(a, b)
    return low > 0 and (low > APART * high or high - low < LEVEL)


@njit(cache=True, nogil=True, fastmath=True)
def draw(inverse, turn, shift, focal, out):
    """Draw tiles into a view: inverse (H, W) float32, one over metres, 0 where there is nothing; turn (3, 3) and shift
    (3,) lead from the source's axes to the target's; out (h, w) float32, inverse depth there, the nearest stays."""
    H, W = inverse.shape
    places, kinds = np.empty((2, W + 1, 3), np.float32), np.empty((2, W + 1), np.int64)  # of the corners of two rows
    tile = np.empty((4, 3), np.float32)
    for y in range(H + 1):
        row = y % 2
        for x in range(W + 1):
            kinds[row, x] = _corner(inverse, y, x, turn, shift, focal, out.shape, places[row, x])
        if y == 0:
            continue
        for u in range(W):
            if inverse[y - 1, u] > 0:
                _draw_tile(inverse, y - 1, u, places, kinds, turn, shift, focal, tile, out)


@njit(cache=True, nogil=True, inline="always", fastmath=True)
def _at(inverse, v, u):
    H, W = inverse.shape
    return inverse[v, u] if 0 <= v < H and 0 <= u < W else np.float32(0)


@njit(cache=True, nogil=True, fastmath=True)
def _corner(inverse, y, x, turn, shift, focal, shape, place):
    """Where a corner lies in the target if the tiles around it hang together; 3 then, or why not."""
    low, high, total, count = np.float32(1e9), np.float32(0), np.float32(0), 0
    for v in range(y - 1, y + 1):
        for u in range(x - 1, x + 1):
            d = _at(inverse, v, u)
            if d > 0:
                low, high, total, count = min(low, d), max(high, d), total + d, count + 1
    if not count:
        return _NONE
    if not is_one(low, high):
        return _SEVERAL
    H, W = inverse.shape
    is_before = _project((x - W / 2) / focal, (y - H / 2) / focal, total / count, turn, shift, focal, shape, place)
    return 3 if is_before else _BEHIND


@njit(cache=True, nogil=True, fastmath=True)
def _draw_tile(inverse, v, u, places, kinds, turn, shift, focal, tile, out):
    H, W = inverse.shape
    for k in range(4):
        y, x = v + k // 2, u + k % 2
        kind = kinds[y % 2, x]
        if kind == _BEHIND:
            return
        if kind == _SEVERAL:
            joined = _joined(inverse, y, x, 3 - k)  # of the four around a corner this one lies opposite
            if not _project((x - W / 2) / focal, (y - H / 2) / focal, joined, turn, shift, focal, out.shape, tile[k]):
                return
        else:
            for i in range(3):
                tile[k, i] = places[y % 2, x, i]
    _fill(tile, 0, 1, 2, out)
    _fill(tile, 3, 2, 1, out)


@njit(cache=True, nogil=True, fastmath=True)
def _joined(inverse, y, x, own):
    """The inverse depth at a corner for one of the four tiles around it: the mean of those that hang together with it,
    be it by way of another."""
    is_in = 1 << own
    for _ in range(3):
        for a in range(4):
            if is_in >> a & 1:
                continue
            for b in range(4):
                if is_in >> b & 1 and is_one(_at(inverse, y - 1 + a // 2, x - 1 + a % 2),
                                             _at(inverse, y - 1 + b // 2, x - 1 + b % 2)):  # fmt: skip
                    is_in |= 1 << a
    total, count = np.float32(0), 0
    for a in range(4):
        if is_in >> a & 1:
            total, count = total + _at(inverse, y - 1 + a // 2, x - 1 + a % 2), count + 1
    return total / count


@njit(cache=True, nogil=True, inline="always", fastmath=True)
def _project(x, y, inverse, turn, shift, focal, shape, out):
    """Where a ray (x, y, 1) ends in the target: pixels across and down, and inverse depth there; whether before it."""
    z = turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] + shift[2] * inverse
    if not z > NEAR * inverse:
        return False
    out[0] = (turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] + shift[0] * inverse) / z * focal + shape[1] / 2
    out[1] = (turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] + shift[1] * inverse) / z * focal + shape[0] / 2
    out[2] = inverse / z
    return True


@njit(cache=True, nogil=True, fastmath=True)
def _fill(place, i, j, k, out):
    """Draw a triangle, its edges included; inverse depth is linear on screen."""
    h, w = out.shape
    ax, ay, bx, by, cx, cy = place[i, 0], place[i, 1], place[j, 0], place[j, 1], place[k, 0], place[k, 1]
    u0, u1 = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0), min(int(np.floor(max(ax, bx, cx) - 0.5)), w - 1)
    v0, v1 = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0), min(int(np.floor(max(ay, by, cy) - 0.5)), h - 1)
    if u0 > u1 or v0 > v1:
        return
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if abs(area) < 1e-9:
        return
    scale = 1 / area
    for v in range(v0, v1 + 1):
        for u in range(u0, u1 + 1):
            px, py = u + 0.5 - ax, v + 0.5 - ay
            s = (px * (cy - ay) - py * (cx - ax)) * scale
            t = (py * (bx - ax) - px * (by - ay)) * scale
            if s < -1e-4 or t < -1e-4 or s + t > 1.0001:
                continue
            d = place[i, 2] + s * (place[j, 2] - place[i, 2]) + t * (place[k, 2] - place[i, 2])
            if d > out[v, u]:
                out[v, u] = d
