"""Dreams that are dreamt anew: what was dreamt from far off would be a magnified smear from near by, so it is left out
of the view, dreamt again from where one stands, at the same place, and the older dream of it is forgotten.

What was truly seen is never left out. Knows nothing of tokens or models.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..axes import along, on_screen
from ..compiled import njit
from ..pose import Camera
from .surfaces import NEAR
from .warp import SEEN, View, Warp, fill, joined

COARSE, MOST = 2.0, 0.1  # times that dreams may be magnified, but in at most this share of a view
FINE = 1.25  # times up to which dreams beside those are kept
CRUMB = 5  # pixels a side of what is too small to be kept of them
SAME_PLACE = 0.7  # log depth between an older dream and the new one, up to which it may be the same thing
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
    is_whole = cv2.morphologyEx(rest.astype(np.uint8), cv2.MORPH_OPEN, around) > 0
    covered = rest & (is_whole | (scale == 0))
    pixels, depth = carried.pixels.astype(np.float32), np.where(covered, carried.depth, np.float32(0))
    fill(pixels, covered, depth)
    return Warp(np.clip(pixels + 0.5, 0, 255).astype(np.uint8), covered, depth, before=carried)


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


def left_of(view: View, new: View, camera: Camera) -> np.ndarray | None:
    """What (H, W) bool stays fresh of an older dream beside a new one, which shows something else in its place; None
    where nothing changes: all of it stays, or it was truly seen."""
    if view.origin == SEEN or view.fresh is None or new.fresh is None:
        return None
    turn = new.pose.rotation.T @ view.pose.rotation
    shift = new.pose.rotation.T @ (np.asarray(view.pose.position) - np.asarray(new.pose.position))
    fresh = view.fresh.copy()
    return fresh if _forget(fresh, view.depth, turn, shift, camera.focal, new.depth, new.fresh) else None


@njit(cache=True, nogil=True)
def _forget(fresh, depth, turn, shift, focal, new_depth, new_fresh):
    """Clear fresh (H, W) bool where a view's points, of depth (H, W), fall into new_fresh (h, w) bool of another view
    and are not behind what that shows, new_depth (h, w); turn (3, 3) and shift (3,) lead to its axes. Returns whether
    any does."""
    H, W = depth.shape
    h, w = new_depth.shape
    is_any = False
    for v in range(H):
        for u in range(W):
            if not fresh[v, u]:
                continue
            z = depth[v, u]
            x, y = (u + 0.5 - W / 2) / focal * z, (v + 0.5 - H / 2) / focal * z
            ahead = along(turn, shift, 2, x, y, z, 1.0)
            if ahead < NEAR:
                continue
            right, down = along(turn, shift, 0, x, y, z, 1.0), along(turn, shift, 1, x, y, z, 1.0)
            i, j = int(np.floor(on_screen(right, ahead, focal, w))), int(np.floor(on_screen(down, ahead, focal, h)))
            if 0 <= i < w and 0 <= j < h and new_fresh[j, i] and ahead < BEHIND * new_depth[j, i]:
                fresh[v, u], is_any = False, True
    return is_any
