"""Where a headset is in a world, and how the walker follows it. Knows no headset and no session.

OpenXR: metres, +Y up, eyes look along -Z. Roam: +Z up, cameras +X right, +Y down, +Z forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...world.pose import MAX_PITCH_DEG, Camera, Motion, Pose

STRIDE_M, TURN_DEG = 0.3, 15.0  # at most per step: as large as the steps that models have learnt
NEAR_M, NEAR_DEG = 0.06, 3.0  # nearer to the head than this the walker does not move

Quaternion = tuple[float, float, float, float]  # w, x, y, z
TO_Z_UP: Quaternion = (math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0)
TO_CAMERA: Quaternion = (0.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True)
class HeadView:
    """What a headset wants to show: the head's pose, in its own space with Roam's axes; the distance between its
    eyes; and the tangents of half of an eye's angle, across and down."""

    pose: Pose
    ipd_m: float
    across: float
    down: float

    def camera(self, width: int) -> Camera:
        """The camera of an eye whose picture has so many pixels across."""
        height = max(8, round(width * self.down / self.across))
        return Camera(width, height, 2 * math.degrees(math.atan(self.across)))


@dataclass(frozen=True)
class Body:
    """How a headset's space is placed in the world: turned left by yaw_deg about the vertical, then moved."""

    origin: tuple[float, float, float]
    yaw_deg: float

    @staticmethod
    def standing(head: Pose, walker: Pose) -> Body:
        """The placement in which that head is at the walker's position and has its heading."""
        yaw_deg = walker.yaw_deg - head.yaw_deg
        x, y, z = _turned(head.position, yaw_deg)
        a, b, c = walker.position
        return Body((a - x, b - y, c - z), yaw_deg)

    def placed(self, head: Pose) -> Pose:
        """A head's pose in the world."""
        x, y, z = (a + b for a, b in zip(self.origin, _turned(head.position, self.yaw_deg), strict=True))
        half = math.radians(self.yaw_deg) / 2
        return Pose((x, y, z), product((math.cos(half), 0.0, 0.0, math.sin(half)), head.wxyz))

    def held_back(self, short: tuple[float, float]) -> Body:
        """The placement after a walker was stopped that much before its target, in metres of the world."""
        x, y, z = self.origin
        return Body((x + short[0], y + short[1], z), self.yaw_deg)


def pose_of(position: tuple[float, float, float], wxyz: Quaternion) -> Pose:
    """A pose of OpenXR in Roam's axes."""
    x, y, z = position
    return Pose((x, -z, y), product(product(TO_Z_UP, wxyz), TO_CAMERA))


def motion_after(walker: Pose, head: Pose) -> Motion | None:
    """The step that brings a walker nearer to a head; None if it is near enough."""
    yaw = math.radians(walker.yaw_deg)
    x, y = (b - a for a, b in zip(walker.position[:2], head.position[:2], strict=True))
    forward, right = x * math.cos(yaw) + y * math.sin(yaw), x * math.sin(yaw) - y * math.cos(yaw)
    left = (head.yaw_deg - walker.yaw_deg + 180) % 360 - 180
    up = _clamped(head.pitch_deg, MAX_PITCH_DEG) - walker.pitch_deg
    far = math.hypot(forward, right)
    if far < NEAR_M and abs(left) < NEAR_DEG and abs(up) < NEAR_DEG:
        return None
    part = min(1.0, STRIDE_M / max(far, 1e-6))
    return Motion(forward * part, right * part, _clamped(left, TURN_DEG), _clamped(up, TURN_DEG))


def product(one: Quaternion, other: Quaternion) -> Quaternion:
    (a, b, c, d), (w, x, y, z) = one, other
    return (
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    )


def _turned(position: tuple[float, float, float], yaw_deg: float) -> tuple[float, float, float]:
    cos, sin = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    x, y, z = position
    return x * cos - y * sin, x * sin + y * cos, z


def _clamped(value: float, most: float) -> float:
    return max(-most, min(most, float(value)))
