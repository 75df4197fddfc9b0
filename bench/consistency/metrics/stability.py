"""Is the picture stable from frame to frame, beyond what the truth itself changes?

Own frames are carried from one commanded pose to another by the truth's depth (visibility.backward), where the truth
shows the same surface in both; the remaining difference is the model's. The truth's own difference, from resampling, is
subtracted, so 0 is as steady as the truth; less than 0 (a blank picture) counts as 0, not as better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..questions.truth import Truth

LAG = 4  # frames between the two of a pair, for warp_error
MOST_PAIRS = 16  # of an episode, evenly spaced: enough for a mean
LEAST_SHARED = 0.05  # of the picture that a pair must both show


def excess(frames: Callable[[int], np.ndarray], truth: Truth, first: int, last: int, *, lag: int) -> list[float | None]:
    """Mean |own frame t - own frame t - lag carried to t| in grey levels of 255, over the truth's; evenly spaced pairs.

    None for a pair that shares less than 5 % of the picture.
    """
    pairs = np.arange(first + lag, last + 1)
    if len(pairs) > MOST_PAIRS:
        pairs = pairs[np.linspace(0, len(pairs) - 1, MOST_PAIRS).astype(int)]
    return [_excess(frames, truth, int(t) - lag, int(t)) for t in pairs]


def _excess(frames: Callable[[int], np.ndarray], truth: Truth, before: int, after: int) -> float | None:
    own, mask = carried(frames(before), truth, before, after)
    if mask.mean() < LEAST_SHARED:
        return None
    ours = np.abs(own - frames(after))[mask].mean()
    return max(0.0, float(ours - _true_change(truth, before, after)))


def _true_change(truth: Truth, before: int, after: int) -> float:
    """The truth's own difference when it is carried in the same way."""

    def measure() -> float:
        true, mask = carried(truth.frame(before).pixels, truth, before, after)
        return float(np.abs(true - truth.frame(after).pixels)[mask].mean())

    return truth.once(("change", before, after), truth.episode.poses[after], measure)


def carried(pixels: np.ndarray, truth: Truth, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of frame `before` as the commanded pose of frame `after` would see it, and where it can."""
    from ..questions.visibility import backward

    poses = truth.episode.poses
    return backward(
        pixels, truth.frame(before).depth, poses[before], truth.frame(after).depth, poses[after], truth.camera
    )


def motion_ratio(frames: Callable[[int], np.ndarray], truth: Truth, indices: Sequence[int]) -> float | None:
    """Mean change from the frame before, over the truth's: 0 if frozen. None where the truth stands still."""
    ours = [np.abs(frames(t).astype(float) - frames(t - 1)).mean() for t in indices]
    true = [np.abs(truth.frame(t).pixels.astype(float) - truth.frame(t - 1).pixels).mean() for t in indices]
    return float(np.mean(ours) / np.mean(true)) if true and np.mean(true) > 0.5 else None
