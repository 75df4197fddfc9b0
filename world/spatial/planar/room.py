"""Assigns each pixel of a view to a plane, and finds the room that the planes make: its walls, and where they open.

A room's walls stand from floor to ceiling, and what lies behind one is seen through openings with upright sides and a
level lintel. In the dream of a model with few tokens a view, all of these edges are ragged. Knows nothing of colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ...pose import Camera, Pose
from .planes import ON_DREAMT, ON_SEEN, Layout, chosen, off, runs

NARROWEST = 7  # columns of pixels in which a wall stands, at least
TALL = 16  # pixels of a wall in those columns, at least
FOOT, LINTEL = 0.06, 0.79  # shares of a room's height: below the first is a wall's foot, above the second no opening
THRESHOLD = 0.12  # share of the height up to which no wall stands in an opening
LOWEST = 0.62  # share of the height that an opening has, at least
WHOLE = 0.3  # share of a wall's upper part, in the columns where it stands, that must belong to it
WIDE = 0.4  # a wall whose upper part is out of view must be at least this share of the view
FIRST = 0.5  # a wall is the room's if no other wall stands before it in this share of its columns
OPEN = 0.3  # a column is open if at least this share of it between foot and lintel is
JAMB = 5  # columns; an opening, and the wall between two openings, are wider than this
RAGGED = 8.0  # pixels by which a wall is dreamt to reach into its opening, at most
BEHIND, FAR_BEHIND = 0.02, 0.4  # log depths behind a wall: a plane, or anything else, is seen through it from here on


@dataclass(frozen=True)
class Shown:
    """A view: depth (H, W), which was seen where covered (H, W) bool and dreamt elsewhere; depths (n, H, W) of the
    layout's planes; rays (H, W, 3) in the world's axes; column (H, W) int64, in which of W level directions each pixel
    lies."""

    layout: Layout
    depth: np.ndarray
    covered: np.ndarray
    depths: np.ndarray
    rays: np.ndarray
    column: np.ndarray


@dataclass(frozen=True)
class Room:
    """wall (H, W) int64: the room's wall in each pixel's level direction, -1 where none is known; is_open (H, W) bool:
    where it opens; is_foot (H, W) bool: the lowest part of such an opening, which shows the floor."""

    wall: np.ndarray
    is_open: np.ndarray
    is_foot: np.ndarray


def assigned(
    layout: Layout, depths: np.ndarray, rays: np.ndarray, depth: np.ndarray, covered: np.ndarray, pose: Pose
) -> np.ndarray:
    """The plane of each pixel, (2, H, W) int64, -1 for none: first by depth (H, W) alone; then, where it is dreamt,
    with planes ending where they meet, in straight lines. And (H, W) int64 the pixel, counted along the rows, that is
    to be shown in each: another one only at the edge of an opening that reaches into it. depths (n, H, W): those of
    the planes."""
    itself = np.arange(depth.size).reshape(depth.shape)
    apart = off(depth, depths)
    names = np.arange(len(depths))
    if layout.doubles:
        others = np.stack([plane.depth(rays) for plane, _ in layout.doubles])
        apart = np.concatenate([apart, np.where(covered, np.inf, off(depth, others))])
        names = np.append(names, [k for _, k in layout.doubles])
    is_on = apart.min(0) < np.where(covered, ON_SEEN, ON_DREAMT)
    first = np.where(is_on, names[apart.argmin(0)], -1)
    if covered.all():
        return np.stack([first, first, itself])
    ballots = [cv2.boxFilter((first == k).astype(np.float32), -1, (7, 7)) for k in range(-1, len(depths))]
    even = np.where(covered, first, np.stack(ballots).argmax(0) - 1)
    shown = Shown(layout, depth, covered, depths, rays, columns_of(rays, pose))
    labels, source = _met(shown, even)
    return np.stack([first, np.where(covered, even, labels), np.where(covered, itself, source)])


def _met(shown: Shown, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (H, W) in which planes end at each other. In each column, which is one level direction, stands one wall:
    the room's, or else the one that most of the column belongs to. A pixel at the depth of a nearer wall belongs to
    that. No wall goes on beyond floor or ceiling, and things behind the room's walls show only where these open. Where
    they open, what is behind them shows; the second (H, W) int64 says which pixel of it, counted along the rows."""
    layout, depths = shown.layout, shown.depths
    room = find_room(shown, labels)
    wall = _standing(layout, labels, shown.column)
    if room is not None:
        wall = np.where(room.wall >= 0, room.wall, wall)
    at = lambda which: chosen(depths, which)  # noqa: E731
    is_wall = np.append(layout.is_wall, False)[labels]
    out = np.where(is_wall & (wall >= 0) & (at(labels) < at(wall)), wall, labels)
    levels = np.where(layout.is_wall[:, None, None], np.inf, depths)
    level = levels.min(0)
    out = np.where(is_wall & (level < at(out)), levels.argmin(0), out)
    if room is None or layout.floor is None:
        return _ended(shown, out, wall, np.ones(out.shape, bool)), np.arange(out.size).reshape(out.shape)
    there = np.where(out >= 0, at(out), shown.depth)
    behind = _is_behind(there, at(wall), np.where(out >= 0, BEHIND, ON_DREAMT)) & (room.wall >= 0) & (at(wall) < level)
    out = np.where(behind & ~room.is_open, wall, out)
    out = np.where(room.is_foot & (room.wall >= 0), layout.floor, out)
    beyond = room.is_open & behind | (room.wall < 0)
    last = _standing(layout, np.where(beyond, out, -1), shown.column)
    out = _ended(shown, out, last, beyond)
    source = _through(shown, room, out)
    return out.ravel()[source], source


def _ended(shown: Shown, labels: np.ndarray, wall: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Labels (H, W) in which floor and ceiling end at the wall (H, W) of their column, -1 for none, and other walls
    give way to it; where (H, W) bool: what may change."""
    layout, depths = shown.layout, shown.depths
    levels = np.where(layout.is_wall[:, None, None], np.inf, depths)
    at, level = chosen(depths, wall), levels.min(0)
    is_wall = np.append(layout.is_wall, False)[labels]
    goes_on = (labels >= 0) & ~is_wall & (chosen(depths, labels) > at)
    out = np.where(where & (wall >= 0) & (goes_on | is_wall), wall, labels)
    return np.where(where & (out == wall) & (wall >= 0) & (level < at), levels.argmin(0), out)


def _through(shown: Shown, room: Room, labels: np.ndarray) -> np.ndarray:
    """(H, W) int64: the pixel, counted along the rows, that is to be shown in each. It is another one, the nearest
    that shows what is behind, where the wall was dreamt to reach into one of its openings."""
    itself = np.arange(labels.size).reshape(labels.shape)
    if not room.is_open.any():
        return itself
    own, there = chosen(shown.depths, room.wall), np.where(labels >= 0, chosen(shown.depths, labels), shown.depth)
    shows = room.is_open & ((labels != room.wall) & _is_behind(there, own, np.where(labels >= 0, BEHIND, FAR_BEHIND)))
    is_edge = room.is_open & (labels == room.wall) & ~room.is_foot & ~shown.covered
    if not shows.any() or not is_edge.any():
        return itself
    far, which = cv2.distanceTransformWithLabels(
        (~shows).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(int(which.max()) + 1, np.int64)
    nearest[which[shows]] = itself[shows]
    return np.where(is_edge & (far <= RAGGED), nearest[which], itself)


def _is_behind(there: np.ndarray, wall: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Whether depths `there` (H, W) are beyond those of a wall by that log distance."""
    return there > wall * np.exp(apart)


def columns_of(rays: np.ndarray, pose: Pose) -> np.ndarray:
    """(H, W) int64: which of W directions on the level each pixel lies in."""
    H, W, _ = rays.shape
    forward = math.atan2(pose.rotation[1, 2], pose.rotation[0, 2])
    aside = (np.arctan2(rays[..., 1], rays[..., 0]) - forward + math.pi) % (2 * math.pi) - math.pi
    places = W / 2 - Camera(W, H).focal * np.tan(np.clip(aside, -1.2, 1.2))
    return np.clip(places.astype(np.int64), 0, W - 1)


def _standing(layout: Layout, labels: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Which wall stands in each pixel's column, (H, W) int64, -1 where none does."""
    votes = np.zeros((len(layout.planes), labels.shape[1]))
    for k in np.flatnonzero(layout.is_wall):
        votes[k] = _counted(labels == k, column)
    return np.where(votes.max(0) >= TALL, votes.argmax(0), -1)[column]


def find_room(shown: Shown, labels: np.ndarray) -> Room | None:
    """The room that planes make, by labels (H, W), the plane of each pixel or -1. None without a floor, a ceiling and a
    wall that reaches from one to the other."""
    layout, depth, depths, column = shown.layout, shown.depth, shown.depths, shown.column
    if layout.floor is None or layout.ceiling is None:
        return None
    below, above = (layout.planes[k].distance for k in (layout.floor, layout.ceiling))
    height = (below + shown.rays[..., 2] * np.minimum(depths, 1e4)) / (below + above)
    stands = np.stack([_counted((labels == k) & is_wall, column) for k, is_wall in enumerate(layout.is_wall)])
    walls = _whole(labels, height, stands, column)
    upper = shown.covered & (height > LINTEL) & (height < 1)
    beyond = upper & (depth > depths * math.exp(ON_SEEN))  # more than a wall is seen up to the ceiling: it has ended
    has_ended = np.stack([np.bincount(column[where], minlength=len(column[0])) > 0 for where in beyond])
    near = np.where(has_ended, 0, _level_nearness(shown))
    walls = _not_behind_others(walls, near, stands)
    if not walls:
        return None
    wall = np.where(near[walls].max(0) > 0, np.array(walls)[near[walls].argmax(0)], -1)
    own, up = (chosen(values, wall[column]) for values in (depths, height))
    is_own = labels == wall[column]
    between = (wall >= 0)[column] & (up > FOOT) & (up < LINTEL)
    behind = between & _is_behind(depth, own, np.where(labels >= 0, ON_DREAMT, FAR_BEHIND))
    opens, stands_there = (np.bincount(column[mask], minlength=len(wall)) for mask in (behind, between & is_own))
    is_open = _without_narrow(opens > OPEN * np.maximum(opens + stands_there, 1))
    wall = _without_ended(wall, is_open, has_ended)
    is_open = is_open[column] & (up < _lintels(is_open, column, is_own, up)[column])
    return Room(wall[column], is_open, is_open & is_own & (up < THRESHOLD))


def _whole(labels: np.ndarray, height: np.ndarray, stands: np.ndarray, column: np.ndarray) -> list[int]:
    """The walls that go up to the ceiling where they stand, (n, W) pixels of each column."""
    found = []
    for k in np.flatnonzero((stands >= TALL).any(1)):
        upper = (height[k] > LINTEL) & (height[k] < 1) & (stands[k] >= TALL)[column]
        is_wide = (stands[k] >= TALL).mean() > WIDE
        if (labels == k)[upper].sum() >= WHOLE * upper.sum() if upper.any() else is_wide:
            found.append(int(k))
    return found


def _without_ended(wall: np.ndarray, is_open: np.ndarray, has_ended: np.ndarray) -> np.ndarray:
    """The wall (W,) of each column. Columns between a wall and where it has ended are no openings, and have no wall;
    nor have runs too narrow for a wall."""
    out = wall.copy()
    for start, end in runs(is_open):
        for inside, outside in ((start, start - 1), (end - 1, end)):
            if 0 <= outside < len(wall) and wall[inside] >= 0 and has_ended[wall[inside], outside]:
                out[start:end][wall[start:end] == wall[inside]] = -1
    for k in np.unique(out):
        for start, end in runs(out == k):
            if end - start < NARROWEST and start > 0 and end < len(wall):
                out[start:end] = -1
    return out


def _counted(mask: np.ndarray, column: np.ndarray) -> np.ndarray:
    """(W,): the pixels of a mask (H, W) in each column and those beside it."""
    return np.convolve(np.bincount(column[mask], minlength=mask.shape[1]), np.ones(NARROWEST), "same")


def _level_nearness(shown: Shown) -> np.ndarray:
    """(n, W): one over the distance of each wall in each level direction, 0 where it is not, or for another plane."""
    layout, column, W = shown.layout, shown.column, shown.column.shape[1]
    flat = shown.rays[..., :2] / np.linalg.norm(shown.rays[..., :2], axis=-1, keepdims=True)
    counts = np.maximum(np.bincount(column.ravel(), minlength=W), 1)
    towards = np.stack([np.bincount(column.ravel(), flat[..., k].ravel(), W) / counts for k in range(2)], 1)
    normals = np.stack([plane.normal[:2] for plane in layout.planes])
    distances = np.array([plane.distance for plane in layout.planes])
    near = np.maximum(-(normals @ towards.T) / distances[:, None], 0)
    return np.where(layout.is_wall[:, None], near, 0.0)


def _not_behind_others(walls: list[int], near: np.ndarray, stands: np.ndarray) -> list[int]:
    """Those of the walls that stand in one room: none is seen behind another."""
    while walls:
        nearest = near[walls].max(0)
        weights = np.where(stands[walls] >= TALL, stands[walls], 0)
        shares = (weights * (near[walls] >= nearest - 1e-6)).sum(1) / np.maximum(weights.sum(1), 1e-6)
        if shares.min() >= FIRST:
            break
        walls = [wall for wall, share in zip(walls, shares, strict=True) if share > shares.min()]
    return walls


def _without_narrow(is_open: np.ndarray) -> np.ndarray:
    """(W,) without openings, and then without pieces of wall between two, that are no wider than JAMB."""
    for kind in (True, False):
        out = is_open.copy()
        for start, end in runs(is_open == kind):
            if end - start <= JAMB and start > 0 and end < len(is_open):
                out[start:end] = not kind
        is_open = out
    return is_open


def _lintels(is_open: np.ndarray, column: np.ndarray, is_wall: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(W,): the share of the room's height up to which each opening goes, the same all along it."""
    out = np.full(len(is_open), LINTEL)
    for start, end in runs(is_open):
        over = is_wall & (column >= start) & (column < end) & (up > LOWEST) & (up < 1)
        if over.any():
            lows = np.full(len(is_open), np.inf)
            np.minimum.at(lows, column[over], up[over])
            out[start:end] = min(LINTEL, float(np.median(lows[np.isfinite(lows)])))
    return out
