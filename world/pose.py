"""Where the camera is and what it can see: poses, motions, cameras. Knows nothing of pixels, tokens or models.

World axes are right-handed with +Z up. The camera looks along its +Z, with +X to the right and +Y down, so a pose's
rotation maps camera axes to world axes. Yaw 0 looks along world +X and grows to the left; pitch grows upwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MAX_PITCH_DEG = 60.0


@dataclass(frozen=True)
class Motion:
    """A change of pose in the walker's own frame: metres along the heading and to its right, degrees left and up."""

    forward: float = 0.0
    right: float = 0.0
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0

    def __add__(self, other: Motion) -> Motion:
        return Motion(
            self.forward + other.forward,
            self.right + other.right,
            self.yaw_deg + other.yaw_deg,
            self.pitch_deg + other.pitch_deg,
        )

    def scaled(self, factor: float) -> Motion:
        return Motion(self.forward * factor, self.right * factor, self.yaw_deg * factor, self.pitch_deg * factor)

    @property
    def is_still(self) -> bool:
        return not any((self.forward, self.right, self.yaw_deg, self.pitch_deg))


@dataclass(frozen=True)
class Pose:
    """A camera pose: position in metres and a unit quaternion (w, x, y, z) from camera axes to world axes."""

    position: tuple[float, float, float]
    wxyz: tuple[float, float, float, float]

    @staticmethod
    def at(x: float, y: float, z: float, yaw_deg: float = 0.0, pitch_deg: float = 0.0) -> Pose:
        """The pose at (x, y, z) metres that looks along yaw (left of world +X) and pitch (up), in degrees."""
        return Pose((float(x), float(y), float(z)), _wxyz(_look_rotation(yaw_deg, pitch_deg)))

    @property
    def rotation(self) -> np.ndarray:
        """The (3, 3) float64 matrix from camera axes to world axes; its columns are right, down, forward."""
        w, x, y, z = self.wxyz
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )

    @property
    def yaw_deg(self) -> float:
        right = self.rotation[:, 0]
        return math.degrees(math.atan2(right[0], -right[1]))

    @property
    def pitch_deg(self) -> float:
        return math.degrees(math.asin(max(-1.0, min(1.0, self.rotation[2, 2]))))

    def moved(self, motion: Motion) -> Pose:
        """The pose after `motion`: first the translation along the old heading, on the level, then the turn.

        Pitch stays within +-MAX_PITCH_DEG. Collisions are handled by the scene, not here.
        """
        yaw = math.radians(self.yaw_deg)
        x, y, z = self.position
        x += motion.forward * math.cos(yaw) + motion.right * math.sin(yaw)
        y += motion.forward * math.sin(yaw) - motion.right * math.cos(yaw)
        pitch = max(-MAX_PITCH_DEG, min(MAX_PITCH_DEG, self.pitch_deg + motion.pitch_deg))
        return Pose.at(x, y, z, self.yaw_deg + motion.yaw_deg, pitch)

    def angle_to(self, other: Pose) -> float:
        """The geodesic angle between the two orientations, in degrees."""
        cosine = (np.trace(self.rotation.T @ other.rotation) - 1) / 2
        return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))

    def distance_to(self, other: Pose) -> float:
        """The distance between the two positions, in metres."""
        return math.dist(self.position, other.position)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels: size in pixels, horizontal field of view in degrees."""

    width: int = 128
    height: int = 128
    fov_deg: float = 80.0

    def __post_init__(self):
        if self.width < 1 or self.height < 1 or not 1 <= self.fov_deg <= 170:
            raise ValueError(
                f"camera {self.width}x{self.height} with {self.fov_deg} degrees: "
                "wanted a size of at least 1x1 and 1 to 170 degrees"
            )

    @property
    def focal(self) -> float:
        """The focal length in pixels."""
        return focal_length(self.width, self.fov_deg)

    @property
    def rays(self) -> np.ndarray:
        """(H, W, 3) float32 directions through the pixel centres in camera axes, scaled so that forward is 1."""
        return self.rays_at(np.arange(self.width)[None, :], np.arange(self.height)[:, None]).astype(np.float32)

    def rays_at(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(..., 3) directions as `rays` through the centres of pixels, which may lie between columns and rows."""
        right = (columns + 0.5 - self.width / 2) / self.focal
        down = (rows + 0.5 - self.height / 2) / self.focal
        return np.stack([*np.broadcast_arrays(right, down), np.ones(np.broadcast_shapes(right.shape, down.shape))], -1)

    def on_screen(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where points (..., 3) in camera axes, ahead of the camera, fall on the picture: how far right and down of its
        corner, in pixels, whose centres are at halves. The compiled world/axes.py does the same for single points."""
        right, down, ahead = points[..., 0], points[..., 1], points[..., 2]
        return right / ahead * self.focal + self.width / 2, down / ahead * self.focal + self.height / 2

    @property
    def matrix(self) -> np.ndarray:
        """The (3, 3) intrinsic matrix as OpenCV and Open3D take it: their pixel centres are at whole numbers."""
        f = self.focal
        return np.array([[f, 0, self.width / 2 - 0.5], [0, f, self.height / 2 - 0.5], [0, 0, 1]])


def focal_length(width: int, fov_deg: float) -> float:
    """In pixels, of a pinhole camera that sees fov_deg across `width` pixels."""
    return width / 2 / math.tan(math.radians(fov_deg) / 2)


def _look_rotation(yaw_deg: float, pitch_deg: float) -> np.ndarray:
    yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
    forward = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch)])
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    return np.stack([right, np.cross(forward, right), forward], axis=1)


def _wxyz(rotation: np.ndarray) -> tuple[float, float, float, float]:
    # Bar-Itzhack: the quaternion is the dominant eigenvector of a symmetric matrix, stable at every angle.
    m = rotation
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], 0, 0, 0],
            [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], 0, 0],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], 0],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    values, vectors = np.linalg.eigh(k / 3)
    x, y, z, w = vectors[:, np.argmax(values)]
    sign = 1.0 if w >= 0 else -1.0
    return (float(sign * w), float(sign * x), float(sign * y), float(sign * z))
