"""A level of Doom as a place to walk through: opened by its name, walked in metres, seen through Roam's cameras.

The engine draws; the positions of surfaces are computed from the level's own lines and heights, so depth is exact,
where the engine's has eight units per grey level. Doors are open and monsters are removed: the place is the same
whenever one looks.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ...world.pose import Camera, Motion, Pose
from ..place import FAR, TrueView
from ..scene import SceneError
from . import cast
from .engine import FOV_DEG, HEIGHT, WIDTH, DoomEngine, Shot, import_vizdoom
from .ground import CEILING_ID, EYE, FIRST_THING, FIRST_WALL, RADIUS, UNIT, Ground, ground_of
from .wad import Map, read_map, read_wad, stilled

PREFIX = "doom:"  # of the names of levels
_FOCAL = WIDTH / 2 / np.tan(np.radians(FOV_DEG) / 2)
_SAMPLES = 3  # pixels a side of the engine's picture for one pixel
_LEVEL = 3.62  # units of a wall's depth to a level of the engine's buffer, at this field of view
# metres, and share of the depth, by which a see-through picture may be off the engine's depth in front of a floor
_NEAR_ENOUGH = (0.25, 0.06)
_LEAST = 1e-3  # metres; the least depth, and the least divisor


@dataclass(frozen=True)
class Source:
    """Where a level is from: the whole game's WAD, a WAD that is added to it or None, and the level's name."""

    game: Path
    added: Path | None
    map: str


class DoomLevel:
    """A level to walk through. Poses are in metres, 32 units each; a walker's eyes are 41 units above the floor.

    name: as it was asked for, "doom:E1M1"; digest: of the level's own data; map: the level as it is walked, with open
    doors and without monsters.
    """

    def __init__(self, name: str, level: Map, source: Source):
        self.name, self.source = name, source
        self.digest = digest_of(level)
        self.map = stilled(level)
        self.ground: Ground = ground_of(self.map)
        if not len(self.ground.starts):
            raise SceneError(f"{name} has no place where a player starts")
        self._engine: DoomEngine | None = None
        self._lock = threading.Lock()
        things = self.map.things
        self._places = np.stack([things["x"], things["y"]], 1).astype(float)

    family, seed = "doom", 0

    @property
    def spawn_pose(self) -> Pose:
        x, y, yaw_deg = self.ground.starts[0]
        pose = self.standing(x, y, yaw_deg)
        if pose is None:
            raise SceneError(f"{self.name}: its player starts outside of the level")
        return pose

    @property
    def half_extent(self) -> float:
        """Metres from the origin to the level's farthest side."""
        return max(map(abs, self.ground.extent))

    def standing(self, x: float, y: float, yaw_deg: float) -> Pose | None:
        """The pose of a walker who stands at (x, y), or None outside the level."""
        floor = self.ground.floor_under(x, y)
        return None if floor is None else Pose.at(x, y, floor + EYE, yaw_deg)

    def is_free(self, x: float, y: float, clearance: float = RADIUS) -> bool:
        """Whether a walker of that half width (metres) can stand at (x, y)."""
        floor = self.ground.floor_under(x, y)
        return floor is not None and self.ground.can_stand(x, y, floor, clearance)

    def walked(self, pose: Pose, motion: Motion) -> Pose:
        return self.ground.walked(pose, motion)

    def view(self, pose: Pose, camera: Camera) -> TrueView:
        """What a camera sees from a pose: ids are 0 the sky, 1 floors, 2 ceilings, 3 and on walls, 100,000 and on
        things. Raises SceneError where the engine fails."""
        with self._lock:
            if self._engine is None:
                self._engine = DoomEngine(self.map, self.source.game, self.source.added)
            x, y, z = (float(value) / UNIT for value in pose.position)
            shot = self._engine.shot(x, y, z, pose.yaw_deg, pose.pitch_deg)
        return self._seen(shot, pose, camera)

    def close(self) -> None:
        """End the engine's process; the next view starts another."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
            self._engine = None

    def _seen(self, shot: Shot, pose: Pose, camera: Camera) -> TrueView:
        """A camera's view from a pose, of what the engine drew from the whole units nearest to it."""
        depth, ids, middle, line = self.cast(pose, camera)
        yaw = np.radians(pose.yaw_deg)
        level = np.array([np.cos(yaw), np.sin(yaw), 0])
        off = np.array(pose.position) - np.array(shot.eye) * UNIT
        moved = (float(off @ [np.sin(yaw), -np.cos(yaw), 0]), float(off @ level), float(off[2]))
        fine = Camera(camera.width * _SAMPLES, camera.height * _SAMPLES, camera.fov_deg)
        places = _places(fine, pose, shot, np.repeat(np.repeat(depth, _SAMPLES, 0), _SAMPLES, 1), moved)
        drawn = cv2.remap(shot.pixels, places[0], places[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        pixels = cv2.resize(drawn, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        coarse = [part[_SAMPLES // 2 :: _SAMPLES, _SAMPLES // 2 :: _SAMPLES] for part in places]
        engine_depth, labels = (
            cv2.remap(plane, coarse[0], coarse[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            for plane in (shot.depth, shot.labels)
        )
        ahead = _axes(camera, round(pose.pitch_deg, 4))[1]  # metres along the level for one along the camera's axis
        # a see-through picture is there where the engine's own depth, which is right for walls only, says so
        seen = engine_depth * np.float32(_LEVEL * UNIT) / ahead
        off = np.abs(seen - middle)
        is_close = off < _NEAR_ENOUGH[0] + _NEAR_ENOUGH[1] * middle
        is_nearer = np.where(ids > CEILING_ID, off < np.abs(seen - depth), is_close)
        is_middle = (middle < depth) & is_nearer
        depth[is_middle], ids[is_middle] = middle[is_middle], line[is_middle] + FIRST_WALL
        self._put_things(shot, labels, pose, level, ahead, depth, ids)
        return TrueView(np.ascontiguousarray(pixels), np.clip(depth, _LEAST, FAR), ids)

    def cast(self, pose: Pose, camera: Camera) -> cast.Seen:
        """What is seen of the level without its things."""
        shape, ground = (camera.height, camera.width), self.ground
        kinds = (np.float32, np.int32, np.float32, np.int32)
        seen = cast.Seen(*(np.empty(shape, kind) for kind in kinds))
        cast.cast(np.array(pose.position), pose.rotation, camera.focal, ground.level, ground.grid, seen)
        return seen

    def _put_things(self, shot: Shot, labels, pose: Pose, level, ahead, depth, ids) -> None:
        """Things are flat pictures that face the camera: upright, at one distance along the level."""
        for value, (x, y) in shot.things.items():
            where = labels == value
            away = float(np.array([x * UNIT - pose.position[0], y * UNIT - pose.position[1]]) @ level[:2])
            if away <= 0 or not where.any():
                continue
            depth[where] = np.maximum(away / ahead[where], _LEAST)
            ids[where] = FIRST_THING + int(np.abs(self._places - (x, y)).sum(1).argmin())


def open_level(name: str) -> DoomLevel:
    """The level of a name: "doom:E1M1" or "doom:MAP07" of Freedoom, "doom:FILE.wad:MAP01" of a WAD on disk.

    Raises SceneError for a file that is no WAD or torn, for a map that is not there, and where the engine is missing.
    """
    source = source_of(name)
    wad = read_wad(source.added or source.game)
    return DoomLevel(name, read_map(wad, source.map), source)


def following(name: str) -> str:
    """The name of the next level of the same file; after the last one, of the first."""
    source = source_of(name)
    maps = read_wad(source.added or source.game).maps
    at = maps.index(source.map) + 1 if source.map in maps else 0
    return name[: len(name) - len(source.map)] + maps[at % len(maps)]


def source_of(name: str) -> Source:
    """Where the level of a name comes from."""
    path, _, level = name[len(PREFIX) :].rpartition(":")
    level = level.upper()
    if not level:
        raise SceneError(f"'{name}' names no map; say for instance doom:E1M1, doom:MAP07 or doom:FILE.wad:MAP01")
    if path:
        file = Path(path).absolute()
        wad = read_wad(file)
        if wad.kind == "IWAD":
            if missing := {"PLAYPAL", "TEXTURE1", "PNAMES"} - {lump for lump, _, _ in wad.lumps}:
                raise SceneError(f"{file.name} calls itself a whole game and lacks {', '.join(sorted(missing))}")
            return Source(file, None, level)
        return Source(freedoom(level), file, level)
    return Source(freedoom(level), None, level)


def freedoom(level: str) -> Path:
    """The WAD of Freedoom whose levels have names like that: the first part has episodes, the second has not."""
    number = 1 if level[:1] == "E" else 2
    return Path(import_vizdoom().__file__).parent / f"freedoom{number}.wad"


def digest_of(level: Map) -> str:
    """The digest of a level's data, whatever its name: 16 hex digits."""
    hasher = hashlib.sha256()
    for part in (level.things, level.lines, level.sides, level.vertices, level.sectors):
        hasher.update(part.tobytes())
    return hasher.hexdigest()[:16]


def _places(camera: Camera, pose: Pose, shot: Shot, depth: np.ndarray, moved: tuple[float, float, float]):
    """Where in the engine's picture each pixel of a camera is: columns and rows (H, W) float32. The engine's picture is
    upright for every look: it is shifted up or down by the tangent of the look.

    depth (H, W): metres; moved: how far the camera is from where the engine drew, to the right, ahead and up.
    """
    right, level, up = _axes(camera, round(pose.pitch_deg, 4))
    away = np.maximum(level * depth + np.float32(moved[1]), _LEAST)
    columns = WIDTH / 2 + _FOCAL * (right * depth + moved[0]) / away - 0.5
    rows = HEIGHT / 2 - _FOCAL * ((up * depth + moved[2]) / away - np.tan(np.radians(shot.pitch_deg))) - 0.5
    return columns.astype(np.float32), rows.astype(np.float32)


@lru_cache(maxsize=64)
def _axes(camera: Camera, pitch_deg: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far to the right, along the level and up each pixel's ray goes (H, W) for one metre along the axis."""
    pitch = np.radians(pitch_deg)
    right, down, ahead = np.moveaxis(camera.rays, -1, 0)
    level = np.maximum(ahead * np.cos(pitch) + down * np.sin(pitch), _LEAST)
    up = ahead * np.sin(pitch) - down * np.cos(pitch)
    return right, level.astype(np.float32), up.astype(np.float32)
