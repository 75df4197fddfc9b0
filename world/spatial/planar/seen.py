"""Corrects the depth of a true picture where its surfaces are known to be even.

A network that estimates depth leaves rims between near and far surfaces, which hang in the air as shreds when one walks
past, and waves in walls. So posts, lamps and signs are put where they stand (posts.py), a rim gets the depth of one of
the two surfaces beside it, and in a room, points near the floor, the ceiling or a wall get the depth of that plane, and
so do points beside them that are a little farther from the wall and look like it. A view of walls alone, from close by,
is put on flat walls as a whole. Pixels stay as they are. Sides of houses are left: fitting planes to them as to dreamt
ones (houses.py) made their depth worse where trees stand before them, and no better elsewhere.
"""

from __future__ import annotations

import numpy as np

from ...compiled import njit
from ...pose import Camera, Pose
from ..smoothing import parted
from .missing import walls_alone
from .planes import Layout, chosen, find_layout, normals_of, off, rays_from
from .posts import stand_up
from .room import assigned

WAVY = 0.2  # log depth; a point that looks like the wall beside it is part of it if it is no farther off
ACROSS = 0.3  # least cosine between its normal and the wall's, so that it is no wall at right angles to that
STEP = 24  # of 255; neighbours on a wall differ by less
RISES = 0.3  # log depth; what is seen below the horizon by more than this before the ground stands upright


def settled(pose: Pose, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The corrected depth (H, W) float32 metres of a true picture, pixels (H, W, 3) uint8, seen from a pose."""
    rays, seen = rays_from(pose, Camera(depth.shape[1], depth.shape[0])), np.ones(depth.shape, bool)
    layout = find_layout(rays, depth, seen, is_inside=True)
    if layout.floor is not None:
        floor = layout.planes[layout.floor].depth(rays)
        depth = stand_up(floor, pixels, depth, is_room=layout.ceiling is not None)
    depth = parted(depth, pixels, _stands(layout, rays, depth))
    if layout.planes and layout.is_wall.all():
        return walls_alone(rays, depth, pose)
    if layout.ceiling is None:
        return depth
    depths = np.stack([plane.depth(rays) for plane in layout.planes])
    which = assigned(layout, depths, rays, depth, seen, pose)[0]
    apart = off(depth, depths)
    nearest = apart.argmin(0)
    across = (
        normals_of(rays * depth[..., None], 4) * np.stack([plane.normal for plane in layout.planes])[nearest]
    ).sum(-1)
    is_it = (apart.min(0) < WAVY) & layout.is_wall[nearest] & (across > ACROSS)
    _grow(which, nearest, is_it, pixels)
    there = chosen(depths, which)
    return np.where(which >= 0, there, depth).astype(np.float32)


def _stands(layout: Layout, rays: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Where (H, W) bool something other than the floor is seen. The floor is one surface although its depth rises
    steeply towards the horizon, so it is not separated into two."""
    if layout.floor is None:
        return np.ones(depth.shape, bool)
    floor = layout.planes[layout.floor].depth(rays)
    return ~np.isfinite(floor) | ((depth < floor) & (off(depth, floor) > RISES))


@njit(cache=True, nogil=True)
def _grow(which, nearest, is_near, pixels):
    """Give pixels of no plane, -1 in which (H, W), that of one beside them, if it is the nearest (H, W), is_near (H, W)
    enough, and their colours (H, W, 3) are about the same."""
    H, W = which.shape
    stack = [(v, u) for v in range(H) for u in range(W) if which[v, u] >= 0]
    while len(stack):
        v, u = stack.pop()
        for y, x in ((v + 1, u), (v - 1, u), (v, u + 1), (v, u - 1)):
            if not (0 <= y < H and 0 <= x < W) or which[y, x] >= 0 or not is_near[y, x]:
                continue
            if nearest[y, x] != which[v, u]:
                continue
            step = 0
            for k in range(3):
                step = max(step, abs(int(pixels[y, x, k]) - int(pixels[v, u, k])))
            if step < STEP:
                which[y, x] = which[v, u]
                stack.append((y, x))
