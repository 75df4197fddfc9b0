"""Ways for a walker on a grid of plain steps: to places that cannot be seen from the start, or far ones.

Steps are straight ahead by STEP and turns by a right angle, in the usual small turns. Knows scenes and no model.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from ....scenes.scene import BODY_RADIUS, Scene
from ....world.action import STEP, TURN_DEG, Action, parse_action, say
from ....world.pose import Motion, Pose
from .places import things, without
from .worlds import AnyPlace

Cell = tuple[int, int]
CLEARANCE = BODY_RADIUS + 0.02
TURNING = round(90 / TURN_DEG)  # steps that a right angle takes
SPARSE = 2  # cells between the places that are looked at
SIGHT = 0.1  # metres between the points of a line of sight
THIN_M = 0.02  # radius about each of those points that must be free
LEVEL_M = 0.01  # two places whose heights differ by less are level
NEAREST, FARTHEST = 5, 400  # cells of a way, at least and at most
_AROUND = ((1, 0), (0, 1), (-1, 0), (0, -1))


def hidden_places(scene: AnyPlace, start: Pose) -> list[Cell]:
    """Places that no straight line from the start reaches: those in other rooms; or, if no wall is between any two
    places, those behind an object. The nearest on foot first."""
    bare = _bare(scene)
    behind_a_thing: Cell | None = None
    apart = (cell for cell in _walked(scene, start) if abs(cell[0]) + abs(cell[1]) >= NEAREST)
    for cell in islice(apart, None, None, SPARSE):
        if not _is_in_sight(bare, start, cell):
            return [cell]
        if behind_a_thing is None and not _is_in_sight(scene, start, cell):
            behind_a_thing = cell
    return [] if behind_a_thing is None else [behind_a_thing]


def far_places(scene: AnyPlace, start: Pose, left: Sequence[Pose]) -> list[Cell]:
    """Places that can be walked to, the farthest from all of `left` first."""
    seen = np.array([pose.position[:2] for pose in left])
    cells = _walked(scene, start)
    apart = {cell: float(np.linalg.norm(seen - _place(start, cell), axis=1).min()) for cell in cells}
    return sorted(apart, key=lambda cell: (-round(apart[cell], 3), cell))[: 8 * SPARSE : SPARSE]


def way_to(scene: AnyPlace, start: Pose, goal: Cell) -> list[Action] | None:
    """Plain steps and turns from a pose to a cell, with as few turns as the shortest way has; None where none leads."""
    before: dict[tuple[Cell, int], tuple[Cell, int] | None] = {((0, 0), 0): None}
    free: dict[Cell, bool] = {}
    costs, waiting = {((0, 0), 0): 0}, [(0, (0, 0), 0)]
    while waiting:
        cost, cell, facing = heapq.heappop(waiting)
        if cell == goal:
            return _actions(before, (cell, facing))
        if cost > costs[cell, facing]:
            continue
        ahead = cell[0] + _AROUND[facing][0], cell[1] + _AROUND[facing][1]
        steps = [((cell, (facing + side) % 4), TURNING) for side in (1, -1)]
        if _is_free(scene, start, ahead, free):
            steps.append(((ahead, facing), 1))
        for state, price in steps:
            if cost + price < costs.get(state, FARTHEST):
                costs[state], before[state] = cost + price, (cell, facing)
                heapq.heappush(waiting, (cost + price, *state))
    return None


def _actions(before: dict, state: tuple[Cell, int]) -> list[Action]:
    path: list[Action] = []
    while (previous := before[state]) is not None:
        if previous[0] != state[0]:
            path.append(_act(Motion(forward=STEP)))
        else:
            side = 1 if (state[1] - previous[1]) % 4 == 1 else -1
            path += [_act(Motion(yaw_deg=side * 90 / TURNING))] * TURNING
        state = previous
    return path[::-1]


def _act(motion: Motion) -> Action:
    return parse_action(say(motion))


def _walked(scene: AnyPlace, start: Pose) -> Iterator[Cell]:
    """Every cell that can be reached, the nearest on foot first; a generator, because a level has many thousands."""
    free: dict[Cell, bool] = {}
    ring, reached = [(0, 0)], {(0, 0)}
    while ring:
        yield from ring
        around = {(x + dx, y + dy) for x, y in ring for dx, dy in _AROUND} - reached
        ring = sorted(cell for cell in around if _is_free(scene, start, cell, free))
        reached.update(ring)


def _is_free(scene: AnyPlace, start: Pose, cell: Cell, known: dict[Cell, bool]) -> bool:
    if cell not in known:
        x, y = _place(start, cell)
        known[cell] = scene.is_free(x, y, CLEARANCE) and _is_as_high(scene, start, x, y)
    return known[cell]


def _is_as_high(scene: AnyPlace, start: Pose, x: float, y: float) -> bool:
    """Whether a walker stands there at the height of the start: ways are made of steps on the level."""
    if isinstance(scene, Scene):
        return True
    there = scene.standing(x, y, 0.0)
    return there is not None and abs(there.position[2] - start.position[2]) < LEVEL_M


def _place(start: Pose, cell: Cell) -> np.ndarray:
    """The x and y of a cell: so many steps ahead of the start, and to its left."""
    yaw = np.radians(start.yaw_deg)
    ahead, left = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
    return np.asarray(start.position[:2]) + STEP * (cell[0] * ahead + cell[1] * left)


def _bare(scene: AnyPlace) -> AnyPlace:
    """The scene without anything that could be carried away."""
    if not isinstance(scene, Scene):
        return scene
    for instance in things(scene):
        scene = without(scene, instance)
    return scene


def _is_in_sight(scene: AnyPlace, start: Pose, cell: Cell) -> bool:
    """Whether a thin straight line leads there, at the height of a body."""
    here, there = np.asarray(start.position[:2]), _place(start, cell)
    count = int(np.ceil(np.linalg.norm(there - here) / SIGHT))
    between = (here + (there - here) * k / count for k in range(1, count))
    return all(scene.is_free(x, y, THIN_M) for x, y in between)
