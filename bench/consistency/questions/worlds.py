"""The places that questions are asked about: our own scenes, or levels of Doom, each by split and number.

Our scenes can be taken apart, so that an object can be removed; other people's places are used as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ....scenes.place import Place, TrueView
from ....scenes.render import render
from ....scenes.scene import EYE_HEIGHT, Scene
from ....scenes.splits import SPLIT_SIZE, SPLITS, make_scene, scene_seed
from ....scenes.worlds import DOOM
from ....world.pose import Camera, Pose
from .episode import BenchError

if TYPE_CHECKING:
    from ....scenes.doom.level import DoomLevel

AnyPlace = Scene | Place
AWAKE = 2  # levels whose engines run at the same time in a process
_awake: OrderedDict[str, Place] = OrderedDict()


def check_world(world: str, split: str) -> None:
    """Raises BenchError for a world that nothing can be asked about, SceneError for one without that split."""
    if world:
        _names(world, split)


def place_of(world: str, split: str, number: int, family: str | None = None) -> AnyPlace:
    """The number-th place of a split: of our own scenes where world is "", of a family if one is named; of a source of
    levels, which take turns."""
    if not world:
        return make_scene(split, number, family)
    names = _names(world, split)
    return _level(names[number % len(names)])


def stranger_of(world: str, split: str, number: int, k: int = 0) -> int:
    """The number of another place of the split, of the same family, far from those that are asked about."""
    if not world:
        return (number + SPLIT_SIZE // 2 + 2 * k) % SPLIT_SIZE
    count = len(_names(world, split))
    return (number + 1 + k % max(1, count - 1)) % count


def seed_of(world: str, split: str, number: int) -> list[int]:
    """The seed of random choices in a place."""
    if not world:
        return [scene_seed(split, number)]
    return [*world.encode(), SPLITS.index(split), number]


def see(place: AnyPlace, pose: Pose, camera: Camera) -> TrueView:
    """What a camera sees. The engines of the last few levels keep running."""
    if isinstance(place, Scene):
        return render(place, pose, camera)
    view = place.view(pose, camera)
    _awake[place.name] = place
    _awake.move_to_end(place.name)
    while len(_awake) > AWAKE:
        _awake.popitem(last=False)[1].close()
    return view


def somewhere(place: AnyPlace, rng: np.random.Generator) -> Pose:
    """A pose of standing eyes at a random spot, which may be inside of something; of a level, one that can be walked
    to. It looks along a multiple of 15 degrees."""
    if isinstance(place, Scene):
        x, y, z = *rng.uniform(-place.half_extent, place.half_extent, 2), EYE_HEIGHT
    else:
        spots = _spots(place.name)
        x, y, z = spots[int(rng.integers(len(spots)))]
    return Pose.at(x, y, z, float(rng.integers(24) * 15))


def _names(world: str, split: str) -> tuple[str, ...]:
    if world != "doom" and not world.startswith(DOOM):
        raise BenchError(f"unknown world '{world}'; wanted doom, doom:FILE.wad, or none for our own scenes")
    from ....scenes.doom.recording import level_of, levels

    level_of(world, split, 0)
    return levels(world)[split]


@lru_cache(maxsize=16)
def _level(name: str) -> DoomLevel:
    from ....scenes.doom.level import open_level

    return open_level(name)


@lru_cache(maxsize=16)
def _spots(name: str) -> np.ndarray:
    from ....scenes.doom.recording import reachable

    return reachable(_level(name))
