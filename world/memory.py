"""What a step may draw on: the pages that it sees, and the remembered views that are carried into the next one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .geometry import NEAR, View
from .pose import Camera, Pose

_SPARSE = 8  # pixels between the surface points by which views are compared


def visible_pages(pages: Sequence[int], window: int) -> list[int]:
    """The pages that the step after them sees: the last `window`. Training uses the same rule, so dropping is exact."""
    return list(pages[-window:]) if window else []


class ViewMemory:
    """Every view of a walk, and which of them will help to see what comes next.

    Views are compared by a coarse grid of their surface points, so that choosing among hundreds costs a millisecond or
    two. Past `limit` views, every other one of the older half is forgotten.
    """

    def __init__(self, camera: Camera, *, limit: int = 512):
        self.camera, self.limit = camera, limit
        self._views: list[View] = []
        self._points: list[np.ndarray] = []
        self._rays = camera.rays[_SPARSE // 2 :: _SPARSE, _SPARSE // 2 :: _SPARSE].reshape(-1, 3)

    def __len__(self) -> int:
        return len(self._views)

    def copy(self) -> ViewMemory:
        twin = ViewMemory(self.camera, limit=self.limit)
        twin._views, twin._points = list(self._views), list(self._points)
        return twin

    @property
    def views(self) -> tuple[View, ...]:
        return tuple(self._views)

    def add(self, view: View) -> None:
        depth = view.depth[_SPARSE // 2 :: _SPARSE, _SPARSE // 2 :: _SPARSE].reshape(-1, 1)
        world = (self._rays * depth) @ view.pose.rotation.T + np.asarray(view.pose.position)
        self._views.append(view)
        self._points.append(world.astype(np.float32))
        if len(self._views) > self.limit:
            half = self.limit // 2
            self._views[:half], self._points[:half] = self._views[:half:2], self._points[:half:2]

    def choose(self, pose: Pose, count: int = 4) -> list[View]:
        """The last view, then those that show most of what the ones before them leave unseen from `pose`."""
        if not self._views:
            return []
        cells = self._cells(pose)
        chosen, seen = [len(self._views) - 1], np.zeros(256, bool)
        seen[cells[-1][cells[-1] >= 0]] = True
        while len(chosen) < min(count, len(self._views)):
            fresh = np.where((cells >= 0) & ~seen[cells], cells, 256)
            gains = _distinct(fresh)
            best = int(np.argmax(gains + np.arange(len(gains)) * 1e-6))  # of equals, the latest
            if gains[best] < 4:
                break
            chosen.append(best)
            seen[cells[best][cells[best] >= 0]] = True
        return [self._views[index] for index in chosen]

    def _cells(self, pose: Pose) -> np.ndarray:
        """(views, points) int: the cell of a 16 x 16 grid over the picture that each point falls into, or -1."""
        points = (np.stack(self._points) - np.asarray(pose.position, np.float32)) @ pose.rotation.astype(np.float32)
        z = np.maximum(points[..., 2], NEAR)
        u = np.floor((points[..., 0] / z * self.camera.focal / self.camera.width + 0.5) * 16).astype(int)
        v = np.floor((points[..., 1] / z * self.camera.focal / self.camera.height + 0.5) * 16).astype(int)
        inside = (points[..., 2] > NEAR) & (u >= 0) & (u < 16) & (v >= 0) & (v < 16)
        return np.where(inside, v * 16 + u, -1)


def _distinct(cells: np.ndarray) -> np.ndarray:
    """How many different cells below 256 each row names."""
    hit = np.zeros((len(cells), 257), bool)
    hit[np.arange(len(cells))[:, None], cells] = True
    return hit[:, :256].sum(1)
