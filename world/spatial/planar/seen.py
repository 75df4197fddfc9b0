"""The depth of a true picture, put in order as far as its surfaces are known to be even.

A network that estimates depth leaves rims between what is near and what is far, which hang in the air as shreds when
one walks past, and waves in walls, which bend. So a rim is as far as one of the two surfaces beside it, and in a room
what is about as far as its floor, its ceiling or a wall is as far as that plane. Pixels stay as they are. Sides of
houses are left: to fit planes to them as to dreamt ones (facades.py) made their depth worse where trees stand before
them, and no better elsewhere.
"""

from __future__ import annotations

import numpy as np

from ...pose import Camera, Pose
from ..smoothing import parted
from .planes import Layout, find_layout, off, rays_from
from .room import assigned

RISES = 0.3  # log depth before the ground, from which on what is seen below the horizon stands there


def settled(pose: Pose, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """depth (H, W) float32 metres of a true picture, pixels (H, W, 3) uint8, seen from a pose: the same, in order."""
    rays, seen = rays_from(pose, Camera(depth.shape[1], depth.shape[0])), np.ones(depth.shape, bool)
    layout = find_layout(rays, depth, seen)
    depth = parted(depth, pixels, _stands(layout, rays, depth))
    if layout.ceiling is None:
        return depth
    depths = np.stack([plane.depth(rays) for plane in layout.planes])
    which = assigned(layout, depths, rays, depth, seen, pose)[0]
    there = np.take_along_axis(depths, np.maximum(which, 0)[None], 0)[0]
    return np.where(which >= 0, there, depth).astype(np.float32)


def _stands(layout: Layout, rays: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Where (H, W) bool something other than the floor is seen, which goes off to the horizon without being two."""
    if layout.floor is None:
        return np.ones(depth.shape, bool)
    floor = layout.planes[layout.floor].depth(rays)
    return ~np.isfinite(floor) | ((depth < floor) & (off(depth, floor) > RISES))
