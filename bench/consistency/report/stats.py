"""Intervals and comparisons whose unit is the scene: each is averaged first, then scenes are resampled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean over scenes and its 95 % percentile bootstrap interval; scenes: how many. One scene has no interval."""

    mean: float
    low: float | None
    high: float | None
    scenes: int


def by_scene(scenes: Sequence[int], values: Sequence[float | None]) -> dict[int, float]:
    """The mean of each scene's numbers; scenes with none are left out."""
    groups = defaultdict(list)
    for scene, value in zip(scenes, values, strict=True):
        if value is not None:
            groups[scene].append(value)
    return {scene: float(np.mean(group)) for scene, group in groups.items()}


def bootstrap(means: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> Interval | None:
    """Resample scenes with replacement (Efron 1979); None for no scenes."""
    values = np.asarray(means, float)
    if not len(values):
        return None
    if len(values) == 1:
        return Interval(float(values[0]), None, None, 1)
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(len(values), size=(draws, len(values)))].mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def sign_flip(differences: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> float | None:
    """Two-sided p of paired differences under random signs: exact up to 2^12 flips, drawn beyond. None under 2 scenes.

    With n scenes no p can be under 2 / 2^n: six scenes are needed for 0.05.
    """
    values = np.asarray(differences, float)
    n = len(values)
    if n < 2:
        return None
    if n <= 12:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        extreme = np.abs(signs @ values) >= abs(values.sum()) - 1e-12
        return float(extreme.mean())
    signs = np.random.default_rng(seed).choice([-1, 1], size=(draws, n))
    return float((1 + (np.abs(signs @ values) >= abs(values.sum()) - 1e-12).sum()) / (draws + 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (1979); None stays None and is not counted."""
    order = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, k) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[k] = highest
    return adjusted
