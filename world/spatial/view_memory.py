"""What a step may use: the pages that it sees, and the remembered views that are carried into the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..axes import in_axes, on_screen
from ..compiled import njit
from ..pose import Camera, Pose
from .anew import NOBODY, StandsIn, not_through, without_coarse
from .crumbs import without_crumbs
from .horizon import HIGH, SKY_M, without_horizon
from .warp import DREAMT, DREAMT_ANEW, NEAR, SEEN, View, Warp, warp

VIEW_LIMIT = 256  # views that a walk remembers, so that choosing among them takes a constant time
_SPARSE = 4  # pixels between the surface points by which views are compared
_CELLS = 32  # cells a side of the grid on which they are compared
_WORTH = 4  # cells that a view must add to be carried, and points that it must show first to be remembered
_FAR = 0.5  # metres; a view taken from this far away counts half
_AT_ONCE = 8  # an eighth of the views is evicted at a time, because ranking them takes longer than a step may
_JUDGED = 32  # points by which a view is judged for eviction
_HORIZON = 3  # a view shows the sky in a column if it has this many points near the horizon there
_WHOLE, _DREAMT = 2, 3  # first views that tell how things look, and first dreams that tell how rooms lie
# another view shows a point as well if its depth differs by at most the first factor, its distance by the second
_SAME_DEPTH, _AS_CLOSE = 1.15, 1.3


def visible_pages(pages: Sequence[int], window: int) -> list[int]:
    """The pages that the step after them sees: the last `window`. Training uses the same rule, so dropping is exact."""
    return list(pages[-window:])


@dataclass(frozen=True)
class Memo:
    """A view with its number. points (K, 3) float32: world coordinates of a coarse grid of what it showed first.
    stands_in: for which older dreams, if it was dreamt in their place. gone (H, W) int32: for each pixel the number of
    the first newer dream that stands in for it, NOBODY where none does; None if none does anywhere."""

    index: int
    view: View
    points: np.ndarray
    stands_in: StandsIn | None = None
    gone: np.ndarray | None = None

    @cached_property
    def latest(self) -> View:
        """The view without all that newer dreams stand in for."""
        return self.view if self.gone is None else replace(self.view, fresh=self._fresh & (self.gone == NOBODY))

    @cached_property
    def points_gone(self) -> np.ndarray:
        """(K,) int32: `gone` at its points."""
        return np.full(len(self.points), NOBODY, np.int32) if self.gone is None else self._at_points(self.gone)

    @cached_property
    def points_instead(self) -> np.ndarray:
        """(K,) bool: which of its points stand in for an older dream's."""
        return np.zeros(len(self.points), np.bool_) if self.stands_in is None else self._at_points(self.stands_in.where)

    @property
    def _fresh(self) -> np.ndarray:
        return np.ones(self.view.depth.shape, bool) if self.view.fresh is None else self.view.fresh

    def _at_points(self, image: np.ndarray) -> np.ndarray:
        at = np.s_[_SPARSE // 2 :: _SPARSE, _SPARSE // 2 :: _SPARSE]
        return np.ascontiguousarray(image[at][self._fresh[at]])

    def shown(self, active: set[int]) -> View:
        """The view as it is drawn when the dreams numbered in `active` count: without what those stand in for, and, if
        it is not active itself, without what it put in place of older ones."""
        is_idle = self.stands_in is not None and self.index not in active
        if self.gone is None and not is_idle:
            return self.view
        fresh = self._fresh
        if self.gone is not None:
            fresh = fresh & ~np.isin(self.gone, list(active))
        if is_idle and self.stands_in is not None:
            fresh = fresh & ~self.stands_in.where
        return replace(self.view, fresh=fresh)

    def beside(self, memo: Memo, camera: Camera) -> Memo:
        """This memo after a new one has come: without what a new dream hides, and with what it stands in for."""
        view, new = self.view, memo.view
        if view.origin == SEEN or view.fresh is None or new.fresh is None:
            return self
        if new.origin == DREAMT:
            fresh = not_through(view, new, camera)
            if fresh is None:
                return self
            view = replace(view, fresh=fresh)
            points = _points(view, camera)
            return replace(self, view=view, points=points) if len(points) >= _WORTH else self
        if new.origin == DREAMT_ANEW and memo.stands_in is not None:
            inside = memo.stands_in.takes(view, new, camera)
            if inside is not None:
                before = np.full(inside.shape, NOBODY, np.int32) if self.gone is None else self.gone
                return replace(self, gone=np.where((before == NOBODY) & inside, np.int32(memo.index), before))
        return self


class ViewMemory:
    """The views of a walk, and which of them help to see what comes next. Immutable: `with_view` makes another.

    A view that showed nothing for the first time is not kept, so walking through known places costs no memory. Beyond
    `limit` views, those are evicted whose surfaces the others show as well, so choosing takes a constant time. memos:
    what is remembered, oldest first, as `with_view` and saves/forms.py made it.
    """

    def __init__(self, camera: Camera, *, limit: int = VIEW_LIMIT, memos: tuple[Memo, ...] = ()):
        self.camera, self.limit, self.memos = camera, limit, memos

    def __len__(self) -> int:
        return len(self.memos)

    @property
    def indices(self) -> tuple[int, ...]:
        """The numbers under which the remembered views were added."""
        return tuple(memo.index for memo in self.memos)

    @property
    def surface(self) -> np.ndarray:
        """(K, 3) float32: points of all remembered surfaces in the world, a few pixels apart; of dreams the newest."""
        return self._points[self._points_gone == NOBODY]

    @property
    def whole(self) -> tuple[View, ...]:
        """The first views in which nothing was dreamt: they tell how things look here."""
        return tuple(memo.view for memo in self.memos if memo.view.fresh is None)[:_WHOLE]

    @property
    def telling(self) -> tuple[View, ...]:
        """Those, and the first dreams, which tell at least where floors, ceilings and walls are."""
        return self.whole + tuple(memo.view for memo in self.memos if memo.view.fresh is not None)[:_DREAMT]

    def with_view(self, index: int, view: View) -> ViewMemory:
        """This memory and one more view, if that shows anything for the first time. A view that was dreamt anew stands
        in for older dreams in its place, from about as near as it was dreamt from."""
        new = memo_of(index, view, self.camera, StandsIn.of(view) if view.origin == DREAMT_ANEW else None)
        if len(new.points) < _WORTH:
            return self
        memos = (*(memo.beside(new, self.camera) for memo in self.memos), new)
        if len(memos) > self.limit:
            memos = _without_the_most_redundant(memos, self.camera.focal, max(1, self.limit // _AT_ONCE))
        return ViewMemory(self.camera, limit=self.limit, memos=memos)

    def items(self) -> list[tuple[int, View]]:
        """The remembered views with their numbers, oldest first."""
        return [(memo.index, memo.view) for memo in self.memos]

    def latest(self) -> list[tuple[int, View]]:
        """The same without what newer dreams stand in for: each place is shown by its newest dream alone."""
        return [(memo.index, memo.latest) for memo in self.memos]

    def only(self, indices: Sequence[int], *, limit: int = VIEW_LIMIT) -> ViewMemory:
        """This memory with just the views of those numbers."""
        kept = set(indices)
        memos = tuple(memo for memo in self.memos if memo.index in kept)
        return ViewMemory(self.camera, limit=limit, memos=memos)

    def carried(self, pose: Pose, count: int = 8) -> Warp:
        """What is known of the view from a pose, by at most `count` views, as it looked when one first stood there:
        dreams that stand in for others count only from about as near as they were dreamt from. Without dreams that are
        too coarse, or a horizon that is too old."""
        at = np.asarray(pose.position)
        active = {memo.index for memo in self.memos if memo.stands_in and memo.stands_in.is_near(at)}
        chosen = self._chosen(pose, count, self.camera, active)
        known = warp([self.memos[k].shown(active) for k in chosen], pose, self.camera)
        known = without_horizon(without_crumbs(known, pose), pose, self._walked_since)
        return known if known.has_new_horizon else without_coarse(known)

    def choose(self, pose: Pose, count: int = 8, *, camera: Camera | None = None) -> list[View]:
        """The views that show most from `pose` to a camera, this memory's own unless another is given, the newest
        dreams of each place. Each is judged by what the ones before it leave unseen, and counts less the farther away
        it was taken, because errors of depth grow with the distance that it is carried; of equal ones the latest."""
        active = {memo.index for memo in self.memos if memo.stands_in}
        chosen = self._chosen(pose, count, camera or self.camera, active)
        return [self.memos[k].latest for k in chosen]

    def _chosen(self, pose: Pose, count: int, camera: Camera, active: set[int]) -> list[int]:
        """The indices, among all memos, of the views that are chosen."""
        if not self.memos:
            return []
        cells, ends = np.empty(len(self._points), np.int32), self._ends
        focals = camera.focal / camera.width * _CELLS, camera.focal / camera.height * _CELLS
        _cells(self._points, np.asarray(pose.position), pose.rotation, *focals, cells)
        if active or any(memo.stands_in for memo in self.memos):
            idle = np.array([memo.stands_in is not None and memo.index not in active for memo in self.memos])
            is_gone = np.isin(self._points_gone, list(active))
            cells[is_gone | (self._points_instead & np.repeat(idle, self._counts))] = -1
        nearness = 1 / (1 + np.linalg.norm(self._positions - np.asarray(pose.position), axis=1) / _FAR)
        chosen: list[int] = []
        seen = np.zeros(_CELLS**2, np.bool_)
        while len(chosen) < count:
            gains = _gains(cells, ends, seen)
            worth = np.where(gains < _WORTH, 0.0, gains * nearness)
            best = len(worth) - 1 - int(np.argmax(worth[::-1]))
            if not worth[best]:
                break
            chosen.append(best)
            mine = cells[ends[best] - self._counts[best] : ends[best]]
            seen[mine[mine >= 0]] = True
        return chosen

    @cached_property
    def _points(self) -> np.ndarray:
        return np.concatenate([memo.points for memo in self.memos] or [np.zeros((0, 3), np.float32)])

    @cached_property
    def _points_gone(self) -> np.ndarray:
        return np.concatenate([memo.points_gone for memo in self.memos] or [np.zeros(0, np.int32)])

    @cached_property
    def _points_instead(self) -> np.ndarray:
        return np.concatenate([memo.points_instead for memo in self.memos] or [np.zeros(0, np.bool_)])

    @cached_property
    def _counts(self) -> np.ndarray:
        return np.array([len(memo.points) for memo in self.memos], np.int64)

    @cached_property
    def _ends(self) -> np.ndarray:
        return self._counts.cumsum()

    @cached_property
    def _positions(self) -> np.ndarray:
        return np.array([memo.view.pose.position for memo in self.memos]).reshape(-1, 3)

    def _walked_since(self, pose: Pose) -> np.ndarray:
        """Metres (n,) to the nearest place from where the sky was seen or dreamt, for each column of the view from
        a pose, 0 where none is remembered."""
        out, at = np.full(self.camera.width // _SPARSE, np.inf), np.asarray(pose.position)
        focal = self.camera.focal / self.camera.width * len(out)
        _sky_columns(self._points, self._ends, self._positions, at, pose.rotation, focal, out)
        return np.where(np.isfinite(out), out, 0.0)


def memo_of(
    index: int, view: View, camera: Camera, stands_in: StandsIn | None = None, gone: np.ndarray | None = None
) -> Memo:
    """A view as memory keeps it."""
    return Memo(index, view, _points(view, camera), stands_in, gone)


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


def _without_the_most_redundant(memos: tuple[Memo, ...], focal: float, count: int) -> tuple[Memo, ...]:
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
def _cells(points, position, rotation, focal_u, focal_v, out):
    """The cell that each world point (K, 3) falls into as seen from a pose, or -1 outside. The focal lengths are in
    cells."""
    for k in range(len(points)):
        x, y, z = points[k, 0] - position[0], points[k, 1] - position[1], points[k, 2] - position[2]
        a, b, c = in_axes(rotation, x, y, z)
        out[k] = -1
        if c > NEAR:
            u, v = np.floor(on_screen(a, c, focal_u, _CELLS)), np.floor(on_screen(b, c, focal_v, _CELLS))
            if 0 <= u < _CELLS and 0 <= v < _CELLS:
                out[k] = v * _CELLS + u


@njit(cache=True, nogil=True)
def _sky_columns(points, ends, positions, position, rotation, focal, out):
    """Lower out (n,) to the distance of each view, at positions (m, 3), from `position`, for those columns of a view
    from there in which it shows the sky; points (K, 3), of which view i owns those before ends[i]; focal in columns."""
    start = 0
    for i in range(len(ends)):
        apart = np.sqrt(((positions[i] - position) ** 2).sum())
        count = np.zeros(len(out), np.int64)
        for k in range(start, ends[i]):
            p = points[k]
            aside = np.hypot(p[0] - positions[i, 0], p[1] - positions[i, 1])
            if aside < SKY_M or not 0 < p[2] - positions[i, 2] < HIGH * aside:
                continue
            a, _, c = in_axes(rotation, p[0] - position[0], p[1] - position[1], p[2] - position[2])
            if c > NEAR:
                column = int(np.floor(on_screen(a, c, focal, len(out))))
                if 0 <= column < len(out):
                    count[column] += 1
        for column in range(len(out)):
            if count[column] >= _HORIZON:
                out[column] = min(out[column], apart)
        start = ends[i]


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
