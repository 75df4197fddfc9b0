"""Carries remembered views into a new one: what has been seen, as it would look from where the camera goes next.

Depth is splatted forward with a z-buffer and colour is fetched backward, bilinearly. Only what a view showed first is
carried from it: a surface that had itself been carried comes from the view that it came from, so that nothing is
resampled twice however long the walk. What no remembered view covers stays a hole. Knows nothing of tokens or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..compiled import njit
from ..pose import Camera, Pose

NEAR = 0.05
IN_FRONT = 0.85  # a later view's surface hides an earlier view's where it is nearer by more than depth is unsure of
APART = 0.8  # ratio of depths from which on two neighbours are of two surfaces
STEEP = 0.2  # log depth between neighbours above which they are two surfaces, or the blur between two
LOOK = 8  # pixels to each side in which a soft edge looks for the surface that it belongs to
RIM = 5  # pixels a side of the square by which what a view showed first is widened, so that no seam opens around it
SAME = 8  # of 255, by which carrying a view to its own place may change it
REACH = 12.0  # pixels, sigma of the neighbourhood that a hole's depth takes its scale from
SUPPORT = 7  # neighbours of eight without which a splatted point is spray from a blurred edge


@dataclass(frozen=True)
class View:
    """A remembered view: pixels (H, W, 3) uint8, depth (H, W) float32 metres along the forward axis, and its pose;
    fresh (H, W) bool: what it showed first, None if everything; the rest had been carried into it from other views."""

    pixels: np.ndarray
    depth: np.ndarray
    pose: Pose
    fresh: np.ndarray | None = None

    @property
    def own_depth(self) -> np.ndarray:
        """Depth of what is carried from this view, infinite elsewhere."""
        return self.depth if self.fresh is None else np.where(self.fresh, self.depth, np.float32(np.inf))


@dataclass(frozen=True)
class Warp:
    """A view made of others: pixels (H, W, 3) uint8, holes filled from their surroundings; covered (H, W) bool; depth
    (H, W) float32 metres where covered."""

    pixels: np.ndarray
    covered: np.ndarray
    depth: np.ndarray

    def coverage(self, grid: tuple[int, int]) -> np.ndarray:
        """The share of covered pixels in each cell of a token grid, (h, w) float32."""
        h, w = grid
        H, W = self.covered.shape
        return self.covered.reshape(h, H // h, w, W // w).mean((1, 3), dtype=np.float32)


def warp(views: Sequence[View], pose: Pose, camera: Camera) -> Warp:
    """What the views show from `pose`; an earlier view in the list wins; a later one fills its holes, and hides it
    where its surface is clearly nearer, unless the earlier one has looked through where that surface would be.

    Depth-image-based rendering as in Fehn 2004, with backward colour lookup. No views: nothing is covered.
    """
    H, W = camera.height, camera.width
    pixels = np.full((H, W, 3), 128, np.float32)
    depth = np.full((H, W), np.inf, np.float32)
    solid = np.empty_like(depth)
    covered, surface = np.zeros((H, W), np.bool_), np.zeros((H, W), np.float32)
    owner = np.zeros((H, W), np.int64)
    rotation, position = pose.rotation, np.asarray(pose.position)
    turns = np.array([rotation.T @ view.pose.rotation for view in views]).reshape(-1, 3, 3)
    shifts = np.array([rotation.T @ (np.asarray(view.pose.position) - position) for view in views]).reshape(-1, 3)
    depths = np.array([view.depth for view in views], np.float32)
    for k, view in enumerate(views):
        depth.fill(np.inf)
        _splat(np.ascontiguousarray(view.own_depth, np.float32), turns[k], shifts[k], camera.focal, depth)
        _despeckle(depth, SUPPORT, solid)
        _fetch(k, view.pixels, turns, shifts, camera.focal, solid, depths, covered, owner, pixels, surface)
    _close(pixels, covered, owner, surface)
    if not covered.all():
        _fill(pixels, covered)
    return Warp(np.clip(pixels + 0.5, 0, 255).astype(np.uint8), covered, surface)


def remembered(pixels: np.ndarray, depth: np.ndarray, pose: Pose, carried: Warp, kept: np.ndarray) -> View:
    """A new view as memory holds it: pixels (H, W, 3) uint8 and depth (H, W) float32 as decoded, kept (H, W) bool where
    the carried view was shown. There the carried surface stays where it was; what is new joins it without a step."""
    whole = np.where(kept, carried.depth, joined(sharpened(depth, pixels), carried.depth, carried.covered))
    return View(pixels, whole.astype(np.float16).astype(np.float32), pose, widened(~kept))


def is_known(pixels: np.ndarray, carried: Warp) -> bool:
    """Whether a true view, pixels (H, W, 3) uint8, shows nothing that the view carried to its place does not."""
    differs = (np.abs(pixels.astype(np.int16) - carried.pixels) > SAME).any(-1) | ~carried.covered
    return bool(differs.mean() < 0.001)


def joined(depth: np.ndarray, known: np.ndarray, where: np.ndarray) -> np.ndarray:
    """depth (H, W), rescaled so that it meets `known` (H, W) metres at the places `where` (H, W) bool that are near."""
    if not where.any():
        return depth
    ratio = np.log(np.maximum(known, NEAR) / np.maximum(depth, NEAR)).clip(-1, 1)  # more is another surface
    ratio = np.where(where, ratio, 0.0).astype(np.float32)
    blur = lambda image: cv2.GaussianBlur(image, (0, 0), REACH, borderType=cv2.BORDER_CONSTANT)  # noqa: E731
    weight = where.astype(np.float32)
    # far from anything known the scale fades into that of the whole picture
    mean, near = float(ratio[where].mean()), blur(weight)
    return (depth * np.exp((blur(ratio) + 0.02 * mean) / (near + 0.02))).astype(np.float32)


def widened(mask: np.ndarray) -> np.ndarray:
    """mask (H, W) bool and a rim around it."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((RIM, RIM), np.uint8)).astype(bool)


@njit(cache=True, nogil=True, fastmath=True)
def sharpened(depth, pixels):
    """depth (H, W) float32 with its soft edges made hard: a point of a slope steeper than surfaces are takes the depth
    of the neighbour that looks most like it in pixels (H, W, 3) uint8 and is on no slope itself. A point left half way
    between a near surface and a far one would fly off as spray as soon as the view is carried."""
    H, W = depth.shape
    slope = np.empty((H, W), np.float32)
    for v in range(H):
        for u in range(W):
            low = high = depth[v, u]
            for y in range(max(v - 1, 0), min(v + 2, H)):
                for x in range(max(u - 1, 0), min(u + 2, W)):
                    low, high = min(low, depth[y, x]), max(high, depth[y, x])
            slope[v, u] = np.log(high / low)
    out = depth.copy()
    for v in range(H):
        for u in range(W):
            if slope[v, u] < STEEP:
                continue
            best = np.float32(1e9)
            for y in range(max(v - LOOK, 0), min(v + LOOK + 1, H)):
                for x in range(max(u - LOOK, 0), min(u + LOOK + 1, W)):
                    apart = np.float32(0)
                    for k in range(3):
                        apart += abs(np.float32(pixels[v, u, k]) - np.float32(pixels[y, x, k]))
                    cost = apart / 30 + slope[y, x] * 20 + 0.1 * ((y - v) ** 2 + (x - u) ** 2) ** 0.5
                    if cost < best:
                        best, out[v, u] = cost, depth[y, x]
    return out


@njit(cache=True, nogil=True, fastmath=True)
def _splat(source, turn, shift, focal, out):
    """Nearest depth of the source's points in the target; each point covers the square its pixel grows to."""
    H, W = source.shape
    h, w = out.shape
    for v in range(H):
        y = (v + 0.5 - H / 2) / focal
        for u in range(W):
            d = source[v, u]
            if not d < 1e30:
                continue
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
def _fetch(index, source, turns, shifts, focal, depth, depths, covered, owner, out, surface):
    """Colour for every target pixel that has a depth and no colour yet, or that of a surface farther away, looked up in
    the source bilinearly; owner (h, w): the view that each colour is from, depths (n, H, W) what each view saw."""
    H, W = source.shape[:2]
    turn, shift = turns[index], shifts[index]
    h, w = depth.shape
    for v in range(h):
        y = (v + 0.5 - h / 2) / focal
        for u in range(w):
            d = depth[v, u]
            if not d < 1e30 or (covered[v, u] and not d < IN_FRONT * surface[v, u]):
                continue
            x = (u + 0.5 - w / 2) / focal
            i = owner[v, u]
            if covered[v, u] and _looked_through(x * d, y * d, d, turns[i], shifts[i], focal, depths[i]):
                continue
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
            covered[v, u], surface[v, u], owner[v, u] = True, d, index
            for k in range(3):
                top = source[v0, u0, k] * (1 - fu) + source[v0, u0 + 1, k] * fu
                low = source[v0 + 1, u0, k] * (1 - fu) + source[v0 + 1, u0 + 1, k] * fu
                out[v, u, k] = top * (1 - fv) + low * fv


@njit(cache=True, nogil=True, fastmath=True)
def _looked_through(x, y, z, turn, shift, focal, depth):
    """Whether a view with depth (H, W) saw something behind the point (x, y, z) of the target's axes."""
    H, W = depth.shape
    qx, qy, qz = x - shift[0], y - shift[1], z - shift[2]
    far = turn[0, 2] * qx + turn[1, 2] * qy + turn[2, 2] * qz
    if far < NEAR:
        return False
    u = int(np.floor((turn[0, 0] * qx + turn[1, 0] * qy + turn[2, 0] * qz) / far * focal + W / 2))
    v = int(np.floor((turn[0, 1] * qx + turn[1, 1] * qy + turn[2, 1] * qz) / far * focal + H / 2))
    return 0 <= u < W and 0 <= v < H and far < IN_FRONT * depth[v, u]


@njit(cache=True, nogil=True)
def _close(pixels, covered, owner, surface):
    """Give pinholes in a surface and specks before it, single pixels of another depth and another view, what is around
    them."""
    h, w = covered.shape
    depth = np.where(covered, surface, np.float32(np.inf))
    for v in range(1, h - 1):
        for u in range(1, w - 1):
            like, near, far, own = 0, 0, 0, 0
            for y in range(v - 1, v + 2):
                for x in range(u - 1, u + 2):
                    own += covered[v, u] and owner[y, x] == owner[v, u]
                    if depth[y, x] < APART * depth[v, u]:
                        near += 1
                    elif APART * depth[y, x] > depth[v, u]:
                        far += depth[y, x] < 1e30
                    else:
                        like += 1
            if own > 3 or like > 2 or max(near, far) < 6:  # the pixel is like itself; two more make it a line
                continue
            total, colour = 0, np.zeros(3, np.float32)
            summed = np.float32(0)
            for y in range(v - 1, v + 2):
                for x in range(u - 1, u + 2):
                    is_near = depth[y, x] < APART * depth[v, u]
                    is_far = APART * depth[y, x] > depth[v, u] and depth[y, x] < 1e30
                    if is_near if near >= 6 else is_far:
                        total += 1
                        summed += depth[y, x]
                        colour += pixels[y, x]
            pixels[v, u], surface[v, u], covered[v, u] = colour / total, summed / total, True


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
