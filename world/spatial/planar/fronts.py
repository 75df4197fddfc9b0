"""What a dreamt house shows on its sides: even walls, upright doors, and a roof's edge of one height.

A model of a few tokens a view paints a wall as a cloud of its colour, a door as a stain and a roof's edge as a wavy
brush stroke. Here each side of a house takes its own usual colour, with what fine detail was painted on it; what
stands out from it at its foot and is about as wide all the way up becomes a rectangle of one colour; so does the
edge of another colour along the eaves. What else stands out, a bush before a wall or two houses that ran together,
stays as it was painted. Knows nothing of models.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

APART = 38.0  # of 255; a colour that is farther from its wall's is of something else
STRANGE = 60.0  # of 255; a stain whose usual colour is nearer to its wall's is evened if it is no door
APART_ROOF = 24.0  # the same for a roof's edge
MIDDLE = (0.1, 0.8)  # shares of a house's height between which its wall is
LEAST = 60  # pixels of a side that its colour is known from
EDGE = 0.22  # share of a house's height that a roof's edge may have
FINE = 3.0  # pixels, sigma; what is coarser is no detail of a wall
DETAIL = 8.0  # of 255, the most that detail changes a wall
FOOT = 0.45  # metres; a door begins no higher
LOWEST, HIGHEST = 1.2, 0.85  # metres, and share of the house's height, between which a door ends
WIDEST = 0.6  # share of its side that a door is wide at most
SOLID = 0.6  # share of its rectangle that a door was painted in, at least
SMALLEST, LARGEST = 12, 25  # pixels that a door has at least; that a stain, which is evened, has at most
RAGGED = 0.06  # share of what was painted of a door that may be beyond its sides


@dataclass(frozen=True)
class Front:
    """A house as it stands in a view. where (H, W) bool: where it is shown and new; heights (H, W): metres above the
    ground of its sides, NaN in other columns; height: of its eaves, metres; eaves (W,) bool: the columns in which they
    are in view; known (H, W) bool: where it was there before; starts: the first column of each of its sides."""

    where: np.ndarray
    heights: np.ndarray
    height: float
    eaves: np.ndarray
    known: np.ndarray
    starts: tuple[int, ...]

    def cut(self, part: tuple[slice, slice]) -> Front:
        """The front in some rows and columns."""
        where, heights, known = (whole[part] for whole in (self.where, self.heights, self.known))
        return replace(self, where=where, heights=heights, eaves=self.eaves[part[1]], known=known)

    @property
    def is_wall(self) -> np.ndarray:
        """(H, W) bool: where it is neither roof nor foot."""
        share = self.heights / self.height
        return (share > MIDDLE[0]) & (share < MIDDLE[1])


def evened(front: Front, pixels: np.ndarray, fine: np.ndarray | None = None) -> None:
    """Even the sides of a house in pixels (H, W, 3) uint8, which are changed where the house is new. fine (H, W, 3): a
    picture to take the fine detail of its walls from, instead of its own."""
    if np.count_nonzero(front.where) < LEAST:
        return
    there = front.where | front.known
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    first, last = int(columns[0]), int(columns[-1]) + 1
    borders = [first, *(start for start in front.starts if first < start < last), last]
    box = np.s_[int(rows[0]) : int(rows[-1]) + 1, first:last]
    front, near = front.cut(box), pixels[box]
    painted = near.astype(np.float32)
    detailed = painted if fine is None else fine[box].astype(np.float32)
    out = painted.copy()
    edge = _edge(front, painted)
    for a, b in itertools.pairwise(borders):
        side = np.s_[:, a - first : b - first]
        out[side] = _side(front.cut(side), painted[side], detailed[side], edge[side])
    if edge.any():
        out[edge] = np.median(painted[edge], 0)
    near[front.where] = np.clip(out[front.where] + 0.5, 0, 255).astype(np.uint8)


def _edge(front: Front, painted: np.ndarray) -> np.ndarray:
    """Where (H, W) bool the edge of the roof is: rows below the eaves whose usual colour is not the wall's."""
    none, wall = np.zeros_like(front.where), front.where & front.is_wall
    tops = front.where.argmax(0)
    in_view = front.where.any(0) & front.eaves
    if np.count_nonzero(wall) < LEAST or not in_view.any():
        return none
    usual, tall = np.median(painted[wall], 0), float(np.median(front.where.sum(0)[in_view]))
    below, most = np.arange(len(painted))[:, None] - tops, max(2, int(EDGE * tall))
    for thick in range(most):
        row = front.where & (below == thick) & in_view
        if not row.any() or np.linalg.norm(np.median(painted[row], 0) - usual) < APART_ROOF:
            return front.where & (front.heights > front.height * (1 - thick / tall)) if thick > 1 else none
    return none


def _side(front: Front, painted: np.ndarray, detailed: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """The colours (H, W, 3) float32 of one side, painted (H, W, 3), below the roof's edge (H, W) bool; its detail is
    that of detailed (H, W, 3)."""
    where = front.where & ~edge
    usual = _usual(front, painted, where)
    if usual is None:
        return painted
    even = usual + detail_of(detailed, where & (np.linalg.norm(detailed - usual, axis=-1) < STRANGE))
    stays = np.zeros(where.shape, np.float32)
    apart = np.linalg.norm(painted - usual, axis=-1)
    for patch in _stains(where & (apart > APART)):
        own = np.linalg.norm(painted - np.median(painted[patch], 0), axis=-1)
        stain = patch & (own < apart)  # without the wall beside it, where that is a little dark
        if np.count_nonzero(stain) < SMALLEST:
            continue
        door = _door(front, where, stain)
        if door is not None:
            even[door] = np.median(painted[stain], 0)
        elif stain.sum() > LARGEST and np.linalg.norm(np.median(painted[stain], 0) - usual) > STRANGE:
            stays[stain] = 1
    return even + cv2.GaussianBlur(stays, (0, 0), 1.0)[..., None] * (painted - even)


def detail_of(painted: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The fine detail (H, W, 3) of what is painted `where` (H, W) bool, none elsewhere."""
    weight = cv2.GaussianBlur(where.astype(np.float32), (0, 0), FINE)[..., None]
    coarse = cv2.GaussianBlur(np.where(where[..., None], painted, 0), (0, 0), FINE) / np.maximum(weight, 1e-3)
    return np.where(where[..., None], np.clip(painted - coarse, -DETAIL, DETAIL), 0)


def _usual(front: Front, painted: np.ndarray, where: np.ndarray) -> np.ndarray | None:
    """The usual colour (3,) of a side: of what was there before, if enough of it is in view."""
    known, new = (part & front.is_wall for part in (front.known, where))
    colours = painted[known if np.count_nonzero(known) >= LEAST else new]
    if len(colours) < LEAST:
        return None
    usual = np.median(colours, 0)
    near = colours[np.linalg.norm(colours - usual, axis=-1) < APART]  # without the door
    return np.median(near, 0) if len(near) >= LEAST else usual


def _stains(apart: np.ndarray) -> Iterator[np.ndarray]:
    """Where (H, W) bool each of the patches is that stand out, without thin lines."""
    thick = cv2.morphologyEx(apart.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, names = cv2.connectedComponents(thick, connectivity=4)
    return (names == name for name in range(1, count))


def _door(front: Front, where: np.ndarray, stain: np.ndarray) -> np.ndarray | None:
    """The rectangle (H, W) bool of the door that a stain on a side stands for, None if it is none."""
    counts = stain.sum(0)
    shares = np.cumsum(counts) / counts.sum()
    first, last = (int(np.searchsorted(shares, share)) for share in (RAGGED, 1 - RAGGED))
    heights = np.where(stain, front.heights, np.nan)[:, first : last + 1]
    heights = heights[:, np.isfinite(heights).any(0)]
    top, foot = float(np.median(np.nanmax(heights, 0))), float(np.nanmin(heights))
    is_wide = last - first + 1 > WIDEST * np.count_nonzero(where.any(0))
    if is_wide or last - first < 2 or foot > FOOT or not LOWEST < top < HIGHEST * front.height:
        return None
    door = where & (front.heights <= top)
    door[:, :first], door[:, last + 1 :] = False, False
    return door if (stain & door).sum() > SOLID * door.sum() else None
