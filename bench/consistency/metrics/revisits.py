"""Memory gain after R2M-Bench (arXiv 2608.27328): likeness to what was there before, over likeness to elsewhere.

Changed so that it cannot be won by standing still or steering wrong: a revisit counts only if the recovered pose is at
the commanded one (else its gain is 0), and each PSNR is capped. Never report the gain without `gate`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ....world.pose import Pose
from ..questions.truth import Truth
from .fidelity import psnr

GATE = (0.2, 5.0)  # metres and degrees to the commanded pose
NEAR = (0.35, 5.5)  # metres and degrees between two poses that look at the same
FAR_DEG = 60.0  # poses turned by more than this look elsewhere
LEAST_GAP = 4  # frames
CAP = 40.0  # dB


def gain(index: int, pose: Pose | None, frames: Callable[[int], np.ndarray], truth: Truth) -> tuple[float, bool] | None:
    """(gain in dB, whether the gate was passed) of one frame; None if it revisits nothing, or there is no other place.

    Compared with the frames before it as they were shown or, in mode F, dreamt.
    """
    poses = truth.episode.poses
    last = index - LEAST_GAP if truth.episode.mode == "F" else min(index - LEAST_GAP, truth.episode.num_context - 1)
    there = [i for i in range(last + 1) if is_near(poses[i], poses[index], NEAR)]
    elsewhere = [i for i in range(last + 1) if poses[i].angle_to(poses[index]) > FAR_DEG]
    if not there or not elsewhere:
        return None
    if pose is None or not is_near(pose, poses[index], GATE):
        return 0.0, False
    before = min(
        there, key=lambda i: (round(poses[i].distance_to(poses[index]), 2), round(poses[i].angle_to(poses[index]), 1))
    )
    other = min(elsewhere, key=lambda i: abs(i - before))
    own = frames(index)
    near, far = (psnr(own, frames(index)) for index in (before, other))
    assert near is not None and far is not None, "whole frames have a PSNR"
    return min(near, CAP) - min(far, CAP), True


def is_near(a: Pose, b: Pose, reach: tuple[float, float]) -> bool:
    return a.distance_to(b) <= reach[0] and a.angle_to(b) <= reach[1]
