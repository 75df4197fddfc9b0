"""The texture of a plane where it was seen, and its continuation: planks, bricks, tiles and stripes repeat themselves.

A plane is laid flat on a grid of metres. Where the grid is moved onto itself and looks the same, it repeats (as in
Huang et al. 2014, section 4.2, which finds such shifts by features; here by correlation); what does not repeat is
mirrored at its edges. Places are metres in the world, sideways and upwards along the plane. Knows nothing of dreams.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ...compiled import njit
from ...pose import Camera, Pose
from ..surfaces import NEAR
from ..warp import View
from .planes import Layout, Plane, find_layout, normals_of, rays_from
from .room import assigned

RIM = 5  # pixels a side of the square by which a plane is eroded, because at its rim other planes show through
LEAST = 200  # pixels of a plane that its texture is told from, at least
FINEST, COARSEST = 0.02, 0.12  # metres a cell of the grid
WIDEST = 110  # cells to each side of the eye
RARE = 0.08  # a colour that less of a plane has is that of something lying on it
OTHER_HUE = 0.035  # distance to the plane's median hue, colours scaled to a sum of 1, of something else lying there
THICK = 7  # pixels; thinner areas of another hue are joints
FEW = 3  # areas of another hue that may be one picture on a wall
# something lies there if one area is at least ALONE of all that has another hue, and at most LARGE of the plane
ALONE, LARGE = 0.6, 0.3
# a larger picture has more areas, and these fill the outline around all of them
PARTS, LARGE_PICTURE, FILLED = 6, 0.5, 0.8
STRIP, STRANGE = 3, 4.0  # an edge of so many cells is another plane's if its light is so much of 255 beyond the rest's
PLAIN = 4.0  # of 255; a surface with a smaller standard deviation has no texture
ALIKE, ALIKE_ALONG = 0.6, 0.9  # correlation at which a texture repeats itself, and at which it is even all along
SMALLEST = 8  # cells a side, at least, of the rectangle that is known completely
SHORTEST = 4  # cells, at least, of a repeat
OVERLAP = 0.12  # share of a texture that must overlap its shifted self
ALMOST = 0.85  # a shorter repeat is preferred if it has at least this share of the best correlation
ACROSS = 0.35  # sine of the angle between two repeats, at least
MOST_SHIFTS = 4_000


@dataclass(frozen=True)
class Texture:
    """colours (h, w, 3) uint8 and known (h, w) bool on a grid of `cell` metres whose corner is at corner (2,) metres
    sideways and upwards; whole: the largest rectangle of what is known, its first row and column and those after its
    last; axes (2, 3) its directions; repeats: shifts in cells, up and sideways, that look the same."""

    plane: Plane
    axes: np.ndarray
    colours: np.ndarray
    known: np.ndarray
    whole: tuple[int, int, int, int]
    corner: np.ndarray
    cell: float
    mean: np.ndarray
    contrast: float
    repeats: tuple[tuple[int, int], ...]

    @property
    def is_plain(self) -> bool:
        return self.contrast < PLAIN

    @property
    def is_of_one_hue(self) -> bool:
        """Whether it is lighter and darker, and of no other colour."""
        return float((_off_hue(self.colours, self.known)[self.known] > OTHER_HUE).mean()) < RARE

    def at(self, places: np.ndarray) -> np.ndarray:
        """The colours (n, 3) float32 at places (n, 2) metres."""
        cells = np.floor((places - self.corner) / self.cell).astype(np.int64)[:, ::-1]
        found, told = np.empty((len(cells), 3), np.float32), np.zeros(len(cells), bool)
        if self.repeats:
            _repeated(self.colours, self.known, cells, self._shifts(), found, told)
        if not told.all():
            top, left, bottom, right = self.whole
            rows = top + _mirrored(cells[~told, 0] - top, bottom - top)
            columns = left + _mirrored(cells[~told, 1] - left, right - left)
            found[~told] = self.colours[rows, columns]
        return found

    def _shifts(self) -> np.ndarray:
        """(n, 2) int64 sums of the repeats, the shortest first."""
        h, w = self.known.shape
        counts = [min(400, 2 + int(3 * max(h, w) / math.hypot(*shift))) for shift in self.repeats]
        while math.prod(2 * count + 1 for count in counts) > MOST_SHIFTS:
            counts = [max(1, int(0.8 * count)) for count in counts]
        pairs = zip(counts, self.repeats, strict=True)
        steps = [np.arange(-count, count + 1)[:, None] * np.array(shift) for count, shift in pairs]
        shifts = steps[0] if len(steps) == 1 else (steps[0][:, None] + steps[1][None]).reshape(-1, 2)
        return shifts[np.argsort((shifts**2).sum(1), kind="stable")]


@dataclass(frozen=True)
class Looks:
    """How things look in a view: the textures of its planes; eye (3,) metres; azimuth: radians to one wall's normal,
    None where there is no wall; level: floor and ceiling, where it shows both, or the ground out of doors."""

    textures: tuple[Texture, ...] = ()
    eye: tuple[float, float, float] = (0.0, 0.0, 0.0)
    azimuth: float | None = None
    level: tuple[Plane, ...] = ()


def looks_of(view: View) -> Looks:
    """How things look in a view. One that was dreamt tells of no textures."""
    camera = Camera(view.depth.shape[1], view.depth.shape[0])
    rays, covered = rays_from(view.pose, camera), np.ones(view.depth.shape, bool)
    layout = find_layout(rays, view.depth, covered, is_inside=view.fresh is None)
    if not layout.planes:
        return Looks()
    azimuth = layout.azimuth if layout.is_wall.any() else None
    is_told = layout.floor is not None and (layout.ceiling is not None or not layout.is_room)
    level = layout.planes[:2] if is_told else ()
    if view.fresh is not None:
        return Looks((), view.pose.position, azimuth, level)
    depths = np.stack([plane.depth(rays) for plane in layout.planes])
    labels = assigned(layout, depths, rays, view.depth, covered, view.pose)[1]
    normals = normals_of(rays * view.depth[..., None], 2)
    found = [
        texture_of(layout, k, view.pose, view.pixels, depths[k], (labels == k) & plane.is_faced(normals))
        for k, plane in enumerate(layout.planes)
    ]
    textures = tuple(texture for texture in found if texture is not None)
    return Looks(textures, view.pose.position, azimuth, level)


def texture_of(
    layout: Layout, index: int, pose: Pose, pixels: np.ndarray, depth: np.ndarray, where: np.ndarray
) -> Texture | None:
    """The texture of a plane of a view: pixels (H, W, 3) uint8, depth (H, W) the plane's own, where (H, W) bool it is
    seen. None where too little is."""
    (H, W), plane = where.shape, layout.planes[index]
    rays = rays_from(pose, Camera(W, H))
    where = _common(pixels, cv2.erode(where.astype(np.uint8), np.ones((RIM, RIM), np.uint8)) > 0)
    where = _without_lying(pixels, where, plane.is_wall)
    if where.sum() < LEAST:
        return None
    camera = Camera(W, H)
    cell = float(np.clip(1.2 * np.percentile(depth[where], 30) / camera.focal, FINEST, COARSEST))
    axes, eye = layout.axes(plane), np.asarray(pose.position)
    points = rays[where] * depth[where][:, None]
    places = points @ axes.T
    places = places[(np.abs(places) < WIDEST * cell).all(1)]
    if len(places) < LEAST:
        return None
    low = places.min(0)
    w, h = ((places.max(0) - low) / cell).astype(int) + 1
    grid = low + cell * (np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1) + 0.5)
    seen = (grid @ axes - plane.distance * plane.normal) @ pose.rotation
    is_ahead = seen[..., 2] > NEAR
    seen[~is_ahead, 2] = np.inf
    u, v = ((place - 0.5).astype(np.float32) for place in camera.on_screen(seen))
    known = is_ahead & (u >= 0) & (u <= W - 1) & (v >= 0) & (v <= H - 1)
    known &= cv2.remap(where.astype(np.uint8), u, v, cv2.INTER_NEAREST) > 0
    colours = cv2.remap(pixels, u, v, cv2.INTER_LINEAR)
    known = _without_others(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY), _without_strange(colours, known))
    whole = _largest(known)
    if min(whole[2] - whole[0], whole[3] - whole[1]) < SMALLEST:
        return None
    correlation, contrast = _correlation(colours, known)
    repeats = () if contrast < PLAIN else _repeats(correlation)
    mean = colours[known].mean(0)
    return Texture(
        plane=plane,
        axes=axes,
        colours=colours,
        known=known,
        whole=whole,
        corner=low + axes @ eye,
        cell=cell,
        mean=mean,
        contrast=contrast,
        repeats=repeats,
    )


def _common(pixels: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Of the pixels `where`, those of a colour that many of them have."""
    coarse = pixels.astype(np.int64) >> 5
    keys = (coarse[..., 0] * 8 + coarse[..., 1]) * 8 + coarse[..., 2]
    counts = np.bincount(keys[where], minlength=512).reshape(8, 8, 8).astype(np.float32)
    padded = np.pad(counts, 1)
    around = sum(padded[i : i + 8, j : j + 8, k : k + 8] for i in range(3) for j in range(3) for k in range(3))
    return where & (np.ravel(around)[keys] > RARE * where.sum())


def _without_lying(pixels: np.ndarray, where: np.ndarray, is_wall: bool) -> np.ndarray:
    """Of the pixels `where`, those that are no part of the one thing of another hue that lies there, if one does: a
    rug, or a stone that depth took for ground; or of a few on a wall, a picture's, with smaller ones, for a part of it
    may be off the wall. Tiles are many, or of one hue; joints are thin."""
    if where.sum() < LEAST:
        return where
    is_other = where & (_off_hue(pixels, where) > OTHER_HUE)
    spots = cv2.morphologyEx(is_other.astype(np.uint8), cv2.MORPH_OPEN, np.ones((THICK, THICK), np.uint8))
    _, names, stats, _ = cv2.connectedComponentsWithStats(spots, connectivity=4)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    for few, most in ((FEW, LARGE), (PARTS, LARGE_PICTURE)) if is_wall else ((1, LARGE),):
        largest = 1 + np.argsort(-sizes, kind="stable")[:few]
        size = stats[largest, cv2.CC_STAT_AREA].sum()
        if not len(sizes) or size < ALONE * sizes.sum() or size > most * where.sum():
            continue
        is_thing = (spots if is_wall and few == FEW else np.isin(names, largest)).astype(np.uint8)
        for _ in range(2):  # with its thin edges
            around = cv2.dilate(is_thing, np.ones((2 * THICK + 1, 2 * THICK + 1), np.uint8)) > 0
            is_thing = ((is_thing > 0) | (around & is_other)).astype(np.uint8)
        if few <= FEW or is_thing.sum() > FILLED * cv2.contourArea(cv2.convexHull(cv2.findNonZero(is_thing))):
            return where & (cv2.dilate(is_thing, np.ones((RIM, RIM), np.uint8)) == 0)
    return where


def _off_hue(colours: np.ndarray, where: np.ndarray) -> np.ndarray:
    """How far the hues of colours (h, w, 3) are from the usual one `where` (h, w) bool, of a sum of one."""
    hues = colours / np.maximum(colours.sum(-1, keepdims=True), 1).astype(np.float32)
    return np.linalg.norm(hues - np.median(hues[where], 0), axis=-1)


def _without_strange(colours: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What is known (h, w) bool, without patches apart from the largest and of another hue: what is seen through an
    opening beside a wall may be taken for more of it."""
    count, names, stats, _ = cv2.connectedComponentsWithStats(known.astype(np.uint8), connectivity=8)
    if count < 3:
        return known
    away = _off_hue(colours, names == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))
    strange = [k for k in range(1, count) if np.median(away[names == k]) > OTHER_HUE]
    return known & ~np.isin(names, strange)


def _without_others(grey: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What is known (h, w) bool, without edges in a light that the rest has nowhere: those belong to another plane,
    whose border depth does not show."""
    for _ in range(4):  # each edge comes to the left once
        grey, known = np.rot90(grey), np.rot90(known)
        width = known.shape[1]
        middle = known & (np.abs(np.arange(width) - width / 2) < width / 4)
        low, high = np.percentile(grey[middle], (3, 97)) if middle.any() else (0, 255)
        last = 0
        for start in range(0, width // 4, STRIP):
            edge = grey[:, start : start + STRIP][known[:, start : start + STRIP]]
            if len(edge) and low - STRANGE <= np.median(edge) <= high + STRANGE:
                break
            last = start + STRIP + 1 if len(edge) else last
        known = known & (np.arange(width) >= last)
    return known


def _correlation(colours: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, float]:
    """How alike a texture is to itself moved by (y, x), at [h + y, w + x] of (2h, 2w), -1 where too little lies on
    itself; and its standard deviation. Correlation of what is known alone (Padfield 2012, equation 3)."""
    (h, w), mask = known.shape, known.astype(np.float32)
    grey = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = (grey - (grey * mask).sum() / mask.sum()) * mask
    size = (cv2.getOptimalDFTSize(2 * h), cv2.getOptimalDFTSize(2 * w))
    value, square, there = (np.fft.rfft2(x, size) for x in (grey, grey * grey, mask))
    back = lambda spectrum: np.roll(np.fft.irfft2(spectrum, size), (h, w), (0, 1))[: 2 * h, : 2 * w]  # noqa: E731
    energies = back(square.conj() * there) * back(there.conj() * square)
    alike = back(value * value.conj()) / np.sqrt(np.maximum(energies, 1e-6))
    alike[back(there * there.conj()) < OVERLAP * mask.sum()] = -1
    return alike.astype(np.float32), math.sqrt(float((grey * grey).sum() / mask.sum()))


def _repeats(alike: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Up to two shifts (y, x) in cells, not along each other, by which a texture of that correlation looks the same."""
    h, w = alike.shape[0] // 2, alike.shape[1] // 2
    found: list[tuple[int, int]] = []
    if _is_even(alike[h:, w]):
        found.append((1, 0))
    if _is_even(alike[h, w:]):
        found.append((0, 1))
    rows, columns = np.nonzero((alike >= cv2.dilate(alike, np.ones((3, 3), np.uint8)) - 1e-6) & (alike > ALIKE))
    values, y, x = alike[rows, columns], rows - h, columns - w
    ahead = (np.hypot(y, x) >= SHORTEST) & ((y > 0) | ((y == 0) & (x > 0)))
    values, y, x = values[ahead], y[ahead], x[ahead]
    for k in np.argsort(np.hypot(y, x), kind="stable"):
        is_across = all(abs(y[k] * b - x[k] * a) > ACROSS * math.hypot(y[k], x[k]) * math.hypot(a, b) for a, b in found)
        if len(found) < 2 and values[k] >= ALMOST * values.max() and is_across:
            found.append((int(y[k]), int(x[k])))
    return tuple(found)


def _is_even(alike: np.ndarray) -> bool:
    """Whether a texture is the same all along a direction. alike (n,): its correlation with itself, shifted so."""
    reach = max(2 * SHORTEST, len(alike) // 2)
    return len(alike) >= reach and bool(alike[:reach].min() > ALIKE_ALONG)


def _mirrored(places: np.ndarray, length: int) -> np.ndarray:
    """Indices into a strip of that length for places beyond it, as if mirrored at its ends."""
    inside = np.mod(places, 2 * length)
    return np.where(inside < length, inside, 2 * length - 1 - inside)


@njit(cache=True, nogil=True)
def _repeated(colours, known, cells, shifts, found, told):
    """For cells (n, 2), the colour at the nearest known one that is away by one of the shifts; the shift that the cell
    before took is tried first, so that neighbours stay neighbours."""
    h, w = known.shape
    last = 0
    for k in range(len(cells)):
        for s in range(-1, len(shifts)):
            one = last if s < 0 else s
            y, x = cells[k, 0] + shifts[one, 0], cells[k, 1] + shifts[one, 1]
            if 0 <= y < h and 0 <= x < w and known[y, x]:
                found[k, 0], found[k, 1], found[k, 2] = colours[y, x, 0], colours[y, x, 1], colours[y, x, 2]
                told[k], last = True, one
                break


@njit(cache=True, nogil=True)
def _largest(known):
    """The largest rectangle of what is known: top, left, bottom, right."""
    h, w = known.shape
    heights = np.zeros(w, np.int64)
    best, out = 0, (0, 0, 0, 0)
    for y in range(h):
        for x in range(w):
            heights[x] = heights[x] + 1 if known[y, x] else 0
        for left in range(w):
            height = heights[left]
            for right in range(left, w):
                height = min(height, heights[right])
                if height == 0:
                    break
                if height * (right - left + 1) > best:
                    best, out = height * (right - left + 1), (y - height + 1, left, y + 1, right + 1)
    return out
