"""Carries remembered views into a new one: what has been seen, as it would look from where the camera goes next.

Depth is splatted forward with a z-buffer and colour is fetched backward, bilinearly, so that a view can be carried many
times without falling apart. What no remembered view covers stays a hole. Knows nothing of tokens or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from .pose import Camera, Pose

NEAR = 0.05
SUPPORT = 7  # neighbours of eight without which a splatted point is spray from a blurred edge


@dataclass(frozen=True)
class View:
    """A remembered view: pixels (H, W, 3) uint8, depth (H, W) float32 metres along the forward axis, and its pose;
    tokens (h, w) int32 where the view was decoded from them."""

    pixels: np.ndarray
    depth: np.ndarray
    pose: Pose
    tokens: np.ndarray | None = None


@dataclass(frozen=True)
class Warp:
    """A view made of others: pixels (H, W, 3) uint8, holes filled from their surroundings; covered (H, W) bool."""

    pixels: np.ndarray
    covered: np.ndarray

    def coverage(self, grid: tuple[int, int]) -> np.ndarray:
        """The share of covered pixels in each cell of a token grid, (h, w) float32."""
        h, w = grid
        H, W = self.covered.shape
        return self.covered.reshape(h, H // h, w, W // w).mean((1, 3), dtype=np.float32)


def warp(views: Sequence[View], pose: Pose, camera: Camera) -> Warp:
    """What the views show from `pose`; an earlier view in the list wins, a later one only fills its holes.

    Depth-image-based rendering as in Fehn 2004, with backward colour lookup. No views: nothing is covered.
    """
    H, W = camera.height, camera.width
    pixels = np.full((H, W, 3), 128, np.float32)
    depth = np.full((H, W), np.inf, np.float32)
    solid = np.empty_like(depth)
    covered = np.zeros((H, W), np.bool_)
    rotation, position = pose.rotation, np.asarray(pose.position)
    for view in views:
        turn = rotation.T @ view.pose.rotation
        shift = rotation.T @ (np.asarray(view.pose.position) - position)
        depth.fill(np.inf)
        _splat(np.ascontiguousarray(view.depth, np.float32), turn, shift, camera.focal, depth)
        _despeckle(depth, SUPPORT, solid)
        _fetch(view.pixels, turn, shift, camera.focal, solid, covered, pixels)
    if not covered.all():
        _fill(pixels, covered)
    return Warp(np.clip(pixels + 0.5, 0, 255).astype(np.uint8), covered)


@njit(cache=True, nogil=True, fastmath=True)
def _splat(source, turn, shift, focal, out):
    """Nearest depth of the source's points in the target; each point covers the square its pixel grows to."""
    H, W = source.shape
    h, w = out.shape
    for v in range(H):
        y = (v + 0.5 - H / 2) / focal
        for u in range(W):
            d = source[v, u]
            x = (u + 0.5 - W / 2) / focal
            pz = (turn[2, 0] * x + turn[2, 1] * y + turn[2, 2]) * d + shift[2]
            if pz < NEAR:
                continue
            px = (turn[0, 0] * x + turn[0, 1] * y + turn[0, 2]) * d + shift[0]
            py = (turn[1, 0] * x + turn[1, 1] * y + turn[1, 2]) * d + shift[1]
            cu, cv = px / pz * focal + w / 2, py / pz * focal + h / 2
            reach = min(max(0.75, 0.6 * d / pz), 3.0)
            u0, u1 = max(int(np.ceil(cu - reach - 0.5)), 0), min(int(np.floor(cu + reach - 0.5)), w - 1)
            v0, v1 = max(int(np.ceil(cv - reach - 0.5)), 0), min(int(np.floor(cv + reach - 0.5)), h - 1)
            for a in range(v0, v1 + 1):
                for b in range(u0, u1 + 1):
                    if pz < out[a, b]:
                        out[a, b] = pz


@njit(cache=True, nogil=True)
def _despeckle(depth, support, out):
    """Depth where a point stands among others, infinity where it stands alone."""
    h, w = depth.shape
    for v in range(h):
        for u in range(w):
            d, count, inside = depth[v, u], 0, 0
            out[v, u] = np.inf
            if not d < 1e30:
                continue
            for y in range(max(v - 1, 0), min(v + 2, h)):
                for x in range(max(u - 1, 0), min(u + 2, w)):
                    inside += 1
                    count += depth[y, x] < 1e30
            if (count - 1) * 8 >= support * (inside - 1):
                out[v, u] = d


@njit(cache=True, nogil=True, fastmath=True)
def _fetch(source, turn, shift, focal, depth, covered, out):
    """Colour for every target pixel that has a depth and no colour yet, looked up in the source bilinearly."""
    H, W = source.shape[:2]
    h, w = depth.shape
    for v in range(h):
        y = (v + 0.5 - h / 2) / focal
        for u in range(w):
            d = depth[v, u]
            if covered[v, u] or not d < 1e30:
                continue
            x = (u + 0.5 - w / 2) / focal
            qx, qy, qz = x * d - shift[0], y * d - shift[1], d - shift[2]
            sz = turn[0, 2] * qx + turn[1, 2] * qy + turn[2, 2] * qz
            if sz < NEAR:
                continue
            sx = turn[0, 0] * qx + turn[1, 0] * qy + turn[2, 0] * qz
            sy = turn[0, 1] * qx + turn[1, 1] * qy + turn[2, 1] * qz
            su, sv = sx / sz * focal + W / 2 - 0.5, sy / sz * focal + H / 2 - 0.5
            if su < -0.5 or sv < -0.5 or su > W - 0.5 or sv > H - 0.5:
                continue
            su, sv = min(max(su, 0.0), W - 1.0), min(max(sv, 0.0), H - 1.0)
            u0, v0 = min(int(su), W - 2), min(int(sv), H - 2)
            fu, fv = su - u0, sv - v0
            covered[v, u] = True
            for k in range(3):
                top = source[v0, u0, k] * (1 - fu) + source[v0, u0 + 1, k] * fu
                low = source[v0 + 1, u0, k] * (1 - fu) + source[v0 + 1, u0 + 1, k] * fu
                out[v, u, k] = top * (1 - fv) + low * fv


@njit(cache=True, nogil=True)
def _fill(pixels, covered):
    """Fill holes with the colour of the nearest covered pixel, by two sweeps of a distance transform, then soften."""
    h, w = covered.shape
    distance = np.full((h, w), 1e9)
    for v in range(h):
        for u in range(w):
            if covered[v, u]:
                distance[v, u] = 0.0
    for sweep in range(2):
        step = 1 if sweep == 0 else -1
        for a in range(h):
            v = a if sweep == 0 else h - 1 - a
            for b in range(w):
                u = b if sweep == 0 else w - 1 - b
                for dv, du, cost in ((-step, 0, 1.0), (0, -step, 1.0), (-step, -step, 1.414), (-step, step, 1.414)):
                    y, x = v + dv, u + du
                    if 0 <= y < h and 0 <= x < w and distance[y, x] + cost < distance[v, u]:
                        distance[v, u] = distance[y, x] + cost
                        for k in range(3):
                            pixels[v, u, k] = pixels[y, x, k]
