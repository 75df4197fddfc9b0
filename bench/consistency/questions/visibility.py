"""Which surfaces two views share, and how one view's pixels lie in another. True depth in, masks and maps out."""

from __future__ import annotations

import numpy as np

from ....world.axes import along, on_screen, ray_at
from ....world.compiled import njit
from ....world.pose import Camera, Pose

NEAR = 0.05  # metres; nothing nearer than this is seen
TOLERANCE = 0.04  # of the depth, and metres: two depths this close are the same surface


def reveal(depth, pose: Pose, depths, rotations, positions, camera: Camera) -> np.ndarray:
    """(H, W) bool: which pixels of a view with that depth show a surface that one of n other views shows as well.

    depth (H, W) and depths (n, H, W) metres along the forward axis; rotations (n, 3, 3); positions (n, 3).
    """
    seen = np.zeros(depth.shape, np.bool_)
    for other, rotation, position in zip(depths, rotations, positions, strict=True):
        turn = rotation.T @ pose.rotation
        shift = rotation.T @ (np.asarray(pose.position) - position)
        _reveal(depth, turn, shift, camera.focal, other, seen)
        if seen.all():
            break
    return seen


def backward(pixels, depth_from, pose_from: Pose, depth_to, pose_to: Pose, camera: Camera):
    """A view fetched into another's place: (H, W, 3) float64 and the (H, W) mask where both show the same surface.

    pixels (H, W, 3) of the view at pose_from; both depths are the truth's. Bilinear lookup; no splatting, no filling.
    """
    turn = pose_from.rotation.T @ pose_to.rotation
    shift = pose_from.rotation.T @ (np.asarray(pose_to.position) - np.asarray(pose_from.position))
    out, mask = np.zeros(pixels.shape, np.float64), np.zeros(depth_to.shape, np.bool_)
    _fetch(np.ascontiguousarray(pixels, np.float64), depth_from, depth_to, turn, shift, camera.focal, out, mask)
    return out, mask


@njit(cache=True, nogil=True)
def _project(turn, shift, focal, u, v, d, width, height):
    """Where pixel (u, v) at depth d lands in the other view, in pixel indices, and its depth there."""
    x, y = ray_at(u, focal, width) * d, ray_at(v, focal, height) * d
    px, py = along(turn, shift, 0, x, y, d, 1.0), along(turn, shift, 1, x, y, d, 1.0)
    pz = along(turn, shift, 2, x, y, d, 1.0)
    if pz < NEAR:
        return -1.0, -1.0, -1.0
    return on_screen(px, pz, focal, width) - 0.5, on_screen(py, pz, focal, height) - 0.5, pz


@njit(cache=True, nogil=True)
def _reveal(depth, turn, shift, focal, other, seen):
    height, width = depth.shape
    for v in range(height):
        for u in range(width):
            if seen[v, u]:
                continue
            a, b, d = _project(turn, shift, focal, u, v, depth[v, u], width, height)
            c, r = int(np.floor(a + 0.5)), int(np.floor(b + 0.5))
            if d > 0 and 0 <= c < width and 0 <= r < height:
                seen[v, u] = abs(other[r, c] - d) <= TOLERANCE * (d + 1.0)


@njit(cache=True, nogil=True)
def _fetch(pixels, depth_from, depth_to, turn, shift, focal, out, mask):
    height, width = depth_to.shape
    for v in range(height):
        for u in range(width):
            a, b, d = _project(turn, shift, focal, u, v, depth_to[v, u], width, height)
            if d < 0 or a < 0 or b < 0 or a > width - 1 or b > height - 1:
                continue
            c, r = min(int(a), width - 2), min(int(b), height - 2)
            fits = True
            for j in range(2):  # all four corners must be this surface, or an edge would bleed in
                for i in range(2):
                    fits &= abs(depth_from[r + j, c + i] - d) <= TOLERANCE * (d + 1.0)
            if not fits:
                continue
            fu, fv = a - c, b - r
            mask[v, u] = True
            for k in range(3):
                top = pixels[r, c, k] * (1 - fu) + pixels[r, c + 1, k] * fu
                low = pixels[r + 1, c, k] * (1 - fu) + pixels[r + 1, c + 1, k] * fu
                out[v, u, k] = top * (1 - fv) + low * fv
