"""A look from any pose: what is asked for, what is seen, and what can be looked at. Numpy only, like frame.py.

A look needs no step and changes nothing. Dreams answer it from memory (spatial/looker.py), true places by rendering,
walks on a server over the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from .pose import Camera, Pose

SIDES = (8, 1024)  # pixels of an eye's picture, across and down
FOVS_DEG = (10.0, 150.0)  # across
MAX_IPD_M = 0.5
MAX_PLACE_M = 1e6  # from the world's origin


class LookError(ValueError):
    """A look that is impossible; the message says why."""


@dataclass(frozen=True)
class Gaze:
    """From where one looks: a full pose, with any roll and pitch, the camera of an eye, and the distance between two
    eyes in metres, 0 for one. One eye is half of that to the left of the pose, the other half of it to the right."""

    pose: Pose
    camera: Camera = field(default_factory=Camera)
    ipd_m: float = 0.0

    def __post_init__(self):
        _check(self.camera, self.ipd_m)
        object.__setattr__(self, "pose", unit(self.pose))

    @property
    def eyes(self) -> tuple[Pose, ...]:
        """The poses of the eyes: one, or the left one and the right one."""
        if not self.ipd_m:
            return (self.pose,)
        half = self.pose.rotation[:, 0] * self.ipd_m / 2
        left, right = np.asarray(self.pose.position) - half, np.asarray(self.pose.position) + half
        return _placed(left, self.pose), _placed(right, self.pose)


@dataclass(frozen=True)
class Sight:
    """What a look shows. The eyes' pictures are side by side, the left one first: pixels (H, E * W, 3) uint8; depth
    (H, E * W) float32 metres along the forward axis; unknown (H, E * W) bool, where nothing is remembered and pixels
    and depth are filled in from the surroundings, with depth 0 if there are none. index: of the newest frame that it
    knows."""

    gaze: Gaze
    index: int
    pixels: np.ndarray
    depth: np.ndarray
    unknown: np.ndarray

    def eye(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One eye's pixels (H, W, 3), depth and unknown (H, W); eye 0 is the left one."""
        width = self.gaze.camera.width
        part = np.s_[:, number * width : (number + 1) * width]
        return self.pixels[part], self.depth[part], self.unknown[part]


@dataclass(frozen=True)
class Piece:
    """Some of the remembered surfaces; it never changes: points (K, 3) float32 metres in the world's axes
    (right-handed, +Z up), colours (K, 3) uint8, and triangles (T, 3) uint32 between the points, counter-clockwise on
    the side that was seen. number: of 63 bits, the same for the same piece everywhere."""

    number: int
    points: np.ndarray
    colours: np.ndarray
    triangles: np.ndarray

    @property
    def y_up(self) -> np.ndarray:
        """The points in right-handed axes with +Y up, like glTF, Godot, three.js and OpenXR: the world's +X, +Y, +Z
        are +X, -Z, +Y there."""
        return self.points[:, [0, 2, 1]] * np.array([1, 1, -1], np.float32)


class Outlook(Protocol):
    """A view into an explorer as it was when this was taken, whatever the explorer does afterwards; for any thread."""

    @property
    def index(self) -> int:
        """That of the newest frame that it knows."""

    @property
    def pose(self) -> Pose:
        """Where the walker stands."""

    @property
    def camera(self) -> Camera:
        """That of the frames."""

    def look(self, gaze: Gaze) -> Sight:
        """What is seen from there. Raises LookError if that is impossible."""

    def pieces(self) -> tuple[int, ...]:
        """The numbers of all pieces of surface that are remembered, oldest first. A true place remembers nothing:
        its only piece is what its newest frame shows."""

    def piece(self, number: int, *, stride: int = 1) -> Piece:
        """One of them, from every `stride`th pixel of its view. Raises LookError if there is no such piece."""


@runtime_checkable
class Looking(Protocol):
    """An explorer that can be looked into from any pose."""

    def outlook(self) -> Outlook:
        """A view into it as it is now; on any thread. Raises LookError if the world has no poses or no depth."""

    def look(self, pose: Pose, *, camera: Camera | None = None, ipd_m: float = 0.0) -> Sight:
        """What is seen from a pose, by the frames' own camera unless another is given."""


def _check(camera: Camera, ipd_m: float) -> None:
    low, high = SIDES
    if not (low <= camera.width <= high and low <= camera.height <= high):
        raise LookError(f"a look of {camera.width}x{camera.height} pixels; wanted {low} to {high} a side")
    if not FOVS_DEG[0] <= camera.fov_deg <= FOVS_DEG[1]:
        raise LookError(f"a look {camera.fov_deg:g} degrees wide; wanted {FOVS_DEG[0]:g} to {FOVS_DEG[1]:g}")
    if not 0 <= ipd_m <= MAX_IPD_M:
        raise LookError(f"eyes {ipd_m:g} metres apart; wanted 0, for one eye, to {MAX_IPD_M:g}")


def unit(pose: Pose) -> Pose:
    """The pose with a quaternion of length 1, for clients that compute with fewer digits. Raises LookError for a
    quaternion that is no rotation, and for a position too far away."""
    length = math.hypot(*pose.wxyz)
    if not abs(length - 1) < 1e-2:
        raise LookError(f"a quaternion of length {length:g}; wanted one of length 1: w, x, y, z")
    if not all(abs(value) <= MAX_PLACE_M for value in pose.position):
        raise LookError(f"a look from {pose.position}; wanted at most {MAX_PLACE_M:g} metres from the origin")
    w, x, y, z = (value / length for value in pose.wxyz)
    return pose if abs(length - 1) < 1e-9 else Pose(pose.position, (w, x, y, z))


def _placed(position: np.ndarray, pose: Pose) -> Pose:
    x, y, z = (float(value) for value in position)
    return Pose((x, y, z), pose.wxyz)
