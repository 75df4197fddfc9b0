"""What a place to walk through is, and what a camera sees of one: our own scenes, levels of games."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..world.pose import Camera, Motion, Pose

FAR = 100.0  # metres: the depth of the sky, and of anything beyond


@dataclass(frozen=True)
class TrueView:
    """What a camera sees: pixels (H, W, 3) uint8; depth (H, W) float32 metres along its forward axis, FAR where
    there is only sky; ids (H, W) int32, 0 the sky, 1 the ground."""

    pixels: np.ndarray
    depth: np.ndarray
    ids: np.ndarray


class Place(Protocol):
    """Something solid that draws itself from any pose. name and digest are what a save says of it."""

    name: str
    digest: str
    family: str

    @property
    def spawn_pose(self) -> Pose: ...

    @property
    def half_extent(self) -> float: ...

    def is_free(self, x: float, y: float, clearance: float = ...) -> bool: ...

    def standing(self, x: float, y: float, yaw_deg: float) -> Pose | None:
        """The pose of a walker who stands at (x, y); None if nobody can."""

    def walked(self, pose: Pose, motion: Motion) -> Pose: ...

    def view(self, pose: Pose, camera: Camera) -> TrueView: ...

    def close(self) -> None:
        """Free what rendering holds; the next view allocates it again."""
