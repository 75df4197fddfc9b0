"""The whole view from one place as one picture: equirectangular, 360 by 180 degrees, with depth.

The middle of the picture has the pose's yaw and is level; the left and the right edge look back; up is up, however the
pose is pitched or rolled. Six looks, one for each side of a cube, are resampled into it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...world.pose import Camera, Pose
from ...world.sight import SIDES, Gaze, LookError, Outlook

WIDER_DEG = 2.0  # of each side of the cube, a little over 90 so that neighbouring sides overlap
_SIDES = ((0, 0), (90, 0), (180, 0), (-90, 0), (0, 90), (0, -90))  # yaw to the left and pitch, in degrees
UNKNOWN_MM, FAR_MM = 0, 65535


@dataclass(frozen=True)
class Panorama:
    """pixels (H, 2 H, 3) uint8; distance (H, 2 H) float32 metres from the place, not along an axis, 0 where nothing is
    known; unknown (H, 2 H) bool, where pixels are filled in from around."""

    pixels: np.ndarray
    distance: np.ndarray
    unknown: np.ndarray

    @property
    def millimetres(self) -> np.ndarray:
        """The distance as (H, 2 H) uint16 millimetres: 0 for unknown, 65535 for that far or farther."""
        known = np.where(np.isfinite(self.distance), self.distance * 1000.0, FAR_MM).clip(1, FAR_MM)
        return np.where(self.unknown, UNKNOWN_MM, np.rint(known)).astype(np.uint16)


def panorama(outlook: Outlook, pose: Pose, *, height: int = 1024) -> Panorama:
    """The panorama from a pose's place. Raises LookError for a height that looks cannot fill."""
    side = -(-height // 2)
    if not SIDES[0] <= side <= SIDES[1]:
        raise LookError(f"a panorama {height} pixels high; wanted {2 * SIDES[0]} to {2 * SIDES[1]}")
    rays = _rays(height)
    pixels, distance = np.zeros((height, 2 * height, 3), np.uint8), np.zeros((height, 2 * height), np.float32)
    unknown, done = np.ones(distance.shape, bool), np.zeros(distance.shape, bool)
    camera = Camera(side, side, 90 + WIDER_DEG)
    for yaw_deg, pitch_deg in _SIDES:
        there = Pose.at(*pose.position, pose.yaw_deg + yaw_deg, pitch_deg)
        own = rays @ Pose.at(0, 0, 0, yaw_deg, pitch_deg).rotation  # of the panorama's rays, in this side's axes
        mine = ~done & (own[..., 2] >= np.abs(own).max(-1) - 1e-9)
        seen, (across, down) = outlook.look(Gaze(there, camera)), (p.astype(int) for p in camera.on_screen(own[mine]))
        pixels[mine], unknown[mine] = seen.pixels[down, across], seen.unknown[down, across]
        distance[mine] = seen.depth[down, across] / own[mine][:, 2]
        done |= mine
    return Panorama(pixels, distance, unknown)


def _rays(height: int) -> np.ndarray:
    """(H, 2 H, 3) unit directions in axes of which +X is ahead, +Y to the left and +Z up."""
    yaw = math.pi - (np.arange(2 * height) + 0.5) / height * math.pi
    pitch = math.pi / 2 - (np.arange(height) + 0.5) / height * math.pi
    level = np.cos(pitch)[:, None]
    up = np.broadcast_to(np.sin(pitch)[:, None], (height, 2 * height))
    return np.stack([level * np.cos(yaw), level * np.sin(yaw), up], -1)
