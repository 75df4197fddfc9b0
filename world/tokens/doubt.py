"""Depth of pictures unlike those that training showed: how unsure the model is of it, and a calmer depth for that.

A network that knows what it sees makes the same of a picture and of its mirror image; on rendered scenes the two depths
differ by a twentieth, on photographs by a tenth to a half. Where it does not know, edges of depth stand where nothing
ends, and one step later the picture is torn to shreds along them. A smooth relief is wrong too, but it holds together.
Knows nothing of tokens or models.
"""

from __future__ import annotations

import cv2
import numpy as np

SURE, UNSURE = 0.07, 0.15  # mean difference in log depth up to which depth is taken as it is, from which it is calmed
AROUND = 31  # pixels a side of the square whose median a calm depth takes
SOFT = 5.0  # pixels, sigma by which it is softened
LEAST = 2.5  # metres: no nearer is the middle of a calm depth, or two steps would lead through the picture
RELIEF = 0.25  # how much of what is left of the relief is kept, in log depth


def doubt(depth: np.ndarray, mirrored: np.ndarray) -> float:
    """How unsure a depth (H, W) is, 0 to 1: mirrored is what was made of the picture's mirror image, mirrored back."""
    apart = float(np.abs(np.log(depth / mirrored)).mean())
    return min(1.0, max(0.0, (apart - SURE) / (UNSURE - SURE)))


def calmed(depth: np.ndarray, share: float) -> np.ndarray:
    """Depth (H, W) float32 metres, as it is for a share of 0, a smooth and shallow relief for 1."""
    if share <= 0:
        return depth
    log = np.log(depth)
    low, span = float(log.min()), float(np.ptp(log)) or 1.0
    levels = ((log - low) / span * 255).round().astype(np.uint8)  # what the median of so many is there for
    smooth = cv2.medianBlur(levels, AROUND).astype(np.float32) / 255 * span + low
    smooth = cv2.GaussianBlur(smooth, (0, 0), SOFT)
    middle = float(np.median(smooth))
    calm = max(middle, float(np.log(LEAST))) + RELIEF * (smooth - middle)
    return np.exp((1 - share) * log + share * calm).astype(np.float32)
