"""New things on the horizon. A sky that was dreamt down to the ground means only that nothing was near enough to be
seen from where it was dreamt. After the walker has gone on some metres, the horizon is dreamt anew: a village goes on.

A sky that was truly seen, and things that stand before the sky, stay. Knows nothing of tokens or models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from ..pose import Camera, Pose
from .warp import Warp, with_holes

SKY_M = 35.0  # metres; anything farther above the horizon is sky
STALE_M = 3.5  # metres walked away from where a sky was dreamt that make it stale
FRESH_M = 1.0  # sky that was dreamt within this distance stays beside stale sky
FEWEST = 0.6  # the horizon is dreamt anew if at least this share of a view's width shows stale sky
NARROW = 0.28  # share of a view's width; fresh sky narrower than this amid stale sky counts as stale
HIGH, LOW = 0.45, 0.16  # tangents of the angles above and below the horizon between which new things may stand
GROUND_M = 9.0  # metres; ground at least this far off may be dreamt anew with them


def without_horizon(carried: Warp, pose: Pose, walked_since: Callable[[Pose], np.ndarray]) -> Warp:
    """The known view from a pose. Where the sky just above the horizon and the ground just below it were dreamt, and
    the walker has come far since, these become holes. walked_since: metres to the nearest place from where the sky was
    seen or dreamt, (n,) for n columns of the view from a pose, 0 where none is remembered."""
    if carried.scale is None or not ((carried.scale > 0) & (carried.depth > SKY_M)).any():
        return carried
    walked = walked_since(pose)
    sides = np.ones((1, round(NARROW * len(walked))), np.uint8)
    walked = cv2.morphologyEx(walked[None].astype(np.float32), cv2.MORPH_CLOSE, sides)[0]
    H, W = carried.covered.shape
    rays = Camera(W, H).rays @ pose.rotation.T
    up = rays[..., 2] / np.maximum(np.hypot(rays[..., 0], rays[..., 1]), 1e-6)
    far = np.repeat(walked, W // len(walked))[None]
    is_sky = (carried.scale > 0) & (carried.depth > SKY_M) & (up >= 0) & (up < HIGH)
    is_open = (is_sky & (up < HIGH / 4)).any(0)[None]
    if (is_open & (far > STALE_M)).mean() < FEWEST:
        return carried
    is_ground = (carried.scale > 0) & (carried.depth > GROUND_M) & (up < 0) & (up > -LOW) & is_open
    covered = carried.covered & ~((is_sky | is_ground) & (far > FRESH_M))
    return replace(with_holes(carried, covered), has_new_horizon=True)
