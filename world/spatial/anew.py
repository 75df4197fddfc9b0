"""Dreams that are dreamt anew: what was dreamt from far off would be a magnified smear from near by, so it is left out
of the view and dreamt again from where one stands, at the same place. From there on it stands in for the older dream;
from farther off, where that is not too coarse, that is still what there is (view_memory.py).

What was truly seen is never left out. Knows nothing of tokens or models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from ..axes import along, on_screen, ray_at
from ..compiled import njit
from ..pose import Camera, Pose
from .horizon import GROUND_M, SKY_M
from .surfaces import NEAR
from .warp import View, Warp, joined, with_holes

COARSE, MOST = 2.0, 0.1  # times that dreams may be magnified, but in at most this share of a view
FINE = 1.25  # times up to which dreams beside those are kept
CRUMB = 5  # pixels a side of what is too small to be left out by itself
ISLAND = 11  # pixels a side of what is too small to be kept of them in a room
SAME_PLACE = 0.7  # log depth between an older dream and the new one, up to which it may be the same thing
NOBODY = -1  # no view's number
OUTSIDE = -9  # a column or row of no view, nor next to one
SOME = 4  # pixels between the points by which a dream tells what it stands in for
AROUND = 2  # pixels around such a point that stand in for it too
ENOUGH, HARDLY = 0.47, 0.01  # logs of times nearer: from which on a dream counts in any case; what is about the same
ASIDE_M = 1.0  # metres between two views, from which on they show what is behind a thing differently
BEHIND = 1.3  # times the depth of the new dream, from which on an older one is behind it, and stays


def without_coarse(carried: Warp) -> Warp:
    """The view as it is known, without dreams that are too coarse in it, if these are more than a few: those magnified
    more than FINE times are holes then, to be dreamt anew, and `before` is the view with them."""
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
    """Where (H, W) bool a view that is dreamt anew shows nothing of the older dream any more."""
    if carried.before is None:
        return np.zeros(carried.covered.shape, bool)
    return carried.before.covered & ~carried.covered


def in_its_place(depth: np.ndarray, carried: Warp) -> np.ndarray:
    """depth (H, W) of a view as painted, moved to where the older dream of it was: what is dreamt anew looks as if it
    stood at a usual distance, and walkers would never get to it."""
    if carried.before is None:
        return depth
    was = carried.before.depth
    is_same = left_out(carried) & (np.abs(np.log(np.maximum(was, NEAR) / np.maximum(depth, NEAR))) < SAME_PLACE)
    return np.where(carried.covered, depth, joined(depth, was, is_same | carried.covered))


@dataclass
class StandsIn:
    """For which older dreams a newer one stands in: where (H, W) bool in its view; from (n, 3) and farther (n,), world
    points of theirs, in metres, and how far from those they had been dreamt. Asked once all are taken."""

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
        turn = new.pose.rotation.T @ view.pose.rotation
        shift = new.pose.rotation.T @ (np.asarray(view.pose.position) - np.asarray(new.pose.position))
        taken = np.zeros(view.fresh.shape, bool)
        if not _take(taken, view.fresh, view.depth, turn, shift, camera.focal, new.depth, new.fresh, self.where):
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
    """What (H, W) bool stays fresh of an older dream that saw the sky and far ground where a new one has put something
    before them; None where all of it stays."""
    assert view.fresh is not None and new.fresh is not None, "dreams know what they showed first"
    if new.pose.distance_to(view.pose) < ASIDE_M or not (view.fresh & (view.depth > GROUND_M)).any():
        return None  # from the same place, what is behind is hidden already
    turn = view.pose.rotation.T @ new.pose.rotation
    shift = view.pose.rotation.T @ (np.asarray(new.pose.position) - np.asarray(view.pose.position))
    fresh = view.fresh.copy()
    return fresh if _see_through(fresh, view.depth, turn, shift, camera.focal, new.depth, new.fresh) else None


@njit(cache=True, nogil=True, inline="always")
def _seen_at(u, v, z, W, H, turn, shift, focal, w, h):
    """How far ahead of another view a pixel's point at depth z is, and its column and row there, both OUTSIDE if it is
    not before it. u, v: the pixel's column and row of W and H; w, h: the other view's size."""
    x, y = ray_at(u, focal, W) * z, ray_at(v, focal, H) * z
    ahead = along(turn, shift, 2, x, y, z, 1.0)
    if ahead < NEAR:
        return ahead, OUTSIDE, OUTSIDE
    right, down = along(turn, shift, 0, x, y, z, 1.0), along(turn, shift, 1, x, y, z, 1.0)
    return ahead, int(np.floor(on_screen(right, ahead, focal, w))), int(np.floor(on_screen(down, ahead, focal, h)))


@njit(cache=True, nogil=True)
def _take(taken, fresh, depth, turn, shift, focal, new_depth, new_fresh, instead):
    """Set taken (H, W) bool where a view's points, fresh (H, W) bool and of depth (H, W), fall into new_fresh (h, w)
    bool of another view and are not behind what that shows, new_depth (h, w); and instead (h, w) bool there and around;
    turn (3, 3) and shift (3,) lead to its axes. Returns whether any do."""
    H, W = depth.shape
    h, w = new_depth.shape
    is_any = False
    for v in range(H):
        for u in range(W):
            z = depth[v, u]
            if not fresh[v, u] or z > SKY_M:
                continue
            ahead, i, j = _seen_at(u, v, z, W, H, turn, shift, focal, w, h)
            if 0 <= i < w and 0 <= j < h and new_fresh[j, i] and ahead < BEHIND * new_depth[j, i]:
                taken[v, u], is_any = True, True
                instead[max(j - AROUND, 0) : j + AROUND + 1, max(i - AROUND, 0) : i + AROUND + 1] = True
    return is_any


@njit(cache=True, nogil=True)
def _see_through(fresh, depth, turn, shift, focal, new_depth, new_fresh):
    """Clear fresh (H, W) bool of a view of depth (H, W) where the sky and far ground are behind what a newer one shows,
    new_depth (h, w) where new_fresh (h, w) bool: the older view would otherwise see through it. turn (3, 3) and shift
    (3,) lead to the older one's axes. Returns whether any are."""
    H, W = depth.shape
    h, w = new_depth.shape
    is_any = False
    for j in range(h):
        for i in range(w):
            z = new_depth[j, i]
            if not new_fresh[j, i] or z > SKY_M:
                continue
            ahead, u, v = _seen_at(i, j, z, w, h, turn, shift, focal, W, H)
            for b in range(max(v - 1, 0), min(v + 2, H)):
                for a in range(max(u - 1, 0), min(u + 2, W)):
                    if fresh[b, a] and depth[b, a] > max(BEHIND * ahead, GROUND_M):
                        fresh[b, a], is_any = False, True
    return is_any
