"""Where a walker can go in a dream: remembered surfaces at body height stop it, and it slides along them.

A dream has no solids, only surfaces that it has shown; unseen places stop nobody. Knows no model.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..action import ActionError
from ..compiled import njit
from ..pose import Motion, Pose

# metres; less than a true walker's, because depth is inexact and a gap that is wide enough must stay open
BODY_RADIUS = 0.25
BODY_LOW, BODY_HIGH = -1.1, 0.2  # metres above the eye
_STRIDE = 0.05  # metres between the places that are tested on the way
LONGEST = 1000.0  # metres of one step; its places are tested one by one
_LEAST_SLIDE = 0.1  # of a stride: a walker that would slide by less along a surface stands still
_NO_PUSH = 1e-9  # metres: points around a body push it nowhere
_SUPPORT = 4  # fewer points than this are a speck, not a surface


def walked(points: np.ndarray, pose: Pose, motion: Motion, *, been: np.ndarray | None = None) -> Pose:
    """The pose that the motion leads to among surface points (K, 3) float32 in the world: steps end at surfaces, or
    continue along them; turns are never stopped, nor is the way back. been (N, 2): where the walker has been, in
    metres; points there are ignored. Raises ActionError for a step longer than LONGEST."""
    there = pose.moved(motion)
    start, end = np.array(pose.position), np.array(there.position)
    step = float(np.hypot(*(end - start)[:2]))
    if not step:
        return there
    if not step <= LONGEST:  # also for NaN
        raise ActionError(f"a step of {step:g} m; at most {LONGEST:g} are walked at once")
    near = np.abs(points[:, :2] - start[:2]).max(1) < step + BODY_RADIUS
    height = points[:, 2] - start[2]
    solid = points[near & (height > BODY_LOW) & (height < BODY_HIGH), :2]
    if been is not None and len(solid):
        solid = solid[_clear(np.ascontiguousarray(solid, np.float64), np.ascontiguousarray(been, np.float64))]
    x, y, is_stopped = _slide(start[0], start[1], end[0], end[1], np.ascontiguousarray(solid, np.float64))
    if not is_stopped:
        return there  # bit for bit as if there were no solids
    return replace(there, position=(x, y, there.position[2]))


@njit(cache=True, nogil=True)
def _clear(solid, been):
    """Which points (K, 2) are at least a body's radius from all places (N, 2)."""
    out = np.ones(len(solid), np.bool_)
    for k in range(len(solid)):
        for n in range(len(been)):
            dx, dy = solid[k, 0] - been[n, 0], solid[k, 1] - been[n, 1]
            if dx * dx + dy * dy < BODY_RADIUS * BODY_RADIUS:
                out[k] = False
                break
    return out


@njit(cache=True, nogil=True)
def _slide(x, y, to_x, to_y, solid):
    count = int(np.ceil(np.hypot(to_x - x, to_y - y) / _STRIDE))
    dx, dy = (to_x - x) / count, (to_y - y) / count
    is_stopped = False
    for _ in range(count):
        hits, nx, ny = _ahead(x, y, dx, dy, solid)
        if hits < _SUPPORT:
            x, y = x + dx, y + dy
            continue
        is_stopped, length = True, np.hypot(nx, ny)
        if length < _NO_PUSH:
            break
        nx, ny = nx / length, ny / length
        along = dx * nx + dy * ny
        sx, sy = dx - along * nx, dy - along * ny
        if np.hypot(sx, sy) < _LEAST_SLIDE * np.hypot(dx, dy) or _ahead(x, y, sx, sy, solid)[0] >= _SUPPORT:
            break
        x, y = x + sx, y + sy
    return x, y, is_stopped


@njit(cache=True, nogil=True)
def _ahead(x, y, dx, dy, solid):
    """How many points a body would run into by moving from (x, y), and the direction in which they push it. Points
    that it moves away from do not count: a walker inside a wall, because of a wrong depth, can leave it."""
    hits, nx, ny = 0, 0.0, 0.0
    for k in range(len(solid)):
        px, py = solid[k, 0] - x, solid[k, 1] - y
        if px * dx + py * dy <= 0:
            continue
        qx, qy = px - dx, py - dy
        if qx * qx + qy * qy < BODY_RADIUS * BODY_RADIUS:
            hits += 1
            nx -= px
            ny -= py
    return hits, nx, ny
