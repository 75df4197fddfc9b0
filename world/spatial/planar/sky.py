"""The sky of a painted view: one distance and no strokes, so that it stays whole as a walker goes on."""

from __future__ import annotations

import cv2
import numpy as np

from ...pose import Camera, Pose
from ..crumbs import crumbs
from ..horizon import SKY_M
from .planes import rays_from

FAR_M = 100.0  # metres to the sky
EVEN = 4.0  # pixels, sigma by which it is evened: clouds are wider
LEAST = 1e-3  # weight of sky around a pixel; with less there is none near by


def with_even_sky(
    pose: Pose, pixels: np.ndarray, depth: np.ndarray, covered: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """pixels (H, W, 3) uint8 and depth (H, W) float32 metres of a view as painted, with an even sky where nothing was
    known, covered (H, W) bool. The painter guesses at a sky's distance, and at different ones it would come apart."""
    up = rays_from(pose, Camera(depth.shape[1], depth.shape[0]))[..., 2]
    is_sky = (depth > SKY_M) & (up > 0)
    new = (is_sky | crumbs(depth, pose)) & ~covered
    if not new.any():
        return pixels, depth
    weight = is_sky.astype(np.float32)
    blur = lambda image: cv2.GaussianBlur(image, (0, 0), EVEN)  # noqa: E731
    even = blur(pixels * weight[..., None]) / np.maximum(blur(weight), LEAST)[..., None]
    shown = np.where(new[..., None], np.clip(even + 0.5, 0, 255).astype(np.uint8), pixels)
    return shown, np.where(new, np.float32(FAR_M), depth)
