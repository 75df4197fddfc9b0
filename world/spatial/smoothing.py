"""Smooths depth within surfaces and separates it between surfaces, guided by the picture. Knows nothing of poses or
views."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled import njit
from .surfaces import is_one

STEEP = 0.2  # neighbours whose log depths differ by more are two surfaces; sigma of depth in smoothing
LIKE = 20.0  # of 255, sigma of colour in smoothing
LOOK = 8  # pixels to each side in which a point looks for its surface
BESIDE = 3  # pixels to each side in which two surfaces are compared
SPLIT, ABOUT = 1.35, 1.1  # ratios of depths: from the first on they are two surfaces, up to the second they are one
LIKELIER = 0.35  # share of the squared distance of colours to its own surface, below which a point is the other's
UNEVEN = 0.08  # share of inverse depth by which points between may be off a line, on one surface
RIDGE = 0.1  # square pixels, added to sums of squares, so that points in one row, or a single one, have a plane too
LOG2_E, LN_2 = np.float32(1.4426950408889634), np.float32(0.6931471805599453)
COMPANY = 3  # of the eight pixels around, at least so many that have about the same depth
NOTHING = 12  # cost from which on a point counts as nothing: exp(-12) is six millionths


@njit(cache=True, nogil=True, fastmath=True)
def smoothed(depth, pixels, where=None):
    """depth (H, W) float32 smoothed within surfaces and separated between them: around every pixel a plane, which is
    linear in inverse depth, is fitted to the points of similar colour in pixels (H, W, 3) uint8 and of similar depth
    (moving least squares; Levin 1998). Without this, unevenness would show as waves when one comes near, and depth
    between two surfaces as floating points. where (H, W) bool: the pixels to smooth; depth of the others stays as it
    is; None for all."""
    H, W = depth.shape
    inverse, out = _in_company(1 / depth, pixels), depth.copy()
    # differences of points are measured in sigmas times the root of 2
    looks = np.empty((4, H, W), np.float32)
    looks[0] = -np.log(inverse) / (STEEP * np.sqrt(2))
    for k in range(3):
        looks[1 + k] = pixels[:, :, k] / (LIKE * np.sqrt(2))
    room, powers = np.empty(W, np.float32), np.empty(W, np.int32)
    sums, row = np.empty((9, W), np.float32), np.empty((5, W), np.float32)
    for v in range(H):
        left, right = (0, W) if where is None else _bounds(where[v])
        if left >= right:
            continue
        sums[:] = 0
        for y in range(v - LOOK, v + LOOK + 1, 2):
            if not 0 <= y < H:
                continue
            row[:] = 0
            for x in range(-LOOK, LOOK + 1, 2):
                first, last = max(left, -x), min(right, W - x)
                if first >= last:
                    continue
                weights, beside = room[first:last], slice(first + x, last + x)
                weights[:] = 2 * (x * x + (y - v) ** 2) / LOOK**2
                for k in range(4):
                    _add_squares(weights, looks[k, v, first:last], looks[k, y, beside])
                _fall(weights, powers, powers.view(np.float32))
                for k in range(3):
                    _add(row[k, first:last], x**k, weights)
                weights *= inverse[y, beside]
                for k in range(2):
                    _add(row[3 + k, first:last], x**k, weights)
            _add_row(sums, row, y - v)
        for u in range(W):
            if where is None or where[v, u]:
                plane = _plane(sums[:, u])
                out[v, u] = 1 / min(max(plane, 0.5 * inverse[v, u]), 2 * inverse[v, u])
    return out


@njit(cache=True, nogil=True)
def _bounds(where):
    """The index of the first True of where (W,) bool, and the one after the last; 0, 0 if there is none."""
    left, right = len(where), 0
    for u in range(len(where)):
        if where[u]:
            left, right = min(left, u), u + 1
    return min(left, right), right


# Loops so small that the compiler vectorises them.
@njit(cache=True, nogil=True, fastmath=True)
def _add_squares(costs, a, b):
    for u in range(len(costs)):
        costs[u] += (a[u] - b[u]) * (a[u] - b[u])


@njit(cache=True, nogil=True, fastmath=True)
def _add(total, times, weights):
    factor = np.float32(times)
    for u in range(len(weights)):
        total[u] += factor * weights[u]


@njit(cache=True, nogil=True, fastmath=True)
def _add_row(sums, row, y):
    """Add one row's sums of weights times 1, x, x^2, and of weights and inverse depths times 1, x, to those of weights
    times 1, x, y, x^2, xy, y^2, and of weights and inverse depths times 1, x, y."""
    _add(sums[0], 1, row[0])
    _add(sums[1], 1, row[1])
    _add(sums[2], y, row[0])
    _add(sums[3], 1, row[2])
    _add(sums[4], y, row[1])
    _add(sums[5], y * y, row[0])
    _add(sums[6], 1, row[3])
    _add(sums[7], 1, row[4])
    _add(sums[8], y, row[3])


@njit(cache=True, nogil=True, fastmath=True)
def _fall(costs, powers, halves):
    """Weights exp(-cost) in place of costs, 0 from NOTHING on: 2^-whole, put together by its bits in `powers` (the
    memory of `halves`), times a polynomial of the rest (Cephes' expf, to 2e-7), because there is no vectorised exp."""
    for u in range(len(costs)):
        cost = costs[u]
        least = cost if cost < np.float32(NOTHING) else np.float32(NOTHING)
        whole = np.int32(least * LOG2_E + np.float32(0.5))
        rest = np.float32(whole) * LN_2 - cost
        p = np.float32(1.9875691500e-4)
        p = p * rest + np.float32(1.3981999507e-3)
        p = p * rest + np.float32(8.3334519073e-3)
        p = p * rest + np.float32(4.1665795894e-2)
        p = p * rest + np.float32(1.6666665459e-1)
        p = p * rest + np.float32(5.0000001201e-1)
        costs[u] = p * rest * rest + rest + np.float32(1) if cost < np.float32(NOTHING) else np.float32(0)
        powers[u] = (np.int32(127) - whole) << np.int32(23)
    for u in range(len(costs)):
        costs[u] *= halves[u]


@njit(cache=True, nogil=True, fastmath=True)
def _plane(sums):
    """The value at the middle of the plane that fits points best: Cramer's rule on their sums (9,) of _add_row."""
    n, x1, y1, xx, xy, yy = sums[0], sums[1], sums[2], RIDGE + sums[3], sums[4], RIDGE + sums[5]
    d1, dx, dy = sums[6], sums[7], sums[8]
    p, q, r = xx * yy - xy * xy, x1 * yy - xy * y1, x1 * xy - xx * y1
    return (d1 * p - x1 * (dx * yy - xy * dy) + y1 * (dx * xy - xx * dy)) / (n * p - x1 * q + y1 * r)


@njit(cache=True, nogil=True)
def _in_company(inverse, pixels):
    """Inverse depth (H, W) in which a point that is on one surface with at most one of its neighbours gets the depth
    of the neighbour that looks most like it: alone it would be a speck."""
    H, W = inverse.shape
    out = inverse.copy()
    for v in range(1, H - 1):
        for u in range(1, W - 1):
            company, least = 0, np.inf
            for k in range(9):
                y, x = v - 1 + k // 3, u - 1 + k % 3
                if k == 4:
                    continue
                if is_one(inverse[y, x], inverse[v, u]):
                    company += 1
                    continue
                unlike: Any = 0.0
                for i in range(3):
                    unlike += float(abs(np.float32(pixels[v, u, i]) - np.float32(pixels[y, x, i])))
                if unlike < least:
                    least, out[v, u] = unlike, inverse[y, x]
            if company > 1:
                out[v, u] = inverse[v, u]
    return out


@njit(cache=True, nogil=True, fastmath=True)
def parted(depth, pixels, where):
    """depth (H, W) float32 in which dreamt pixels, `where` (H, W) bool, between two neighbouring surfaces belong to
    one of them: to the one whose colour in pixels (H, W, 3) uint8 they have, at about its depth there. Rims with a
    depth between the two would come off as one walks towards them."""
    H, W = depth.shape
    out, values, sums = depth.copy(), np.empty((2, (2 * BESIDE + 1) ** 2), np.float32), np.empty((2, 4), np.float32)
    for v in range(H):
        for u in range(W):
            if not where[v, u]:
                continue
            top, bottom = max(0, v - BESIDE), min(H, v + BESIDE + 1)
            left, right = max(0, u - BESIDE), min(W, u + BESIDE + 1)
            near, far = depth[v, u], depth[v, u]
            for y in range(top, bottom):
                for x in range(left, right):
                    near, far = min(near, depth[y, x]), max(far, depth[y, x])
            if far < near * np.float32(SPLIT) or _is_even(depth, v, u, top, bottom - 1, left, right - 1):
                continue
            between = np.sqrt(near * far)
            count = np.zeros(2, np.int64)
            for y in range(top, bottom):
                for x in range(left, right):
                    side = int(depth[y, x] > between)
                    values[side, count[side]] = depth[y, x]
                    count[side] += 1
            middle = np.median(values[0, : count[0]]), np.median(values[1, : count[1]])
            sums[:] = 0
            for y in range(top, bottom):
                for x in range(left, right):
                    side = int(depth[y, x] > between)
                    if _is_about(depth[y, x], middle[side]):
                        sums[side, 3] += 1
                        for k in range(3):
                            sums[side, k] += pixels[y, x, k]
            off = np.zeros(2, np.float32)
            for side in range(2):
                for k in range(3):
                    off[side] += (sums[side, k] / max(sums[side, 3], np.float32(1)) - pixels[v, u, k]) ** 2
            own = int(depth[v, u] > between)
            if off[1 - own] < np.float32(LIKELIER) * off[own]:
                own = 1 - own
                out[v, u] = middle[own]
            elif not _is_about(depth[v, u], middle[own]):
                out[v, u] = middle[own]
    return _not_alone(out, where)


@njit(cache=True, nogil=True, inline="always")
def _is_even(depth, v, u, top, bottom, left, right):
    """Whether inverse depth is linear vertically and horizontally, as for ground that reaches the horizon."""
    here, least = 1 / depth[v, u], np.float32(UNEVEN)
    upright = 0.5 / depth[top, u] + 0.5 / depth[bottom, u] if bottom - v == v - top else here
    sideways = 0.5 / depth[v, left] + 0.5 / depth[v, right] if right - u == u - left else here
    return abs(upright - here) < least * here and abs(sideways - here) < least * here


@njit(cache=True, nogil=True)
def _not_alone(depth, where):
    """depth (H, W) in which no pixel of `where` (H, W) bool is a speck."""
    H, W = depth.shape
    out, around = depth.copy(), np.empty(8, np.float32)
    for v in range(1, H - 1):
        for u in range(1, W - 1):
            if not where[v, u]:
                continue
            company, count = 0, 0
            for k in range(9):
                if k != 4:
                    around[count] = depth[v - 1 + k // 3, u - 1 + k % 3]
                    company += _is_about(around[count], depth[v, u])
                    count += 1
            if company < COMPANY:
                out[v, u] = np.median(around)
    return out


@njit(cache=True, nogil=True, inline="always")
def _is_about(depth, other):
    return depth < np.float32(ABOUT) * other and other < np.float32(ABOUT) * depth
