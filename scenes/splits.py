"""Which scene seeds belong to training, to development, and to the final test. One function, so that they never mix."""

from __future__ import annotations

from .outdoors import make_outdoors
from .rooms import make_rooms
from .scene import Scene, SceneError

SPLITS = ("train", "dev", "test")
SPLIT_SIZE = 1_000_000
FAMILIES = {"rooms": make_rooms, "outdoors": make_outdoors}
TAKING_TURNS = ("rooms", "outdoors")  # one more would make other scenes of all numbers, also of those in results


def scene_seed(split: str, number: int) -> int:
    """The seed of the number-th scene of a split; each split owns a million seeds of its own."""
    if split not in SPLITS:
        raise SceneError(f"unknown split '{split}'; known: {', '.join(SPLITS)}")
    if not 0 <= number < SPLIT_SIZE:
        raise SceneError(f"scene number {number}; each split has the numbers 0 to {SPLIT_SIZE - 1}")
    return SPLITS.index(split) * SPLIT_SIZE + number


def make_scene(split: str, number: int, family: str | None = None) -> Scene:
    """The number-th scene of a split; those of TAKING_TURNS take turns unless a family is named."""
    family = family or TAKING_TURNS[number % len(TAKING_TURNS)]
    if family not in FAMILIES:
        raise SceneError(f"unknown scene family '{family}'; known: {', '.join(FAMILIES)}")
    return FAMILIES[family](scene_seed(split, number))
