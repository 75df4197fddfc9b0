"""The houses that a dream out of doors shows.

A thing that stands on the ground, is high and has a nearly straight upper edge is taken for the sides of a house. One
over the depth of an upright plane is linear across a level view, and so are the rows of its eaves and of its foot (a
plane's image; Hartley and Zisserman 2004, chapter 8): one line, or two that meet at a corner, is fitted to depth and
eaves at once. Knows nothing of models.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...compiled import njit
from .planes import FAR, ON_DREAMT, off, runs

ONE = 1.12  # neighbours are of one thing if the ratio of their depths is at most this
LEAST = 120  # pixels; smaller things are not looked at
TALL = 4  # pixels of a thing in a column, at least
CRUMB = 40  # pixels; next to a house, a smaller thing is a crumb of it
LOWEST = 1.5  # metres, the least height of a house
FEET = 0.35  # a column stands on the ground if it begins at most this share of its height above that
EAVES = 0.72  # a column of a house reaches at least this share of the house's height
WIDE = 9  # columns; where so many are lower, or hang, they are another thing, and fewer are a ragged end
STANDS = 0.8  # share of a house's columns, at least, that reach the ground
KNOWN = 8.0  # weight in the fit of columns that were there before
WAVY, WAVY_EAVES = 0.09, 0.05  # mean errors of the fit, as shares of one over depth, up to which it is a house
WAVY_ALIKE = 0.1  # the same for the eaves of a thing that has one colour above and below
ALIKE = 40.0  # of 255; colours nearer than this are one colour
LOOSE = 0.02  # error of a point in the fit, the same share, up to which it has its full weight
CORNER = 0.5  # a second side is fitted only if it brings the error below this share of that of one side
SIDE = 6  # columns of a side, at least
ROUNDS = 4  # of reweighting
GROUND = 0.9  # a foot stands before the ground if its depth is less than this share of the ground's
NEAR_EYE = 0.02  # upward part of rays; eaves that are lower than this in the view tell nothing of depth


@dataclass(frozen=True)
class Outline:
    """The outline of a thing: the columns (n,) in which it stands; in each the top and bottom row and the median depth;
    known (n,) bool: whether it was there before."""

    columns: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    depth: np.ndarray
    known: np.ndarray

    @property
    def is_cut(self) -> np.ndarray:
        """(n,) bool: where it goes on above the view."""
        return self.top <= 1


@dataclass(frozen=True)
class House:
    """A house. where (H, W) bool: as it was dreamt; columns (n,): those that it has when it stands straight; top,
    bottom (n,): its rows as dreamt; inverse (n,): one over the depth of its sides; height in metres, infinite if its
    eaves are out of view; corner: the column at which two sides meet, infinite if there is one side."""

    where: np.ndarray
    columns: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    inverse: np.ndarray
    height: float
    corner: float


@dataclass(frozen=True)
class Scene:
    """A level view out of doors: pixels (H, W, 3); depth (H, W); covered (H, W) bool, what was there before; up (H,),
    the upward part of each row's rays; eye, metres above the ground; ground (H, W), the depth of the ground, infinite
    over the horizon."""

    pixels: np.ndarray
    depth: np.ndarray
    covered: np.ndarray
    up: np.ndarray
    eye: float
    ground: np.ndarray

    @cached_property
    def is_ground(self) -> np.ndarray:
        return off(self.depth, self.ground) <= ON_DREAMT

    @cached_property
    def is_behind(self) -> np.ndarray:
        """Ground and sky, without the feet of what stands there."""
        return (self.is_ground & (self.depth > GROUND * self.ground)) | (self.depth >= FAR)

    @cached_property
    def _named(self) -> tuple[np.ndarray, np.ndarray]:
        """The name of the thing in each pixel (H, W), -1 for ground and sky, and the size of each."""
        names, count = named(self.depth, (self.depth < FAR) & ~self.is_ground)
        return names, np.bincount(names[names >= 0], minlength=count)

    @cached_property
    def things(self) -> list[np.ndarray]:
        """Where (H, W) bool each of the things stands that are neither ground nor sky, the largest first, without
        crumbs."""
        return self.parts(LEAST)

    def parts(self, least: int) -> list[np.ndarray]:
        """As things, of at least so many pixels."""
        names, sizes = self._named
        return [names == name for name in np.argsort(-sizes, kind="stable") if sizes[name] >= least]

    def outline(self, where: np.ndarray) -> Outline:
        """The outline of a thing that stands `where` (H, W) bool."""
        columns = np.flatnonzero(where.sum(0) >= TALL)
        own = where[:, columns]
        bottom = len(own) - 1 - own[::-1].argmax(0)
        known = (own & self.covered[:, columns]).sum(0) >= TALL
        return Outline(columns, own.argmax(0), bottom, _medians(self.depth, where, columns), known)

    def metres(self, rows: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Above the ground, of what is seen in those rows (n,) at that depth (n,)."""
        return self.eye + self.up[rows] * depth

    @cached_property
    def is_crumb(self) -> np.ndarray:
        names, sizes = self._named
        return (names >= 0) & (np.append(sizes, LEAST)[names] < CRUMB)


def parts_of(scene: Scene, where: np.ndarray) -> Iterator[np.ndarray]:
    """The parts of a thing `where` (H, W) bool: it is cut in its columns where it becomes much lower, or hangs, and so
    is no longer the same house."""
    waiting = [where]
    while waiting:
        where = waiting.pop()
        outline = scene.outline(where)
        columns = outline.columns
        if len(columns) < WIDE or where.sum() < LEAST or not (where & ~scene.covered).any():
            continue
        heights = scene.metres(outline.top, outline.depth)
        fits = (heights > EAVES * np.median(heights)) & (heights < np.median(heights) / EAVES)
        cuts = [(a, b) for a, b in runs(~(fits | outline.is_cut)) if b - a >= WIDE]
        if not cuts or cuts == [(0, len(columns))]:
            yield where
            continue
        borders = [0, *(place for cut in cuts for place in cut), len(columns)]
        for a, b in itertools.pairwise(borders):
            if b > a:
                part = np.zeros_like(where)
                part[:, columns[a:b]] = where[:, columns[a:b]]
                waiting.append(part)


@njit(cache=True, nogil=True)
def _medians(depth, where, columns):
    """(n,) float64: the median of depth (H, W) in each of the columns (n,), of its pixels `where` (H, W) bool."""
    out = np.empty(len(columns))
    for i in range(len(columns)):
        out[i] = np.median(depth[:, columns[i]][where[:, columns[i]]])
    return out


def fitted(scene: Scene, where: np.ndarray) -> House | None:
    """The house that stands `where` (H, W) bool, or None if it is no house."""
    outline = scene.outline(where)
    if len(outline.columns) < WIDE or not _stands(scene, outline):
        return None
    heights, is_cut = scene.metres(outline.top, outline.depth), outline.is_cut
    shown = outline.known & ~is_cut if (outline.known & ~is_cut).sum() >= SIDE else ~is_cut
    height = float(np.median(heights[shown])) if shown.sum() >= SIDE else np.inf
    own = is_cut | (np.isfinite(height) & (heights > EAVES * height))
    own &= _not_alone(outline.columns, own, len(scene.depth[0]))
    line = _sides(scene, outline, own, height, WAVY_ALIKE if _is_alike(scene, where) else WAVY_EAVES)
    if line is None:
        return None
    inverse = _at(line, outline.columns.astype(np.float64))
    if inverse.min() <= 1 / FAR:
        return None
    foot = np.searchsorted(-scene.up, scene.eye / outline.depth) - 1
    bottom, rows = np.minimum(np.maximum(foot, outline.bottom), len(where) - 1), np.arange(len(where))[:, None]
    where = where.copy()
    where[:, outline.columns] |= (rows > outline.top) & (rows <= bottom) & scene.is_ground[:, outline.columns]
    corner = float(line[3]) if line[2] else np.inf
    return House(where, outline.columns[own], outline.top[own], bottom[own], inverse[own], height, corner)


def _not_alone(columns: np.ndarray, own: np.ndarray, width: int) -> np.ndarray:
    """(n,) bool: the columns (n,) that have enough of those in `own` (n,) bool beside them to be of a side."""
    taken = np.zeros(width, bool)
    taken[columns[own]] = True
    for first, last in runs(taken):
        taken[first:last] = last - first >= TALL
    return taken[columns]


def _stands(scene: Scene, outline: Outline) -> bool:
    """Whether a thing is as high as a house, and reaches to the ground nearly all along."""
    heights, feet = (scene.metres(rows, outline.depth) for rows in (outline.top, outline.bottom))
    return bool(np.median(heights) >= LOWEST and (feet < FEET * np.maximum(heights, 1)).mean() >= STANDS)


def _sides(scene: Scene, outline: Outline, own: np.ndarray, height: float, most_wavy: float) -> np.ndarray | None:
    """One over depth across the view, a line (4,) of _lines, of the columns `own` (n,) bool of a house so high: told by
    depth, and by the eaves where they are in view. None if either is too wavy for a house."""
    has_eaves = own & ~outline.is_cut & (scene.up[outline.top] > NEAR_EYE) & np.isfinite(height)
    if own.sum() < WIDE:
        return None
    eaves = scene.up[outline.top[has_eaves]] / max(height - scene.eye, 0.1)
    places = np.concatenate([outline.columns[own], outline.columns[has_eaves]]).astype(np.float64)
    values = np.concatenate([1 / outline.depth[own], eaves])
    weights = np.where(np.concatenate([outline.known[own], outline.known[has_eaves]]), KNOWN, 1.0)
    weights[: own.sum()] *= 0.5
    line = _lines(places, values, weights)
    wavy = np.abs(_at(line, places) / values - 1).clip(0, 0.3)
    if wavy[: own.sum()].mean() > (WAVY if has_eaves.any() else WAVY_EAVES):
        return None
    return None if has_eaves.any() and wavy[own.sum() :].mean() > most_wavy else line


def _is_alike(scene: Scene, where: np.ndarray) -> bool:
    """Whether a thing has one colour above and below. A tree with its trunk, or one before a house, has not."""
    rows = np.cumsum(where, 0) / np.maximum(where.sum(0), 1)
    upper, lower = (np.median(scene.pixels[half], 0) for half in (where & (rows < 0.5), where & (rows >= 0.5)))
    return float(np.linalg.norm(upper - lower)) < ALIKE


def _at(line: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A line (4,) of _lines at places (n,)."""
    return line[0] + line[1] * places + line[2] * np.maximum(places - line[3], 0)


@njit(cache=True, nogil=True)
def _lines(places, values, weights):
    """(4,) a, b, c, k of a + b x + c max(x - k, 0), fitted to values (n,) at places (n,): one line, or, if that fits
    much better, two that meet at k in a corner nearer than both sides (c < 0). Least squares, reweighted so that points
    far off count by their distance and not its square (Huber 1964)."""
    best, least = _line(places, values, weights, np.inf)
    first, last = places.min(), places.max()
    once = least
    k = first + SIDE
    while k <= last - SIDE:
        line, cost = _line(places, values, weights, k)
        if line[2] < 0 and cost < min(least, CORNER * once):
            best, least = line, cost
        k += 2
    return best


@njit(cache=True, nogil=True)
def _line(places, values, weights, corner):
    """The line of _lines with a given corner, infinite for none, and the mean share by which values are off."""
    size = 2 if np.isinf(corner) else 3
    counts, row, sums = np.ones(len(places)), np.ones(4), np.empty((3, 4))
    line = np.zeros(4)
    line[3] = 0.0 if np.isinf(corner) else corner
    cost = 0.0
    for _ in range(ROUNDS):
        sums[:] = 0
        for i in range(len(places)):
            row[1], row[2], row[3] = places[i], max(places[i] - corner, 0.0), values[i]
            for a in range(size):
                for b in range(4):
                    sums[a, b] += weights[i] * counts[i] * row[a] * row[b]
        _solve(sums, size, line)
        cost, total = 0.0, 0.0
        for i in range(len(places)):
            there = line[0] + line[1] * places[i] + line[2] * max(places[i] - line[3], 0.0)
            share = min(abs(there / values[i] - 1), 0.3)
            counts[i] = min(1.0, LOOSE / max(share, 1e-9))
            cost += weights[i] * share
            total += weights[i]
        cost /= total
    return line, cost


@njit(cache=True, nogil=True)
def _solve(sums, size, out):
    """Solve the first `size` of sums (3, 4), a symmetric matrix beside its right side, into out, by elimination."""
    for a in range(size):
        sums[a, a] += 1e-9
        for b in range(size):
            if b != a:
                share = sums[b, a] / sums[a, a]
                for c in range(4):
                    sums[b, c] -= share * sums[a, c]
    for a in range(size):
        out[a] = sums[a, 3] / sums[a, a]


@njit(cache=True, nogil=True)
def named(depth, where):
    """Names (H, W) int64 of the things `where` (H, W) bool, -1 elsewhere, and how many there are: neighbours are of one
    if their depths are about the same."""
    H, W = depth.shape
    names, waiting, count = np.full((H, W), -1, np.int64), np.empty((H * W, 2), np.int64), 0
    for first in range(H * W):
        v, u = first // W, first % W
        if not where[v, u] or names[v, u] >= 0:
            continue
        names[v, u], waiting[0, 0], waiting[0, 1], left = count, v, u, 1
        while left:
            left -= 1
            y, x = waiting[left]
            for k in range(4):
                b, a = y + (k == 0) - (k == 1), x + (k == 2) - (k == 3)
                if b < 0 or b >= H or a < 0 or a >= W or not where[b, a] or names[b, a] >= 0:
                    continue
                if depth[b, a] < ONE * depth[y, x] and depth[y, x] < ONE * depth[b, a]:
                    names[b, a], waiting[left, 0], waiting[left, 1] = count, b, a
                    left += 1
        count += 1
    return names, count
