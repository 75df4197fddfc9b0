"""What can be recorded, by name: our own scenes, levels of Doom, or an environment. A source says which world a rollout
walks through, in which split, and walks it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...world.pose import Camera, Motion
from ..paths import keyframe_walk, poses_of, random_walk
from ..render import render
from ..scene import SceneError
from ..splits import SPLITS, make_scene, scene_seed
from .walked import PER_FILE, WALKS, Source, SourceOptions, Walked

SCENES = "scenes"


class SceneSource:
    """Our own scenes: a rollout walks through one each."""

    name, about, licence = SCENES, "Roam's rendered scenes", "Apache-2.0"

    def check(self, split: str, frames: int) -> None:
        scene_seed(split, 0)

    def rollouts(self, split: str, numbers: range, frames: int, camera: Camera, walk: str) -> Iterator[Walked]:
        for number in numbers:
            yield record_rollout(split, number, frames, camera, walk)


def record_rollout(split: str, number: int, frames: int, camera: Camera, walk: str = "steps") -> Walked:
    """One random walk through one scene, the same for the same arguments. walk: "steps" as a person takes them, or
    "keyframes", from some place, each of which shows much that is new."""
    scene = make_scene(split, number)
    rng = np.random.default_rng([scene_seed(split, number), WALKS[walk]])
    start = scene.spawn_pose
    if walk == "keyframes":
        start = poses_of(scene, start, random_walk(scene, rng, int(rng.integers(0, 12)), start=start, plain=True))[-1]
        start = start.moved(Motion(yaw_deg=rng.uniform(-180, 180)))
        actions = keyframe_walk(scene, rng, frames - 1, start=start)
    else:
        actions = random_walk(scene, rng, frames - 1, start=start)
    poses = poses_of(scene, start, actions)
    views = [render(scene, pose, camera) for pose in poses]
    depth = np.stack([view.depth for view in views]).astype(np.float16)
    pixels = np.stack([view.pixels for view in views])
    return Walked(f"{SCENES}:{scene_seed(split, number)}", pixels, depth, poses, actions)


class DoomSource:
    """Levels of Doom: a block of rollouts walks through one of them."""

    def __init__(self, name: str):
        self.name = name
        is_free = name == "doom"
        self.about = "levels of Freedoom, drawn by ViZDoom" if is_free else f"levels of {name}, drawn by ViZDoom"
        self.licence = "BSD-3-Clause (Freedoom)" if is_free else "that of the file's authors"

    def check(self, split: str, frames: int) -> None:
        from ..doom.recording import level_of

        level_of(self.name, split, 0)

    def rollouts(self, split: str, numbers: range, frames: int, camera: Camera, walk: str) -> Iterator[Walked]:
        from ..doom.recording import level_of, rollouts

        level = level_of(self.name, split, numbers[0] // PER_FILE)
        seeds = [[SPLITS.index(split), number, WALKS[walk]] for number in numbers]
        for views, poses, actions in rollouts(level, seeds, frames, camera, walk):
            depth = np.stack([view.depth for view in views]).astype(np.float16)
            yield Walked(level, np.stack([view.pixels for view in views]), depth, poses, actions)


def open_source(name: str, options: SourceOptions | None = None) -> Source:
    """The source of a name: "scenes", "doom", "doom:FILE.wad", "gym:ID" or "footage:FOLDER". Raises SceneError for
    another."""
    options = options or SourceOptions()
    if name == SCENES:
        return SceneSource()
    if name.startswith("gym:"):
        from ..env.recording import EnvSource

        return EnvSource(name, options.words)
    if name.startswith("footage:"):
        from .footage import FootageSource

        return FootageSource(name, options)
    if name == "doom" or name.startswith("doom:"):
        return DoomSource(name)
    raise SceneError(f"unknown source '{name}'; known: scenes, doom, doom:FILE.wad, gym:ID, footage:FOLDER")
