"""A scene is data: arrays of solids and materials. This file holds, saves and loads them and resolves collisions.

It does not know how a scene is drawn (render.py) or how one is made up (rooms.py, outdoors.py).
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..world.action import ActionError
from ..world.compiled import njit
from ..world.files import read_bytes, whole
from ..world.pose import Motion, Pose

BOX, CYLINDER, ELLIPSOID = 0, 1, 2
PLAIN, CHECKER, STRIPES, BRICK, WOOD, PLASTER, GRASS, TILES = range(8)
GROUND_ID = 1  # instance id of the ground; 0 is the sky
EYE_HEIGHT, BODY_RADIUS = 1.5, 0.3  # metres
BODY_LOW, BODY_HIGH = 0.25, 1.7  # a walker steps over what is lower and under what is higher (metres)
LONGEST = 1000.0  # metres of one step; its places are tried one by one
_STRIDE = 0.05  # metres between these places
_PUSHES = 3  # out of solids at each of them: a corner between two needs more than one
_SAME = 1e-9  # metres: two places nearer than this are one
FORMAT = 1
_MOST_BYTES = 64 << 20  # of a scene in memory; ours have some kilobytes


class SceneError(ValueError):
    """A scene file or request that cannot be used; the message says what came and what was wanted."""


@dataclass(frozen=True)
class Scene:
    """Solids on an infinite ground plane at z = 0. n solids, m materials; metres and radians; colours in [0, 1].

    shapes (n,) int64: BOX, CYLINDER (upright) or ELLIPSOID; centers, halves (n, 3) float64: half sizes along the
    solid's own axes; yaws (n,) float64 about +Z; ids (n,) int32: the instance that each solid belongs to; materials
    (n,) int64: row in the material table. Material table: textures (m,) int64, colors (m, 2, 3) float64, scales (m,)
    float64 metres per repeat. ground: material row. sky (2, 3): horizon and zenith colour. light (3,): direction
    towards the light. haze: share of the horizon colour that one metre of air adds. half_extent: walkers stay within
    +-half_extent in x and y. spawn: x, y, yaw in degrees.
    """

    family: str
    seed: int
    shapes: np.ndarray
    centers: np.ndarray
    halves: np.ndarray
    yaws: np.ndarray
    ids: np.ndarray
    materials: np.ndarray
    textures: np.ndarray
    colors: np.ndarray
    scales: np.ndarray
    ground: int
    sky: np.ndarray
    light: np.ndarray
    haze: float
    half_extent: float
    spawn: np.ndarray

    def __post_init__(self):
        n, m = len(self.shapes), len(self.textures)
        wanted = {
            "centers": (n, 3),
            "halves": (n, 3),
            "yaws": (n,),
            "ids": (n,),
            "materials": (n,),
            "colors": (m, 2, 3),
            "scales": (m,),
            "sky": (2, 3),
            "light": (3,),
            "spawn": (3,),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise SceneError(f"scene array '{name}' has shape {getattr(self, name).shape}, wanted {shape}")
        if n and not (self.materials.min() >= 0 and self.materials.max() < m):
            raise SceneError(
                f"scene materials run from {self.materials.min()} to {self.materials.max()}, wanted 0 to {m - 1}"
            )

    @property
    def spawn_pose(self) -> Pose:
        x, y, yaw_deg = self.spawn
        return Pose.at(x, y, EYE_HEIGHT, yaw_deg)

    def is_free(self, x: float, y: float, clearance: float = BODY_RADIUS) -> bool:
        """Whether a walker of that radius (metres) can stand at (x, y)."""
        if max(abs(x), abs(y)) > self.half_extent:
            return False
        px, py = _push_out(x, y, clearance, self.shapes, self.centers, self.halves, self.yaws)
        return abs(px - x) + abs(py - y) < _SAME

    def walked(self, pose: Pose, motion: Motion) -> Pose:
        """The pose that a walker reaches: solids stop it and it slides along them; turns are never blocked.

        Raises ActionError for a step longer than LONGEST.
        """
        there = pose.moved(motion)
        step = pose.distance_to(there)
        if not step <= LONGEST:  # also for NaN
            raise ActionError(f"a step of {step:g} m; at most {LONGEST:g} are walked at once")
        solids = (self.shapes, self.centers, self.halves, self.yaws)
        x, y = _slide(pose.position, there.position, self.half_extent, solids)
        return Pose((float(x), float(y), there.position[2]), there.wxyz)

    def save(self, path: str | Path) -> None:
        """Write the scene to one .npz file."""
        arrays: dict[str, Any] = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        with whole(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, format=FORMAT, **arrays)


def load_scene(path: str | Path) -> Scene:
    """Read what `Scene.save` wrote. Raises SceneError for a torn or foreign file; nothing in it is ever executed."""
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as data:
            if (size := sum(part.file_size for part in data.zip.infolist())) > _MOST_BYTES:
                raise ValueError(f"it would take {size:,} bytes")
            held = {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SceneError(f"{path} is no readable scene ({error}); wanted a file that `Scene.save` wrote") from error
    names = {f.name for f in fields(Scene)}
    if int(held.pop("format", -1)) != FORMAT or set(held) != names:
        raise SceneError(f"{path} is no scene of format {FORMAT}; wanted the arrays {', '.join(sorted(names))}")
    for name, kind in (("family", str), ("seed", int), ("ground", int), ("haze", float), ("half_extent", float)):
        held[name] = kind(held[name])
    return Scene(**held)


@njit(cache=True, nogil=True)
def _push_out(x, y, radius, shapes, centers, halves, yaws):
    """The nearest point to (x, y) at which a disc of that radius touches no solid at body height (one pass)."""
    for i in range(shapes.shape[0]):
        low, high = centers[i, 2] - halves[i, 2], centers[i, 2] + halves[i, 2]
        if high < BODY_LOW or low > BODY_HIGH:
            continue
        dx, dy = x - centers[i, 0], y - centers[i, 1]
        if shapes[i] != BOX:
            reach = max(halves[i, 0], halves[i, 1]) + radius
            distance = np.sqrt(dx * dx + dy * dy)
            if distance < reach:
                if distance < _SAME:
                    dx, dy, distance = 1.0, 0.0, 1.0
                x, y = centers[i, 0] + dx / distance * reach, centers[i, 1] + dy / distance * reach
            continue
        c, s = np.cos(yaws[i]), np.sin(yaws[i])
        u, v = c * dx + s * dy, -s * dx + c * dy
        hx, hy = halves[i, 0], halves[i, 1]
        nu, nv = min(max(u, -hx), hx), min(max(v, -hy), hy)
        gap = np.sqrt((u - nu) ** 2 + (v - nv) ** 2)
        if gap >= radius:
            continue
        if gap > _SAME:
            u, v = nu + (u - nu) / gap * radius, nv + (v - nv) / gap * radius
        elif hx - abs(u) < hy - abs(v):
            u = (hx + radius) * (1.0 if u >= 0 else -1.0)
        else:
            v = (hy + radius) * (1.0 if v >= 0 else -1.0)
        x, y = centers[i, 0] + c * u - s * v, centers[i, 1] + s * u + c * v
    return x, y


@njit(cache=True, nogil=True)
def _slide(start, goal, half_extent, solids):
    """The place (x, y) where a walker ends on the way from start to goal, whose height does not count, among solids:
    their shapes, centers, halves and yaws."""
    shapes, centers, halves, yaws = solids
    (x, y, _), (to_x, to_y, _) = start, goal
    steps = int(np.ceil(np.sqrt((to_x - x) ** 2 + (to_y - y) ** 2) / _STRIDE))
    if steps == 0:
        return x, y
    dx, dy = (to_x - x) / steps, (to_y - y) / steps
    for _ in range(steps):
        x = min(max(x + dx, -half_extent), half_extent)
        y = min(max(y + dy, -half_extent), half_extent)
        for _ in range(_PUSHES):
            x, y = _push_out(x, y, BODY_RADIUS, shapes, centers, halves, yaws)
    return x, y
