"""Whether a picture shows its own scene: it is compared with the scene's true view and with views of other scenes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

SIDE = 32


def is_own(picture: np.ndarray, own: Sequence[np.ndarray], strangers: Sequence[np.ndarray]) -> bool:
    """Whether the picture is more like one of its own true views than like any stranger's.

    Likeness: normalised correlation of 32x32 blurred colour pictures (OpenCV INTER_AREA, sigma 1). An empty picture is
    not recognised as any scene. Chance is 1 in strangers + 1.
    """
    wanted = _descriptor(picture)
    if wanted is None:
        return False
    best_own = max(_likeness(wanted, view) for view in own)
    return best_own > max(_likeness(wanted, view) for view in strangers)


def _likeness(wanted: np.ndarray, view: np.ndarray) -> float:
    other = _descriptor(view)
    return -1.0 if other is None else float(wanted @ other)


def _descriptor(picture: np.ndarray) -> np.ndarray | None:
    small = cv2.GaussianBlur(
        cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64), (0, 0), 1.0
    )
    centred = (small - small.mean()).ravel()
    length = float(np.linalg.norm(centred))
    return None if small.std((0, 1)).max() < 0.5 else centred / length
