"""A level's walls, floors and ceilings in metres: where a walker can stand and go, by Doom's own rules.

A walker is a square half a metre to each side, as high as Doom's marine, who steps up 24 units and falls any depth.
Lines are looked up in a grid of squares; compiled code is in cast.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...world.action import ActionError
from ...world.pose import Motion, Pose
from ..scene import LONGEST
from . import cast
from .things import PLAYER, SOLID
from .wad import NONE, SKY, Map, texts

UNIT = 1 / 32  # metres of one of Doom's units
EYE, RADIUS = 41 * UNIT, 16 * UNIT
MOST_LOOK_DEG = 25.0  # the engine shears its picture; beyond this a picture would lack its upper edge
CELL = 2.0  # metres to a side of the grid
SKY_ID, FLOOR_ID, CEILING_ID, FIRST_WALL, FIRST_THING = 0, 1, 2, 3, 100_000
_SUBSTEP = 4 * UNIT


@dataclass(frozen=True)
class Ground:
    """A level's lines, sectors and solid things, the grid of its lines (cast.grid_of), and starts: x, y, yaw in
    degrees."""

    level: cast.Level
    grid: cast.Grid
    starts: np.ndarray

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """The least x, the least y, the largest x and y of the level."""
        xs, ys = self.level.ends[:, 0::2], self.level.ends[:, 1::2]
        return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())

    def floor_under(self, x: float, y: float) -> float | None:
        """The height at which a walker stands at (x, y), on the highest floor that the square touches, or None
        outside the level."""
        feet = cast.feet_at(x, y, RADIUS, self.level, self.grid)
        return None if math.isnan(feet) else float(feet)

    def can_stand(self, x: float, y: float, floor: float, clearance: float = RADIUS) -> bool:
        """Whether a walker whose feet are at that height can move to (x, y)."""
        return bool(cast.can_stand(x, y, floor, clearance, self.level, self.grid))

    def went(self, x: float, y: float, floor: float, to_x: float, to_y: float) -> tuple[float, float, float]:
        """Where a walker with feet at (x, y, floor) ends on the way to a place: x, y and the floor there."""
        steps = math.ceil(math.hypot(to_x - x, to_y - y) / _SUBSTEP)
        return cast.slide((x, y, floor), (to_x, to_y), steps, RADIUS, self.level, self.grid)

    def walked(self, pose: Pose, motion: Motion) -> Pose:
        """The pose that a walker reaches: walls, ledges and solid things stop it, and it slides along walls; it goes
        up and down with the floor. Looks are limited to MOST_LOOK_DEG. Raises ActionError for a step longer than
        LONGEST."""
        there = pose.moved(motion)
        x, y, z = pose.position
        far = math.dist((x, y), there.position[:2])
        if not far <= LONGEST:
            raise ActionError(f"a step of {far:g} m; at most {LONGEST:g} are walked at once")
        pitch = max(-MOST_LOOK_DEG, min(MOST_LOOK_DEG, there.pitch_deg))
        if far:
            x, y, floor = self.went(x, y, z - EYE, *there.position[:2])
            z = floor + EYE
        if pitch == there.pitch_deg:
            return Pose((float(x), float(y), float(z)), there.wxyz)
        return Pose.at(x, y, z, there.yaw_deg, pitch)


def ground_of(level: Map) -> Ground:
    """The geometry of a level, as it stands in the map."""
    lines, sides = level.lines, level.sides
    points = np.stack([level.vertices["x"], level.vertices["y"]], 1).astype(float) * UNIT
    starts_at, ends_at = points[lines["start"]], points[lines["end"]]
    ends = np.concatenate([starts_at, ends_at], 1)
    sector = sides["sector"].astype(np.int64)
    side = {name: lines[name].astype(np.int64) for name in ("front", "back")}
    front, back = (np.where(side[name] == NONE, -1, sector[np.minimum(side[name], len(sides) - 1)]) for name in side)
    held = np.array([name not in ("", "-") for name in texts(sides["middle"])])
    has_middle = [held[np.minimum(side[name], len(sides) - 1)] & (front >= 0) & (back >= 0) for name in side]
    things = level.things
    solids = [(t["x"] * UNIT, t["y"] * UNIT, SOLID[int(t["type"])] * UNIT) for t in things if int(t["type"]) in SOLID]
    starts = [(t["x"] * UNIT, t["y"] * UNIT, float(t["angle"])) for t in things if t["type"] == PLAYER]
    compiled = cast.Level(
        ends=ends,
        front=front,
        back=back,
        blocks=(front < 0) | (back < 0) | (lines["flags"] & 1 > 0),
        middles=np.stack(has_middle, 1),
        floors=level.sectors["floor"] * UNIT,
        ceilings=level.sectors["ceiling"] * UNIT,
        is_open=np.array([name == SKY for name in texts(level.sectors["ceiling_flat"])]),
        solids=np.array(solids, float).reshape(-1, 3),
    )
    return Ground(compiled, cast.grid_of(ends, CELL), np.array(starts, float).reshape(-1, 3))
