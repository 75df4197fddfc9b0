"""Puts small and distant things in a dream out of doors at the distance of the ground on which they stand.

A painter with few tokens a view guesses at their distance. At a wrong distance they would hang above the ground, or
sink into it, as soon as the walker goes on. Knows nothing of models.
"""

from __future__ import annotations

import math

import numpy as np

from ..horizon import SKY_M
from .houses import named
from .planes import off

FROM_M, FARTHEST_M = 6.0, 33.0  # metres: nearer things are left as they are; nothing is put farther than the second
ON_GROUND = 0.1  # log depth; what is no farther from the ground than this is ground
LEAST = 8  # pixels of a thing
MOST = 3.0  # times; a thing whose distance is off by more is left where it is
BEFORE = 0.8  # times its distance; what is nearer than this stands before a thing
HIDDEN = 0.5  # a thing is left where it is if more of its lower edge than this share is behind something
FEET = 0.2  # a thing's foot is the row that this share of its columns reaches down to


def standing(
    rays: np.ndarray, pixels: np.ndarray, depth: np.ndarray, covered: np.ndarray, eye: float
) -> tuple[np.ndarray, np.ndarray]:
    """pixels (H, W, 3) uint8 and depth (H, W) float32 metres of a view out of doors, with each new, whole and far thing
    moved to the distance of the ground at its foot. covered (H, W) bool: what was known before; rays (H, W, 3) in the
    world's axes; eye: metres above the ground. A thing whose foot is above the farthest ground is continued down."""
    up = rays[..., 2]
    ground = np.where(up < 0, eye / np.maximum(-up, 1e-6), np.inf).astype(np.float32)
    is_thing = (depth < SKY_M) & ~((up < 0) & (off(depth, ground) < ON_GROUND))
    names, count = named(depth, is_thing)
    if not count:
        return pixels, depth
    pixels, depth = pixels.copy(), depth.copy()
    H = len(depth)
    is_free = np.bincount(names[names >= 0], minlength=count) >= LEAST
    for part in (names[covered], names[:, 0], names[:, -1], names[-1]):
        is_free[part[part >= 0]] = False
    for name in np.flatnonzero(is_free):
        where = names == name
        columns = np.flatnonzero(where.any(0))
        lowest = H - 1 - where[::-1, columns].argmax(0)
        foot = int(np.quantile(lowest, 1 - FEET))
        middle = int(columns[len(columns) // 2])
        there = min(float(ground[foot, middle]), FARTHEST_M)
        now = float(np.median(depth[where]))
        if now < FROM_M or there < FROM_M or not 1 / MOST < there / now < MOST:
            continue
        below = np.minimum(lowest + 1, H - 1), columns
        if ((names[below] >= 0) & (depth[below] < BEFORE * now)).mean() > HIDDEN:
            continue
        depth[where] = (depth[where] * np.float32(there / now)).clip(FROM_M / 2, FARTHEST_M)
        _down_to_ground(pixels, depth, columns, lowest, covered, ground, there)
    return pixels, depth


def _down_to_ground(pixels, depth, columns, lowest, covered, ground, there: float) -> None:
    """Continue a thing, given its columns (n,) and its lowest row in each (n,), down to where the ground is as near,
    behind all that is nearer."""
    for column, row in zip(columns, lowest, strict=True):
        below = np.arange(row + 1, len(depth))
        is_behind = depth[below, column] > there * math.exp(-ON_GROUND)
        new = below[(ground[below, column] > there) & is_behind & ~covered[below, column]]
        pixels[new, column], depth[new, column] = pixels[row, column], there
