"""Corrects the depth of a true picture where its surfaces are known to be even.

A network that estimates depth leaves rims between near and far surfaces, which hang in the air as shreds when one walks
past, and waves in walls. So a rim gets the depth of one of the two surfaces beside it, and in a room, points near the
floor, the ceiling or a wall get the depth of that plane. Pixels stay as they are. Sides of houses are left: fitting
planes to them as to dreamt ones (facades.py) made their depth worse where trees stand before them, and no better
elsewhere.
"""

from __future__ import annotations

import numpy as np

from ...pose import Camera, Pose
from ..smoothing import parted
from .planes import Layout, find_layout, off, rays_from
from .room import assigned

RISES = 0.3  # log depth; what is seen below the horizon by more than this before the ground stands upright


def settled(pose: Pose, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The corrected depth (H, W) float32 metres of a true picture, pixels (H, W, 3) uint8, seen from a pose."""
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
    """Where (H, W) bool something other than the floor is seen. The floor is one surface although its depth rises
    steeply towards the horizon, so it is not separated into two."""
    if layout.floor is None:
        return np.ones(depth.shape, bool)
    floor = layout.planes[layout.floor].depth(rays)
    return ~np.isfinite(floor) | ((depth < floor) & (off(depth, floor) > RISES))
