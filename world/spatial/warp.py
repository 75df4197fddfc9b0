"""Carries remembered views into a new one: draws the surfaces that they saw from the camera's next pose.

Surfaces are drawn by their depth (surfaces.py); colour is fetched backward, bilinearly. Only what a view showed first
is carried from it: a surface that was itself carried comes from its original view, so that nothing is resampled twice
however long the walk. What no remembered view covers stays a hole. Knows nothing of tokens or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from ..axes import in_axes, on_screen, ray_at
from ..compiled import njit
from ..pose import Camera, Pose
from ..side_by_side import SideBySide
from .magnification import scale_at
from .smoothing import LOOK, STEEP, smoothed
from .surfaces import APART, NEAR, draw, is_one

IN_FRONT = 0.85  # a later view's surface hides an earlier view's if it is nearer than this share of its depth
# pixels a side of the square by which the area that a view showed first is enlarged, so that no seam opens around it
RIM = 5
SAME = 8  # of 255; how much carrying a view to its own place may change it
_AROUND = np.array([(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)])
HERE = 1e-5  # metres, and in entries of a rotation, up to which two poses are the same
WIDE = 5  # pixels; a hole at least this wide is painted
ROOM = 9  # pixels; a thing may be in a hole at least this wide
NEW = 0.001  # share of a true view that must differ for it to show something new
COMMON = 0.02  # weight of the whole picture's scale where a hole's depth is joined to what is known
GREY = 128  # of 255, if there is nothing at all
# the cost of taking a neighbour's depth: its colour over the first, its slope and distance times the others
UNLIKE, SLOPING, FAR_OFF = 30, 20, 0.1
DEAREST = np.float32(1e9)  # above the cost of any neighbour
LEAST_DEPTH = np.float32(1e-3)  # metres; logarithms of depth are taken from here on
UNSEEN = 1e30  # metres; farther than any surface: nothing is there
OWN_SHARE = 0.25  # a pixel with at least this share of a colour that is fetched counts whatever its surface
ALL_BUT_ONE = 7  # of the eight pixels around: so many nearer ones make a pinhole
MANY = 6  # of the eight pixels around: so many must agree on what a pinhole or a speck is to become
SEEN, DREAMT, DREAMT_ANEW = 0, 1, 2  # the origin of what a view shows
REACH = 12.0  # pixels, sigma of the neighbourhood that a hole's depth takes its scale from
_BESIDE = SideBySide(1)  # draws the surfaces of views to come while colours of those before are fetched


@dataclass(frozen=True)
class View:
    """A remembered view: pixels (H, W, 3) uint8, depth (H, W) float32 metres along the forward axis, and its pose;
    fresh (H, W) bool: what it showed first, None if everything; the rest had been carried into it from other views.
    origin: SEEN, or DREAMT, or DREAMT_ANEW from nearer by in place of older dreams."""

    pixels: np.ndarray
    depth: np.ndarray
    pose: Pose
    fresh: np.ndarray | None = None
    origin: int = SEEN

    @property
    def own_depth(self) -> np.ndarray:
        """Depth of what is carried from this view, infinite elsewhere."""
        return self.depth if self.fresh is None else np.where(self.fresh, self.depth, np.float32(np.inf))


@dataclass(frozen=True)
class Warp:
    """A view made of others: pixels (H, W, 3) uint8, with holes filled from their surroundings; covered (H, W) bool:
    where it is no hole; depth (H, W) float32 metres, in holes that of the filling, 0 if there is nothing at all; scale
    (H, W) float32: how many times a dream is magnified there (magnification.py), 0 where no dream is shown, None if
    there is none; before: this view before coarse dreams were left out (anew.py); has_new_horizon: whether a stale
    horizon was made a hole (horizon.py)."""

    pixels: np.ndarray
    covered: np.ndarray
    depth: np.ndarray
    scale: np.ndarray | None = None
    before: Warp | None = None
    has_new_horizon: bool = False

    @property
    def open(self) -> float:
        """The share of the view in holes wide enough to be seen; rims narrower than that are filled."""
        return self._share_wider_than(WIDE)

    @property
    def room(self) -> float:
        """The share of the view in holes wide enough to contain something that is to be decided."""
        return self._share_wider_than(ROOM)

    def _share_wider_than(self, side: int) -> float:
        holes = cv2.morphologyEx((~self.covered).astype(np.uint8), cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
        return float(holes.mean())

    def coverage(self, grid: tuple[int, int]) -> np.ndarray:
        """The share of covered pixels in each cell of a token grid, (h, w) float32."""
        h, w = grid
        H, W = self.covered.shape
        return self.covered.reshape(h, H // h, w, W // w).mean((1, 3), dtype=np.float32)


class _Sources(NamedTuple):
    """The n views that a new one is made of: turns (n, 3, 3) and shifts (n, 3) from their axes to the new one's, depths
    (n, H, W) what each saw; focal in pixels, of all."""

    turns: np.ndarray
    shifts: np.ndarray
    depths: np.ndarray
    focal: float


class _Made(NamedTuple):
    """The new view: pixels (h, w, 3) float32, covered (h, w) bool, owner (h, w) int64, the source that each colour is
    from, surface (h, w) float32, its depth, and scale (h, w) float32, how many times dreams are magnified."""

    pixels: np.ndarray
    covered: np.ndarray
    owner: np.ndarray
    surface: np.ndarray
    scale: np.ndarray


def warp(views: Sequence[View], pose: Pose, camera: Camera) -> Warp:
    """What the views show from `pose`. An earlier view in the list has priority; a later one fills its holes, and hides
    it where the later one's surface is clearly nearer, unless the earlier one saw something farther in that direction.
    A view taken from this very pose is shown unchanged.

    Depth-image-based rendering as in Fehn 2004, with backward colour lookup. Without views nothing is covered.
    """
    made = _drawn(views, pose, camera)
    if not made.covered.all():
        fill(made.pixels, made.covered, made.surface)
    scale = made.scale if made.scale.any() else None
    return Warp(_rounded(made.pixels), made.covered, made.surface, scale)


def with_holes(carried: Warp, covered: np.ndarray) -> Warp:
    """The same view with holes where it is not covered (H, W) bool; they are filled from their surroundings."""
    pixels, depth = carried.pixels.astype(np.float32), np.where(covered, carried.depth, np.float32(0))
    fill(pixels, covered, depth)
    return replace(carried, pixels=_rounded(pixels), covered=covered, depth=depth)


def _rounded(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8)


def _drawn(views: Sequence[View], pose: Pose, camera: Camera) -> _Made:
    """The views drawn from a pose, holes left open."""
    H, W = camera.height, camera.width
    pixels = np.full((H, W, 3), GREY, np.float32)
    covered, surface = np.zeros((H, W), np.bool_), np.zeros((H, W), np.float32)
    owner = np.zeros((H, W), np.int64)
    rotation, position = pose.rotation, np.asarray(pose.position)
    turns = np.array([rotation.T @ view.pose.rotation for view in views]).reshape(-1, 3, 3)
    shifts = np.array([rotation.T @ (np.asarray(view.pose.position) - position) for view in views]).reshape(-1, 3)
    depths = np.array([view.depth for view in views], np.float32)
    sources, scale = _Sources(turns, shifts, depths, camera.focal), np.zeros((H, W), np.float32)
    made = _Made(pixels, covered, owner, surface, scale)

    def drawn(k: int) -> np.ndarray:
        nearness = np.zeros((H, W), np.float32)
        draw((1 / views[k].own_depth).astype(np.float32), turns[k], shifts[k], camera.focal, nearness)
        return nearness

    for k, nearness in enumerate(_BESIDE.in_order(drawn, range(len(views)))):
        _fetch(k, views[k].pixels, views[k].origin != SEEN, sources, nearness, made)
    _close(pixels, covered, owner, surface)
    for k, view in reversed(list(enumerate(views))):
        if np.abs(turns[k] - np.eye(3)).max() < HERE and np.abs(shifts[k]).max() < HERE:
            # seen from this very place it looked like this: nothing seen from elsewhere can be in front of it
            own = np.ones((H, W), np.bool_) if view.fresh is None else view.fresh
            pixels[own], surface[own], covered[own] = view.pixels[own], view.depth[own], True
            scale[own] = view.origin != SEEN
    return made


def remembered(pixels: np.ndarray, depth: np.ndarray, pose: Pose, carried: Warp, kept: np.ndarray) -> View:
    """A new view as memory holds it: pixels (H, W, 3) uint8 and depth (H, W) float32 as decoded, kept (H, W) bool
    where the carried view was shown. There the carried surface stays where it was; new parts join it without a step."""
    whole = np.where(kept, carried.depth, joined(smoothed(depth, pixels), carried.depth, carried.covered))
    return View(pixels, whole.astype(np.float16).astype(np.float32), pose, widened(~kept))


def is_known(pixels: np.ndarray, carried: Warp) -> bool:
    """Whether a true view, pixels (H, W, 3) uint8, shows nothing that the view carried to its place does not show."""
    differs = (np.abs(pixels.astype(np.int16) - carried.pixels) > SAME).any(-1) | ~carried.covered
    return bool(differs.mean() < NEW)


def joined(depth: np.ndarray, known: np.ndarray, where: np.ndarray) -> np.ndarray:
    """depth (H, W), rescaled so that near the places `where` (H, W) bool it meets `known` (H, W) metres."""
    if not where.any():
        return depth
    # a larger difference is another surface
    ratio = np.log(np.maximum(known, NEAR) / np.maximum(depth, NEAR)).clip(-1, 1)
    ratio = np.where(where, ratio, 0.0).astype(np.float32)
    blur = lambda image: cv2.GaussianBlur(image, (0, 0), REACH, borderType=cv2.BORDER_CONSTANT)  # noqa: E731
    weight = where.astype(np.float32)
    # far from anything known the scale fades into that of the whole picture
    mean, near = float(ratio[where].mean()), blur(weight)
    return (depth * np.exp((blur(ratio) + COMMON * mean) / (near + COMMON))).astype(np.float32)


def widened(mask: np.ndarray) -> np.ndarray:
    """mask (H, W) bool and a rim around it."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((RIM, RIM), np.uint8)).astype(bool)


@njit(cache=True, nogil=True, fastmath=True)
def sharpened(depth, pixels):
    """depth (H, W) float32 with hard edges. A point on a slope steeper than any surface takes the depth of the
    neighbour that looks most like it in pixels (H, W, 3) uint8 and is on no such slope itself. Without this, points
    half way between a near surface and a far one would float in the air once the view is carried."""
    H, W = depth.shape
    slope = np.empty((H, W), np.float32)
    for v in range(H):
        for u in range(W):
            low = high = depth[v, u]
            for y in range(max(v - 1, 0), min(v + 2, H)):
                for x in range(max(u - 1, 0), min(u + 2, W)):
                    low, high = min(low, depth[y, x]), max(high, depth[y, x])
            slope[v, u] = np.log(high / max(low, LEAST_DEPTH))
    out = depth.copy()
    for v in range(H):
        for u in range(W):
            if slope[v, u] < STEEP:
                continue
            best = DEAREST
            for y in range(max(v - LOOK, 0), min(v + LOOK + 1, H)):
                for x in range(max(u - LOOK, 0), min(u + LOOK + 1, W)):
                    apart = np.float32(0)
                    for k in range(3):
                        apart += abs(np.float32(pixels[v, u, k]) - np.float32(pixels[y, x, k]))
                    far = ((y - v) ** 2 + (x - u) ** 2) ** 0.5
                    cost = apart / UNLIKE + slope[y, x] * SLOPING + FAR_OFF * far
                    if cost < best:
                        best, out[v, u] = cost, depth[y, x]
    return out


@njit(cache=True, nogil=True, fastmath=True)
def _fetch(index, source, is_dreamt, sources, nearness, made):
    """Bilinear colour for every target pixel that has a depth and no colour yet, or the colour of a surface farther
    away."""
    turns, shifts, depths, focal = sources
    out, covered, owner, surface, scale = made
    H, W = source.shape[:2]
    turn, shift = turns[index], shifts[index]
    h, w = nearness.shape
    own = depths[index]
    for v in range(h):
        y = ray_at(v, focal, h)
        for u in range(w):
            if not nearness[v, u] > 0:
                continue
            d = 1 / nearness[v, u]
            if covered[v, u] and not d < IN_FRONT * surface[v, u]:
                continue
            x = ray_at(u, focal, w)
            i = owner[v, u]
            if covered[v, u] and _looked_through(x * d, y * d, d, turns[i], shifts[i], focal, depths[i]):
                continue
            qx, qy, qz = x * d - shift[0], y * d - shift[1], d - shift[2]
            sx, sy, sz = in_axes(turn, qx, qy, qz)
            if sz < NEAR:
                continue
            su, sv = on_screen(sx, sz, focal, W) - 0.5, on_screen(sy, sz, focal, H) - 0.5
            if su < -0.5 or sv < -0.5 or su > W - 0.5 or sv > H - 0.5:
                continue
            su, sv = min(max(su, 0.0), W - 1.0), min(max(sv, 0.0), H - 1.0)
            covered[v, u], surface[v, u], owner[v, u], scale[v, u] = True, d, index, 0
            if is_dreamt:
                scale[v, u] = scale_at(v, u, nearness, turn, shift, focal)
            if _is_left_rim(own, int(sv + 0.5), int(su + 0.5), nearness, v, u) and _beyond_rim(
                own, int(sv + 0.5), int(su + 0.5), source, out[v, u]
            ):
                continue
            u0, v0 = min(int(su), W - 2), min(int(sv), H - 2)
            fu, fv = su - u0, sv - v0
            total, red, green, blue = 0.0, 0.0, 0.0, 0.0
            for k in range(4):  # of the four around, those on this surface; the nearest is
                a, b = v0 + k // 2, u0 + k % 2
                share = (fv if k // 2 else 1 - fv) * (fu if k % 2 else 1 - fu)
                if share < OWN_SHARE and not is_one(1 / own[a, b], 1 / sz):
                    continue
                total += share
                red += share * source[a, b, 0]
                green += share * source[a, b, 1]
                blue += share * source[a, b, 2]
            out[v, u, 0], out[v, u, 1], out[v, u, 2] = red / total, green / total, blue / total


@njit(cache=True, nogil=True, inline="always")
def is_rim(depth, v, u):
    """Whether a pixel is next to something nearer: its colours are then half that object's."""
    H, W = depth.shape
    d, is_rim = depth[v, u], False
    for k in range(4):
        y, x = v + (k == 0) - (k == 1), u + (k == 2) - (k == 3)
        if 0 <= y < H and 0 <= x < W:
            is_rim |= depth[y, x] < d and not is_one(1 / depth[y, x], 1 / d)
    return is_rim


@njit(cache=True, nogil=True)
def _is_left_rim(depth, y, x, nearness, v, u):
    """Whether pixel (y, x) of a view is a rim next to something nearer, while pixel (v, u) of the target is not:
    drawn there it would be a ghost of that object's outline."""
    if not is_rim(depth, y, x):
        return False
    h, w = nearness.shape
    for b in range(max(v - 1, 0), min(v + 2, h)):
        for a in range(max(u - 1, 0), min(u + 2, w)):
            if nearness[b, a] > nearness[v, u] and not is_one(nearness[b, a], nearness[v, u]):
                return False
    return True


@njit(cache=True, nogil=True)
def _beyond_rim(depth, y, x, source, out):
    """Give a rim's pixel the colour of its surface a little away from the rim; returns whether there is any."""
    H, W = depth.shape
    total, red, green, blue = 0.0, 0.0, 0.0, 0.0
    for b in range(max(y - 2, 0), min(y + 3, H)):
        for a in range(max(x - 2, 0), min(x + 3, W)):
            if is_one(1 / depth[b, a], 1 / depth[y, x]) and not is_rim(depth, b, a):
                share = 1.0 / ((b - y) ** 2 + (a - x) ** 2)
                total += share
                red += share * source[b, a, 0]
                green += share * source[b, a, 1]
                blue += share * source[b, a, 2]
    if total > 0:
        out[0], out[1], out[2] = red / total, green / total, blue / total
    return total > 0


@njit(cache=True, nogil=True, fastmath=True)
def _looked_through(x, y, z, turn, shift, focal, depth):
    """Whether a view with depth (H, W) saw something behind the point (x, y, z) of the target's axes."""
    H, W = depth.shape
    qx, qy, qz = x - shift[0], y - shift[1], z - shift[2]
    right, down, far = in_axes(turn, qx, qy, qz)
    if far < NEAR:
        return False
    u, v = int(np.floor(on_screen(right, far, focal, W))), int(np.floor(on_screen(down, far, focal, H)))
    return 0 <= u < W and 0 <= v < H and far < IN_FRONT * depth[v, u]


@njit(cache=True, nogil=True)
def _close(pixels, covered, owner, surface):
    """Replace pinholes in a surface, and specks in front of it that are single pixels of another depth and another
    view, by their surroundings."""
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
                        far += depth[y, x] < UNSEEN
                    else:
                        like += 1
            is_pinhole = near >= ALL_BUT_ONE  # whichever view it is from
            if not is_pinhole and (own > 3 or like > 2 or max(near, far) < MANY):  # like itself; two more make a line
                continue
            total, colour = 0, np.zeros(3, np.float32)
            summed = np.float32(0)
            for y in range(v - 1, v + 2):
                for x in range(u - 1, u + 2):
                    is_near = depth[y, x] < APART * depth[v, u]
                    is_far = APART * depth[y, x] > depth[v, u] and depth[y, x] < UNSEEN
                    if is_near if near >= MANY else is_far:
                        total += 1
                        summed += depth[y, x]
                        colour += pixels[y, x]
            pixels[v, u], surface[v, u], covered[v, u] = colour / total, summed / total, True


@njit(cache=True, nogil=True)
def fill(pixels, covered, surface):
    """Fill holes with colour and depth of their surroundings in eight directions. What a walker uncovers was behind
    what has moved: of each line through a hole the farther end counts, and of the four lines' those that are much
    nearer than the others' do not; ends nearer on screen have more weight."""
    h, w = covered.shape
    found = np.zeros((8, h, w), np.int32)  # position of the next covered pixel in each direction, plus 1
    for k in range(8):
        dv, du = _AROUND[k, 0], _AROUND[k, 1]
        for i in range(h):
            v = i if dv <= 0 else h - 1 - i
            for j in range(w):
                u = j if du <= 0 else w - 1 - j
                y, x = v + dv, u + du
                if covered[v, u]:
                    found[k, v, u] = v * w + u + 1
                elif 0 <= y < h and 0 <= x < w:
                    found[k, v, u] = found[k, y, x]
    for v in range(h):
        for u in range(w):
            if not covered[v, u]:
                _fill_one(pixels, surface, found[:, v, u], v, u)


@njit(cache=True, nogil=True)
def _fill_one(pixels, surface, found, v, u):
    w = surface.shape[1]
    behind = np.full(4, np.inf, np.float32)  # of each line through the hole, the farther of what is on its two sides
    count = 0
    for k in range(4):
        far = np.float32(0)
        for end in (found[k], found[7 - k]):
            if end:
                far = max(far, surface[(end - 1) // w, (end - 1) % w])
        if far > 0:
            behind[count] = far
            count += 1
    if not count:
        return
    least = np.float32(APART) * np.sort(behind[:count])[(count - 1) // 2]
    total, depth = 0.0, 0.0
    colour = np.zeros(3)
    for k in range(8):
        if found[k]:
            y, x = (found[k] - 1) // w, (found[k] - 1) % w
            if surface[y, x] > least:
                share = 1.0 / ((y - v) ** 2 + (x - u) ** 2)
                total, depth = total + share, depth + share * surface[y, x]
                for i in range(3):
                    colour[i] += share * pixels[y, x, i]
    if total > 0:
        surface[v, u] = depth / total
        for i in range(3):
            pixels[v, u, i] = colour[i] / total
