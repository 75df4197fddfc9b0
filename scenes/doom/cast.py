"""The compiled part of a level's geometry: a grid of its lines, rays through it, and the moves of a walker.

A ray crosses the squares of the grid in order. Where it crosses a line, the sector on the near side tells whether it
met a floor or a ceiling before, and the sector on the far side whether it goes on. Depths are along the camera's
forward axis, in metres.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...world.axes import ray_at
from ...world.compiled import njit

FAR = 100.0
TALL, STEP_UP = 56 / 32, 24 / 32  # metres: the height of a walker, and the highest step
_SKY, _FLOOR, _CEILING, _WALL = 0, 1, 2, 3
_ROUND = 1e-6  # metres, by which squares of the grid overlap, so that rounding loses no line between two
_BESIDE = 1e-7  # metres: a walker's square that reaches no farther into a thing or line is beside it
_LEVEL_WITH = 1e-9  # metres: heights that differ by less are the same
_ENDS = 1e-9  # share of a line by which it is longer, so that no ray passes between two that meet
_PARALLEL = 1e-14  # of a cross product, below which a ray runs along a line
_NOTHING = 1e-12  # replaces 0, to avoid a division by zero
_ASKEW = 0.8312741, 0.5558467  # a direction along which no level editor would draw a line
# radians off its way that a walker tries: straight ahead, then larger and larger angles
_TURNS = (0.0, 0.35, -0.35, 0.7, -0.7, 1.05, -1.05, 1.35, -1.35)


class Level(NamedTuple):
    """n lines, m sectors, k solid things; metres.

    ends (n, 4): x, y of start and end; front, back (n,) int64: sectors, -1 for none; blocks (n,) bool: nobody can pass;
    middles (n, 2) bool: whether the front and the back side have a see-through picture; floors, ceilings (m,); is_open
    (m,) bool: under the sky. solids (k, 3): x, y, radius.
    """

    ends: np.ndarray
    front: np.ndarray
    back: np.ndarray
    blocks: np.ndarray
    middles: np.ndarray
    floors: np.ndarray
    ceilings: np.ndarray
    is_open: np.ndarray
    solids: np.ndarray


class Grid(NamedTuple):
    """Which lines touch which square: those of square k are lines[first[k]:first[k + 1]]; k = row * columns + column.
    low (2,): the corner of the first square; cell: metres to a side."""

    first: np.ndarray
    lines: np.ndarray
    low: np.ndarray
    columns: int
    rows: int
    cell: float


class Seen(NamedTuple):
    """What every pixel sees of a level: depth (H, W) float32 metres; ids (H, W) int32, 0 sky, 1 floor, 2 ceiling, 3 +
    the line's number a wall; middle (H, W) float32, the depth of the first see-through picture, FAR where there is
    none, and line (H, W) int32, its line."""

    depth: np.ndarray
    ids: np.ndarray
    middle: np.ndarray
    line: np.ndarray


def grid_of(ends: np.ndarray, cell: float) -> Grid:
    """The grid of lines with the ends (n, 4), x, y of start and end."""
    low = ends.reshape(-1, 2).min(0) - cell
    size = np.ceil((ends.reshape(-1, 2).max(0) + cell - low) / cell).astype(int)
    columns, rows = int(size[0]), int(size[1])
    touched: list[list[int]] = [[] for _ in range(columns * rows)]
    for number, (ax, ay, bx, by) in enumerate(ends):
        c0, c1 = sorted(((ax - low[0]) / cell, (bx - low[0]) / cell))
        r0, r1 = sorted(((ay - low[1]) / cell, (by - low[1]) / cell))
        for row in range(int(r0 - _ROUND), int(r1 + _ROUND) + 1):
            for column in range(int(c0 - _ROUND), int(c1 + _ROUND) + 1):
                corner = low + np.array([column, row]) * cell
                if _crosses(ax, ay, bx, by, corner[0] - _ROUND, corner[1] - _ROUND, cell + 2 * _ROUND):
                    touched[row * columns + column].append(number)
    counts = np.array([len(held) for held in touched])
    return Grid(
        np.concatenate([[0], np.cumsum(counts)]),
        np.array([n for held in touched for n in held], np.int64),
        low,
        columns,
        rows,
        cell,
    )


@njit(cache=True)
def _crosses(ax, ay, bx, by, x, y, size):
    """Whether a line touches the square with the corner (x, y)."""
    if max(ax, bx) < x or min(ax, bx) > x + size or max(ay, by) < y or min(ay, by) > y + size:
        return False
    signs = 0
    for k in range(4):
        px, py = x + size * (k & 1), y + size * (k >> 1)
        side = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
        signs += 1 if side > 0 else (-1 if side < 0 else 0)
    return abs(signs) < 4


@njit(cache=True, inline="always")
def _touches(ends, x, y, radius):
    """Whether a line reaches into a walker's square; a line along its side does not."""
    return _crosses(
        ends[0], ends[1], ends[2], ends[3], x - radius + _BESIDE, y - radius + _BESIDE, 2 * radius - 2 * _BESIDE
    )


@njit(cache=True, nogil=True)
def cast(eye, rotation, focal, level, grid, out):
    """Fill `out`, Seen, with what every pixel sees from `eye` (3,) metres. rotation (3, 3) as in a Pose; focal in
    pixels."""
    height, width = out.depth.shape
    for v in range(height):
        y = ray_at(v, focal, height)
        for u in range(width):
            x = ray_at(u, focal, width)
            dx = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2]
            dy = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2]
            dz = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2]
            t, kind, middle, line = _ray(eye, dx, dy, dz, level, grid)
            out.depth[v, u], out.ids[v, u], out.middle[v, u], out.line[v, u] = t, kind, middle, line


@njit(cache=True, nogil=True)
def _ray(eye, dx, dy, dz, level, grid):
    """Depth and kind of what one ray meets, and depth and line of the first see-through picture."""
    ex, ey, ez = eye
    first, lines, low, columns, rows, cell = grid
    ends, front, back, floors, ceilings = level.ends, level.front, level.back, level.floors, level.ceilings
    is_open, middles = level.is_open, level.middles
    middle, middle_line = FAR, -1
    column, row = int((ex - low[0]) / cell), int((ey - low[1]) / cell)
    step_c, step_r = (1 if dx > 0 else -1), (1 if dy > 0 else -1)
    per_c, per_r = cell / max(abs(dx), _NOTHING), cell / max(abs(dy), _NOTHING)
    next_c = (low[0] + (column + (dx > 0)) * cell - ex) / (dx if abs(dx) > _NOTHING else _NOTHING)
    next_r = (low[1] + (row + (dy > 0)) * cell - ey) / (dy if abs(dy) > _NOTHING else _NOTHING)
    passed = 0.0
    while 0 <= column < columns and 0 <= row < rows and passed < FAR:
        leave = min(next_c, next_r)
        k = row * columns + column
        while True:  # the crossings of this square, nearest first
            best, hit, is_front = leave, -1, False
            for i in range(first[k], first[k + 1]):
                n = lines[i]
                t, near_front = _crossing(ex, ey, dx, dy, ends[n, 0], ends[n, 1], ends[n, 2], ends[n, 3])
                if passed < t <= best:
                    best, hit, is_front = t, n, near_front
            if hit < 0:
                break
            near, beyond = (front[hit], back[hit]) if is_front else (back[hit], front[hit])
            passed = best
            if near < 0:
                near = beyond  # a line without a side here: seen from outside the level
            t, kind = _flat(ez, dz, best, floors[near], ceilings[near], is_open[near])
            if kind >= 0:
                return t, kind, middle, middle_line
            z = ez + best * dz
            if beyond < 0 or z < floors[beyond]:
                return best, _WALL + hit, middle, middle_line
            if z > ceilings[beyond]:
                if is_open[near] and is_open[beyond]:
                    return FAR, _SKY, middle, middle_line
                return best, _WALL + hit, middle, middle_line
            if middle_line < 0 and middles[hit, 0 if is_front else 1]:
                middle, middle_line = best, hit
        passed = leave
        if next_c < next_r:
            column, next_c = column + step_c, next_c + per_c
        else:
            row, next_r = row + step_r, next_r + per_r
    return FAR, _SKY, middle, middle_line


@njit(cache=True, nogil=True, inline="always")
def _crossing(ex, ey, dx, dy, ax, ay, bx, by):
    """How far along a ray it crosses a line, FAR if it does not, and whether it comes from the line's front, which
    is to the right of the way from start to end."""
    lx, ly = bx - ax, by - ay
    across = dx * ly - dy * lx
    if abs(across) < _PARALLEL:
        return FAR, True
    t = ((ax - ex) * ly - (ay - ey) * lx) / across
    s = ((ax - ex) * dy - (ay - ey) * dx) / across
    if t <= 0 or s < -_ENDS or s > 1 + _ENDS:
        return FAR, True
    return t, lx * (ey - ay) - ly * (ex - ax) < 0


@njit(cache=True, nogil=True, inline="always")
def _flat(ez, dz, until, floor, ceiling, is_sky):
    """Where a ray meets a sector's floor or ceiling before `until`; a kind of -1 if it does not."""
    if dz < 0:
        t = (floor - ez) / dz
        if t < until:
            return max(t, 0.0), _FLOOR
    elif dz > 0:
        t = (ceiling - ez) / dz
        if t < until:
            return (FAR, _SKY) if is_sky else (max(t, 0.0), _CEILING)
    return FAR, -1


@njit(cache=True, nogil=True)
def sector_at(x, y, level, grid):
    """The sector that (x, y) is in, -1 outside: the one on the near side of the nearest line along some ray."""
    first, lines, low, columns, rows, cell = grid
    ends, front, back = level.ends, level.front, level.back
    dx, dy = _ASKEW
    column, row = int((x - low[0]) / cell), int((y - low[1]) / cell)
    next_c = (low[0] + (column + 1) * cell - x) / dx
    next_r = (low[1] + (row + 1) * cell - y) / dy
    while 0 <= column < columns and 0 <= row < rows:
        k, best, found = row * columns + column, min(next_c, next_r), -2
        for i in range(first[k], first[k + 1]):
            n = lines[i]
            t, is_front = _crossing(x, y, dx, dy, ends[n, 0], ends[n, 1], ends[n, 2], ends[n, 3])
            if t <= best:
                best, found = t, front[n] if is_front else back[n]
        if found > -2:
            return found
        if next_c < next_r:
            column, next_c = column + 1, next_c + cell / dx
        else:
            row, next_r = row + 1, next_r + cell / dy
    return -1


@njit(cache=True, nogil=True)
def feet_at(x, y, radius, level, grid):
    """The height of the highest floor that a walker's square touches, or NaN outside of the level."""
    here = sector_at(x, y, level, grid)
    if here < 0:
        return np.nan
    first, lines, low, columns, rows, cell = grid
    front, back, floors = level.front, level.back, level.floors
    feet = floors[here]
    c0, c1 = int((x - radius - low[0]) / cell), int((x + radius - low[0]) / cell)
    r0, r1 = int((y - radius - low[1]) / cell), int((y + radius - low[1]) / cell)
    for row in range(max(r0, 0), min(r1, rows - 1) + 1):
        for column in range(max(c0, 0), min(c1, columns - 1) + 1):
            k = row * columns + column
            for i in range(first[k], first[k + 1]):
                n = lines[i]
                if front[n] >= 0 and back[n] >= 0 and _touches(level.ends[n], x, y, radius):
                    feet = max(feet, floors[front[n]], floors[back[n]])
    return feet


@njit(cache=True, nogil=True)
def can_stand(x, y, feet, radius, level, grid):
    """Whether a walker with feet at that height can move to (x, y): nothing blocks, no step up is too high, and
    there is room for the head wherever its square reaches."""
    first, lines, low, columns, rows, cell = grid
    front, back, floors, ceilings, solids = level.front, level.back, level.floors, level.ceilings, level.solids
    here = sector_at(x, y, level, grid)
    if (
        here < 0
        or floors[here] - feet > STEP_UP + _LEVEL_WITH
        or ceilings[here] - max(feet, floors[here]) < TALL - _LEVEL_WITH
    ):
        return False
    c0, c1 = int((x - radius - low[0]) / cell), int((x + radius - low[0]) / cell)
    r0, r1 = int((y - radius - low[1]) / cell), int((y + radius - low[1]) / cell)
    for row in range(max(r0, 0), min(r1, rows - 1) + 1):
        for column in range(max(c0, 0), min(c1, columns - 1) + 1):
            k = row * columns + column
            for i in range(first[k], first[k + 1]):
                n = lines[i]
                if not _touches(level.ends[n], x, y, radius):
                    continue
                if level.blocks[n]:
                    return False
                bottom = max(floors[front[n]], floors[back[n]])
                top = min(ceilings[front[n]], ceilings[back[n]])
                if bottom - feet > STEP_UP + _LEVEL_WITH or top - max(bottom, feet) < TALL - _LEVEL_WITH:
                    return False
    for k in range(solids.shape[0]):
        reach = radius + solids[k, 2]
        if abs(x - solids[k, 0]) < reach - _BESIDE and abs(y - solids[k, 1]) < reach - _BESIDE:
            return False
    return True


@njit(cache=True, nogil=True)
def slide(start, goal, steps, radius, level, grid):
    """Where a move from start, (x, y, height of the feet), towards goal, (x, y), ends in so many small steps, sliding
    along obstacles: x, y, feet."""
    (x, y, feet), (to_x, to_y) = start, goal
    dx, dy = (to_x - x) / steps, (to_y - y) / steps
    length = np.sqrt(dx * dx + dy * dy)
    for _ in range(steps):
        for turn in _TURNS:
            c, s = np.cos(turn), np.sin(turn)
            nx, ny = x + c * (c * dx - s * dy), y + c * (s * dx + c * dy)
            if can_stand(nx, ny, feet, radius, level, grid):
                x, y = nx, ny
                feet = feet_at(x, y, radius, level, grid)
                break
        if length == 0:
            break
    return x, y, feet
