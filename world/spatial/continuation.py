"""Goes on with what was seen where a dream shows the same: walls, floor and ceiling are even, meet in straight lines,
and look as they did. Which walls there are, what stands before them and what opens in them is as it was dreamt.

A model of a few tokens a view says where a wall is and which colour it has, and not where its bricks are. Knows nothing
of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import cv2
import numpy as np

from ..pose import Camera, Pose
from .planes import NEAREST, Layout, Plane, find_layout, normals_of, rays_from
from .room import assigned
from .texture import Looks, Texture, looks_of, texture_of
from .warp import View, Warp

SAME_COLOUR = 60.0  # of 255, distance up to which a plane has a remembered texture
SAME_HUE = 0.1  # the same, of a sum of one
OWN = 40.0  # the same between what is seen of a plane and what is remembered
SAME_PLACE = 0.3  # metres between planes that may be one
ITSELF = 0.5  # by which the distance of colours counts where the texture is of the very plane
FIRST_DOUBT, LAST_DOUBT = 35.0, 55.0  # of 255, distances from all planes' colours at which a thing may hang there
THING = 2.0  # pixels, sigma of the neighbourhood in which that is told
EVENED = (9, 30.0, 5.0)  # pixels a side, and sigmas of colour and place, by which what is painted is evened
DETAIL = 8.0  # of 255, up to which what is painted shows on a surface without texture
SPREAD = 6.0  # pixels, sigma by which a plane's colour is spread
DIMMEST, BRIGHTEST = 0.6, 1.6  # of a remembered colour, to which light may change it
BESIDE = 3  # pixels next to a border, by which what is seen there differs from what goes on behind it
FAINT = np.float32(1e-3)  # weight of a plane's usual colour beside those near by
ENOUGH = 30  # pixels of a plane, by which its colour is known
REMEMBERED = 64  # views whose looks are kept


class Memory:
    """How things look in views, kept for those that were asked for last."""

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
    """The planes of a view: rays and normals (H, W, 3), depths (n, H, W) of each, labels (H, W) which one is there, -1
    for none, fits (n, H, W) bool where depth says so too, colours (n, 3) the usual one of each, NaN where not known."""

    pose: Pose
    layout: Layout
    rays: np.ndarray
    normals: np.ndarray
    depths: np.ndarray
    labels: np.ndarray
    fits: np.ndarray
    colours: np.ndarray

    @staticmethod
    def of(
        pose: Pose, layout: Layout, rays: np.ndarray, pixels: np.ndarray, depth: np.ndarray, covered: np.ndarray
    ) -> _Surfaces:
        depths = np.stack([plane.depth(rays) for plane in layout.planes])
        first, labels = assigned(layout, depths, rays, depth, covered, pose)
        fits = np.stack([(first == k) & (labels == k) for k in range(len(depths))])
        normals = normals_of(rays * depth[..., None], 2)
        colours = np.stack([_usual(pixels, where) for where in fits])
        return _Surfaces(pose, layout, rays, normals, depths, labels, fits, colours)

    def texture(self, index: int, pixels: np.ndarray, where: np.ndarray) -> Texture | None:
        """The texture of a plane in pixels (H, W, 3), where (H, W) bool they are seen, which may have been dreamt: what
        is of other colours than planes of its kind is none of it, and what does not repeat itself is none at all."""
        own = self.layout.planes[index]
        off = np.full((2, *where.shape), np.inf, np.float32)  # of colours, from planes of its kind and of others
        for plane, colour in zip(self.layout.planes, self.colours, strict=True):
            if np.isfinite(colour).all():
                kind = int(not plane.is_like(own))
                off[kind] = np.minimum(off[kind], _distance(pixels, colour))
        seen = where & (self.labels == index) & own.is_faced(self.normals)
        seen &= off[0] <= np.minimum(off[1], LAST_DOUBT)
        found = texture_of(self.layout, index, self.pose, pixels, self.depths[index], seen)
        return found if found is not None and (found.is_plain or found.repeats) else None

    def places(self, index: int, where: np.ndarray, texture: Texture) -> np.ndarray:
        """(n, 2) metres: where a texture would be asked for a plane's pixels `where` (H, W) bool."""
        plane = self.layout.planes[index]
        axes = self.layout.axes(plane) if plane.is_wall else texture.axes
        return (self.rays[where] * self.depths[index][where][:, None] + np.asarray(self.pose.position)) @ axes.T


def continued(
    pose: Pose, carried: Warp, pixels: np.ndarray, depth: np.ndarray, looks: Sequence[Looks] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """pixels (H, W, 3) uint8 and depth (H, W) float32 of a view as painted, over what is carried into it; looks: of
    views that were seen. Returns both, changed where nothing was carried and there is a plane."""
    rays, holes = rays_from(pose, Camera(depth.shape[1], depth.shape[0])), ~carried.covered
    azimuth = next((one.azimuth for one in looks if one.azimuth is not None), None)
    layout = find_layout(rays, depth, carried.covered, azimuth=azimuth, level=_level(looks, pose))
    if not layout.planes:
        return pixels, depth
    surfaces = _Surfaces.of(pose, layout, rays, pixels, depth, carried.covered)
    even = cv2.bilateralFilter(pixels, *EVENED).astype(np.float32)
    is_new = holes & (surfaces.labels >= 0)
    out = np.where(is_new[..., None], even, pixels)
    doubt = _doubt(even, surfaces.colours[np.isfinite(surfaces.colours).all(1)])
    for k, plane in enumerate(layout.planes):
        where, kept = is_new & (surfaces.labels == k), holes & surfaces.fits[k]
        colour = _usual(pixels, kept)
        if np.isfinite(colour).all():
            around = _spread(pixels, kept, colour)
            out[where & ~kept] = around[where & ~kept]
            own = surfaces.texture(k, carried.pixels, carried.covered)
            texture = _chosen(plane, np.asarray(pose.position), colour, own, looks)
            if texture is not None:
                shown = np.zeros_like(out)
                beside = _beside(where, carried.covered & (surfaces.labels == k))
                both = where | beside
                light = 1.0 if texture is own else np.maximum(colour, 8) / np.maximum(texture.mean, 8)
                shown[both] = np.clip(light, DIMMEST, BRIGHTEST) * _shown(
                    texture, surfaces.places(k, both, texture), (out - around)[both]
                )
                shown += _spread(carried.pixels - shown, beside, np.zeros(3))
                out[where] += (1 - doubt[where])[:, None] * (np.clip(shown, 0, 255) - out)[where]
    nearest = np.take_along_axis(surfaces.depths, np.maximum(surfaces.labels, 0)[None], 0)[0]
    return np.clip(out + 0.5, 0, 255).astype(np.uint8), np.where(is_new, nearest, depth)


def _level(looks: Sequence[Looks], pose: Pose) -> list[Plane]:
    """Floors and ceilings of remembered rooms, as they are seen from a pose, those of the last first."""
    planes = [
        (texture.plane, one.eye[2]) for one in reversed(looks) if one.azimuth is not None for texture in one.textures
    ]
    heights = [(plane, plane.distance + float(plane.normal[2]) * (pose.position[2] - up)) for plane, up in planes]
    return [Plane(plane.normal, distance) for plane, distance in heights if not plane.is_wall and distance > NEAREST]


def _usual(pixels: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The median colour (3,) float32 of pixels `where`, NaN where they are too few to tell."""
    if where.sum() < ENOUGH:
        return np.full(3, np.nan, np.float32)
    return np.median(pixels[where], 0).astype(np.float32)


def _distance(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """(H, W) float32 between pixels (H, W, 3) and a colour (3,)."""
    apart = pixels - colour
    return np.sqrt(np.einsum("vuc,vuc->vu", apart, apart))


def _doubt(even: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """How much (H, W) from 0 to 1 what is painted looks like a thing that hangs or stands there: like no plane, whose
    colours (n, 3) are, and like no blend of two, as where they meet."""
    soft = cv2.GaussianBlur(even, (0, 0), THING)
    off = np.full(even.shape[:2], np.inf, np.float32)
    for a, b in combinations_with_replacement(colours, 2):
        way = b - a
        share = np.clip((soft - a) @ way / max(float(way @ way), 1e-6), 0, 1)
        off = np.minimum(off, _distance(soft, a + share[..., None] * way))
    return np.clip((off - FIRST_DOUBT) / (LAST_DOUBT - FIRST_DOUBT), 0, 1)


def _shown(texture: Texture, places: np.ndarray, detail: np.ndarray) -> np.ndarray:
    """A texture's colours (n, 3) at places (n, 2); one without any has the detail (n, 3) that was painted, no stronger
    than what was seen of it."""
    if texture.is_plain:
        faint = np.clip(detail, -DETAIL, DETAIL)
        return texture.mean + faint * min(1.0, texture.contrast / max(float(faint.std()), 1e-6))
    return texture.at(places)


def _chosen(
    plane: Plane, eye: np.ndarray, colour: np.ndarray, seen: Texture | None, looks: Sequence[Looks]
) -> Texture | None:
    """The texture that a plane goes on with: one that is remembered, of the same kind of plane and of its colour, best
    of all of that very plane; else what is seen of it here, which may have been dreamt."""
    if seen is not None and not _is_same(seen.mean, colour):
        seen = None
    wanted, most = (colour, SAME_COLOUR) if seen is None else (seen.mean, OWN)

    def cost(found: tuple[Looks, Texture]) -> float:
        one, texture = found
        other = texture.plane
        apart = plane.distance + plane.normal @ eye - other.distance - other.normal @ np.array(one.eye)
        is_it = other.normal @ plane.normal > 0.99 and abs(apart) < SAME_PLACE
        return float(np.linalg.norm(texture.mean - wanted)) * (ITSELF if is_it else 1.0)

    alike = [(one, texture) for one in looks for texture in one.textures if texture.plane.is_like(plane)]
    nearest = min((pair for pair in alike if _is_same(pair[1].mean, wanted)), key=cost, default=None)
    return seen if nearest is None or cost(nearest) > most else nearest[1]


def _is_same(colour: np.ndarray, other: np.ndarray) -> bool:
    """Whether two colours (3,) may be one surface's, in another light at most."""
    hues = (c / max(float(c.sum()), 1.0) for c in (colour, other))
    return float(np.linalg.norm(colour - other)) < SAME_COLOUR and float(np.linalg.norm(np.subtract(*hues))) < SAME_HUE


def _beside(where: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The pixels (H, W) bool among those that were seen which lie next to `where`."""
    return seen & (cv2.dilate(where.astype(np.uint8), np.ones((2 * BESIDE + 1, 2 * BESIDE + 1), np.uint8)) > 0)


def _spread(pixels: np.ndarray, where: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """The colours (H, W, 3) float32 of the pixels `where`, blurred and spread beyond them; the usual one far off."""
    share = where.astype(np.float32)
    total = cv2.GaussianBlur(pixels * share[..., None], (0, 0), SPREAD) + FAINT * usual.astype(np.float32)
    return total / (cv2.GaussianBlur(share, (0, 0), SPREAD) + FAINT)[..., None]
