"""What a step may use: the pages that it sees, and the remembered views that are carried into the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..axes import in_axes, on_screen
from ..compiled import njit
from ..pose import Camera, Pose
from .anew import left_of, without_coarse
from .warp import DREAMT_ANEW, NEAR, View, Warp, warp

VIEW_LIMIT = 256  # views that a walk remembers, so that choosing among them takes a constant time
_SPARSE = 4  # pixels between the surface points by which views are compared
_CELLS = 32  # cells a side of the grid on which they are compared
_WORTH = 4  # cells that a view must add to be carried, and points that it must show first to be remembered
_FAR = 0.5  # metres, at which a view counts half
_AT_ONCE = 8  # an eighth of the views is evicted at a time, because ranking them takes longer than a step may
_JUDGED = 32  # points of a view by which it is judged
_WHOLE = 2  # first views that tell how things look
# ratios of distance within which another view shows the same surface, and shows it as well
_SAME_DEPTH, _AS_CLOSE = 1.15, 1.3


def visible_pages(pages: Sequence[int], window: int) -> list[int]:
    """The pages that the step after them sees: the last `window`. Training uses the same rule, so dropping is exact."""
    return list(pages[-window:])


@dataclass(frozen=True)
class _Memo:
    index: int
    view: View
    points: np.ndarray  # (K, 3) float32 world coordinates of a coarse grid of what the view showed first


class ViewMemory:
    """The views of a walk, and which of them help to see what comes next. Immutable: `with_view` makes another.

    A view that showed nothing for the first time is not kept, so walking through known places costs no memory. Beyond
    `limit` views, those are evicted whose surfaces the others show as well, so choosing takes a constant time.
    """

    def __init__(self, camera: Camera, *, limit: int = VIEW_LIMIT, memos: tuple[_Memo, ...] = ()):
        self.camera, self.limit, self._memos = camera, limit, memos

    def __len__(self) -> int:
        return len(self._memos)

    @property
    def indices(self) -> tuple[int, ...]:
        """The numbers under which the remembered views were added."""
        return tuple(memo.index for memo in self._memos)

    @property
    def surface(self) -> np.ndarray:
        """(K, 3) float32: points of all remembered surfaces in the world, a few pixels apart."""
        return np.concatenate([memo.points for memo in self._memos] or [np.zeros((0, 3), np.float32)])

    @property
    def whole(self) -> tuple[View, ...]:
        """The first views in which nothing was dreamt: they tell how things look here."""
        return tuple(memo.view for memo in self._memos if memo.view.fresh is None)[:_WHOLE]

    def with_view(self, index: int, view: View) -> ViewMemory:
        """This memory and one more view, if that shows anything for the first time. For a view that was dreamt anew,
        older dreams are forgotten where it shows something else in their place."""
        points = _points(view, self.camera)
        if len(points) < _WORTH:
            return self
        before = self._memos
        if view.origin == DREAMT_ANEW:
            before = tuple(memo for memo in (_beside(memo, view, self.camera) for memo in before) if memo)
        memos = (*before, _Memo(index, view, points))
        if len(memos) > self.limit:
            memos = _without_the_most_redundant(memos, self.camera.focal, max(1, self.limit // _AT_ONCE))
        return ViewMemory(self.camera, limit=self.limit, memos=memos)

    def items(self) -> list[tuple[int, View]]:
        """The remembered views with their numbers, oldest first."""
        return [(memo.index, memo.view) for memo in self._memos]

    def only(self, indices: Sequence[int], *, limit: int = VIEW_LIMIT) -> ViewMemory:
        """This memory with just the views of those numbers."""
        kept = set(indices)
        memos = tuple(memo for memo in self._memos if memo.index in kept)
        return ViewMemory(self.camera, limit=limit, memos=memos)

    def carried(self, pose: Pose, count: int = 8) -> Warp:
        """What is known of the view from a pose, by at most `count` views, without dreams that are too coarse there."""
        return without_coarse(warp(self.choose(pose, count), pose, self.camera))

    def choose(self, pose: Pose, count: int = 8, *, camera: Camera | None = None) -> list[View]:
        """The views that show most from `pose` to a camera, this memory's own unless another is given. Each is
        judged by what the ones before it leave unseen, and counts less the farther away it was taken, because errors
        of depth grow with the distance that it is carried; of equal ones the latest."""
        if not self._memos:
            return []
        counts = np.array([len(memo.points) for memo in self._memos])
        cells = np.empty(counts.sum(), np.int32)
        camera = camera or self.camera
        position, rotation = np.asarray(pose.position), pose.rotation
        _cells(
            self.surface,
            position,
            rotation,
            camera.focal / camera.width,
            camera.focal / camera.height,
            cells,
        )
        ends = counts.cumsum()
        positions = np.array([memo.view.pose.position for memo in self._memos])
        nearness = 1 / (1 + np.linalg.norm(positions - position, axis=1) / _FAR)
        chosen: list[int] = []
        seen = np.zeros(_CELLS**2, np.bool_)
        while len(chosen) < count:
            gains = _gains(cells, ends, seen)
            worth = np.where(gains < _WORTH, 0.0, gains * nearness)
            best = len(worth) - 1 - int(np.argmax(worth[::-1]))
            if not worth[best]:
                break
            chosen.append(best)
            mine = cells[ends[best] - counts[best] : ends[best]]
            seen[mine[mine >= 0]] = True
        return [self._memos[index].view for index in chosen]


def _points(view: View, camera: Camera) -> np.ndarray:
    """(K, 3) float32: a coarse grid of what a view showed first, in the world."""
    half = _SPARSE // 2
    rays = camera.rays[half::_SPARSE, half::_SPARSE].reshape(-1, 3)
    depth = view.depth[half::_SPARSE, half::_SPARSE].reshape(-1, 1)
    if view.fresh is not None:
        fresh = view.fresh[half::_SPARSE, half::_SPARSE].ravel()
        rays, depth = rays[fresh], depth[fresh]
    world = (rays * depth) @ view.pose.rotation.T + np.asarray(view.pose.position)
    return world.astype(np.float32)


def _beside(memo: _Memo, new: View, camera: Camera) -> _Memo | None:
    """A memo without those parts of its dream in whose place a new one shows something else; None if little is left."""
    fresh = left_of(memo.view, new, camera)
    if fresh is None:
        return memo
    view = replace(memo.view, fresh=fresh)
    points = _points(view, camera)
    return _Memo(memo.index, view, points) if len(points) >= _WORTH else None


def _without_the_most_redundant(memos: tuple[_Memo, ...], focal: float, count: int) -> tuple[_Memo, ...]:
    """The memos without `count` of them. A memo's score is the sum over its points of 1 / the number of views that show
    them; the lowest is evicted, one after the other, the oldest first on ties and the newest never."""
    points = np.full((len(memos), _JUDGED, 3), np.nan, np.float32)
    for row, memo in zip(points, memos, strict=True):
        some = memo.points[:: -(-len(memo.points) // _JUDGED)]
        row[: len(some)] = some
    positions = np.array([memo.view.pose.position for memo in memos])
    rotations = np.array([memo.view.pose.rotation for memo in memos])
    depths = np.stack([memo.view.own_depth for memo in memos])
    kept = _kept(_shown(points, positions, rotations, depths, focal), np.isfinite(points[:, :, 0]), count)
    return tuple(memo for memo, stays in zip(memos, kept, strict=True) if stays)


@njit(cache=True, nogil=True)
def _shown(points, positions, rotations, depths, focal):
    """(n, n, K) bool: whether view j shows point k of view i, points (n, K, 3), about as closely as view i itself."""
    n, K = points.shape[:2]
    H, W = depths.shape[1:]
    out = np.zeros((n, n, K), np.bool_)
    for i in range(n):
        for k in range(K):
            p = points[i, k]
            if not np.isfinite(p[0]):
                continue
            own = np.sqrt(((p - positions[i]) ** 2).sum())
            for j in range(n):
                x, y, z = p[0] - positions[j, 0], p[1] - positions[j, 1], p[2] - positions[j, 2]
                a, b, c = in_axes(rotations[j], x, y, z)
                if c < NEAR or x * x + y * y + z * z > (_AS_CLOSE * own) ** 2:
                    continue
                u, v = int(np.floor(on_screen(a, c, focal, W))), int(np.floor(on_screen(b, c, focal, H)))
                if 0 <= u < W and 0 <= v < H:
                    d = depths[j, v, u]
                    out[i, j, k] = d < _SAME_DEPTH * c and c < _SAME_DEPTH * d
    return out


@njit(cache=True, nogil=True)
def _kept(shown, is_point, count):
    """(n,) bool: all views but the `count` that are evicted, as `_without_the_most_redundant` has it."""
    n, K = is_point.shape
    kept, views = np.ones(n, np.bool_), np.ones((n, K), np.int64)
    for i in range(n):
        for j in range(n):
            if j != i:
                views[i] += shown[i, j]
    for _ in range(count):
        least, worst = np.inf, 0
        for i in range(n - 1):
            missed = 0.0
            for k in range(K):
                if is_point[i, k]:
                    missed += 1.0 / views[i, k]
            if kept[i] and missed < least:
                least, worst = missed, i
        kept[worst] = False
        for i in range(n):
            if i != worst:
                views[i] -= shown[i, worst]
    return kept


@njit(cache=True, nogil=True)
def _cells(points, position, rotation, scale_u, scale_v, out):
    """The cell that each world point (K, 3) falls into as seen from a pose, or -1 outside."""
    for k in range(len(points)):
        x, y, z = points[k, 0] - position[0], points[k, 1] - position[1], points[k, 2] - position[2]
        a, b, c = in_axes(rotation, x, y, z)
        out[k] = -1
        if c > NEAR:
            u, v = np.floor((a / c * scale_u + 0.5) * _CELLS), np.floor((b / c * scale_v + 0.5) * _CELLS)
            if 0 <= u < _CELLS and 0 <= v < _CELLS:
                out[k] = v * _CELLS + u


@njit(cache=True, nogil=True)
def _gains(cells, ends, seen):
    """How many cells not yet seen each view shows: cells (K,), of which view i owns those before ends[i]."""
    gains, last = np.zeros(len(ends), np.int64), np.full(len(seen), -1)
    start = 0
    for i in range(len(ends)):
        for k in range(start, ends[i]):
            cell = cells[k]
            if cell >= 0 and not seen[cell] and last[cell] != i:
                last[cell] = i
                gains[i] += 1
        start = ends[i]
    return gains
