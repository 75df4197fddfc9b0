"""The reward of a dreamt picture: the measures of imagination, one picture at a time, on training scenes.

Each part is a score of at most 1, and the truth gets the most: a ratio to the truth at the same place counts by its
deviation to either side, so that neither blur nor noise gains anything. What judges the benchmark does not judge
rewards where another can: classes, doubt, features and the critic are those of a second recogniser, with other weights
and other training scenes (recogniser.REWARDING). Sharpness, seam, fit and depth need no network, and are computed as in
the benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import cv2
import numpy as np

from ...scenes.place import TrueView
from ...world.adaptation.rewards.spots import Spot
from ...world.adaptation.rewards.system import Judge
from ...world.pose import Camera, Pose
from ..consistency.metrics.registration import by_features, features_of
from ..consistency.metrics.steering import components_right, motion_between
from .measures import EVEN, Traits, cleaned, joined, logistic, measure, traits
from .recogniser import REWARDING, shipped
from .rows import BLUR, CELL, NOISE

# the parts and their default weights
USUAL = {
    "seam": 1.0,
    "fit": 0.5,
    "depth": 0.5,
    "sharpness": 2.0,  # keeps blur from paying off, because blur hides seams
    "pieces": 1.0,
    "doubt": 1.0,
    "critic": 2.0,
    "diversity": 1.0,
    "follow": 0.25,
}
# what is added to both sides of a ratio: grey levels of colour, of gradients; pieces; nats
SOFT = {"colour": 3.0, "gradient": 1.0, "pieces": 1.0, "doubt": 0.05}
FAR_OFF = 6.0  # deviations from the truth's mean beyond which a feature counts no more
T = TypeVar("T")


@dataclass(frozen=True)
class Critic:
    """A logistic classifier of features, (n, WIDTH), in units of the truth's deviation: how true they look, 0 to 1."""

    mean: np.ndarray
    deviation: np.ndarray
    weight: np.ndarray
    middle: float

    @classmethod
    def between(cls, true: np.ndarray, false: np.ndarray) -> Critic:
        """Learns to tell features of true views from others, (n, WIDTH) each; 0.5 lies half way between their means."""
        mean, deviation = true.mean(0), true.std(0)
        critic = cls(mean, deviation + EVEN * deviation.mean() + 1e-6, np.zeros(true.shape[1]), 0.0)
        x, y = critic.units(np.concatenate([true, false])), np.r_[np.ones(len(true)), np.zeros(len(false))]
        weight = logistic(x, y)
        middle = float((x[y == 1].mean(0) + x[y == 0].mean(0)) @ weight / 2)
        return cls(critic.mean, critic.deviation, weight, middle)

    def units(self, features: np.ndarray) -> np.ndarray:
        return np.clip((features - self.mean) / self.deviation, -FAR_OFF, FAR_OFF)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(self.middle - self.units(features) @ self.weight))


class PictureMeasure:
    """The parts of a reward for pictures. critic and apart, the distance between layouts of true views, are fitted on
    training scenes; see `fitted`."""

    def __init__(self, critic: Critic, apart: float):
        self.critic, self.apart = critic, apart

    @classmethod
    def fitted(cls, examples: Sequence[tuple[Spot, np.ndarray]]) -> PictureMeasure:
        """Fitted on spots of training scenes and one picture (H, W, 3) uint8 each that the model dreamt there
        before: the critic learns to tell the truth from those, and from damaged versions of the truth and of them."""
        true, false, layouts = [], [], []
        for number, (spot, dream) in enumerate(examples):
            damages = list(DAMAGES.values())
            damaged = [damages[number % len(damages)](spot, picture, number) for picture in (spot.pixels, dream)]
            found = _traits(spot, np.stack([spot.pixels, dream, *damaged]))
            true.append(found.features[0])
            # a dream counts as much as all that is damaged
            false += [found.features[1], found.features[1], *found.features[2:]]
            layouts.append(found.layout[0] / np.sqrt(max(found.weight[0], 1e-6)))
        apart = [float(np.linalg.norm(a - b)) for a, b in combinations(layouts, 2)]
        return cls(Critic.between(np.array(true, float), np.array(false, float)), float(np.mean(apart)))

    def __call__(self, spot: Spot, pixels: np.ndarray, depth: np.ndarray) -> Mapping[str, np.ndarray]:
        """Every part of USUAL, (G,) each, of pictures (G, H, W, 3) uint8 with depth (G, H, W) metres."""
        found = _traits(spot, np.concatenate([pixels, spot.pixels[None]]))
        ours, true = found.where(found.index < len(pixels)), found.where(found.index == len(pixels))
        seam = [_near(ours.seam[:, k], true.seam[:, k], SOFT[name]) for k, name in enumerate(("colour", "gradient"))]
        return {
            "seam": np.mean(seam, 0),
            "fit": _near(ours.fit, true.fit, SOFT["colour"]),
            "depth": _agreement(spot, depth),
            "sharpness": np.mean([_near(ours.edges[:, k], true.edges[:, k], SOFT["gradient"]) for k in (0, 1)], 0),
            "pieces": _near(ours.pieces, true.pieces, SOFT["pieces"]),
            "doubt": _near(ours.doubt, true.doubt, SOFT["doubt"]),
            "critic": self._belief(ours, true),
            "diversity": self._diversity(ours),
            "follow": _followed(spot, pixels),
        }

    def _belief(self, ours: Traits, true: Traits) -> np.ndarray:
        """How true the critic finds pictures, over how true it finds the truth there; more is not better."""
        theirs, own = (self.critic(rows.features.astype(float)) for rows in (true, ours))
        return np.minimum(1.0, own / np.maximum(theirs, 1e-6))

    def _diversity(self, rows: Traits) -> np.ndarray:
        """How far each picture is from the others of its group, over the distance of two true places; more is not
        better."""
        G = len(rows.layout)
        if G < 2:
            return np.ones(G)
        apart = np.linalg.norm(rows.layout[:, None] - rows.layout[None], axis=-1).sum(1) / (G - 1)
        return np.minimum(1.0, apart / np.sqrt(np.maximum(rows.weight, 1e-6)) / self.apart)


def unseen_at(spot: Spot) -> np.ndarray:
    """(H, W) bool: what is to be dreamt, without pinholes."""
    return cleaned(~spot.carried.covered)


def _traits(spot: Spot, pixels: np.ndarray) -> Traits:
    unseen = np.broadcast_to(unseen_at(spot), pixels.shape[:3])
    return traits(pixels, unseen, range(len(pixels)), scene=spot.scene, network=shipped(REWARDING))


def _near(ours: np.ndarray, true: np.ndarray, soft: float) -> np.ndarray:
    """How near ours (G,) are to the truth's (1,): the ratio or its inverse, whichever is less; 1 where the truth has
    nothing to be measured."""
    ratio = (ours + soft) / (true + soft)
    return np.where(np.isfinite(ratio), np.minimum(ratio, 1 / np.where(ratio > 0, ratio, 1.0)), 1.0)


def _agreement(spot: Spot, depth: np.ndarray) -> np.ndarray:
    """The mean of the nearer depth over the farther, ours (G, H, W) and the truth's, where nothing was seen."""
    unseen = unseen_at(spot)
    if not unseen.any():
        return np.ones(len(depth))
    ours, true = depth[:, unseen], spot.depth[unseen]
    return (np.minimum(ours, true) / np.maximum(np.maximum(ours, true), 1e-6)).mean(1)


def _followed(spot: Spot, pixels: np.ndarray) -> np.ndarray:
    """How many of the motion's four components a picture shows as commanded, by features that it shares with the
    view before it, whose depth is known; 1 if the true view shares too few with it to tell."""
    before, wanted = _Seen(spot), motion_between(spot.seen.pose, spot.pose)
    shares = []
    for picture in (spot.pixels, *pixels):
        found = by_features(features_of(picture), before, spot.seen.pose)
        shares.append(float(np.mean(components_right(spot.seen.pose, found.pose, wanted))))
    return np.minimum(1.0, np.array(shares[1:]) / shares[0]) if shares[0] else np.ones(len(pixels))


class _Seen:
    """The one true view before a spot, as registration asks for views."""

    def __init__(self, spot: Spot):
        view = spot.seen
        H, W = view.depth.shape
        self.camera = Camera(W, H)
        self._view = TrueView(view.pixels, view.depth, np.zeros((H, W), np.int32))
        self._known: dict[Hashable, object] = {}

    def at(self, pose: Pose) -> TrueView:
        return self._view

    def once(self, name: Hashable, pose: Pose, make: Callable[[], T]) -> T:
        return self._known.setdefault(name, make())  # type: ignore[return-value]


Damage = Callable[[Spot, np.ndarray, int], np.ndarray]


def _pasted(spot: Spot, picture: np.ndarray) -> np.ndarray:
    """The picture in the unseen parts of a view, and the known pixels elsewhere."""
    return np.where(unseen_at(spot)[..., None], picture, spot.carried.pixels).astype(np.uint8)


def blurred(spot: Spot, picture: np.ndarray, seed: int) -> np.ndarray:
    return _pasted(spot, cv2.GaussianBlur(picture, (0, 0), BLUR))


def noisy(spot: Spot, picture: np.ndarray, seed: int) -> np.ndarray:
    grain = np.random.default_rng([seed, 7]).normal(0, NOISE, picture.shape)
    return _pasted(spot, np.clip(picture + grain, 0, 255).astype(np.uint8))


def frozen(spot: Spot, picture: np.ndarray, seed: int) -> np.ndarray:
    """The view before, shown again."""
    return _pasted(spot, spot.seen.pixels)


def mean_colour(spot: Spot, picture: np.ndarray, seed: int) -> np.ndarray:
    return _pasted(spot, np.broadcast_to(spot.seen.pixels.mean((0, 1)).round(), picture.shape))


def shuffled(spot: Spot, picture: np.ndarray, seed: int) -> np.ndarray:
    """The picture with the cells of each row in another order."""
    H, W, _ = picture.shape
    rng = np.random.default_rng([seed, 9])
    cells = picture.reshape(H // CELL, CELL, W // CELL, CELL, 3).swapaxes(1, 2)
    mixed = np.stack([row[rng.permutation(W // CELL)] for row in cells])
    return _pasted(spot, mixed.swapaxes(1, 2).reshape(picture.shape))


# none of these may earn more than the undamaged picture
DAMAGES: dict[str, Damage] = {
    "blurred": blurred,
    "noise": noisy,
    "frozen": frozen,
    "mean colour": mean_colour,
    "cells shuffled": shuffled,
}


def audit(groups: Sequence[tuple[Spot, np.ndarray]]) -> dict[str, float]:
    """The benchmark's own measures, with its own recogniser, of all dreams together, over the truth at the same
    spots: ideal is 1, for AUC 0.5 and for KID 0."""
    ours, true = [], []
    for spot, pixels in groups:
        shown, unseen = np.concatenate([pixels, spot.pixels[None]]), unseen_at(spot)
        index = [spot.index] * len(shown)
        found = traits(shown, np.broadcast_to(unseen, shown.shape[:3]), index, scene=spot.scene)
        rows = replace(found, seed=np.arange(len(shown)))
        ours.append(rows.where(rows.seed < len(pixels)))
        true.append(replace(rows, seed=rows.seed - len(pixels)).where(rows.seed == len(pixels)))
    values = measure(joined(ours), joined(true), least=0.0)
    return {name: float("nan") if value is None else value for name, value in values.items()}


PICTURES = Judge(USUAL, PictureMeasure.fitted, DAMAGES, audit)
