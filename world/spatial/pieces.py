"""Remembered surfaces as geometry in the world: one piece per remembered view, of what that view showed first.

A piece's vertices are its view's pixels at their depth; its triangles join neighbours on one surface. It never changes,
so a client can keep it by its number for as long as the memory does. Knows no files and no messages.
"""

from __future__ import annotations

import hashlib

import numpy as np

from ..pose import Camera, Pose
from ..sight import Piece

FAR_M = 60.0  # metres; depth beyond this belongs to the sky or is a guess: not part of any surface
APART = 0.8  # two neighbours with depths of this ratio or more are on two surfaces
LEVEL = 0.012  # per metre: step of inverse depth from one row to the next that is still the same, level ground


def number_of(pixels: np.ndarray, depth: np.ndarray, pose: Pose, fresh: np.ndarray | None = None) -> int:
    """A view's number: of 63 bits, the same for the same view everywhere, and different for every other."""
    hasher = hashlib.blake2b(digest_size=8)
    for array in (pixels, depth, fresh):
        hasher.update(b"" if array is None else np.ascontiguousarray(array).data)
    hasher.update(repr((pose.position, pose.wxyz)).encode())
    return int.from_bytes(hasher.digest(), "little") >> 1


def piece_of(
    pixels: np.ndarray,
    depth: np.ndarray,
    pose: Pose,
    camera: Camera,
    fresh: np.ndarray | None = None,
    *,
    number: int,
    stride: int = 1,
    far_m: float = FAR_M,
) -> Piece:
    """The surfaces of a view with pixels (H, W, 3) uint8 and depth (H, W) float32, where it showed them first: fresh
    (H, W) bool, None for everywhere. Of every `stride`th pixel across and down, up to `far_m` away."""
    depth = depth[::stride, ::stride]
    is_here = np.isfinite(depth) & (depth > 0) & (depth < far_m)
    if fresh is not None:
        is_here &= fresh[::stride, ::stride]
    places = camera.rays[::stride, ::stride] * depth[..., None]
    world = places[is_here] @ pose.rotation.T.astype(np.float32) + np.asarray(pose.position, np.float32)
    colours = np.ascontiguousarray(pixels[::stride, ::stride][is_here])
    return Piece(number, world.astype(np.float32), colours, _triangles(depth, is_here))


def _triangles(depth: np.ndarray, is_here: np.ndarray) -> np.ndarray:
    """(T, 3) uint32: two triangles between every four neighbours on one surface, counter-clockwise as seen from the
    camera."""
    vertex = np.full(depth.shape, -1, np.int64)
    vertex[is_here] = np.arange(np.count_nonzero(is_here))
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(is_here, 1 / depth, 0)
    a, b, c, d = (corner(inverse) for corner in _CORNERS)
    low, high = np.minimum(np.minimum(a, b), np.minimum(c, d)), np.maximum(np.maximum(a, b), np.maximum(c, d))
    is_one = (low > 0) & ((low > APART * high) | (high - low < LEVEL))
    a, b, c, d = (corner(vertex)[is_one] for corner in _CORNERS)
    return np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]).astype(np.uint32)


_CORNERS = (
    lambda grid: grid[:-1, :-1],
    lambda grid: grid[:-1, 1:],
    lambda grid: grid[1:, :-1],
    lambda grid: grid[1:, 1:],
)
