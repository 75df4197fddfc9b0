"""Posts, lamps and signs of a true picture stand upright, so they are as far everywhere as the ground at their foot.

A network that estimates depth sees few pixels of a slender thing. It makes the foot as far as the ground beside it, the
middle as far as what is behind, and the rest guesses; a walker who comes near saw such things come apart. But in a
picture of even colours the thing itself is plain to see. So the picture is cut into patches of one colour; a slender
patch that ends on the ground, and before which nothing stands, gets the distance of the ground at its foot; and what
hangs on it or rests on its top, such as a sign or the shade of a lamp, gets the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ...compiled import njit
from .background import near

EVEN = 20  # of 255; neighbours in a patch differ by less in every channel
LEAST, MOST = 16, 0.06  # pixels, and share of a view, between which patches are looked at
SLIM = 5.0  # times; a post is at least so many times as high as wide
GROUND = 40  # of 255; the ground below a foot differs by less from that to one side
TALL = 10  # rows of a post, at least
NEAREST, FARTHEST = 0.6, 25.0  # metres between which posts are put
OFF = 0.6  # log depth; a post was estimated no farther from the ground at its foot than this
STANDS = 0.25  # log depth by which the ground behind the upper half of a post is farther than it
APART, BESIDE = 0.12, 4  # log depth by which what is so many columns beside a post is farther
MOSTLY = 0.6  # share of a post's rows in which it is, on both sides
HANGS = 0.25  # log depth by which the ground seen right below a part is farther than its post
PART_OFF, SIGN_OFF = 0.35, 0.7  # log depth; a shade's usual depth is no farther from its post's, and a sign's
WIDE = 0.3  # share of its height above the foot of the post that a part reaches to either side
ON_TOP = 3  # rows of a post that a part which rests on it may hide
ROUND = 0.6  # times; a shade is at least so many times as high as wide
SIGN = 0.45  # share of a post, from its top, within which signs hang
CLOSED = 3  # pixels a side; smaller gaps between the parts of one thing are of it
RIM = 2  # pixels beside a thing from which on only what is behind it is seen
RELIEF = 0.06  # log depth that a part is deep on either side of its post's


@dataclass(frozen=True)
class Patch:
    """A patch of one colour: number in labels, and rows [top, bottom], columns [left, right] that it spans."""

    number: int
    top: int
    bottom: int
    left: int
    right: int


def stand_up(floor: np.ndarray, pixels: np.ndarray, depth: np.ndarray, *, is_room: bool) -> np.ndarray:
    """The depth (H, W) float32 of a true picture, pixels (H, W, 3) uint8, in which posts and what they bear stand at
    their foot. floor (H, W): depth of the floor, infinite above the horizon; is_room: signs hang out of doors alone."""
    labels, boxes, counts = _patches(pixels)
    out = depth.copy()
    wanted = np.flatnonzero((counts >= LEAST) & (counts <= MOST * depth.size))
    patches = [Patch(int(k), *map(int, boxes[k])) for k in wanted]
    for post in patches:
        distance = _distance(post, labels, floor, pixels, depth)
        if distance is None:
            continue
        whole = [post, *_borne(post, distance, patches, labels, floor, depth, is_room=is_room)]
        there = _with_rim(pixels, _closed(np.isin(labels, [part.number for part in whole])))
        out[there] = distance * np.exp(np.log(depth[there] / distance).clip(-RELIEF, RELIEF))
        out[labels == post.number] = distance
    return out


def _distance(
    post: Patch, labels: np.ndarray, floor: np.ndarray, pixels: np.ndarray, depth: np.ndarray
) -> float | None:
    """Metres to the foot of a patch, if it is a post."""
    rows, columns = post.bottom - post.top + 1, post.right - post.left + 1
    if rows < TALL or rows < SLIM * columns or post.bottom >= len(labels) - 2:
        return None
    where = labels == post.number
    foot = int(np.median(np.flatnonzero(where[post.bottom])))
    distance = float(floor[post.bottom, foot])
    if not NEAREST < distance < FARTHEST or not _is_ground(post.bottom + 2, foot, columns + 2, floor, pixels, depth):
        return None
    upper = where.copy()
    upper[(post.top + post.bottom) // 2 :] = False
    if not upper.any():
        return None
    now = float(np.median(depth[upper]))
    behind = float(np.median(np.log(floor[upper] / np.maximum(distance, depth[upper]))))
    if abs(math.log(now / distance)) > OFF or behind < STANDS:
        return None
    apart = []
    for row in range(post.top, post.bottom):
        there = np.flatnonzero(where[row])
        if len(there) and floor[row, there[0]] > math.exp(STANDS) * distance:
            apart.append(_is_apart(depth, row, int(there[0]), int(there[-1]), min(distance, now)))
    return distance if np.mean(apart) > MOSTLY else None


def _is_ground(row: int, column: int, aside: int, floor: np.ndarray, pixels: np.ndarray, depth: np.ndarray) -> bool:
    """Whether a pixel below a foot is of the ground: by its depth, and by the colours so many columns aside."""
    if abs(math.log(depth[row, column] / floor[row, column])) > STANDS:
        return False
    colours = pixels[row].astype(np.int16)
    sides = colours[[max(0, column - aside), min(len(colours) - 1, column + aside)]]
    return bool(np.abs(sides - colours[column]).max(-1).min() < GROUND)


def _is_apart(depth: np.ndarray, row: int, left: int, right: int, distance: float) -> bool:
    """Whether what is on both sides of columns [left, right] in a row is farther than what stands at a distance."""
    sides = depth[row, [max(0, left - BESIDE), min(depth.shape[1] - 1, right + BESIDE)]]
    return bool(sides.min() > math.exp(APART) * distance)


def _borne(
    post: Patch,
    distance: float,
    patches: list[Patch],
    labels: np.ndarray,
    floor: np.ndarray,
    depth: np.ndarray,
    *,
    is_room: bool,
) -> list[Patch]:
    """The patches that rest on a post, or, out of doors, hang on it, one beside the other."""
    middle = float(np.flatnonzero(labels[post.bottom] == post.number).mean())
    reach = lambda part: WIDE * (post.bottom - part.top)  # noqa: E731
    found, left = [post], [p for p in patches if p.left > middle - reach(p) and p.right < middle + reach(p)]
    left = [p for p in left if p is not post]
    for one in found:
        beside = set(np.unique(labels[near(labels == one.number, 2, 2)]).tolist())
        for part in [p for p in left if p.number in beside]:
            is_shade = one is post and part.left < middle < part.right and _rests(part, post, distance, depth)
            if not is_shade and (is_room or not _hangs(part, post)):
                continue
            there = labels == part.number
            ground = floor[part.bottom, int(np.median(np.flatnonzero(there[part.bottom])))]
            apart = abs(math.log(float(np.median(depth[there])) / distance))
            if ground > math.exp(HANGS) * distance and apart < (PART_OFF if is_room else SIGN_OFF):
                found.append(part)
                left.remove(part)
    return found[1:]


def _rests(part: Patch, post: Patch, distance: float, depth: np.ndarray) -> bool:
    """Whether a patch is a shade on top of a post."""
    is_round = part.bottom - part.top + 1 > ROUND * (part.right - part.left + 1)
    is_apart = _is_apart(depth, (part.top + part.bottom) // 2, part.left, part.right, distance)
    return part.bottom <= post.top + ON_TOP and is_round and is_apart


def _hangs(part: Patch, post: Patch) -> bool:
    """Whether a patch is a sign, or a part of one, by the rows that it spans."""
    return post.top - ON_TOP <= part.top and part.bottom <= post.top + SIGN * (post.bottom - post.top)


def _closed(where: np.ndarray) -> np.ndarray:
    """A mask (H, W) bool without its small gaps."""
    return cv2.morphologyEx(where.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((CLOSED, CLOSED), np.uint8)) > 0


def _with_rim(pixels: np.ndarray, where: np.ndarray) -> np.ndarray:
    """A thing (H, W) bool with the pixels beside it that have not the colour of what is behind, but a blend of both."""
    behind = (~near(where, RIM, RIM)).astype(np.float32)
    side = (2 * RIM + 3, 2 * RIM + 3)
    share = cv2.blur(behind, side)
    usual = cv2.blur(pixels * behind[..., None], side) / np.maximum(share, 1e-6)[..., None]
    is_blend = (np.abs(pixels - usual).max(-1) > EVEN) & (share > 0)
    return where | (near(where, 1, 1) & is_blend)


@njit(cache=True, nogil=True)
def _patches(pixels):
    """Patches of neighbours (four a pixel) that differ by less than EVEN: labels (H, W) int32, boxes (n, 4) int32 of
    top, bottom, left, right, and counts (n,) int32."""
    H, W = pixels.shape[:2]
    labels, boxes = np.full((H, W), -1, np.int32), np.empty((H * W, 4), np.int32)
    counts, stack, n = np.zeros(H * W, np.int32), np.empty((H * W, 2), np.int32), 0
    for v in range(H):
        for u in range(W):
            if labels[v, u] >= 0:
                continue
            labels[v, u], top = n, 1
            stack[0, 0], stack[0, 1] = v, u
            boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3] = v, v, u, u
            while top:
                top -= 1
                y, x = stack[top, 0], stack[top, 1]
                counts[n] += 1
                boxes[n, 0], boxes[n, 1] = min(boxes[n, 0], y), max(boxes[n, 1], y)
                boxes[n, 2], boxes[n, 3] = min(boxes[n, 2], x), max(boxes[n, 3], x)
                for k in range(4):
                    b, a = y + (k == 0) - (k == 1), x + (k == 2) - (k == 3)
                    if not (0 <= b < H and 0 <= a < W) or labels[b, a] >= 0:
                        continue
                    step = 0
                    for c in range(3):
                        step = max(step, abs(int(pixels[b, a, c]) - int(pixels[y, x, c])))
                    if step < EVEN:
                        labels[b, a] = n
                        stack[top, 0], stack[top, 1] = b, a
                        top += 1
            n += 1
    return labels, boxes[:n], counts[:n]
