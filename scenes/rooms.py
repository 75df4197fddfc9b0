"""Indoor scenes: a block of rooms joined by doors, with pillars, pictures and furniture."""

from __future__ import annotations

import numpy as np

from .build import SceneBuilder
from .scene import BRICK, CHECKER, PLAIN, PLASTER, STRIPES, TILES, WOOD, Scene

WALL = 0.16
HEIGHT = 2.8
DOOR_WIDTH, DOOR_HEIGHT = 1.3, 2.2


def make_rooms(seed: int) -> Scene:
    """The indoor scene of that seed: two by two rooms of 3.6 to 5 metres, every neighbour joined by a door."""
    b = SceneBuilder("rooms", seed)
    half = b.rng.uniform(3.8, 5.0)
    cut_x, cut_y = b.rng.uniform(-0.15, 0.15, 2) * half
    rooms = [
        (x0, y0, x1, y1) for x0, x1 in ((-half, cut_x), (cut_x, half)) for y0, y1 in ((-half, cut_y), (cut_y, half))
    ]
    floor = b.material(
        b.rng.choice([WOOD, CHECKER, TILES, WOOD]),
        *_pair(b, (0.02, 0.15), (0.2, 0.55), (0.45, 0.75)),
        scale=b.rng.uniform(0.5, 0.9),
    )
    ceiling = b.material(PLAIN, b.color((0, 1), (0.0, 0.08), (0.85, 0.95)))
    b.box(0, 0, HEIGHT, (2 * half + 1, 2 * half + 1, 0.2), ceiling)
    hue = b.rng.uniform(0, 1)
    for index, room in enumerate(rooms):
        _walls(b, room, half, _wall_material(b, hue + 0.25 * index))
        _furnish(b, room)
    return b.build(
        ground=floor, sky=[[0.75, 0.74, 0.72]] * 2, light=(0.35, 0.5, 0.8), haze=0.012, half_extent=half - WALL
    )


def _pair(b: SceneBuilder, hue, saturation, value) -> tuple[np.ndarray, np.ndarray]:
    first = b.color(hue, saturation, value)
    return first, first * b.rng.uniform(0.6, 0.8)


def _wall_material(b: SceneBuilder, hue: float) -> int:
    texture = int(b.rng.choice([PLASTER, BRICK, STRIPES, PLASTER, WOOD]))
    scale = {PLASTER: 1.5, BRICK: 0.8, STRIPES: 0.9, WOOD: 0.6}[texture]
    first = b.color((hue - 0.06, hue + 0.06), (0.2, 0.6), (0.6, 0.9))
    return b.material(texture, first, first * b.rng.uniform(0.68, 0.85), scale * b.rng.uniform(0.85, 1.2))


def _walls(b: SceneBuilder, room, half: float, material: int) -> None:
    """The four inner faces of a room, half a wall thick, with doorways where another room lies behind."""
    x0, y0, x1, y1 = room
    t = WALL / 2
    for along_x, fixed, low, high, inner in (
        (True, y0, x0, x1, y0 > -half),
        (True, y1, x0, x1, y1 < half),
        (False, x0, y0, y1, x0 > -half),
        (False, x1, y0, y1, x1 < half),
    ):
        inward = t / 2 if fixed in (x0, y0) and fixed == (y0 if along_x else x0) else -t / 2
        spans = [(low, high, 0.0, HEIGHT)]
        if inner:
            # both faces of a shared wall must open at the same place: the door sits midway between cut and outside
            middle = (low + high) / 2
            d0, d1 = middle - DOOR_WIDTH / 2, middle + DOOR_WIDTH / 2
            spans = [(low, d0, 0.0, HEIGHT), (d1, high, 0.0, HEIGHT), (d0, d1, DOOR_HEIGHT, HEIGHT)]
        wall = b.new_id()
        for s0, s1, z0, z1 in spans:
            center, size = (s0 + s1) / 2, s1 - s0
            if along_x:
                b.box(center, fixed + inward, z0, (size, t, z1 - z0), material, instance=wall)
            else:
                b.box(fixed + inward, center, z0, (t, size, z1 - z0), material, instance=wall)


def _furnish(b: SceneBuilder, room) -> None:
    x0, y0, x1, y1 = room
    makers = (_table, _shelf, _sofa, _crate, _pillar, _lamp)
    for _ in range(int(b.rng.integers(2, 5))):
        for _ in range(20):
            x, y = b.rng.uniform(x0 + 0.8, x1 - 0.8), b.rng.uniform(y0 + 0.8, y1 - 0.8)
            middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
            # keep the cross between the doors free to walk
            if min(abs(x - middle_x), abs(y - middle_y)) > 0.75 and b.is_clear(x, y, 0.5):
                makers[int(b.rng.integers(len(makers)))](b, x, y)
                break
    if b.rng.uniform() < 0.7:
        _picture(b, room)


def _vivid(b: SceneBuilder):
    return b.color((0, 1), (0.4, 0.85), (0.5, 0.95))


def _table(b: SceneBuilder, x, y):
    wood = b.material(WOOD, *_pair(b, (0.03, 0.12), (0.4, 0.7), (0.4, 0.75)), scale=0.5)
    thing, sx, sy = b.new_id(), b.rng.uniform(0.8, 1.3), b.rng.uniform(0.6, 0.9)
    b.box(x, y, 0.68, (sx, sy, 0.1), wood, instance=thing)
    for u in (-1, 1):
        b.box(x + u * (sx / 2 - 0.08), y, 0, (0.1, sy * 0.8, 0.68), wood, instance=thing)


def _shelf(b: SceneBuilder, x, y):
    body = b.material(STRIPES, *_pair(b, (0, 1), (0.2, 0.6), (0.4, 0.8)), scale=0.4)
    b.box(x, y, 0, (0.9, 0.4, b.rng.uniform(1.2, 2.1)), body, yaw_deg=float(b.rng.choice([0, 90])))


def _sofa(b: SceneBuilder, x, y):
    cloth = b.material(PLASTER, _vivid(b), None, 0.6)
    thing = b.new_id()
    b.box(x, y, 0, (1.4, 0.7, 0.45), cloth, instance=thing)
    b.box(x, y + 0.28, 0.45, (1.4, 0.18, 0.45), cloth, instance=thing)


def _crate(b: SceneBuilder, x, y):
    side = b.rng.uniform(0.5, 0.9)
    crate = b.material(CHECKER, *_pair(b, (0, 1), (0.4, 0.8), (0.5, 0.9)), scale=side / 2)
    b.box(x, y, 0, (side, side, side), crate, yaw_deg=b.rng.uniform(0, 90))


def _pillar(b: SceneBuilder, x, y):
    stone = b.material(PLASTER, b.color((0, 1), (0.0, 0.25), (0.65, 0.9)), None, 0.8)
    b.cylinder(x, y, 0, b.rng.uniform(0.18, 0.3), HEIGHT, stone)


def _lamp(b: SceneBuilder, x, y):
    thing = b.new_id()
    b.cylinder(x, y, 0, 0.06, 1.3, b.material(PLAIN, (0.25, 0.25, 0.28)), instance=thing)
    b.ellipsoid(x, y, 1.45, (0.28, 0.28, 0.25), b.material(PLAIN, _vivid(b)), instance=thing)


def _picture(b: SceneBuilder, room):
    x0, y0, x1, y1 = room
    first, second = _vivid(b), _vivid(b)
    canvas = b.material(int(b.rng.choice([STRIPES, CHECKER, PLAIN])), first, second, 0.35)
    width, height, offset = b.rng.uniform(0.7, 1.2), b.rng.uniform(0.6, 0.9), b.rng.choice([-1, 1]) * 1.25
    side = int(b.rng.integers(4))
    cx, cy = (x0 + x1) / 2 + offset, (y0 + y1) / 2 + offset
    if side < 2:
        b.box(cx, (y0 + 0.1, y1 - 0.1)[side], 1.1, (width, 0.06, height), canvas)
    else:
        b.box((x0 + 0.1, x1 - 0.1)[side - 2], cy, 1.1, (0.06, width, height), canvas)
