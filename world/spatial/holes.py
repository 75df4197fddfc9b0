"""Fills unknown parts of a picture from their surroundings: the last part of drawing an eye's view (eye.py)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import njit
from .surfaces import NEAR

GREY = 128  # of 255, if there is nothing at all around
FAR = 100  # metres; things farther than this all count the same
COARSE = 4  # pixels a side of the cells that holes are filled from
MOST_LEVELS = 12  # of the pyramid; a look of 1024 pixels a side has 9
# weights: at most this of a cell that was filled itself; and this is added for each of four cells, so that no sum is 0
FILLED, LEAST = np.float32(1e-6), np.float32(1e-4)


class Picture(NamedTuple):
    """What all eyes see, side by side: pixels (h, W, 3) uint8, depth (h, W) float32, unknown (h, W) bool. left: the
    first column of the eye that is drawn."""

    pixels: np.ndarray
    depth: np.ndarray
    unknown: np.ndarray
    left: int


def num_sums(h: int, w: int) -> int:
    """How many cells all levels of the filling of h x w pixels have."""
    h, w = -(-h // COARSE), -(-w // COARSE)
    count = h * w
    while h > 1 or w > 1:
        h, w = (h + 1) // 2, (w + 1) // 2
        count += h * w
    return count


@njit(cache=True, nogil=True, fastmath=True)
def fill(picture, h, w, sums):
    """Fill the unknown parts of one eye's h x w pixels from their surroundings, from farther ones rather than nearer
    ones (an uncovered area is behind), by a pyramid of weighted means: pull and push, Gortler et al. 1996."""
    pixels, depth, unknown, left = picture
    starts = np.zeros((MOST_LEVELS, 3), np.int64)  # of each level: where it begins, its height and width
    starts[0, 1], starts[0, 2] = -(-h // COARSE), -(-w // COARSE)
    levels = 1
    while starts[levels - 1, 1] > 1 or starts[levels - 1, 2] > 1:
        start, y, x = starts[levels - 1]
        starts[levels, 0], starts[levels, 1], starts[levels, 2] = start + y * x, (y + 1) // 2, (x + 1) // 2
        levels += 1
    _pull_pixels(picture, h, w, starts[0], sums)
    for level in range(1, levels):
        _pull(starts[level - 1], starts[level], sums)
    for level in range(levels - 2, -1, -1):
        _push(starts[level + 1], starts[level], sums)
    cell = np.zeros(5, np.float32)
    for v in range(h):
        for u in range(w):
            if unknown[v, left + u]:
                _between(starts[0], np.float32((v + 0.5) / COARSE), np.float32((u + 0.5) / COARSE), sums, cell)
                for i in range(3):
                    pixels[v, left + u, i] = np.int32(cell[1 + i] + np.float32(0.5)) if cell[0] > 0 else GREY
                depth[v, left + u] = np.float32(1) / cell[4] if cell[4] > 0 else np.float32(0)


@njit(cache=True, nogil=True, fastmath=True)
def _pull_pixels(picture, h, w, coarse, sums):
    """The lowest level: for each cell the first known pixel of a few that are tried, and its weight."""
    pixels, depth, unknown, left = picture
    for y in range(coarse[1]):
        for x in range(coarse[2]):
            cell = sums[y * coarse[2] + x]
            cell[0] = 0
            for c in range(4):
                v = min(COARSE * y + (c * 2 + 1) % COARSE, h - 1)
                u = left + min(COARSE * x + (c + 1) % COARSE, w - 1)
                if unknown[v, u]:
                    continue
                far = min(depth[v, u], np.float32(FAR))
                cell[0], cell[4] = far * far, np.float32(1) / max(far, np.float32(NEAR))
                for i in range(3):
                    cell[1 + i] = pixels[v, u, i]
                break


@njit(cache=True, nogil=True, inline="always", fastmath=True)
def _mean(cell):
    if cell[0] > 0:
        scale = np.float32(1) / cell[0]
        for i in range(1, 5):
            cell[i] *= scale


@njit(cache=True, nogil=True, fastmath=True)
def _pull(fine, coarse, sums):
    for v in range(coarse[1]):
        for u in range(coarse[2]):
            cell = sums[coarse[0] + v * coarse[2] + u]
            cell[:] = 0
            for c in range(4):
                y, x = 2 * v + c // 2, 2 * u + c % 2
                if y < fine[1] and x < fine[2]:
                    child = sums[fine[0] + y * fine[2] + x]
                    cell[0] += child[0]
                    for i in range(1, 5):
                        cell[i] += child[0] * child[i]
            _mean(cell)


@njit(cache=True, nogil=True, fastmath=True)
def _push(coarse, fine, sums):
    for v in range(fine[1]):
        for u in range(fine[2]):
            cell = sums[fine[0] + v * fine[2] + u]
            if not cell[0] > 0:
                _between(coarse, np.float32((v + 0.5) / 2), np.float32((u + 0.5) / 2), sums, cell)
                cell[0] = min(cell[0], FILLED)


@njit(cache=True, nogil=True, fastmath=True)
def _between(coarse, y, x, sums, out):
    """Interpolate a level at (y, x), in units of its cells, between the four cells around, into out (5,)."""
    y0, x0 = int(np.floor(y - np.float32(0.5))), int(np.floor(x - np.float32(0.5)))
    fy, fx = y - np.float32(0.5) - np.float32(y0), x - np.float32(0.5) - np.float32(x0)
    out[:] = 0
    for c in range(4):
        v, u = min(max(y0 + c // 2, 0), coarse[1] - 1), min(max(x0 + c % 2, 0), coarse[2] - 1)
        cell = sums[coarse[0] + v * coarse[2] + u]
        if cell[0] > 0:
            weight = (fy if c // 2 else np.float32(1) - fy) * (fx if c % 2 else np.float32(1) - fx) + LEAST
            out[0] += weight
            for i in range(1, 5):
                out[i] += weight * cell[i]
    _mean(out)
