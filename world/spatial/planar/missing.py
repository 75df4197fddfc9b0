"""Walls of a room that no plane was found for, as a dream, or the depth of a picture, has them too wavy to agree.

Seen from above, a room is one distance in each direction. What stands upright tells those distances, and the walls at
right angles that come nearest to them with few changes from one wall to the next are found by dynamic programming (as
in Flint et al. 2010, A Dynamic Programming Approach to Reconstructing Building Interiors). Knows nothing of colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...compiled import njit
from ...pose import Pose
from .planes import FAR, NEAREST, ON_DREAMT, Layout, Plane, chosen, off
from .room import assigned, columns_of

LOWER, UPPER = 0.5, 0.93  # shares of a room's height between which walls alone are seen, as a rule
FEWEST = 0.5  # share of that part of a column that belongs to no plane, from which on a wall is missing
FINE = 0.06  # log distance between the walls that are tried
AS_GOOD = 0.25  # log distance at which a wall is no better than none
CHANGE = 0.9  # what another wall costs, in columns times log distance
CHANGE_ALONE = 3.0  # the same in a view that shows walls alone
WAYS = 18  # in which right angles may lie
STEEPEST = 0.05  # cosine between a wall's normal and a direction, down to which the wall may be seen in it
NARROWEST = 6  # columns of a wall, at least
SAME = 0.12  # log distance up to which a wall is one that was found before
LOOSE = 0.3  # log depth up to which what is of no plane is the wall that was missing there


@dataclass(frozen=True)
class Assigned:
    """layout: the planes of a view; depths (n, H, W) of each; which of them each pixel is of, -1 for none: by_depth
    (H, W) int64 as its depth has it, labels (H, W) int64 as planes meet, and with walls that were missing; source
    (H, W) int64: the pixel, counted along the rows, that is to be shown in each."""

    layout: Layout
    depths: np.ndarray
    by_depth: np.ndarray
    labels: np.ndarray
    source: np.ndarray

    @staticmethod
    def of(
        layout: Layout, rays: np.ndarray, depth: np.ndarray, covered: np.ndarray, pose: Pose, is_open: np.ndarray
    ) -> Assigned:
        """Of a view as in `room.assigned`. is_open (H, W) bool: what may be of a wall that no plane was found for."""
        depths = _depths(layout, rays)
        by_depth, labels, source = assigned(layout, depths, rays, depth, covered, pose)
        if not is_open.any():
            return Assigned(layout, depths, by_depth, labels, source)
        column = columns_of(rays, pose)
        layout, missing = with_missing(layout, labels, rays, depth, column)
        if (missing < 0).all():
            return Assigned(layout, depths, by_depth, labels, source)
        if len(layout.planes) > len(depths):
            new = _depths(layout, rays)[len(depths) :]
            apart = off(depth, new)
            is_new = (by_depth < 0) & ~covered & (apart.min(0) < ON_DREAMT)
            by_depth = np.where(is_new, len(depths) + apart.argmin(0), by_depth)
            labels = np.where(is_new & (labels < 0), by_depth, labels)
            depths = np.concatenate([depths, new])
        wall = missing[column]
        at = chosen(depths, wall)
        ends = np.where(layout.is_wall[:, None, None], np.inf, depths)
        there = np.minimum(at, ends.min(0))
        fills = is_open & (labels < 0) & (wall >= 0) & (off(depth, there) < LOOSE)
        labels = np.where(fills, np.where(there < at, ends.argmin(0), wall), labels)
        return Assigned(layout, depths, by_depth, labels, source)


def with_missing(
    layout: Layout, labels: np.ndarray, rays: np.ndarray, depth: np.ndarray, column: np.ndarray
) -> tuple[Layout, np.ndarray]:
    """A layout with more walls, and which wall (W,) int64 stands in each column where one was missing, -1 elsewhere.
    labels (H, W): of the planes, -1 for none; column (H, W): which of W directions on the level each pixel lies in.
    Walls are looked for between floor and ceiling."""
    W = column.shape[1]
    wall = np.full(W, -1)
    upper = _upper(layout, rays, depth)
    if upper is None:
        return layout, wall
    there, of_none = (np.bincount(column[mask], minlength=W) for mask in (upper, upper & (labels < 0)))
    is_missing = (there > 0) & (of_none > FEWEST * there)
    if is_missing.sum() < NARROWEST:
        return layout, wall
    told = upper & ((labels < 0) | layout.is_wall[np.maximum(labels, 0)])
    logs = _medians(np.log(np.maximum(_aside(rays) * depth, NEAREST))[told], column[told], W)
    normals, distances = _tried(layout, logs)
    path, _ = _cheapest(_costs(normals, distances, _towards(rays, column), logs), CHANGE)
    planes = list(layout.planes)
    for state in np.unique(path[is_missing]):
        where = is_missing & (path == state)
        if state < len(distances) and where.sum() >= NARROWEST:
            wall[where] = _index_of(Plane(normals[state], float(distances[state])), planes)
    return Layout(tuple(planes), layout.azimuth, layout.doubles), wall


def walls_alone(rays: np.ndarray, depth: np.ndarray, pose: Pose) -> np.ndarray:
    """depth (H, W) of a view that shows walls and nothing else, from close by, of those walls. How they lie is that for
    which they come nearest to it."""
    column = columns_of(rays, pose)
    logs = _medians(np.log(np.maximum(_aside(rays) * depth, NEAREST)).ravel(), column.ravel(), column.shape[1])
    towards, best, found = _towards(rays, column), math.inf, depth
    for azimuth in np.arange(0, math.pi / 2, math.pi / 2 / WAYS):
        normals, distances = _tried(Layout((), azimuth), logs)
        costs = _costs(normals, distances, towards, logs)[:, :-1]
        path, cost = _cheapest(np.ascontiguousarray(costs), CHANGE_ALONE)  # laid out as above, and compiled once
        if cost < best:
            best, there = cost, np.empty(depth.shape, np.float32)
            for state in np.unique(path):
                where = (path == state)[column]
                there[where] = Plane(normals[state], float(distances[state])).depth(rays[where])
            found = there
    return np.where(np.isfinite(found), found, depth).astype(np.float32)


def _depths(layout: Layout, rays: np.ndarray) -> np.ndarray:
    return np.stack([plane.depth(rays) for plane in layout.planes])


def _aside(rays: np.ndarray) -> np.ndarray:
    """How far (H, W) the points at depth 1 are on the level."""
    return np.hypot(rays[..., 0], rays[..., 1])


def _upper(layout: Layout, rays: np.ndarray, depth: np.ndarray) -> np.ndarray | None:
    """Where (H, W) bool a view shows walls, as a rule; None where none are looked for."""
    if layout.floor is None or layout.ceiling is None:
        return None
    below, above = (layout.planes[k].distance for k in (layout.floor, layout.ceiling))
    up = (below + rays[..., 2] * np.minimum(depth, FAR)) / (below + above)
    return (up > LOWER) & (up < UPPER)


def _towards(rays: np.ndarray, column: np.ndarray) -> np.ndarray:
    """(W, 2): the mean direction on the level of each column's pixels."""
    counts = np.maximum(np.bincount(column.ravel(), minlength=column.shape[1]), 1)
    flat = rays[..., :2] / _aside(rays)[..., None]
    return np.stack([np.bincount(column.ravel(), flat[..., k].ravel(), len(counts)) / counts for k in range(2)], 1)


def _medians(values: np.ndarray, column: np.ndarray, width: int) -> np.ndarray:
    """(W,): the median of the values (n,) in each column (n,), the upper of two; NaN where there are none."""
    ordered, counts = values[np.lexsort((values, column))], np.bincount(column, minlength=width)
    middle = np.cumsum(counts) - counts + counts // 2
    return np.where(counts > 0, ordered[np.minimum(middle, max(len(ordered) - 1, 0))], np.nan)


def _tried(layout: Layout, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The walls that are tried: normals (n, 3) float32 and distances (n,), first those that a layout has."""
    angles = layout.azimuth + np.arange(4) * math.pi / 2
    steps = np.exp(np.arange(math.log(NEAREST), max(float(np.nanmax(logs)), 0.0) + FINE, FINE))
    facing = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)
    known = [plane for plane in layout.planes if plane.is_wall]
    normals = np.concatenate([*(plane.normal[None] for plane in known), np.repeat(facing, len(steps), 0)])
    return normals.astype(np.float32), np.append([plane.distance for plane in known], np.tile(steps, 4))


def _costs(normals: np.ndarray, distances: np.ndarray, towards: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """(W, n + 1): how far, in logs, each wall is off the distance that is told in each column, and no wall, last."""
    cosines = -(towards @ normals[:, :2].T)
    apart = np.abs(logs[:, None] + np.log(np.maximum(cosines, STEEPEST) / distances))
    costs = np.where(cosines < STEEPEST, 2 * AS_GOOD, np.minimum(apart, 2 * AS_GOOD))
    costs = np.concatenate([costs, np.full((len(logs), 1), AS_GOOD)], 1)
    return np.where(np.isnan(logs)[:, None], 0, costs)


def _index_of(wall: Plane, planes: list[Plane]) -> int:
    """Which of the planes a wall is; it is put beside them if it is none of them."""
    for k, plane in enumerate(planes):
        if plane.normal @ wall.normal > 0.99 and abs(math.log(plane.distance / wall.distance)) < SAME:
            return k
    planes.append(wall)
    return len(planes) - 1


@njit(cache=True, nogil=True)
def _cheapest(costs, change):
    """The state (n,) of each column by costs (n, states), each change of state from one column to the next costing as
    much as `change` (Viterbi's algorithm), and what they cost in all."""
    n, m = costs.shape
    total, back = costs[0].copy(), np.empty((n, m), np.int64)
    for u in range(1, n):
        best = int(np.argmin(total))
        least = total[best] + change
        for s in range(m):
            back[u, s] = s
            if least < total[s]:
                total[s], back[u, s] = least, best
            total[s] += costs[u, s]
    out = np.empty(n, np.int64)
    out[n - 1] = int(np.argmin(total))
    cost = total[out[n - 1]]
    for u in range(n - 1, 0, -1):
        out[u - 1] = back[u, out[u]]
    return out, cost
