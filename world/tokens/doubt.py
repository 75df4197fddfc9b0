"""Depth of pictures unlike the training data: how unsure the model is of it, and a smoother depth for such places.

A network that understands a picture gives the same depth for it and for its mirror image. On rendered scenes the two
depths differ by a twentieth, on photographs by a tenth to a half. Where the network is wrong, depth has edges where no
object ends, and one step later the picture is torn along them. A smooth relief is wrong too, but it stays in one piece.
Knows nothing of tokens or models.
"""

from __future__ import annotations

import cv2
import numpy as np

# mean difference in log depth: up to the first, depth stays as it is; from the second on it is replaced
SURE, UNSURE = 0.07, 0.15
AROUND = 31  # pixels a side of the square whose median a smooth depth takes
SOFT = 5.0  # pixels, sigma by which it is softened
LEAST = 2.5  # metres: the middle of a smooth depth is at least this far, or two steps would lead through the picture
RELIEF = 0.25  # how much of the remaining relief is kept, in log depth


def doubt(depth: np.ndarray, mirrored: np.ndarray) -> float:
    """How unsure a depth (H, W) is, 0 to 1. mirrored: the depth of the picture's mirror image, mirrored back."""
    apart = float(np.abs(np.log(depth / mirrored)).mean())
    return min(1.0, max(0.0, (apart - SURE) / (UNSURE - SURE)))


def calmed(depth: np.ndarray, share: float) -> np.ndarray:
    """Depth (H, W) float32 metres, as it is for a share of 0, a smooth and shallow relief for 1."""
    if share <= 0:
        return depth
    log = np.log(depth)
    low, span = float(log.min()), float(np.ptp(log)) or 1.0
    levels = ((log - low) / span * 255).round().astype(np.uint8)  # cv2's median of squares this large takes only bytes
    smooth = cv2.medianBlur(levels, AROUND).astype(np.float32) / 255 * span + low
    smooth = cv2.GaussianBlur(smooth, (0, 0), SOFT)
    middle = float(np.median(smooth))
    calm = max(middle, float(np.log(LEAST))) + RELIEF * (smooth - middle)
    return np.exp((1 - share) * log + share * calm).astype(np.float32)
