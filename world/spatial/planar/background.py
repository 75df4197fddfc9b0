"""Ground and sky, continued from beside to where something is taken away from a dream; and what is near to something
there. Knows nothing of models."""

from __future__ import annotations

import cv2
import numpy as np

from ...compiled import njit
from .planes import FAR

EVEN = 9  # rows among which a continued sky is evened


def near(where: np.ndarray, up: int, aside: int) -> np.ndarray:
    """Where (H, W) bool any pixel of `where` is within so many pixels up, down and aside."""
    return cv2.dilate(where.astype(np.uint8), np.ones((2 * up + 1, 2 * aside + 1), np.uint8)) > 0


def go_on(pixels: np.ndarray, depth: np.ndarray, gone: np.ndarray, behind: np.ndarray) -> None:
    """Fill `gone` (H, W) bool from `behind` in the same row, and the sky without the steps from row to row."""
    _fill(pixels, depth, gone, behind)
    sky = depth >= FAR
    weights = cv2.blur(sky.astype(np.float32), (1, EVEN))[..., None]
    even = cv2.blur(np.where(sky[..., None], pixels, 0).astype(np.float32), (1, EVEN)) / np.maximum(weights, 1e-6)
    np.copyto(pixels, np.rint(even).astype(np.uint8), where=(gone & sky)[..., None])


@njit(cache=True, nogil=True)
def _fill(pixels, depth, gone, behind):
    """Fill `gone` (H, W) bool: with the colours between those of `behind` to the left and the right, as far as the
    nearer."""
    H, W = depth.shape
    for v in range(H):
        left, right = -1, 0
        for u in range(W):
            if behind[v, u]:
                left = u
            if not gone[v, u]:
                continue
            right = max(right, u)
            while right < W and not behind[v, right]:
                right += 1
            if left < 0 and right >= W:
                continue
            share = 0.0 if right >= W else 1.0 if left < 0 else (u - left) / (right - left)
            a, b = left if left >= 0 else right, right if right < W else left
            for k in range(3):
                pixels[v, u, k] = np.uint8((1 - share) * pixels[v, a, k] + share * pixels[v, b, k] + 0.5)
            depth[v, u] = depth[v, a] if share < 0.5 else depth[v, b]
