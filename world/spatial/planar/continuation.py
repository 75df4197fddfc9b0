"""Continues the planes of a room or a street into a dream. Where a dream shows a wall, floor or ceiling, it is made
even, ends in straight lines, and takes the texture that was seen of it or of one like it. Which walls there are, what
stands before them and what opens in them stays as it was dreamt.

The reason: a model of a few tokens a view says where a wall is and which colour it has, but not where its bricks are.
Knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ...compiled import njit
from ...pose import Camera, Pose
from ..warp import View, Warp
from .facades import straightened
from .missing import Assigned
from .planes import NEAREST, Layout, Plane, chosen, find_layout, normals_of, off, rays_from
from .standing import standing
from .texture import LEAST, Looks, Texture, looks_of, texture_of

SAME_COLOUR = 60.0  # of 255; a plane takes a remembered texture whose mean colour is at most this far from its own
SAME_HUE = 0.15  # the same for colours scaled to a sum of 1
LARGE = 0.02  # share of a view; what has the colour of a plane of at least this size is no thing
FEATURELESS = 18.0  # of 255; a wall that is painted with a smaller standard deviation has no pattern
OWN = 40.0  # as SAME_COLOUR, for a plane of which some is seen in this view, and for pixels of one plane
SAME_PLACE = 0.3  # metres; planes this near to each other may be one
ITSELF = 0.5  # a texture of the very same plane counts as if its colour were nearer by this factor
FIRST_DOUBT, LAST_DOUBT = 35.0, 55.0  # of 255, distances from all planes' colours: begins to be, and is, a thing
AS_FAR = 1.5  # a thing that hangs on a plane is at most this many times as far as the plane
LIES = 0.04  # log depth; what is no farther above the ground lies flat on it
THING = 2.0  # pixels, sigma of the blur before colours are judged for things
EVENED = (9, 30.0, 5.0)  # of the bilateral filter for what is painted: pixels a side, sigmas of colour and of place
DETAIL = 8.0  # of 255, the most that painted detail changes a surface without texture
SPREAD = 6.0  # pixels, sigma by which a plane's colour is spread
COARSE = 4  # pixels a side of the cells in which that is done
DIMMEST, BRIGHTEST = 0.6, 1.6  # the least and most by which light may change a remembered colour
BESIDE = 3  # pixels of a plane next to the border of what was seen, in which the two colours are compared
JOINED = 48.0  # of 255; colours that differ by less there are one surface in another light, and are blended
FAINT = np.float32(1e-3)  # weight of a plane's usual colour beside those near by
ENOUGH = 30  # pixels of a plane that its colour is known from
REMEMBERED = 64  # views whose looks are kept


class Memory:
    """Keeps how things look in the views that were asked for last."""

    def __init__(self) -> None:
        self._kept: list[tuple[View, Looks]] = []

    def looks(self, view: View) -> Looks:
        for kept, looks in self._kept:
            if kept is view:
                return looks
        self._kept = [*self._kept[1 - REMEMBERED :], (view, looks_of(view))]
        return self._kept[-1][1]


@dataclass(frozen=True)
class _Surfaces:
    """The n planes of a view: rays and normals (H, W, 3); depths (n, H, W) of each; labels (H, W), the number of the
    plane in each pixel, -1 for none; source (H, W), the pixel that is to be shown in each, counted along the rows; fits
    (n, H, W) bool, where the view's depth agrees with its plane; colours (n, 3), the usual one of each, NaN where not
    known."""

    pose: Pose
    layout: Layout
    rays: np.ndarray
    normals: np.ndarray
    depths: np.ndarray
    labels: np.ndarray
    source: np.ndarray
    fits: np.ndarray
    colours: np.ndarray

    @staticmethod
    def of(
        pose: Pose,
        layout: Layout,
        rays: np.ndarray,
        pixels: np.ndarray,
        depth: np.ndarray,
        covered: np.ndarray,
        is_house: np.ndarray,
    ) -> _Surfaces:
        found = Assigned.of(layout, rays, depth, covered, pose, ~covered & ~is_house)
        first, labels = (np.where(is_house, -1, which) for which in (found.by_depth, found.labels))
        fits = np.stack([(first == k) & (labels == k) for k in range(len(found.depths))])
        normals = normals_of(rays * depth[..., None], 2)
        colours = np.stack([_usual(pixels, where) for where in fits])
        return _Surfaces(pose, found.layout, rays, normals, found.depths, labels, found.source, fits, colours)

    def texture(
        self, index: int, colour: np.ndarray, carried: Warp, looks: Sequence[Looks]
    ) -> tuple[Texture | None, np.ndarray]:
        """The texture for the dreamt part of a plane, which was dreamt in `colour` (3,), and the light (3,) on it. If
        some of the plane is seen here: a remembered texture of that colour, or the seen part itself if it repeats.
        Otherwise a remembered one of the dreamt colour, or None."""
        plane, seen = self.layout.planes[index], self._seen(index, carried.pixels, carried.covered)
        mean = carried.pixels[seen].mean(0) if seen.sum() >= LEAST else None
        if mean is not None and _is_same(mean, colour):
            found = _remembered(plane, self.pose, mean, OWN, looks)
            if found is not None:
                return found, self._light(colour, found)
            own = texture_of(self.layout, index, self.pose, carried.pixels, self.depths[index], seen)
            if own is not None and (own.is_plain or own.repeats):
                return own, np.ones(3)
        found = _remembered(plane, self.pose, colour, SAME_COLOUR, looks)
        return found, np.ones(3) if found is None else self._light(colour, found)

    def _light(self, colour: np.ndarray, texture: Texture) -> np.ndarray:
        """The factors (3,) that give a texture the mean colour `colour` (3,), within limits. Out of doors they give it
        that brightness alone: a meadow that took over a little of each dream's colour became another meadow."""
        own, other = (np.maximum(c, 8) if self.layout.is_room else _brightness(c) for c in (colour, texture.mean))
        return np.clip(own / other * np.ones(3), DIMMEST, BRIGHTEST)

    def _seen(self, index: int, pixels: np.ndarray, where: np.ndarray) -> np.ndarray:
        """Where (H, W) bool, among `where`, a plane is seen in pixels (H, W, 3), which may have been dreamt. Pixels
        whose colour is nearer to planes of another kind do not count."""
        own = self.layout.planes[index]
        is_known, is_alike = np.isfinite(self.colours).all(1), np.array([p.is_like(own) for p in self.layout.planes])
        off, other = (
            _off_colours(pixels, self.colours[is_known & (is_alike == side)], False) for side in (True, False)
        )
        is_it = where & (self.labels == index) & own.is_faced(self.normals)
        return is_it & (off <= np.minimum(other, LAST_DOUBT))

    def laid(self, index: int, where: np.ndarray, texture: Texture) -> np.ndarray:
        """The colours (n, 3) of a texture at a plane's pixels `where` (H, W) bool."""
        plane = self.layout.planes[index]
        axes = self.layout.axes(plane) if plane.is_wall else texture.axes
        points = self.rays[where] * self.depths[index][where][:, None] + np.asarray(self.pose.position)
        return texture.at(points @ axes.T)

    def pattern(self, index: int, where: np.ndarray, looks: Sequence[Looks]) -> np.ndarray:
        """How many times as bright (n, 1) as on the mean a plane of no known texture is at pixels `where` (H, W) bool:
        as a remembered one of its kind that repeats itself, or evenly. In another room of a house, walls have other
        colours, and bricks or stripes as well."""
        own = self.layout.planes[index]
        alike = [texture for one in looks for texture in one.textures if texture.plane.is_like(own)]
        patterns = [texture for texture in alike if texture.repeats and texture.is_of_one_hue]
        if not patterns:
            return np.ones((1, 1), np.float32)
        surest = max(patterns, key=lambda texture: (len(texture.repeats), int(texture.known.sum())))
        return _brightness(self.laid(index, where, surest)) / _brightness(surest.mean)


def continued(
    pose: Pose, carried: Warp, pixels: np.ndarray, depth: np.ndarray, looks: Sequence[Looks] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """pixels (H, W, 3) uint8 and depth (H, W) float32 of a view as painted, with its planes continued: changed where
    nothing was carried and there is a plane. looks: of views that were seen."""
    rays, holes = rays_from(pose, Camera(depth.shape[1], depth.shape[0])), ~carried.covered
    azimuth = next((one.azimuth for one in looks if one.azimuth is not None), None)
    layout = find_layout(
        rays,
        depth,
        carried.covered,
        azimuth=azimuth,
        level=_level(looks, pose),
        is_inside=azimuth is not None,
        is_outside=azimuth is None and any(len(one.level) == 1 for one in looks),
    )
    if not layout.planes:
        return pixels, depth
    is_house = np.zeros(depth.shape, bool)
    if layout.floor is not None and not layout.is_room:
        eye = layout.planes[layout.floor].distance
        pixels, depth, is_house = straightened(rays, pixels, depth, carried, eye)
    surfaces = _Surfaces.of(pose, layout, rays, pixels, depth, carried.covered, is_house)
    layout = surfaces.layout
    pixels, depth = pixels.reshape(-1, 3)[surfaces.source], depth.ravel()[surfaces.source]
    is_new, near, even = holes & (surfaces.labels >= 0), _around(holes), pixels.astype(np.float32)
    even[:, near] = cv2.bilateralFilter(np.ascontiguousarray(pixels[:, near]), *EVENED)
    out, any_doubt = np.where(is_new[..., None], even, pixels), np.zeros(depth.shape, np.float32)
    is_large = surfaces.fits.mean((1, 2)) > LARGE
    any_doubt[:, near] = _doubt(even[:, near], surfaces.colours[np.isfinite(surfaces.colours).all(1) & is_large])
    for k in range(len(layout.planes)):
        where, kept = is_new & (surfaces.labels == k), holes & surfaces.fits[k]
        colour = _usual(pixels, kept) if where.any() else np.full(3, np.nan)
        if np.isnan(colour).any():
            continue
        around = _spread(pixels, kept, colour)
        doubt = any_doubt
        if not layout.is_room:  # out of doors, what lies flat on the ground is part of it
            doubt = doubt * np.clip((off(depth, surfaces.depths[k]) - LIES) / LIES, 0, 1)
        hangs = (doubt > 0.5) & (depth < AS_FAR * surfaces.depths[k])
        np.copyto(out, around, where=(where & ~kept & ~hangs)[..., None])
        texture, light = surfaces.texture(k, colour, carried, looks)
        beside = _beside(where, carried.covered & (surfaces.labels == k))
        both, shown = where | beside, np.zeros_like(out)
        if texture is not None:
            detail = _faint((out - around)[both], texture.contrast) if texture.is_plain else None
            laid = surfaces.laid(k, both, texture) if detail is None else texture.mean + detail
            shown[both] = light * laid
        elif layout.is_room and float((even[kept] - around[kept]).std(0).mean()) < FEATURELESS:
            around = _spread(pixels, kept & (_most(even - colour) < OWN), colour)
            shown[both] = around[both] * surfaces.pattern(k, both, looks)
        else:
            continue
        if beside.any() and (texture is not None or _is_same(carried.pixels[beside].mean(0), colour)):
            apart = np.where(beside[..., None], carried.pixels - shown, 0)
            shown += _spread(apart, beside & (_most(apart) < JOINED), np.zeros(3))
        out[where] += (1 - doubt[where])[:, None] * (np.clip(shown[where], 0, 255) - out[where])
    nearest = chosen(surfaces.depths, surfaces.labels)
    pixels, depth = np.clip(out + 0.5, 0, 255).astype(np.uint8), np.where(is_new, nearest, depth)
    if layout.floor is None or layout.is_room:
        return pixels, depth
    return standing(rays, pixels, depth, carried.covered, layout.planes[layout.floor].distance)


def _around(holes: np.ndarray) -> slice:
    """The columns of holes (H, W) bool, and as many beside them as the filters there read."""
    columns, reach = np.flatnonzero(holes.any(0)), EVENED[0] // 2 + math.ceil(4 * THING)
    return slice(max(0, int(columns[0]) - reach), int(columns[-1]) + 1 + reach) if len(columns) else slice(0, 1)


def _level(looks: Sequence[Looks], pose: Pose) -> list[Plane]:
    """Floors and ceilings of remembered rooms, and the ground out of doors, as they are seen from a pose, those of the
    first first."""
    planes = [(plane, one.eye[2]) for one in looks for plane in one.level]
    heights = [(plane, plane.distance + float(plane.normal[2]) * (pose.position[2] - up)) for plane, up in planes]
    return [Plane(plane.normal, distance) for plane, distance in heights if distance > NEAREST]


def _usual(pixels: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The median colour (3,) float32 of pixels `where`, NaN where they are too few to tell."""
    count = int(np.count_nonzero(where))
    if count < ENOUGH:
        return np.full(3, np.nan, np.float32)
    totals = np.stack([np.cumsum(np.bincount(pixels[..., k][where], minlength=256)) for k in range(3)])
    middle = [(totals <= (count - 1 + side) // 2).sum(1) for side in (0, 1)]
    return (np.float32(0.5) * (middle[0] + middle[1])).astype(np.float32)


@njit(cache=True, nogil=True, fastmath=True)
def _off_colours(pixels, colours, blends):
    """(H, W) float32: how far pixels (H, W, 3) are from the nearest of colours (n, 3), infinite without any; blends:
    or from the nearest blend of two of them."""
    H, W = pixels.shape[:2]
    out = np.empty((H, W), np.float32)
    for v in range(H):
        for u in range(W):
            least = np.float32(np.inf)
            for i in range(len(colours)):
                x = np.float32(pixels[v, u, 0]) - colours[i, 0]
                y = np.float32(pixels[v, u, 1]) - colours[i, 1]
                z = np.float32(pixels[v, u, 2]) - colours[i, 2]
                least = min(least, x * x + y * y + z * z)
                for j in range(i + 1, len(colours) if blends else 0):
                    a, b = colours[j, 0] - colours[i, 0], colours[j, 1] - colours[i, 1]
                    c = colours[j, 2] - colours[i, 2]
                    share = (x * a + y * b + z * c) / max(a * a + b * b + c * c, np.float32(1e-6))
                    share = min(max(share, np.float32(0)), np.float32(1))
                    p, q, r = x - share * a, y - share * b, z - share * c
                    least = min(least, p * p + q * q + r * r)
            out[v, u] = np.sqrt(least)
    return out


def _doubt(even: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(H, W) from 0 to 1: how much what is painted looks like a thing that hangs or stands there, because its colour is
    far from those of all planes, colours (n, 3), and from blends of two, as there are where planes meet."""
    off = _off_colours(cv2.GaussianBlur(even, (0, 0), THING), colours, True)
    return np.clip((off - FIRST_DOUBT) / (LAST_DOUBT - FIRST_DOUBT), 0, 1)


def _faint(detail: np.ndarray, contrast: float) -> np.ndarray:
    """The detail (n, 3) that was painted on a plain surface, no stronger than what was seen of it."""
    faint = np.clip(detail, -DETAIL, DETAIL)
    return faint * min(1.0, contrast / max(float(faint.std()), 1e-6))


def _remembered(plane: Plane, pose: Pose, wanted: np.ndarray, most: float, looks: Sequence[Looks]) -> Texture | None:
    """The remembered texture of a plane of the same kind whose mean is nearest to the colour `wanted` (3,); textures of
    that very plane are preferred. None if all are farther than `most`."""
    eye = np.asarray(pose.position)

    def cost(found: tuple[Looks, Texture]) -> float:
        one, texture = found
        other = texture.plane
        apart = plane.distance + plane.normal @ eye - other.distance - other.normal @ np.array(one.eye)
        is_it = other.normal @ plane.normal > 0.99 and abs(apart) < SAME_PLACE
        return float(np.linalg.norm(texture.mean - wanted)) * (ITSELF if is_it else 1.0)

    alike = [(one, texture) for one in looks for texture in one.textures if texture.plane.is_like(plane)]
    nearest = min((pair for pair in alike if _is_same(pair[1].mean, wanted)), key=cost, default=None)
    return None if nearest is None or cost(nearest) > most else nearest[1]


def _most(apart: np.ndarray) -> np.ndarray:
    """The size (H, W) of the largest of the differences in a colour (H, W, 3)."""
    red, green, blue = cv2.split(np.abs(apart))
    return np.maximum(np.maximum(red, green), blue)


def _brightness(colours: np.ndarray) -> np.ndarray:
    """(..., 1), of colours (..., 3)."""
    return np.maximum(colours.mean(-1, keepdims=True), 8)


def _is_same(colour: np.ndarray, other: np.ndarray) -> bool:
    """Whether two colours (3,) may be one surface's, in another light at most."""
    hues = (c / max(float(c.sum()), 1.0) for c in (colour, other))
    return float(np.linalg.norm(colour - other)) < SAME_COLOUR and float(np.linalg.norm(np.subtract(*hues))) < SAME_HUE


def _beside(where: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The pixels (H, W) bool among those that were seen which lie next to `where`."""
    return seen & (cv2.dilate(where.astype(np.uint8), np.ones((2 * BESIDE + 1, 2 * BESIDE + 1), np.uint8)) > 0)


def _spread(pixels: np.ndarray, where: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """The colours (H, W, 3) float32 of the pixels `where`, blurred and spread beyond them; the usual one far off."""
    H, W = where.shape
    coarse = cv2.resize(_chosen(pixels, where), (W // COARSE, H // COARSE), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(cv2.GaussianBlur(coarse, (0, 0), SPREAD / COARSE), (W, H), interpolation=cv2.INTER_LINEAR)
    return _weighed(blurred, FAINT * usual.astype(np.float32))


@njit(cache=True, nogil=True)
def _chosen(pixels, where):
    """(H, W, 4) float32: the pixels (H, W, 3) `where` and a 1, elsewhere zeros."""
    H, W = where.shape
    out = np.zeros((H, W, 4), np.float32)
    for v in range(H):
        for u in range(W):
            if where[v, u]:
                for k in range(3):
                    out[v, u, k] = pixels[v, u, k]
                out[v, u, 3] = 1
    return out


@njit(cache=True, nogil=True)
def _weighed(sums, faint):
    """(H, W, 3) float32: sums of colours and weights (H, W, 4), and a faint colour (3,), as colours."""
    H, W = sums.shape[:2]
    out = np.empty((H, W, 3), np.float32)
    for v in range(H):
        for u in range(W):
            weight = sums[v, u, 3] + FAINT
            for k in range(3):
                out[v, u, k] = (sums[v, u, k] + faint[k]) / weight
    return out
