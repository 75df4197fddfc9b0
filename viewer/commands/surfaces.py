"""How far the points of a map are from the true surfaces. The only file where the map knows scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ...scenes.scene import Scene


def distance_to_scene(points: np.ndarray, scene: Scene) -> np.ndarray:
    """The distance (N,) float64 in metres of points (N, 3) from the nearest surface of the scene, the ground included.

    Exact for boxes and upright cylinders; to first order for ellipsoids (the implicit function over its gradient).
    """
    nearest = np.abs(points[:, 2].astype(np.float64))
    for shape, center, half, yaw in zip(scene.shapes, scene.centers, scene.halves, scene.yaws, strict=True):
        nearest = np.minimum(nearest, np.abs(_signed(int(shape), _own_axes(points - center, yaw), half)))
    return nearest


def told(points: np.ndarray, scene: Scene) -> str:
    """How close a map's points (N, 3), N > 0, are to the scene's true surfaces, in words."""
    half, most = 100 * np.percentile(distance_to_scene(points, scene), (50, 95))
    return f"{len(points)} points, half within {half:.1f} cm of the true surfaces, 95 % within {most:.1f} cm"


def _own_axes(offset: np.ndarray, yaw: float) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.stack([c * offset[:, 0] + s * offset[:, 1], -s * offset[:, 0] + c * offset[:, 1], offset[:, 2]], 1)


def _signed(shape: int, p: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Signed distance (N,) of points in the solid's own axes, negative inside."""
    from ...scenes.scene import BOX, CYLINDER

    if shape == BOX:
        beyond = np.abs(p) - half
    elif shape == CYLINDER:
        beyond = np.stack([np.hypot(p[:, 0], p[:, 1]) - half[0], np.abs(p[:, 2]) - half[2]], 1)
    else:
        reach = np.linalg.norm(p / half, axis=1)
        return reach * (reach - 1) / np.maximum(np.linalg.norm(p / half**2, axis=1), 1e-9)
    return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(1), 0)
