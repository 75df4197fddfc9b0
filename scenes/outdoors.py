"""Outdoor scenes: grass or paving under a sky, with buildings, trees, rocks and posts."""

from __future__ import annotations

import math

from .build import SceneBuilder
from .scene import BRICK, CHECKER, GRASS, PLAIN, PLASTER, STRIPES, TILES, WOOD, Scene


def make_outdoors(seed: int) -> Scene:
    """The outdoor scene of that seed: 20 to 28 metres across, ringed by buildings, with trees and rocks within."""
    b = SceneBuilder("outdoors", seed)
    half = b.rng.uniform(9, 12)
    if b.rng.uniform() < 0.7:
        green = b.color((0.2, 0.36), (0.35, 0.6), (0.35, 0.6))
        ground = b.material(GRASS, green, green * b.rng.uniform(0.55, 0.75), b.rng.uniform(1.6, 2.6))
    else:
        stone = b.color((0.05, 0.15), (0.05, 0.3), (0.5, 0.7))
        ground = b.material(int(b.rng.choice([TILES, CHECKER])), stone, stone * 0.8, b.rng.uniform(1.0, 1.5))
    horizon = b.color((0.5, 0.65), (0.05, 0.25), (0.8, 0.95))
    zenith = b.color((0.55, 0.64), (0.4, 0.75), (0.6, 0.9))
    _buildings(b, half)
    for _ in range(int(b.rng.integers(7, 12))):
        _scatter(b, half, (_tree, _tree, _pine, _rock, _post, _kiosk)[int(b.rng.integers(6))])
    angle = b.rng.uniform(0, 2 * math.pi)
    return b.build(
        ground=ground,
        sky=[horizon, zenith],
        light=(math.cos(angle), math.sin(angle), 1.1),
        haze=0.014,
        half_extent=half - 2.2,
    )


def _buildings(b: SceneBuilder, half: float) -> None:
    """A ring of houses with gaps, so that the horizon shows here and there."""
    count = int(b.rng.integers(7, 10))
    start = b.rng.uniform(0, 2 * math.pi)
    for k in range(count):
        if b.rng.uniform() < 0.15:
            continue
        angle = start + 2 * math.pi * (k + b.rng.uniform(-0.2, 0.2)) / count
        x, y = (half + 1.5) * math.cos(angle), (half + 1.5) * math.sin(angle)
        width, depth, height = b.rng.uniform(3.5, 6), b.rng.uniform(3, 4.5), b.rng.uniform(2.8, 6.5)
        yaw_deg = math.degrees(angle) + 90
        texture = int(b.rng.choice([BRICK, PLASTER, STRIPES, WOOD]))
        wall = b.color((0, 1), (0.15, 0.55), (0.55, 0.9))
        scale = {BRICK: 1.2, PLASTER: 1.8, STRIPES: 1.4, WOOD: 0.9}[texture]
        thing = b.new_id()
        b.box(
            x,
            y,
            0,
            (width, depth, height),
            b.material(texture, wall, wall * 0.75, scale),
            yaw_deg=yaw_deg,
            instance=thing,
        )
        roof = b.material(PLAIN, b.color((0, 0.12), (0.2, 0.6), (0.3, 0.55)))
        b.box(x, y, height, (width + 0.4, depth + 0.4, 0.35), roof, yaw_deg=yaw_deg, instance=thing)
        door = b.material(PLAIN, b.color((0, 1), (0.3, 0.8), (0.25, 0.6)))
        inward = depth / 2 + 0.03
        b.box(
            x - inward * math.cos(angle),
            y - inward * math.sin(angle),
            0,
            (1.1, 0.1, 2.1),
            door,
            yaw_deg=yaw_deg,
            instance=thing,
        )


def _scatter(b: SceneBuilder, half: float, maker) -> None:
    for _ in range(30):
        x, y = b.rng.uniform(-half + 2.5, half - 2.5, 2)
        if b.is_clear(x, y, 1.0):
            maker(b, x, y)
            return


def _tree(b: SceneBuilder, x, y):
    thing, height, spread = b.new_id(), b.rng.uniform(1.6, 2.6), b.rng.uniform(0.8, 1.4)
    bark = b.material(PLASTER, b.color((0.05, 0.1), (0.3, 0.6), (0.25, 0.45)), None, 0.4)
    leaf = b.color((0.18, 0.42), (0.4, 0.75), (0.3, 0.65))
    leaves = b.material(GRASS, leaf, leaf * 0.6, 0.8)
    b.cylinder(x, y, 0, b.rng.uniform(0.14, 0.24), height, bark, instance=thing)
    b.ellipsoid(x, y, height + spread * 0.6, (spread, spread, spread * 0.85), leaves, instance=thing)


def _pine(b: SceneBuilder, x, y):
    thing = b.new_id()
    leaf = b.color((0.3, 0.45), (0.4, 0.7), (0.22, 0.45))
    leaves = b.material(GRASS, leaf, leaf * 0.6, 0.7)
    b.cylinder(x, y, 0, 0.15, 1.0, b.material(PLAIN, (0.32, 0.22, 0.15)), instance=thing)
    for k, radius in enumerate((1.0, 0.75, 0.45)):
        b.ellipsoid(x, y, 1.2 + 0.85 * k, (radius, radius, 0.7), leaves, instance=thing)


def _rock(b: SceneBuilder, x, y):
    grey = b.material(PLASTER, b.color((0.05, 0.6), (0.0, 0.15), (0.4, 0.65)), None, 0.7)
    r = b.rng.uniform(0.4, 0.9)
    b.ellipsoid(x, y, 0.1, (r, r * b.rng.uniform(0.8, 1.0), r * b.rng.uniform(0.6, 1.0)), grey)


def _post(b: SceneBuilder, x, y):
    thing = b.new_id()
    b.cylinder(x, y, 0, 0.08, 2.3, b.material(PLAIN, (0.3, 0.3, 0.33)), instance=thing)
    sign = b.color((0, 1), (0.5, 0.9), (0.6, 0.95))
    b.box(
        x,
        y,
        1.7,
        (0.9, 0.12, 0.6),
        b.material(STRIPES, sign, sign * 0.6, 0.45),
        yaw_deg=b.rng.uniform(0, 180),
        instance=thing,
    )


def _kiosk(b: SceneBuilder, x, y):
    thing, side, height = b.new_id(), b.rng.uniform(1.0, 1.7), b.rng.uniform(1.2, 2.4)
    wall = b.color((0, 1), (0.35, 0.8), (0.5, 0.9))
    yaw_deg = b.rng.uniform(0, 90)
    paint = b.material(int(b.rng.choice([CHECKER, STRIPES, WOOD])), wall, wall * 0.7, side / 2)
    b.box(x, y, 0, (side, side, height), paint, yaw_deg=yaw_deg, instance=thing)
    b.box(x, y, height, (side + 0.3, side + 0.3, 0.15), b.material(PLAIN, wall * 0.5), yaw_deg=yaw_deg, instance=thing)
