"""Dreams that are dreamt anew. A dream made from far off becomes a magnified smear as the walker comes near: it is left
out of the view then, and dreamt again in the same place from where the walker stands. Near by, the new dream stands in
for the older one from then on; farther off, where the older one is not too coarse, it is still shown (view_memory.py).

What was truly seen is never left out. Knows nothing of tokens or models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

from ..axes import along, on_screen, ray_at
from ..compiled import njit
from ..pose import Camera, Pose
from .horizon import GROUND_M, SKY_M
from .surfaces import NEAR
from .warp import View, Warp, joined, with_holes

COARSE, MOST = 2.0, 0.1  # a view is dreamt anew if more than MOST of it shows dreams magnified over COARSE times
FINE = 1.25  # dreams magnified up to this many times are kept in such a view
CRUMB = 5  # pixels a side; smaller rests of dreams are not kept
ISLAND = 11  # the same in a room, where they would spoil walls
SAME_PLACE = 0.7  # an older dream and the new one may be the same thing if their log depths differ by less
NOBODY = -1  # no view's number
OUTSIDE = -9  # column and row of a point that is not before a view; no pixel is there or next to it
SOME = 4  # pixels between the points that a dream keeps of what it stands in for
AROUND = 2  # pixels around such a point that stand in for it too
# a dream counts from a log of this many times nearer on in any case; less than the second is no difference
ENOUGH, HARDLY = 0.47, 0.01
ASIDE_M = 1.0  # metres; views this far apart differ in what they show behind a thing
BEHIND = 1.3  # an older dream at more than this many times the new one's depth is behind it, and stays


def without_coarse(carried: Warp) -> Warp:
    """The known view; if more than MOST of it is too coarse, dreams magnified more than FINE times become holes, to be
    dreamt anew, and `before` is the view with them."""
    scale = carried.scale
    if scale is None or (scale > COARSE).mean() <= MOST:
        return carried
    around = np.ones((CRUMB, CRUMB), np.uint8)
    is_left_out = (scale > 0) & (cv2.dilate((scale > FINE).astype(np.uint8), around) > 0)
    rest = carried.covered & ~is_left_out
    if not (carried.depth > SKY_M).any():
        around = np.ones((ISLAND, ISLAND), np.uint8)
    is_whole = cv2.morphologyEx(rest.astype(np.uint8), cv2.MORPH_OPEN, around) > 0
    covered = rest & (is_whole | (scale == 0))
    return replace(with_holes(carried, covered), before=carried)


def left_out(carried: Warp) -> np.ndarray:
    """Where (H, W) bool the older dream was left out of a view."""
    if carried.before is None:
        return np.zeros(carried.covered.shape, bool)
    return carried.before.covered & ~carried.covered


def in_its_place(depth: np.ndarray, carried: Warp) -> np.ndarray:
    """depth (H, W) of a view as painted, moved to where the older dream of it was. The painter gives every dream a
    usual distance, so a thing that is dreamt anew at each approach would otherwise never be reached."""
    if carried.before is None:
        return depth
    was = carried.before.depth
    is_same = left_out(carried) & (np.abs(np.log(np.maximum(was, NEAR) / np.maximum(depth, NEAR))) < SAME_PLACE)
    return np.where(carried.covered, depth, joined(depth, was, is_same | carried.covered))


@dataclass
class StandsIn:
    """For which older dreams a newer one stands in. where (H, W) bool: the part of its view that does; points: lists
    of some world points (n, 3) of theirs, in metres; distances: from how far (n,) those had been dreamt; pose: of the
    newer one. `near` may be read once all older views have been taken."""

    where: np.ndarray
    points: list[np.ndarray]
    distances: list[np.ndarray]
    pose: Pose

    @staticmethod
    def of(view: View) -> StandsIn:
        return StandsIn(np.zeros(view.depth.shape, bool), [], [], view.pose)

    def takes(self, view: View, new: View, camera: Camera) -> np.ndarray | None:
        """Where (H, W) bool an older view shows what stood in the new one's place, None for nowhere."""
        assert view.fresh is not None and new.fresh is not None, "dreams know what they showed first"
        taken, way = np.zeros(view.fresh.shape, bool), _way(view.pose, new.pose, camera)
        if not _take(taken, view.fresh, view.depth, way, new.depth, new.fresh, self.where):
            return None
        some = taken[::SOME, ::SOME]
        here = (camera.rays[::SOME, ::SOME] * view.depth[::SOME, ::SOME, None])[some]
        self.points.append(here @ view.pose.rotation.T + np.asarray(view.pose.position))
        self.distances.append(np.linalg.norm(here, axis=-1))
        return taken

    @cached_property
    def near(self) -> tuple[np.ndarray, float, float]:
        """Those points (n, 3), the mean log of their distances, and by how much nearer one has to be for this dream."""
        points, logs = np.concatenate(self.points), np.log(np.maximum(np.concatenate(self.distances), NEAR))
        mean = float(logs.mean()) if len(logs) else 0.0
        return points, mean, min(mean - _mean_log(points, np.asarray(self.pose.position)), ENOUGH) - HARDLY

    def is_near(self, position: np.ndarray) -> bool:
        """Whether a position (3,) is about as near to what this stands in for as it was dreamt from."""
        if not self.points:
            return True
        points, mean, least = self.near
        return not len(points) or mean - _mean_log(points, position) >= least


def _mean_log(points: np.ndarray, position: np.ndarray) -> float:
    """The mean log of the distances from points (n, 3) to a position (3,)."""
    return float(np.log(np.maximum(np.linalg.norm(points - position, axis=-1), NEAR)).mean()) if len(points) else 0.0


def not_through(view: View, new: View, camera: Camera) -> np.ndarray | None:
    """What (H, W) bool stays fresh of an older dream: not the sky and far ground before which a new dream has put
    something. None if all of it stays."""
    assert view.fresh is not None and new.fresh is not None, "dreams know what they showed first"
    if new.pose.distance_to(view.pose) < ASIDE_M or not (view.fresh & (view.depth > GROUND_M)).any():
        return None  # from the same place, what is behind is hidden already
    fresh, way = view.fresh.copy(), _way(new.pose, view.pose, camera)
    return fresh if _see_through(fresh, view.depth, way, new.depth, new.fresh) else None


class _Way(NamedTuple):
    """From one view to another: turn (3, 3) and shift (3,) metres lead from its axes to the other's; focal in pixels,
    of both."""

    turn: np.ndarray
    shift: np.ndarray
    focal: float


def _way(start: Pose, end: Pose, camera: Camera) -> _Way:
    shift = end.rotation.T @ (np.asarray(start.position) - np.asarray(end.position))
    return _Way(end.rotation.T @ start.rotation, shift, camera.focal)


@njit(cache=True, nogil=True, inline="always")
def _seen_at(u, v, depth, way, other):
    """How far ahead of another view the point that a view of depth (H, W) shows in column u of row v is, and its column
    and row there, both OUTSIDE if it is not before it. other (h, w): an image of the other view."""
    (turn, shift, focal), (H, W), (h, w) = way, depth.shape, other.shape
    z = depth[v, u]
    x, y = ray_at(u, focal, W) * z, ray_at(v, focal, H) * z
    ahead = along(turn, shift, 2, x, y, z, 1.0)
    if ahead < NEAR:
        return ahead, OUTSIDE, OUTSIDE
    right, down = along(turn, shift, 0, x, y, z, 1.0), along(turn, shift, 1, x, y, z, 1.0)
    return ahead, int(np.floor(on_screen(right, ahead, focal, w))), int(np.floor(on_screen(down, ahead, focal, h)))


@njit(cache=True, nogil=True)
def _take(taken, fresh, depth, way, new_depth, new_fresh, instead):
    """Set taken (H, W) bool where a view's points, fresh (H, W) bool and of depth (H, W), fall into new_fresh (h, w)
    bool of another view and are not behind what that shows, new_depth (h, w); and instead (h, w) bool there and around;
    way: to that view. Returns whether any do."""
    H, W = depth.shape
    h, w = new_depth.shape
    is_any = False
    for v in range(H):
        for u in range(W):
            if not fresh[v, u] or depth[v, u] > SKY_M:
                continue
            ahead, i, j = _seen_at(u, v, depth, way, new_depth)
            if 0 <= i < w and 0 <= j < h and new_fresh[j, i] and ahead < BEHIND * new_depth[j, i]:
                taken[v, u], is_any = True, True
                instead[max(j - AROUND, 0) : j + AROUND + 1, max(i - AROUND, 0) : i + AROUND + 1] = True
    return is_any


@njit(cache=True, nogil=True)
def _see_through(fresh, depth, way, new_depth, new_fresh):
    """Clear fresh (H, W) bool of a view of depth (H, W) where the sky and far ground are behind what a newer one shows,
    new_depth (h, w) where new_fresh (h, w) bool: the older view would otherwise see through it. way: from the newer
    view to the older one. Returns whether any are."""
    H, W = depth.shape
    h, w = new_depth.shape
    is_any = False
    for j in range(h):
        for i in range(w):
            if not new_fresh[j, i] or new_depth[j, i] > SKY_M:
                continue
            ahead, u, v = _seen_at(i, j, new_depth, way, depth)
            for b in range(max(v - 1, 0), min(v + 2, H)):
                for a in range(max(u - 1, 0), min(u + 2, W)):
                    if fresh[b, a] and depth[b, a] > max(BEHIND * ahead, GROUND_M):
                        fresh[b, a], is_any = False, True
    return is_any
