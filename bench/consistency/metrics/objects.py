"""Is the object still there, and is there none where none was? By instance ids and two renders, with and without it.

A picture shows the object if, within its outline, it is nearer than half way to the true render with the object; it
shows the bare place if it is as near to the render without. Half way makes the two exclude each other, and a grey or
blurred picture is usually neither. No detector, no threshold tuned on any model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....world.pose import Pose
from ..questions.truth import Truth
from .revisits import GATE, is_near

LEAST_PIXELS = 24
LEAST_DIFFERENCE = 12.0  # grey levels, root mean square, by which object and bare place must differ


@dataclass(frozen=True)
class Sighting:
    """Whether a picture shows the thing, and whether it shows the bare place; both may be false."""

    shows_thing: bool
    shows_place: bool


def sight(picture: np.ndarray, truth: Truth, poses: Sequence[Pose]) -> Sighting | None:
    """What a picture shows of the episode's target, seen from the commanded pose (the first) or close by.

    Poses outside revisits.GATE are left out: a frozen picture that shows the object from elsewhere deserves no credit.
    None if the object is not in the commanded view, or is too similar to what is behind it.
    """
    poses = [pose for pose in poses if is_near(pose, poses[0], GATE)]
    sightings = [_sight(picture, truth, pose) for pose in poses]
    if sightings[0] is None:
        return None
    known = [sighting for sighting in sightings if sighting]
    return Sighting(any(s.shows_thing for s in known), any(s.shows_place for s in known))


def _sight(picture: np.ndarray, truth: Truth, pose: Pose) -> Sighting | None:
    full, bare = truth.with_and_without(pose)
    mask = full.ids == truth.episode.target
    if mask.sum() < LEAST_PIXELS:
        return None
    apart = _rms(full.pixels, bare.pixels, mask)
    if apart < LEAST_DIFFERENCE:
        return None
    return Sighting(_rms(picture, full.pixels, mask) < apart / 2, _rms(picture, bare.pixels, mask) < apart / 2)


def _rms(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    return float(np.sqrt(((a.astype(np.float64) - b)[mask] ** 2).mean()))
