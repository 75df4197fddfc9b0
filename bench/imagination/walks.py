"""Walks for imagination: they lead to places that no true frame had shown, with masks of the pixels that are new.

The masks follow from the truth's geometry and the poses alone; no model is involved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...scenes.render import TrueView, render
from ...scenes.scene import Scene
from ...scenes.splits import make_scene, scene_seed
from ...world.action import TURN_DEG, Action, parse_action, say
from ...world.frame import Frame
from ...world.pose import Camera, Motion, Pose
from ..consistency.questions.places import find_start, free_poses
from ..consistency.questions.visibility import reveal
from .measures import cleaned

TURNS = 12  # steps of TURN_DEG: half way round
SCORED = tuple(range(7, 13))  # frames of which nothing had been seen
BORDERS = (1, 2, 3, 4)  # frames in which seen and unseen meet


@dataclass(frozen=True)
class Outing:
    """One true frame and a walk away from it. poses and views: one more than actions, the first is what is shown;
    unseen (n + 1, H, W) bool: what the first view had not shown."""

    number: int
    scene: Scene
    actions: tuple[Action, ...]
    poses: tuple[Pose, ...]
    views: tuple[TrueView, ...]
    unseen: np.ndarray

    @property
    def first(self) -> Frame:
        """The one true frame that a dream is given: no depth, which no camera has."""
        return Frame(0, self.views[0].pixels, pose=self.poses[0])

    @property
    def pixels(self) -> np.ndarray:
        return np.stack([view.pixels for view in self.views])


def half_turn(number: int, *, split: str = "test") -> Outing:
    """The number-th scene of a split, and half a turn on the spot: to the right in the first and third scenes of a
    family, to the left in the second and fourth, and so on."""
    scene = make_scene(split, number)
    rng = np.random.default_rng([scene_seed(split, number), 41])
    start = find_start(scene, rng, lambda pose: True) or scene.spawn_pose
    return outing(scene, number, start, [turn(-1 if number // 2 % 2 == 0 else 1)] * TURNS)


def turn(side: int) -> Action:
    """The usual turn in plain words: left if 1, right if -1."""
    return parse_action(say(Motion(yaw_deg=side * TURN_DEG)))


def outing(scene: Scene, number: int, start: Pose, actions: Sequence[Action]) -> Outing:
    poses = free_poses(scene, start, actions)
    if poses is None:
        raise ValueError(f"scene {number}: something stands in the way of {len(actions)} actions from {start}")
    views = [render(scene, pose, Camera()) for pose in poses]
    return Outing(number, scene, tuple(actions), tuple(poses), tuple(views), unseen_in(views, poses, 1))


def unseen_in(views: Sequence[TrueView], poses: Sequence[Pose], num_shown: int) -> np.ndarray:
    """(n, H, W) bool: the pixels of each view whose surface none of the first `num_shown` views shows."""
    shown = (
        np.stack([view.depth for view in views[:num_shown]]),
        np.stack([p.rotation for p in poses[:num_shown]]),
        np.array([p.position for p in poses[:num_shown]]),
    )
    seen = [reveal(view.depth, pose, *shown, Camera()) for view, pose in zip(views, poses, strict=True)]
    return np.stack([cleaned(~mask) for mask in seen])
