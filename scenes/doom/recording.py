"""Which levels belong to training, to development and to the final test, and walks through them for recording.

A level's split depends on its contents, not on its name: the same level in two files is in one split.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...world.action import Action
from ...world.pose import Camera, Pose
from ..paths import keyframe_walk, poses_of, random_walk
from ..place import TrueView
from ..scene import SceneError
from .ground import EYE
from .level import PREFIX, DoomLevel, digest_of, freedoom, open_level
from .wad import read_map, read_wad

SHARES = {"train": 7, "dev": 1, "test": 2}  # of ten
_SPACING = 1.0  # metres between the places where walks may begin
_TRIES = 20
_REACHED = 0.3  # of the spacing: a walker that ends nearer to a place than this has reached it
_LEAST_VIEW = 1.2  # metres: the median depth of the first view is at least this


def split_of(digest: str) -> str:
    """The split of a level with that digest."""
    number = int(digest[:8], 16) % sum(SHARES.values())
    return "train" if number < SHARES["train"] else ("dev" if number < SHARES["train"] + SHARES["dev"] else "test")


@lru_cache(maxsize=4)
def levels(source: str) -> dict[str, tuple[str, ...]]:
    """The levels of a source by split: "doom" for all of Freedoom, "doom:FILE.wad" for those of a file. A level that
    cannot be read is left out. Raises SceneError where there are none."""
    found: dict[str, list[str]] = {split: [] for split in SHARES}
    file = source[len(PREFIX) :]
    wads = [Path(file).absolute()] if file else [freedoom("E1M1"), freedoom("MAP01")]
    for path in wads:
        wad = read_wad(path)
        prefix = f"{source}:" if file else PREFIX
        for name in wad.maps:
            try:
                found[split_of(digest_of(read_map(wad, name)))].append(prefix + name)
            except SceneError:
                continue
    if not any(found.values()):
        raise SceneError(f"{source}: no level that can be read; wanted Doom's own format")
    return {split: tuple(names) for split, names in found.items()}


def level_of(source: str, split: str, block: int) -> str:
    """The level that a block of rollouts walks through; levels take turns."""
    names = levels(source)[split]
    if not names:
        raise SceneError(
            f"{source} has no levels in the split '{split}', which what they are decides; it has "
            + ", ".join(f"{len(held)} in {name}" for name, held in levels(source).items())
        )
    return names[block % len(names)]


def rollouts(
    name: str, seeds: list[list[int]], frames: int, camera: Camera, walk: str
) -> Iterator[tuple[list[TrueView], list[Pose], list[Action]]]:
    """Walks through a level, one for each seed: "steps" or "keyframes", from places all over what can be reached."""
    level = open_level(name)
    try:
        places = reachable(level)
        for seed in seeds:
            rng = np.random.default_rng(seed)
            start = _start(level, places, rng)
            plan = keyframe_walk if walk == "keyframes" else random_walk
            actions = plan(level, rng, frames - 1, start=start)
            poses = poses_of(level, start, actions)
            yield [level.view(pose, camera) for pose in poses], poses, actions
    finally:
        level.close()


def reachable(level: DoomLevel, spacing: float = _SPACING) -> np.ndarray:
    """Places (n, 3), x, y and the height of the eyes, that a walker can reach from the level's start, through its
    doors, over its steps and down its ledges; sorted by the distance on foot."""
    ground, (x, y, z) = level.ground, level.spawn_pose.position
    found, waiting = {(0, 0): (x, y, z - EYE)}, deque([(0, 0)])
    while waiting:
        column, row = waiting.popleft()
        for near in ((column + 1, row), (column, row + 1), (column - 1, row), (column, row - 1)):
            wanted = x + near[0] * spacing, y + near[1] * spacing
            if near in found:
                continue
            there = ground.went(*found[column, row], *wanted)
            if math.dist(there[:2], wanted) < _REACHED * spacing:
                found[near] = there
                waiting.append(near)
    return np.array([(x, y, floor + EYE) for x, y, floor in found.values()])


def _start(level: DoomLevel, places: np.ndarray, rng: np.random.Generator) -> Pose:
    """A place from which there is something to see."""
    for _ in range(_TRIES):
        x, y, z = places[int(rng.integers(len(places)))]
        pose = Pose.at(x, y, z, float(rng.uniform(-180, 180)))
        if np.median(level.cast(pose, Camera(16, 16))[0]) > _LEAST_VIEW:
            break
    return pose
