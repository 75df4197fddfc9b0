"""What a step may draw on: the pages that it sees, and the remembered views that are carried into the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .geometry import NEAR, View
from .pose import Camera, Pose

VIEW_LIMIT = 256
_SPARSE = 8  # pixels between the surface points by which views are compared
_CELLS = 16  # cells a side of the grid on which they are compared


def visible_pages(pages: Sequence[int], window: int) -> list[int]:
    """The pages that the step after them sees: the last `window`. Training uses the same rule, so dropping is exact."""
    return list(pages[-window:])


@dataclass(frozen=True)
class _Memo:
    index: int
    view: View
    points: np.ndarray  # (K, 3) float32 world coordinates of a coarse grid of the view's surface


class ViewMemory:
    """The views of a walk, and which of them help to see what comes next. Never changed: `with_view` makes another.

    Past `limit` views, every other one of the older half is forgotten, so choosing always costs the same.
    """

    def __init__(self, camera: Camera, *, limit: int = VIEW_LIMIT, memos: tuple[_Memo, ...] = ()):
        self.camera, self.limit, self._memos = camera, limit, memos

    def __len__(self) -> int:
        return len(self._memos)

    @property
    def indices(self) -> tuple[int, ...]:
        """The numbers under which the remembered views were added."""
        return tuple(memo.index for memo in self._memos)

    def with_view(self, index: int, view: View) -> ViewMemory:
        """This memory and one view more."""
        half = _SPARSE // 2
        rays = self.camera.rays[half::_SPARSE, half::_SPARSE].reshape(-1, 3)
        depth = view.depth[half::_SPARSE, half::_SPARSE].reshape(-1, 1)
        world = (rays * depth) @ view.pose.rotation.T + np.asarray(view.pose.position)
        memos = (*self._memos, _Memo(index, view, world.astype(np.float32)))
        if len(memos) > self.limit:
            older = self.limit // 2
            memos = memos[:older:2] + memos[older:]
        return ViewMemory(self.camera, limit=self.limit, memos=memos)

    def items(self) -> list[tuple[int, View]]:
        """The remembered views with their numbers, oldest first."""
        return [(memo.index, memo.view) for memo in self._memos]

    def only(self, indices: Sequence[int], *, limit: int = VIEW_LIMIT) -> ViewMemory:
        """This memory with just the views of those numbers."""
        kept = set(indices)
        memos = tuple(memo for memo in self._memos if memo.index in kept)
        return ViewMemory(self.camera, limit=limit, memos=memos)

    def choose(self, pose: Pose, count: int = 4) -> list[View]:
        """The last view, then those that show most of what the ones before them leave unseen from `pose`."""
        if not self._memos:
            return []
        cells = self._cells(pose)
        chosen, seen = [len(cells) - 1], np.zeros(_CELLS**2 + 1, bool)
        while True:
            seen[cells[chosen[-1]]] = True
            gains = _distinct(np.where(seen[cells], _CELLS**2, cells))
            best = len(gains) - 1 - int(np.argmax(gains[::-1]))  # of equals, the latest
            if len(chosen) == count or gains[best] < 4:
                return [self._memos[index].view for index in chosen]
            chosen.append(best)

    def _cells(self, pose: Pose) -> np.ndarray:
        """(views, points) int: the cell that each point falls into as seen from `pose`, or _CELLS ** 2 outside."""
        points = np.stack([memo.points for memo in self._memos]) - np.asarray(pose.position, np.float32)
        x, y, z = np.moveaxis(points @ pose.rotation.astype(np.float32), -1, 0)
        scale = self.camera.focal / np.maximum(z, NEAR)
        u = np.floor((x * scale / self.camera.width + 0.5) * _CELLS).astype(int)
        v = np.floor((y * scale / self.camera.height + 0.5) * _CELLS).astype(int)
        inside = (z > NEAR) & (u >= 0) & (u < _CELLS) & (v >= 0) & (v < _CELLS)
        return np.where(inside, v * _CELLS + u, _CELLS**2)


def _distinct(cells: np.ndarray) -> np.ndarray:
    """How many different cells inside the picture each row names."""
    hit = np.zeros((len(cells), _CELLS**2 + 1), bool)
    hit[np.arange(len(cells))[:, None], cells] = True
    return hit[:, :-1].sum(1)
