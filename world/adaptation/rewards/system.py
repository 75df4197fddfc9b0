"""The reward of a group of dreams: named parts with weights. Knows no measure itself; the caller passes it in.

The measures of pictures are in bench/, which imports the engine and is not imported by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .spots import Spot


class RewardError(ValueError):
    """A run on rewards that cannot be done; the message says what came and what was wanted."""


class Measure(Protocol):
    """Scores what is dreamt at a spot."""

    def __call__(self, spot: Spot, pixels: np.ndarray, depth: np.ndarray) -> Mapping[str, np.ndarray]:
        """pixels (G, H, W, 3) uint8 and depth (G, H, W) metres of a group -> of each part (G,) scores, at most 1."""


@dataclass(frozen=True)
class Rewards:
    """A measure, and the weights of its parts; a part without a weight, or with 0, is measured and not rewarded."""

    measure: Measure
    weights: Mapping[str, float]

    def of(self, spot: Spot, pixels: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The rewards (G,) of a group, the weighted mean of its parts, and every part (G,)."""
        parts = dict(self.measure(spot, pixels, depth))
        return self.total(parts), parts

    def total(self, parts: Mapping[str, np.ndarray]) -> np.ndarray:
        """The weighted mean of parts (...,)."""
        weighed = [weight * parts[name] for name, weight in self.weights.items() if weight]
        return np.sum(weighed, axis=0) / sum(self.weights.values())


@dataclass(frozen=True)
class Judge:
    """Where a measure comes from. usual: every part with its weight; fitted: makes the measure from spots of
    training scenes with one dream (H, W, 3) uint8 each, as the model was before; damages: by name, functions that
    damage a picture at a spot, with a number to draw by: none of these may earn more than the undamaged picture;
    audit: further measures of groups (spot, pixels (G, H, W, 3)) taken together, none of which is rewarded."""

    usual: Mapping[str, float]
    fitted: Callable[[Sequence[tuple[Spot, np.ndarray]]], Measure]
    damages: Mapping[str, Callable[[Spot, np.ndarray, int], np.ndarray]]
    audit: Callable[[Sequence[tuple[Spot, np.ndarray]]], Mapping[str, float]]


def weights_of(asked: Sequence[str], usual: Mapping[str, float]) -> dict[str, float]:
    """The usual weights, changed by those that were given, each name=weight. Raises RewardError for an unknown part,
    for an invalid weight, and if no weight is left."""
    weights = dict(usual)
    for text in asked:
        name, has_weight, number = text.partition("=")
        if name not in usual:
            raise RewardError(f"unknown part '{name}' of the reward; known: {', '.join(usual)}")
        try:
            weights[name] = float(number) if has_weight else math.nan
        except ValueError:
            weights[name] = math.nan
        if not 0 <= weights[name] < math.inf:
            raise RewardError(
                f"'{text}' where a part and its weight are wanted, for instance {name}=1, 0 to leave it out"
            )
    if not any(weights.values()):
        raise RewardError("every part of the reward weighs 0, and there is nothing to learn from")
    return weights
