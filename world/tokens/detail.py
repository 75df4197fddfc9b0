"""Puts remembered detail back into a decoded frame: a few dozen tokens hold no texture, but earlier views do.

Where a frame's codes agree with those of the view that was carried into it, the model has accepted that view, so the
view's own pixels are shown; where they differ, or nothing was carried, the decoder's are. Knows nothing of models.
"""

from __future__ import annotations

import cv2
import numpy as np

SOFT = 5  # pixels a side of the square over which trust fades out at the edge of a hole


def restore_detail(
    decoded: np.ndarray, carried: np.ndarray, covered: np.ndarray, distance: np.ndarray, *, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """decoded, carried (H, W, 3) uint8; covered (H, W) bool; distance (h, w) float32, the metric distance between
    the frame's codes and the carried view's. Trust falls linearly from 1 at distance 0 to 0 at `tolerance`, and is
    smooth over cells and at the edges of holes. Returns the picture (H, W, 3) uint8 and where it shows the carried
    view instead of the decoder's, (H, W) bool."""
    H, W = covered.shape
    by_cell = np.clip(1 - distance / tolerance, 0, 1).astype(np.float32)
    trust = cv2.resize(by_cell, (W, H), interpolation=cv2.INTER_LINEAR)
    edge = cv2.blur(covered.astype(np.float32), (SOFT, SOFT))
    weight = trust * np.clip(2 * edge - 1, 0, 1)
    mixed = decoded + weight[..., None] * (carried.astype(np.float32) - decoded)
    return (mixed + 0.5).astype(np.uint8), (weight > 0.5) & covered
