"""What a depth map is of: surfaces that hang together from pixel to pixel, drawn from another place without a gap.

Every pixel is a small tile. Where it and its neighbour are of one surface their tiles share their corners, so that what
comes near stays whole however large it grows; where they are of two, each ends half way between. Knows nothing of colour.
"""

from __future__ import annotations

import numpy as np

from .compiled import njit

NEAR = 0.05  # metres, before which nothing is drawn
APART = 0.8  # ratio of depths from which on two neighbours are of two surfaces
LEVEL = 0.012  # per metre: of inverse depth, by which even a level ground goes on from one row to the next


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
    corners = np.zeros((H + 1, W + 1, 4), np.float32)
    for y in range(H + 1):
        for x in range(W + 1):
            _join(inverse, y, x, corners)
    place = np.empty((4, 3))
    for v in range(H):
        for u in range(W):
            if inverse[v, u] > 0:
                is_before = True
                for k in range(4):
                    y, x = v + k // 2, u + k % 2
                    # of the four tiles around a corner this one lies opposite
                    is_before &= _project((x - W / 2) / focal, (y - H / 2) / focal, corners[y, x, 3 - k], turn, shift,
                                          focal, out.shape, place[k])  # fmt: skip
                if is_before:
                    _fill(place, 0, 1, 2, out)
                    _fill(place, 3, 2, 1, out)


@njit(cache=True, nogil=True, inline="always")
def _join(inverse, y, x, corners):
    """The inverse depths at a corner for each of the four tiles around it: the mean of those that hang together."""
    H, W = inverse.shape
    values, group = np.zeros(4, np.float32), np.arange(4)
    for k in range(4):
        v, u = y - 1 + k // 2, x - 1 + k % 2
        if 0 <= v < H and 0 <= u < W:
            values[k] = inverse[v, u]
    for a in range(4):
        for b in range(a):
            if group[a] != group[b] and is_one(values[a], values[b]):
                old, new = group[a], group[b]
                for k in range(4):
                    if group[k] == old:
                        group[k] = new
    for a in range(4):
        total, count = 0.0, 0
        for b in range(4):
            if group[a] == group[b]:
                total, count = total + values[b], count + 1
        corners[y, x, a] = total / count


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


@njit(cache=True, nogil=True, inline="always", fastmath=True)
def _fill(place, i, j, k, out):
    """Draw a triangle, its edges included; inverse depth is linear on screen."""
    h, w = out.shape
    ax, ay, bx, by, cx, cy = place[i, 0], place[i, 1], place[j, 0], place[j, 1], place[k, 0], place[k, 1]
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    u0, u1 = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0), min(int(np.floor(max(ax, bx, cx) - 0.5)), w - 1)
    v0, v1 = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0), min(int(np.floor(max(ay, by, cy) - 0.5)), h - 1)
    if abs(area) < 1e-9:
        return
    for v in range(v0, v1 + 1):
        for u in range(u0, u1 + 1):
            px, py = u + 0.5 - ax, v + 0.5 - ay
            s = (px * (cy - ay) - py * (cx - ax)) / area
            t = (py * (bx - ax) - px * (by - ay)) / area
            if s < -1e-6 or t < -1e-6 or s + t > 1 + 1e-6:
                continue
            d = place[i, 2] + s * (place[j, 2] - place[i, 2]) + t * (place[k, 2] - place[i, 2])
            if d > out[v, u]:
                out[v, u] = d
