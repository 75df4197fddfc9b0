"""Crumbs before the sky: bits of the rims of dreamt things, left where a thing was dreamt anew or is seen from another
side. They would hang in the air for ever, so they are left out of views.

Knows nothing of tokens or models.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..pose import Camera, Pose
from .horizon import SKY_M
from .warp import Warp, with_holes

MOST = 96  # pixels of a crumb
STANDS = 0.03  # a thing that reaches down to this tangent of the angle above the horizon stands on the ground


def crumbs(depth: np.ndarray, pose: Pose) -> np.ndarray:
    """Where (H, W) bool a view of depth (H, W) metres shows crumbs: at most MOST pixels with sky all around, reaching
    neither the horizon nor the border of the view."""
    H, W = depth.shape
    up = (Camera(W, H).rays @ pose.rotation.T.astype(np.float32))[..., 2]
    is_before = (up > 0) & (depth < SKY_M)
    _, names, figures, _ = cv2.connectedComponentsWithStats(is_before.astype(np.uint8), connectivity=8)
    is_crumb = figures[:, cv2.CC_STAT_AREA] <= MOST
    for edge in (names[0], names[-1], names[:, 0], names[:, -1], names[is_before & (up < STANDS)], 0):
        is_crumb[edge] = False
    return is_crumb[names]


def without_crumbs(carried: Warp, pose: Pose) -> Warp:
    """The known view from a pose, with sky in place of crumbs that were dreamt."""
    if carried.scale is None or not (carried.depth > SKY_M).any():
        return carried
    left_out = crumbs(carried.depth, pose) & (carried.scale > 0)
    return with_holes(carried, carried.covered & ~left_out) if left_out.any() else carried
