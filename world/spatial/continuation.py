"""Goes on with what was seen where a dream shows the same: walls, floor and ceiling are even, meet in straight lines,
and look as they did. Which walls there are, what stands before them and what opens in them is as it was dreamt.

A model of a few tokens a view says where a wall is and which colour it has, and not where its bricks are. Knows nothing
of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import cv2
import numpy as np

from ..pose import Camera, Pose
from .planes import Layout, Plane, assigned, find_layout, rays_from
from .texture import Looks, Texture, looks_of, texture_of
from .warp import View, Warp

SAME_COLOUR = 60.0  # of 255, distance up to which a plane has a remembered texture
OWN = 40.0  # the same between what is seen of a plane and what is remembered
SAME_PLACE = 0.3  # metres between planes that may be one
FIRST_DOUBT, LAST_DOUBT = 35.0, 55.0  # of 255, distances from all planes' colours at which a thing may hang there
THING = 2.0  # pixels, sigma of the neighbourhood in which that is told
EVENED = (9, 30.0, 5.0)  # pixels a side, and sigmas of colour and place, by which what is painted is evened
DETAIL = 8.0  # of 255, up to which what is painted shows on a surface without texture
SPREAD = 6.0  # pixels, sigma by which a plane's colour is spread
DIMMEST, BRIGHTEST = 0.6, 1.6  # of a remembered colour, to which light may change it
FAINT = np.float32(1e-3)  # weight of a plane's usual colour beside those near by
ENOUGH = 30  # pixels of a plane, by which its colour is known
REMEMBERED = 16  # views whose looks are kept


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


def continued(
    pose: Pose, carried: Warp, pixels: np.ndarray, depth: np.ndarray, looks: Sequence[Looks] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """pixels (H, W, 3) uint8 and depth (H, W) float32 of a view as painted, over what is carried into it; looks: of
    views that were seen. Returns both, changed where nothing was carried and there is a plane."""
    rays = rays_from(pose, Camera(depth.shape[1], depth.shape[0]))
    azimuth = next((one.azimuth for one in looks if one.azimuth is not None), None)
    layout = find_layout(rays, depth, carried.covered, azimuth=azimuth)
    if not layout.planes:
        return pixels, depth
    depths = np.stack([plane.depth(rays) for plane in layout.planes])
    first, labels = assigned(layout, depths, rays, depth, carried.covered, pose)
    fits = [(first == k) & (labels == k) for k in range(len(depths))]
    colours = [np.median(pixels[where], 0) if where.sum() >= ENOUGH else None for where in fits]
    kept = [where & ~carried.covered for where in fits]
    out, whole = cv2.bilateralFilter(pixels, *EVENED).astype(np.float32), depth.copy()
    doubt = _doubt(out, [colour for colour in colours if colour is not None])
    out[(labels < 0) | carried.covered] = pixels[(labels < 0) | carried.covered]
    seen = []
    for k in range(len(depths)):
        own = (labels == k) & carried.covered & _is_of(layout, k, carried.pixels, colours)
        texture = texture_of(layout, k, pose, carried.pixels, depths[k], own)
        # what does not repeat itself may be a thing, and in a view partly dreamt often is
        seen.append(texture if texture is not None and (texture.is_plain or texture.repeats) else None)
    here = Looks(tuple(texture for texture in seen if texture is not None), pose.position)
    for k in range(len(depths)):
        is_new = (labels == k) & ~carried.covered
        whole[is_new] = depths[k][is_new]
        if kept[k].sum() < ENOUGH:
            continue
        colour = np.median(pixels[kept[k]], 0)
        usual = _spread(pixels, kept[k], colour)
        out[is_new & ~kept[k]] = usual[is_new & ~kept[k]]
        plane = layout.planes[k]
        texture = _chosen(plane, np.asarray(pose.position), colour, seen[k], [*looks, here])
        if texture is None:
            continue
        axes = layout.axes(plane) if plane.is_wall else texture.axes
        places = (rays[is_new] * depths[k][is_new][:, None] + np.asarray(pose.position)) @ axes.T
        light = np.ones(3) if texture is seen[k] else np.maximum(colour, 8) / np.maximum(texture.mean, 8)
        shown = np.clip(light, DIMMEST, BRIGHTEST) * _shown(texture, places, (out - usual)[is_new])
        share = (1 - doubt[is_new])[:, None]
        out[is_new] = (1 - share) * out[is_new] + share * np.clip(shown, 0, 255)
    return np.clip(out + 0.5, 0, 255).astype(np.uint8), whole


def _doubt(even: np.ndarray, colours: Sequence[np.ndarray]) -> np.ndarray:
    """How much (H, W) from 0 to 1 what is painted looks like a thing that hangs or stands there: like no plane, and
    like no blend of two, as where they meet."""
    soft = cv2.GaussianBlur(even, (0, 0), THING)
    off = np.full(even.shape[:2], np.inf, np.float32)
    for a, b in combinations_with_replacement(colours, 2):
        from_a, way = soft - a.astype(np.float32), (b - a).astype(np.float32)
        share = np.clip(from_a @ way / max(float(way @ way), 1e-6), 0, 1)
        off = np.minimum(off, np.linalg.norm(from_a - share[..., None] * way, axis=2))
    return np.clip((off - FIRST_DOUBT) / (LAST_DOUBT - FIRST_DOUBT), 0, 1)


def _is_of(layout: Layout, index: int, pixels: np.ndarray, colours: Sequence[np.ndarray | None]) -> np.ndarray:
    """Where (H, W) bool pixels are nearer to the colour of a plane, or of one of its kind, than to those of others."""
    alike, others = np.full((2, *pixels.shape[:2]), np.inf)
    for plane, colour in zip(layout.planes, colours, strict=True):
        if colour is not None:
            off = np.linalg.norm(pixels - colour, axis=2)
            if plane.is_like(layout.planes[index]):
                alike = np.minimum(alike, off)
            else:
                others = np.minimum(others, off)
    return alike <= others


def _shown(texture: Texture, places: np.ndarray, detail: np.ndarray) -> np.ndarray:
    """A texture's colours (n, 3) at places (n, 2); one without any has the detail (n, 3) that was painted, if it is
    faint."""
    if texture.is_plain:
        return texture.mean + np.clip(detail, -DETAIL, DETAIL)
    return texture.at(places)


def _chosen(
    plane: Plane, eye: np.ndarray, colour: np.ndarray, seen: Texture | None, looks: Sequence[Looks]
) -> Texture | None:
    """The texture that a plane goes on with: one that is remembered, of the same kind of plane and of its colour, best
    of all of that very plane; else what is seen of it here, which may have been dreamt."""
    wanted, most = (colour, SAME_COLOUR) if seen is None else (seen.mean, OWN)

    def cost(found: tuple[Looks, Texture]) -> float:
        one, texture = found
        other = texture.plane
        apart = plane.distance + plane.normal @ eye - other.distance - other.normal @ np.array(one.eye)
        is_it = other.normal @ plane.normal > 0.99 and abs(apart) < SAME_PLACE
        return float(np.linalg.norm(texture.mean - wanted)) * (0.5 if is_it else 1.0)

    alike = [(one, texture) for one in looks for texture in one.textures if texture.plane.is_like(plane)]
    nearest = min(alike, key=cost, default=None)
    return seen if nearest is None or cost(nearest) > most else nearest[1]


def _spread(pixels: np.ndarray, where: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """The colours (H, W, 3) float32 of the pixels `where`, blurred and spread beyond them; the usual one far off."""
    share = where.astype(np.float32)
    total = cv2.GaussianBlur(pixels * share[..., None], (0, 0), SPREAD) + FAINT * usual.astype(np.float32)
    return total / (cv2.GaussianBlur(share, (0, 0), SPREAD) + FAINT)[..., None]
