"""Draws remembered views into the picture of an eye at any pose: the compiled part of looker.py.

All views are drawn into one picture: surfaces by their depth (surfaces.py), colours fetched backward, holes filled. The
work that does not depend on the eye was done before (ready.py). Knows no memory and no frames.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..axes import along, in_axes, on_screen, ray_at
from ..compiled import njit
from ..pose import Camera
from .holes import fill, num_sums
from .ready import EMPTY, FLAT, FLAT_QUARTERS, KIND, QUARTER, RIM, SIDE, SMOOTH, WHOLE
from .surfaces import APART, NEAR, is_one
from .warp import IN_FRONT, MANY, OWN_SHARE

# red and blue of a texel, as one number; a half of each, and of green: sums of 256ths are rounded, not cut
OUTER, OUTER_HALF, ROUND = np.uint32(0xFF00FF), np.uint32(0x800080), 128
LARGE_PX = np.float32(32)  # a block this wide on screen may show where its corners do not
SQUARE_PX = 0.2  # how far a tile may be from a parallelogram and still be drawn as one
SPARSE, ENOUGH = 2, 12  # a view is drawn if ENOUGH of its pixels, SPARSE apart, add something
OFF_PICTURE_PX, LEAST_AREA_PX = np.float32(1e9), np.float32(1e-9)  # farther than any point; a triangle seen edge-on


class Reach(NamedTuple):
    """Which part of a tile is drawn: shares of its two sides from `least` to `most`, with a sum of at most most_sum."""

    least: np.float32
    most: np.float32
    most_sum: np.float32


# A little over the edges, because rounding leaves gaps; farther for a square, which is a parallelogram only to within
# SQUARE_PX. A sum of 3 and a share of 2 are no limits.
SQUARE = Reach(np.float32(-0.02), np.float32(1.02), np.float32(3))
HALF = Reach(np.float32(-1e-4), np.float32(2), np.float32(1.0001))


class Ways(NamedTuple):
    """From n views to an eye: slots (n,) int64, where each is ready; turns (n, 3, 3) and shifts (n, 3) metres, float32,
    lead from its axes to the eye's; focal and focal_out: that of the views' camera and the eye's, in pixels."""

    slots: np.ndarray
    turns: np.ndarray
    shifts: np.ndarray
    focal: float
    focal_out: float


class Scratch(NamedTuple):
    """Work memory of a look of one size: nearness and own (h, w) float32, inverse depth of everything drawn and of
    one view; owner (h, w) int8, the view of each pixel; sums (P, 5) float32, weight, red, green, blue and inverse
    depth of the cells from which holes are filled, one level after the other."""

    nearness: np.ndarray
    own: np.ndarray
    owner: np.ndarray
    sums: np.ndarray

    @staticmethod
    def of(camera: Camera) -> Scratch:
        h, w = camera.height, camera.width
        return Scratch(
            np.zeros((h, w), np.float32),
            np.zeros((h, w), np.float32),
            np.zeros((h, w), np.int8),
            np.zeros((num_sums(h, w), 5), np.float32),
        )


class Lens(NamedTuple):
    """From a view's pixels to an eye's picture of h x w: scale, one over the view's focal length, and where straight
    ahead is, float32; turn (3, 3) and shift (3,) to the eye's axes, and its focal length."""

    scale: np.float32
    ahead_v: np.float32
    ahead_u: np.float32
    turn: np.ndarray
    shift: np.ndarray
    focal: float
    h: int
    w: int


class Corners(NamedTuple):
    """The corners of a block's tiles in the eye's picture: places (SIDE + 1, SIDE + 1, 3) float32, pixels across and
    down and inverse depth; is_before (SIDE + 1, SIDE + 1) bool, whether in front of the eye; tile (4, 3) float32, of
    the one that is drawn."""

    places: np.ndarray
    is_before: np.ndarray
    tile: np.ndarray


@njit(cache=True, nogil=True, fastmath=True)
def draw_eye(ways, ready, scratch, picture):
    """Draw what one eye sees into its part of the picture."""
    nearness, owner, own = scratch.nearness, scratch.owner, scratch.own
    h, w = nearness.shape
    nearness[:] = 0
    owner[:] = -1
    for k in range(len(ways.slots)):
        slot = ways.slots[k]
        if not adds(ready.inverse[slot], _lens(ways, k, ready.inverse, nearness, 0.5), nearness):
            continue
        own[:] = 0
        draw_view(slot, ready, _lens(ways, k, ready.inverse, nearness, 0.0), scratch)
        lay_over(k, ways, ready.depth, scratch)
    mend(nearness, owner)
    if fetch(ways, ready, scratch, picture):
        fill(picture, h, w, scratch.sums)


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _lens(ways, k, inverse, out, middle):
    """The lens of view k, inverse (n, H, W), for picture `out` (h, w). middle: 0.5 if numbers name middles, 0 for
    corners."""
    H, W = inverse.shape[1:]
    h, w = out.shape
    ahead_v, ahead_u = np.float32(H * 0.5 - middle), np.float32(W * 0.5 - middle)
    return Lens(np.float32(1 / ways.focal), ahead_v, ahead_u, ways.turns[k], ways.shifts[k], ways.focal_out, h, w)


@njit(cache=True, nogil=True, fastmath=True)
def adds(inverse, lens, nearness):
    """Whether a view shows something that is not drawn yet, judged by one in four of its pixels."""
    H, W = inverse.shape
    h, w = nearness.shape
    count = 0
    for v in range(0, H, SPARSE):
        for u in range(0, W, SPARSE):
            d = inverse[v, u]
            if not d > 0:
                continue
            is_seen, across, down, near = _project(u, v, d, lens)
            if is_seen and 0 <= across < w and 0 <= down < h:
                count += nearness[int(down), int(across)] < np.float32(IN_FRONT) * near
                if count == ENOUGH:
                    return True
    return False


@njit(cache=True, nogil=True, fastmath=True)
def draw_view(slot, ready, lens, scratch):
    """Draw a view's tiles as inverse depth into scratch.own, where the nearest stays. Tiles behind scratch.nearness,
    which was drawn before, are left out."""
    inverse, corners, blocks = ready.inverse[slot], ready.corners[slot], ready.blocks[slot]
    H, W = inverse.shape
    out, tile = scratch.own, np.empty((4, 3), np.float32)
    places, is_before = np.empty((SIDE + 1, SIDE + 1, 3), np.float32), np.empty((SIDE + 1, SIDE + 1), np.bool_)
    found = Corners(places, is_before, tile)
    for b in range(blocks.shape[0]):
        for a in range(blocks.shape[1]):
            v, u = SIDE * b, SIDE * a
            kind = blocks[b, a] & KIND
            if kind == WHOLE:
                is_seen = True
                for c in range(4):
                    y, x = v + SIDE * (c // 2), u + SIDE * (c % 2)
                    is_here, tile[c, 0], tile[c, 1], tile[c, 2] = _project(x, y, corners[y, x], lens)
                    is_seen &= is_here
                if is_seen:
                    _draw_tile(tile, out)
                    continue
            elif kind == EMPTY:
                continue
            for y in range(min(SIDE, H - v) + 1):
                for x in range(min(SIDE, W - u) + 1):
                    d = max(corners[v + y, u + x], np.float32(0))
                    is_before[y, x], places[y, x, 0], places[y, x, 1], places[y, x, 2] = _project(u + x, v + y, d, lens)
            if _is_hidden(found, corners, v, u, scratch.nearness):
                continue
            for c in range(SIDE * SIDE):  # one quarter after the other
                y, x = QUARTER * (c >> 3) + (c >> 1 & 1), QUARTER * (c >> 2 & 1) + (c & 1)
                if blocks[b, a] & FLAT_QUARTERS << (c >> 2) > 0 and _take(found, y & -QUARTER, x & -QUARTER):
                    if not c & 3:
                        _draw_tile(tile, out)
                    continue
                is_shown = v + y < H and u + x < W and inverse[v + y, u + x] > 0
                if is_shown and _cut(found, corners, ready.parts[slot], v, u, y, x, lens):
                    _draw_tile(tile, out)


@njit(cache=True, nogil=True, fastmath=True)
def _is_hidden(found, corners, v, u, before):
    """Whether a block is outside of the picture or behind what was drawn before, judged by the corners of its tiles.
    False for a block with several surfaces or with large tiles, of which corners do not tell enough."""
    H, W = corners.shape
    h, w = before.shape
    low_u, high_u, low_v, high_v = OFF_PICTURE_PX, -OFF_PICTURE_PX, OFF_PICTURE_PX, -OFF_PICTURE_PX
    for y in range(min(SIDE, H - 1 - v) + 1):
        for x in range(min(SIDE, W - 1 - u) + 1):
            d = corners[v + y, u + x]
            if d < 0:
                continue
            across, down = found.places[y, x, 0], found.places[y, x, 1]
            if not d > 0 or not found.is_before[y, x]:
                return False
            is_inside = 0 <= across < w and 0 <= down < h
            if is_inside and found.places[y, x, 2] * np.float32(IN_FRONT) > before[int(down), int(across)]:
                return False
            low_u, high_u, low_v, high_v = min(low_u, across), max(high_u, across), min(low_v, down), max(high_v, down)
    return max(high_u - low_u, high_v - low_v) < LARGE_PX


@njit(cache=True, nogil=True, inline="always")
def _take(found, y, x):
    """Take a quarter of a block as one tile; returns whether all of its corners are in front of the eye."""
    places, tile, is_seen = found.places, found.tile, True
    for c in range(4):
        b, a = y + QUARTER * (c // 2), x + QUARTER * (c % 2)
        tile[c, 0], tile[c, 1], tile[c, 2] = places[b, a, 0], places[b, a, 1], places[b, a, 2]
        is_seen &= found.is_before[b, a]
    return is_seen


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _cut(found, corners, parts, v, u, y, x, lens):
    """Take a tile of the block at (v, u), with own corners where surfaces meet; returns whether all are before the
    eye."""
    places, tile, is_seen = found.places, found.tile, True
    for c in range(4):
        b, a = y + c // 2, x + c % 2
        if corners[v + b, u + a] > 0:
            tile[c, 0], tile[c, 1], tile[c, 2] = places[b, a, 0], places[b, a, 1], places[b, a, 2]
            is_seen &= found.is_before[b, a]
        else:
            is_here, tile[c, 0], tile[c, 1], tile[c, 2] = _project(u + a, v + b, parts[v + y, u + x, c], lens)
            is_seen &= is_here
    return is_seen


@njit(cache=True, nogil=True, inline="always", fastmath=True)
def _project(u, v, inverse, lens):
    """Where a view's pixel (u, v) is in the eye's picture: whether it is before the eye, pixels across and down, and
    inverse depth. In float32, with its divisions done once a view (Lens) and once a point: this runs for every corner
    of every look, and axes.on_screen would compute in float64."""
    one = np.float32(1)
    x, y = (np.float32(u) - lens.ahead_u) * lens.scale, (np.float32(v) - lens.ahead_v) * lens.scale
    z = along(lens.turn, lens.shift, 2, x, y, one, inverse)
    is_seen = z > np.float32(NEAR) * inverse
    scale = one / (z if is_seen else one)
    reach = scale * np.float32(lens.focal)
    across = along(lens.turn, lens.shift, 0, x, y, one, inverse) * reach + np.float32(lens.w * 0.5)
    down = along(lens.turn, lens.shift, 1, x, y, one, inverse) * reach + np.float32(lens.h * 0.5)
    return is_seen, across, down, inverse * scale


@njit(cache=True, nogil=True, inline="always", fastmath=True)
def _draw_tile(tile, out):
    """Draw a tile as two triangles, or at once where it is a parallelogram or no larger than a pixel or two."""
    h, w = out.shape
    half = np.float32(0.5)
    low_u = min(min(tile[0, 0], tile[1, 0]), min(tile[2, 0], tile[3, 0])) - half
    high_u = max(max(tile[0, 0], tile[1, 0]), max(tile[2, 0], tile[3, 0])) - half
    low_v = min(min(tile[0, 1], tile[1, 1]), min(tile[2, 1], tile[3, 1])) - half
    high_v = max(max(tile[0, 1], tile[1, 1]), max(tile[2, 1], tile[3, 1])) - half
    if not (low_u > w - 1 or low_v > h - 1 or high_u < 0 or high_v < 0):
        u0, u1 = int(np.ceil(max(low_u, np.float32(0)))), int(min(high_u, np.float32(w - 1)))
        v0, v1 = int(np.ceil(max(low_v, np.float32(0)))), int(min(high_v, np.float32(h - 1)))
        off_u, off_v = (
            tile[0, 0] + tile[3, 0] - tile[1, 0] - tile[2, 0],
            tile[0, 1] + tile[3, 1] - tile[1, 1] - tile[2, 1],
        )
        off = tile[0, 2] + tile[3, 2] - tile[1, 2] - tile[2, 2]
        is_square = max(abs(off_u), abs(off_v)) < SQUARE_PX and abs(off) < FLAT * tile[0, 2]
        box = (u0, u1, v0, v1)
        if is_square or (u1 - u0 < 2 and v1 - v0 < 2):
            _draw_half(tile, (0, 1, 2), box, SQUARE, out)
        else:
            _draw_half(tile, (0, 1, 2), box, HALF, out)
            _draw_half(tile, (3, 2, 1), box, HALF, out)


@njit(cache=True, nogil=True, fastmath=True)
def _draw_half(tile, corners, box, reach, out):
    """Draw a triangle of three of a tile's corners, or its parallelogram. box: first and last columns and rows."""
    (i, j, m), (u0, u1, v0, v1) = corners, box
    ax, ay = tile[i, 0], tile[i, 1]
    bx, by, cx, cy = tile[j, 0] - ax, tile[j, 1] - ay, tile[m, 0] - ax, tile[m, 1] - ay
    area = bx * cy - by * cx
    if abs(area) < LEAST_AREA_PX:
        return
    scale = np.float32(1) / area
    db, dc = tile[j, 2] - tile[i, 2], tile[m, 2] - tile[i, 2]
    cx, cy, bx, by = cx * scale, cy * scale, bx * scale, by * scale
    for v in range(v0, v1 + 1):
        py = np.float32(v) + np.float32(0.5) - ay
        for u in range(u0, u1 + 1):
            px = np.float32(u) + np.float32(0.5) - ax
            s, t = px * cy - py * cx, py * bx - px * by
            is_in = (min(s, t) >= reach.least) & (max(s, t) <= reach.most) & (s + t <= reach.most_sum)
            d = tile[i, 2] + s * db + t * dc if is_in else np.float32(0)
            out[v, u] = max(out[v, u], d)


@njit(cache=True, nogil=True, fastmath=True)
def lay_over(k, ways, depths, scratch):
    """Draw a view over those drawn before it: where they show nothing, and where it is clearly nearer than they are,
    unless they saw something farther in that direction."""
    own, nearness, owner = scratch.own, scratch.nearness, scratch.owner
    h, w = nearness.shape
    for v in range(h):
        for u in range(w):
            d = own[v, u]
            if d > 0 and d * np.float32(IN_FRONT) > nearness[v, u]:
                i = owner[v, u]
                x, y = ray_at(u, ways.focal_out, w), ray_at(v, ways.focal_out, h)
                if i < 0 or not _looked_through(x, y, 1 / d, ways, i, depths):
                    nearness[v, u], owner[v, u] = d, k


@njit(cache=True, nogil=True, fastmath=True)
def _looked_through(x, y, z, ways, i, depths):
    """Whether view i saw something behind the point of depth z on the eye's ray (x, y, 1)."""
    depth, shift, focal = depths[ways.slots[i]], ways.shifts[i], ways.focal
    H, W = depth.shape
    right, down, far = in_axes(ways.turns[i], x * z - shift[0], y * z - shift[1], z - shift[2])
    if far < NEAR:
        return False
    a, b = int(np.floor(on_screen(right, far, focal, W))), int(np.floor(on_screen(down, far, focal, H)))
    return 0 <= a < W and 0 <= b < H and far < IN_FRONT * depth[b, a]


@njit(cache=True, nogil=True, fastmath=True)
def mend(nearness, owner):
    """Replace pinholes in a surface, and single-pixel specks in front of it, by the surface around them."""
    h, w = owner.shape
    for v in range(1, h - 1):
        for u in range(1, w - 1):
            own = owner[v, u]
            if owner[v, u - 1] == own and owner[v, u + 1] == own:
                continue
            here = nearness[v, u]
            near, far, best_near, best_far = 0, 0, -1, -1
            for c in range(9):
                b, a = v - 1 + c // 3, u - 1 + c % 3
                d = nearness[b, a]
                if d * np.float32(APART) > here:
                    near, best_near = near + 1, b * w + a
                elif d > 0 and d < np.float32(APART) * here:
                    far, best_far = far + 1, b * w + a
            best = best_near if near >= MANY else best_far if far >= MANY else -1
            if best >= 0:
                nearness[v, u], owner[v, u] = nearness[best // w, best % w], owner[best // w, best % w]


@njit(cache=True, nogil=True, fastmath=True)
def fetch(ways, ready, scratch, picture):
    """The colour of every pixel that has a surface, looked up in the view that the surface is from; returns how many
    pixels have none."""
    slots, turns, shifts, focal, focal_out = ways
    texels, nearness, owner = ready.texels, scratch.nearness, scratch.owner
    pixels, depth, unknown, left = picture
    H, W = texels.shape[1:]
    h, w = nearness.shape
    flat = texels.reshape(-1)
    one, half = np.float32(1), np.float32(0.5)
    scale, reach = np.float32(1 / focal_out), np.float32(focal)
    middle_u, middle_v = np.float32(W * 0.5 - 0.5), np.float32(H * 0.5 - 0.5)
    last_u, last_v = np.float32(W - 1), np.float32(H - 1)
    left_u, left_v = np.float32(0.5 - w * 0.5), np.float32(0.5 - h * 0.5)
    missing = 0
    for v in range(h):
        y = (np.float32(v) + left_v) * scale
        for u in range(w):
            k, at = owner[v, u], left + u
            unknown[v, at] = k < 0
            if k < 0:
                missing += 1
                depth[v, at] = 0
                continue
            d, slot = nearness[v, u], slots[k]
            # the surface point in the view's axes, times d: no division by d until the end
            x = (np.float32(u) + left_u) * scale - shifts[k, 0] * d
            y1, z1 = y - shifts[k, 1] * d, one - shifts[k, 2] * d
            right, down, far = in_axes(turns[k], x, y1, z1)
            far = max(far, np.float32(NEAR) * d)
            both = one / (far * d)
            depth[v, at], by = both * far, both * d
            su, sv = right * by * reach + middle_u, down * by * reach + middle_v
            su, sv = min(max(su, np.float32(0)), last_u), min(max(sv, np.float32(0)), last_v)
            nearest = flat[(slot * H + int(sv + half)) * W + int(su + half)]
            if nearest >> 24 & RIM and not _is_beside_nearer(nearness, v, u):
                _put(ready.beyond[slot, int(sv + half), int(su + half)], pixels, v, at)
                continue
            v0, u0 = min(int(sv), H - 2), min(int(su), W - 2)
            fv, fu = sv - np.float32(v0), su - np.float32(u0)
            first = (slot * H + v0) * W + u0
            a = flat[first]
            if a >> 24 & SMOOTH:
                b, c, e = flat[first + 1], flat[first + W], flat[first + W + 1]
                across, along_ = np.uint32(fu * 256), np.uint32(fv * 256)  # shares of the four around, of 256
                we = across * along_ >> 8
                wb, wc, wa = across - we, along_ - we, np.uint32(256) - across - along_ + we
                outer = wa * (a & OUTER) + wb * (b & OUTER) + wc * (c & OUTER) + we * (e & OUTER) + OUTER_HALF
                green = wa * (a >> 8 & 255) + wb * (b >> 8 & 255) + wc * (c >> 8 & 255) + we * (e >> 8 & 255) + ROUND
                pixels[v, at, 0], pixels[v, at, 1], pixels[v, at, 2] = outer >> 8 & 255, green >> 8, outer >> 24 & 255
            else:
                _sample_torn(ready, slot, nearest, (v0, u0, fv, fu), d * by, pixels, v, at)
    return missing


@njit(cache=True, nogil=True, inline="always")
def _byte(texel, i):
    return np.float32(np.int32(texel >> np.uint32(8 * i) & np.uint32(255)))


@njit(cache=True, nogil=True, inline="always")
def _put(texel, pixels, v, u):
    pixels[v, u, 0], pixels[v, u, 1], pixels[v, u, 2] = texel & 255, texel >> 8 & 255, texel >> 16 & 255


@njit(cache=True, nogil=True, fastmath=True)
def _sample_torn(ready, slot, nearest, spot, inverse, pixels, v, u):
    """The colour between four pixels of several surfaces, from those that belong to this surface. spot: the first of
    the four, and the shares of the way to those below and to its right."""
    v0, u0, fv, fu = spot
    one, total, red, green, blue = np.float32(1), np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for c in range(4):
        b, a = v0 + c // 2, u0 + c % 2
        share = (fv if c // 2 else one - fv) * (fu if c % 2 else one - fu)
        if is_one(ready.inverse[slot, b, a], inverse):
            texel = ready.texels[slot, b, a]
            total += share
            red += share * _byte(texel, 0)
            green += share * _byte(texel, 1)
            blue += share * _byte(texel, 2)
    if total < np.float32(OWN_SHARE):
        _put(nearest, pixels, v, u)
        return
    scale, half = one / total, np.float32(0.5)
    pixels[v, u, 0] = np.int32(red * scale + half)
    pixels[v, u, 1] = np.int32(green * scale + half)
    pixels[v, u, 2] = np.int32(blue * scale + half)


@njit(cache=True, nogil=True)
def _is_beside_nearer(nearness, v, u):
    """Whether something nearer is next to a pixel; if not, a rim's mixed colours would show there as a ghost."""
    h, w = nearness.shape
    for b in range(max(v - 1, 0), min(v + 2, h)):
        for a in range(max(u - 1, 0), min(u + 2, w)):
            if nearness[b, a] > nearness[v, u] and not is_one(nearness[b, a], nearness[v, u]):
                return True
    return False
