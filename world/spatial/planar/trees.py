"""Trees and other things that stand in a dream out of doors: each is as far as the ground at its foot, has an even
outline, and stays the same thing when it is dreamt anew from nearer by.

A painter guesses the distance of a crown apart from that of its trunk, so that crowns came flying as the walker went
on; and a model that sees few tokens of a tree that is near dreams another one at each approach, larger and larger.
Knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from .background import go_on, near
from .fronts import STRANGE, detail_of
from .houses import CRUMB, LEAST, TALL, Scene
from .planes import FAR

AIR = 0.8  # metres; what ends higher above the ground does not stand by itself
CONTACT = 4  # rows below a crown in which its trunk begins
SLIM = 0.7  # a trunk is at most this share as wide as its crown
TOUCHES = 0.5  # share of a trunk's columns that are below its crown
LOW = 3  # columns of a thing that reach down to its foot
SAME = 0.1  # log depth; what is painted so near to where a thing stands is as far
SLENDER = 1.3  # a thing is at most so many times as wide as high; wider ones may go off into the distance
MOST = 2.5  # times; a thing whose distance is off by more is left where it is
LOWER = 0.5  # share of its height by which a foot is continued downwards at most
RELIEF = 0.06  # log depth that a thing is deep on either side of its usual depth
NEAREST, FARTHEST = 0.8, 33.0  # metres between which things are put
KNOWN = 0.1  # share of a thing that was there before, from which on that tells how far it is
HIDDEN = 0.9  # what is nearer than this share of a thing's depth stands before it
ROUND = 1.3  # pixels, sigma by which outlines are evened
RIM = 4  # pixels beside a part in which bits are of it
MOSTLY = 0.7  # share of a bit that is within that
COLOURS, ROUNDS = 4, 5  # groups of a thing's colours, and rounds in which they are found
APART = 50.0  # of 255; a group whose colours are nearer to those behind the thing is haze
BESIDE = 12  # columns to either side in which the colours behind it are looked for
SOME = 0.3  # share of a thing, at least, that is not haze
MELTED = 10  # pixels around a thing in which the new dream of about the same depth is what melted of it
DEEP = 1.1  # times; a thing that is kept is at most so much nearer and farther than its usual depth
AS_DEEP = 1.6  # times; about the same depth
INSIDE = 3  # pixels a side; what is farther inside than half of that has the thing's own colour


@dataclass(frozen=True)
class Thing:
    """A thing that stands on the ground. parts: where (H, W) bool each of its parts is, its trunk, which reaches the
    ground, first; haze (H, W) bool: what is painted at its depth in the colours of ground and sky; distance: metres,
    along the forward axis, of the ground at its foot, None if that is out of view."""

    parts: tuple[np.ndarray, ...]
    haze: np.ndarray
    distance: float | None

    @property
    def where(self) -> np.ndarray:
        return np.any(self.parts, 0)


def things_of(scene: Scene, is_house: np.ndarray, among: np.ndarray, least: int) -> Iterator[Thing]:
    """The slender things that stand in a view, crowns with their trunks, and have at least so many pixels `among`
    (H, W) bool. is_house (H, W) bool: what is none of them."""
    parts = _with_rims(scene, [part for part in scene.parts(CRUMB) if not (part & is_house).any()])
    hanging = [_hangs(scene, part) for part in parts]
    crowns: dict[int, list[int]] = {}
    for k, part in enumerate(parts):
        if hanging[k]:
            below = [n for n in range(len(parts)) if not hanging[n] and _bears(parts[n], part)]
            if below:
                crowns.setdefault(max(below, key=lambda n: _touching(parts[n], part)), []).append(k)
    for n, part in enumerate(parts):
        if hanging[n]:
            continue
        whole = (part, *(parts[k] for k in crowns.get(n, [])))
        where = np.any(whole, 0)
        if np.count_nonzero(where & among) < least or not _is_slender(where):
            continue
        own = _own(scene, where)
        if (part & own).any():
            stem, distance = _standing(scene, part & own)
            yield Thing((stem, *(one & own for one in whole[1:])), where & ~own & ~stem, distance)


def _own(scene: Scene, where: np.ndarray) -> np.ndarray:
    """The pixels (H, W) bool of a thing without those that are painted in the colours of what is behind it."""
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    box = np.s_[int(rows[0]) : int(rows[-1]) + 1, max(0, int(columns[0]) - BESIDE) : int(columns[-1]) + 1 + BESIDE]
    pixels, behind, there = scene.pixels[box].astype(np.float32), scene.is_behind[box], where[box]
    counts = behind.sum(1)
    if not counts.any():
        return where
    known, every = np.flatnonzero(counts), np.arange(len(counts))
    means = (pixels * behind[..., None]).sum(1)[known] / counts[known, None]
    usual = np.stack([np.interp(every, known, means[:, k]) for k in range(3)], 1)[:, None]
    off_behind = np.linalg.norm(pixels - usual, axis=-1)
    colours = pixels[there]
    own = [
        colours[group].mean(0)
        for group in _groups(colours)
        if group.any() and np.median(off_behind[there][group]) > APART
    ]
    if not own:
        return where
    is_own = there & (np.min([np.linalg.norm(pixels - colour, axis=-1) for colour in own], 0) < off_behind)
    is_own = there & _evened(is_own)
    if is_own.sum() < SOME * there.sum():
        return where
    out = np.zeros_like(where)
    out[box] = is_own
    return out


def _with_rims(scene: Scene, parts: list[np.ndarray]) -> list[np.ndarray]:
    """The parts, without the smaller ones that are no more than the rim of a larger one, and with those in it."""
    whole: list[np.ndarray] = []
    for part in parts:  # the largest first
        rim = next((k for k, other in enumerate(whole) if _is_rim(part, other)), None)
        if rim is None:
            whole.append(part)
        else:
            whole[rim] = whole[rim] | part
    return [part | (near(part, 2, 2) & scene.is_crumb) for part in whole]


def _is_rim(part: np.ndarray, other: np.ndarray) -> bool:
    size = np.count_nonzero(part)
    return bool(2 * size < np.count_nonzero(other) and np.count_nonzero(part & near(other, RIM, RIM)) > MOSTLY * size)


def stand(scene: Scene, is_house: np.ndarray, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Put the new parts of all slender things of a view at the distance of their foot, in depth (H, W). What is partly
    known stays as far as that is, and is continued down to the ground there, in pixels (H, W, 3) too. Returns where
    (H, W) bool things are that have been put."""
    there, gone = np.zeros(depth.shape, bool), np.zeros(depth.shape, bool)
    for thing in things_of(scene, is_house, ~scene.covered, TALL):
        where = thing.where
        known = where & scene.covered
        distance = float(np.median(scene.depth[known])) if known.sum() > KNOWN * where.sum() else thing.distance
        now = float(np.median(scene.depth[thing.parts[0]]))
        gone |= thing.haze & ~scene.covered
        if distance is None or not NEAREST < distance < FARTHEST or not 1 / MOST < distance / now < MOST:
            continue
        for part in thing.parts:
            new = part & ~scene.covered
            relief = np.log(scene.depth[new] / np.median(scene.depth[part]))
            depth[new] = distance * np.exp(relief.clip(-RELIEF, RELIEF))
            there |= new
        there |= _to_the_ground(scene, thing.parts[0], float(distance), pixels, depth)
    gone &= ~there
    go_on(pixels, depth, gone, scene.is_behind & ~gone & ~there & ~is_house)
    return there


def _to_the_ground(
    scene: Scene, part: np.ndarray, distance: float, pixels: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    """Continue the foot of a part down to where the ground is as near. Returns where (H, W) bool."""
    added, columns = np.zeros_like(part), np.flatnonzero(part.any(0))
    lowest = _lowest(part, columns)
    foot = _foot(lowest)
    end = int(np.searchsorted(-scene.up, scene.eye / distance))
    if end - foot > LOWER * np.count_nonzero(part.any(1)):
        return added
    for column, row in zip(columns[lowest >= foot - CONTACT], lowest[lowest >= foot - CONTACT], strict=True):
        below = np.arange(row + 1, min(end + 1, len(part)))
        below = below[~scene.covered[below, column] & (depth[below, column] > HIDDEN * distance)]
        pixels[below, column], depth[below, column] = pixels[row, column], distance
        added[below, column] = True
    return added


def keep_things(
    older: Scene, new: Scene, is_left_out: np.ndarray, is_house: np.ndarray, pixels: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    """Draw the slender things of an older dream once more, with an even outline, where is_left_out (H, W) bool says
    that they were to be dreamt anew. Returns where (H, W) bool they are."""
    kept, gone = np.zeros(depth.shape, bool), np.zeros(depth.shape, bool)
    things = things_of(older, is_house, is_left_out, LEAST)
    for thing in sorted(things, key=lambda thing: -float(np.median(older.depth[thing.parts[0]]))):
        where = thing.where
        if np.count_nonzero(where & is_left_out) < LEAST:
            continue
        far = float(np.median(older.depth[where]))
        even = _evened(where) & (where | (older.depth > HIDDEN * far)) & is_left_out & ~is_house
        pixels[even] = _coloured(older.pixels, where, new.pixels)[even]
        depth[even] = older.depth[even].clip(far / DEEP, far * DEEP)
        kept |= even
        is_near = near(even, MELTED, MELTED) & (new.depth < AS_DEEP * far)
        melted = is_near & ~kept & ~is_house & ~new.covered & ~new.is_behind
        back = melted & is_left_out & older.is_behind
        pixels[back], depth[back] = older.pixels[back], older.depth[back]
        is_other = is_left_out & ~where & ~older.is_behind & (older.depth < FAR)  # another thing of the older dream
        gone |= (thing.haze & is_left_out) | (melted & ~back & ~is_other)
    gone &= ~kept
    go_on(pixels, depth, gone, new.is_behind & ~gone & ~kept & ~is_house)
    return kept


def _evened(where: np.ndarray) -> np.ndarray:
    """A mask (H, W) bool without the steps and frays of its outline."""
    return cv2.GaussianBlur(where.astype(np.float32), (0, 0), ROUND, borderType=cv2.BORDER_REPLICATE) > 0.5


def _coloured(pixels: np.ndarray, where: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: a thing `where` (H, W) bool of pixels (H, W, 3), magnified, with sharp borders between its
    colours, those from inside on its rim, and fine detail where fine (H, W, 3) is painted in about the same colour."""
    rows, columns = (np.flatnonzero(where.any(axis)) for axis in (1, 0))
    box = np.s_[max(0, rows[0] - RIM) : rows[-1] + 1 + RIM, max(0, columns[0] - RIM) : columns[-1] + 1 + RIM]
    near, there = pixels[box].astype(np.float32), where[box]
    inside = cv2.erode(there.astype(np.uint8), np.ones((INSIDE, INSIDE), np.uint8)) > 0
    inside = inside if inside.sum() > COLOURS else there
    best, even = np.zeros(there.shape, np.float32), near.copy()
    for group in _groups(near[inside]):
        is_it = np.zeros(there.shape, np.float32)
        is_it[inside] = group
        weight = cv2.GaussianBlur(is_it, (0, 0), INSIDE)
        own = cv2.GaussianBlur(near * is_it[..., None], (0, 0), INSIDE) / np.maximum(weight, 1e-6)[..., None]
        much = cv2.GaussianBlur(is_it, (0, 0), ROUND) + np.float32(1e-3) * weight
        np.copyto(even, own, where=(much > best)[..., None])
        best = np.maximum(best, much)
    painted = fine[box].astype(np.float32)
    even += detail_of(painted, there & (np.linalg.norm(painted - even, axis=-1) < STRANGE))
    out = pixels.astype(np.uint8)
    out[box] = np.clip(even + 0.5, 0, 255).astype(np.uint8)
    return out


def _groups(colours: np.ndarray) -> list[np.ndarray]:
    """(n,) bool each: colours (n, 3) float32 in COLOURS groups, by k-means that begins with their brightness."""
    ranks = np.argsort(np.argsort(colours.sum(1), kind="stable"), kind="stable") * COLOURS // len(colours)
    stop = (cv2.TERM_CRITERIA_MAX_ITER, ROUNDS, 0.0)
    labels = cv2.kmeans(colours, COLOURS, ranks.astype(np.int32)[:, None], stop, 1, cv2.KMEANS_USE_INITIAL_LABELS)[1]
    return [labels[:, 0] == k for k in range(COLOURS)]


def _hangs(scene: Scene, part: np.ndarray) -> bool:
    """Whether a part ends in the air, by its own depth."""
    outline = scene.outline(part)
    return not len(outline.columns) or float(scene.metres(outline.bottom, outline.depth).min()) > AIR


def _below(crown: np.ndarray) -> np.ndarray:
    """Where (H, W) bool a crown's trunk would begin."""
    columns, out = np.flatnonzero(crown.any(0)), np.zeros_like(crown)
    lowest = _lowest(crown, columns)
    for k in range(1, CONTACT + 1):
        out[np.minimum(lowest + k, len(crown) - 1), columns] = True
    return out


def _touching(trunk: np.ndarray, crown: np.ndarray) -> int:
    """How many columns of a trunk begin right below a crown."""
    return int((trunk & _below(crown)).any(0).sum())


def _bears(trunk: np.ndarray, crown: np.ndarray) -> bool:
    """Whether a part is so slim, and so placed, that it bears a crown."""
    wide = np.count_nonzero(trunk.any(0))
    return bool(wide <= SLIM * np.count_nonzero(crown.any(0)) and _touching(trunk, crown) >= TOUCHES * wide)


def _standing(scene: Scene, part: np.ndarray) -> tuple[np.ndarray, float | None]:
    """A part with its foot, which is so near to the ground that it is taken for it; and how far it stands: where it was
    painted, if the ground at its foot is about as far, and else as far as that is. None if its foot is out of view."""
    columns = np.flatnonzero(part.any(0))
    lowest = _lowest(part, columns)
    now = float(np.median(scene.depth[part]))
    low = columns[lowest >= _foot(lowest) - CONTACT]
    end = int(np.searchsorted(-scene.up, scene.eye / now))
    whole = part.copy()
    rows, bottom = np.arange(len(part))[:, None], _lowest(part, low)
    is_foot = scene.is_ground & (np.abs(np.log(scene.depth / now)) < SAME) & ~scene.covered
    is_whole = np.logical_and.accumulate(is_foot[:, low] | (rows <= bottom), 0)
    whole[:, low] |= (rows > bottom) & (rows < end) & is_whole
    foot = _foot(_lowest(whole, low))
    if foot >= len(part) - 2 or scene.up[foot] >= 0:
        return whole, None
    ground = float(scene.ground[foot, 0])
    return whole, now if abs(math.log(now / ground)) < SAME else ground


def _lowest(part: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n,): the lowest row of a part in each of its columns (n,)."""
    return len(part) - 1 - part[::-1, columns].argmax(0)


def _foot(lowest: np.ndarray) -> int:
    """The row of a part's foot, to which LOW of its columns reach down. lowest (n,): their lowest rows."""
    return int(np.sort(lowest)[-min(LOW, len(lowest))])


def _is_slender(where: np.ndarray) -> bool:
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    return float(columns[-1] - columns[0]) <= SLENDER * float(rows[-1] - rows[0] + 1)
