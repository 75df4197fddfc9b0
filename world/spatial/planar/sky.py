"""The sky of a painted view: one distance and no strokes, so that it stays whole as a walker goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ...pose import Camera, Pose
from ..crumbs import crumbs
from ..horizon import SKY_M
from ..warp import View
from .planes import rays_from

FAR_M = 100.0  # metres to the sky
EVEN = 4.0  # pixels, sigma by which it is evened: clouds are wider
SOME = np.s_[::3]  # rows and columns from which colours of the sky are taken
ENOUGH = 60  # pixels of sky among those that tell its colours
USUAL = (2, 98)  # percentiles between which clouds are lighter and darker
LEAST = 1e-3  # weight of sky around a pixel; with less there is none near by


@dataclass(frozen=True)
class Palette:
    """The colours of a sky: at the upward part u of a ray they are (1, u, u²) @ base (3, 3), and along axis (3,) from
    there, between least and most, as clouds are; u within bounds."""

    base: np.ndarray
    axis: np.ndarray
    least: float
    most: float
    bounds: tuple[float, float]

    def nearest(self, colours: np.ndarray, up: np.ndarray) -> np.ndarray:
        """The colours of this sky that are nearest to colours (..., 3) at up (...)."""
        usual = _powers(up.clip(*self.bounds)) @ self.base
        along = ((colours - usual) @ self.axis).clip(self.least, self.most)
        return usual + along[..., None] * self.axis


def palette_of(views: Sequence[View]) -> Palette | None:
    """The colours of the sky that views show, those all of which was seen if there are any; None if too little of it
    is in view."""
    seen = [view for view in views if view.fresh is None]
    return _palette(seen) or _palette(views)


def _palette(views: Sequence[View]) -> Palette | None:
    ups, colours = [np.zeros(0, np.float32)], [np.zeros((0, 3), np.float32)]
    for view in views:
        up = rays_from(view.pose, Camera(view.depth.shape[1], view.depth.shape[0]))[SOME, SOME, 2]
        own = True if view.fresh is None else view.fresh[SOME, SOME]  # a save holds no more of a view
        there = (view.depth[SOME, SOME] > SKY_M) & (up > 0) & own
        ups.append(up[there])
        colours.append(view.pixels[SOME, SOME][there].astype(np.float32))
    up, colour = np.concatenate(ups), np.concatenate(colours)
    if len(up) < ENOUGH:
        return None
    base = np.linalg.lstsq(_powers(up), colour, rcond=None)[0]
    rest = colour - _powers(up) @ base
    axis = np.linalg.eigh(rest.T @ rest)[1][:, -1]
    least, most = np.percentile(rest @ axis, USUAL)
    return Palette(base, axis, float(least), float(most), (float(up.min()), float(up.max())))


def _powers(up: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(up), up, up * up], -1)


def with_even_sky(
    pose: Pose, pixels: np.ndarray, depth: np.ndarray, covered: np.ndarray, views: Sequence[View] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """pixels (H, W, 3) uint8 and depth (H, W) float32 metres of a view as painted, with an even sky where nothing was
    known, covered (H, W) bool, in the colours of the sky that views show. The painter guesses at a sky's distance, and
    at different ones it would come apart; and it paints a haze in the colours of things around them."""
    up = rays_from(pose, Camera(depth.shape[1], depth.shape[0]))[..., 2]
    is_sky = (depth > SKY_M) & (up > 0)
    new = (is_sky | crumbs(depth, pose)) & ~covered
    if not new.any():
        return pixels, depth
    weight = is_sky.astype(np.float32)
    blur = lambda image: cv2.GaussianBlur(image, (0, 0), EVEN)  # noqa: E731
    even = blur(pixels * weight[..., None]) / np.maximum(blur(weight), LEAST)[..., None]
    palette = palette_of(views)
    if palette is not None:
        even = palette.nearest(even, up)
    shown = np.where(new[..., None], np.clip(even + 0.5, 0, 255).astype(np.uint8), pixels)
    return shown, np.where(new, np.float32(FAR_M), depth)
