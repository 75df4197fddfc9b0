"""A recorded walk before it is written to a file, and the interface of a source of such walks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...world.action import Action
from ...world.pose import Camera, Pose

WALKS = {"steps": 17, "keyframes": 18}  # what a walk adds to its scene's seed
PER_FILE = 8  # rollouts of a file, which one process walks


@dataclass(frozen=True)
class Walked:
    """A rollout of T frames: the world that it walked through; pixels (T, H, W, 3) uint8; depth (T, H, W) float16
    metres or None; poses, T of them, or None; actions, T - 1, as commanded."""

    world: str
    pixels: np.ndarray
    depth: np.ndarray | None
    poses: list[Pose] | None
    actions: list[Action]


@dataclass(frozen=True)
class SourceOptions:
    """Further options of some sources. words: the file with an environment's words; fit: how footage becomes a
    frame, "crop" to its middle or "letterbox" it whole; step_s: seconds of footage from frame to frame."""

    words: str | None = None
    fit: str = "crop"
    step_s: float = 0.2


class Source(Protocol):
    """name: what it was asked for by; about and licence: what a manifest says of it."""

    name: str
    about: str
    licence: str

    def check(self, split: str, frames: int) -> int | None:
        """How many rollouts of so many frames a split has, None for no end of them. Raises SceneError for a split
        without any, before processes are started."""

    def rollouts(self, split: str, numbers: range, frames: int, camera: Camera, walk: str) -> Iterator[Walked]:
        """The rollouts of those numbers, which are a block that one process walks; the same for the same arguments."""
