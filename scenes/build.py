"""A builder that scene families share: collects solids and materials and hands out instance ids."""

from __future__ import annotations

import colorsys
import math

import numpy as np

from .scene import BODY_HIGH, BOX, CYLINDER, ELLIPSOID, GROUND_ID, Scene

DARKER = 0.72  # of a material's first colour: its second, if none is given
WALL_HALF = 1.2  # metres: a box with a longer half side is a wall, whose bounding circle says nothing
# where walks begin: a share of the extent, with that many metres of room, found in so many tries
INNER, ROOM, TRIES = 0.8, 0.7, 2000


class SceneBuilder:
    """Collects a scene's parts; `build` makes the frozen Scene. Angles in degrees, sizes in metres."""

    def __init__(self, family: str, seed: int):
        self.family, self.seed = family, seed
        self.rng = np.random.default_rng([seed, sum(map(ord, family))])
        self._solids: list[tuple] = []
        self._materials: list[tuple] = []
        self._next_id = GROUND_ID + 1

    def color(self, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]):
        """A random colour; hue, saturation and value are uniform within their ranges (0 to 1)."""
        draw = self.rng.uniform
        return np.array(colorsys.hsv_to_rgb(draw(*hue) % 1.0, draw(*saturation), draw(*value)))

    def material(self, texture: int, color, second=None, scale: float = 1.0) -> int:
        """Add a material and return its row; if there is no second colour, it is a darker shade of the first."""
        color = np.asarray(color, float)
        second = color * DARKER if second is None else np.asarray(second, float)
        self._materials.append((texture, np.stack([color, second]), scale))
        return len(self._materials) - 1

    def new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def box(self, x, y, z, size, material, *, yaw_deg=0.0, instance=None):
        """A box of full size (sx, sy, sz) whose bottom is at height z."""
        sx, sy, sz = size
        self._add(BOX, (x, y, z + sz / 2), (sx / 2, sy / 2, sz / 2), yaw_deg, material, instance)

    def cylinder(self, x, y, z, radius, height, material, *, instance=None):
        self._add(CYLINDER, (x, y, z + height / 2), (radius, radius, height / 2), 0.0, material, instance)

    def ellipsoid(self, x, y, z, halves, material, *, instance=None):
        """An ellipsoid centred at height z."""
        self._add(ELLIPSOID, (x, y, z), halves, 0.0, material, instance)

    def is_clear(self, x: float, y: float, clearance: float) -> bool:
        """Whether no solid that a walker would bump into has its bounding circle within `clearance` of (x, y)."""
        for shape, center, halves, _, _, _ in self._solids:
            if center[2] - halves[2] > BODY_HIGH or (shape == BOX and max(halves[:2]) > WALL_HALF):
                continue
            if math.hypot(x - center[0], y - center[1]) < math.hypot(*halves[:2]) + clearance:
                return False
        return True

    def build(self, *, ground: int, sky, light, haze: float, half_extent: float) -> Scene:
        shapes, centers, halves, yaws, materials, ids = zip(*self._solids, strict=True)
        textures, colors, scales = zip(*self._materials, strict=True)
        parts = dict(
            family=self.family,
            seed=self.seed,
            shapes=np.array(shapes),
            centers=np.array(centers, float),
            halves=np.array(halves, float),
            yaws=np.radians(np.array(yaws, float)),
            ids=np.array(ids, np.int32),
            materials=np.array(materials),
            textures=np.array(textures),
            colors=np.array(colors, float),
            scales=np.array(scales, float),
            ground=ground,
            sky=np.asarray(sky, float),
            light=np.asarray(light, float),
            haze=haze,
            half_extent=half_extent,
        )
        scene = Scene(spawn=np.zeros(3), **parts)
        return Scene(spawn=self._spawn(scene), **parts)

    def _spawn(self, scene: Scene) -> np.ndarray:
        for _ in range(TRIES):
            x, y = self.rng.uniform(-INNER * scene.half_extent, INNER * scene.half_extent, 2)
            if scene.is_free(x, y, ROOM):
                return np.array([x, y, self.rng.uniform(-180, 180)])
        raise RuntimeError(f"no free spot in {self.family} {self.seed}")

    def _add(self, shape, center, halves, yaw_deg, material, instance):
        instance = self.new_id() if instance is None else instance
        self._solids.append((shape, center, halves, yaw_deg, material, instance))
