"""Where an episode can begin: places from which a path is free and the view is worth remembering."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ....scenes.render import FAR
from ....scenes.scene import EYE_HEIGHT, GROUND_ID, Scene
from ....world.action import Action
from ....world.pose import Camera, Motion, Pose
from .worlds import AnyPlace, see, somewhere

TRIES = 400
FACE_TRIES = 40  # places about one thing
START_ROOM_M, FACE_ROOM_M = 0.45, 0.35  # radius that must be free about a walker at a start, and before a thing
# a view's median depth is farther than a wall at close range, and it shows so many instances
NOSE_M, LEAST_KINDS = 1.2, 4
# something that could be carried away is narrower, and begins lower: no wall, house or ceiling
CARRIED_M, LOW_M = 3.0, 2.0
FACE_M, FACE_OFF_DEG = (1.4, 3.2), 8  # how far from an object one stands to face it, and how far beside it one may look
FACE_SHARES = (0.03, 0.35)  # of the view that a faced thing covers: it is seen well, and not alone
# share of half the picture within which an object is well inside it, and not too near
WELL_IN, LEAST_DEPTH_M = 0.8, 0.5
_SMALL = Camera(32, 32)


def free_poses(scene: AnyPlace, start: Pose, actions: Sequence[Action]) -> list[Pose] | None:
    """The poses that the actions lead through, or None where anything is in the way."""
    poses = [start]
    for action in actions:
        motion = action.motion or Motion()
        there = scene.walked(poses[-1], motion)
        if there.distance_to(poses[-1].moved(motion)) > 1e-3:
            return None
        poses.append(there)
    return poses


def find_start(scene: AnyPlace, rng: np.random.Generator, is_good: Callable[[Pose], bool]) -> Pose | None:
    """A random free pose with an open view that `is_good`; None if TRIES draws found none."""
    for _ in range(TRIES):
        pose = somewhere(scene, rng)
        if scene.is_free(*pose.position[:2], START_ROOM_M) and is_good(pose) and has_view(scene, pose):
            return pose
    return None


def has_view(scene: AnyPlace, pose: Pose) -> bool:
    """Whether there is something to see: no wall at close range, and several objects in view."""
    view = see(scene, pose, _SMALL)
    return float(np.median(view.depth)) > NOSE_M and len(np.unique(view.ids)) >= LEAST_KINDS


def things(scene: AnyPlace) -> list[int]:
    """Instance ids of what could be carried away: neither ground nor sky, and no wall, ceiling or house. None in
    other people's places, from which nothing can be removed."""
    ids: list[int] = []
    if not isinstance(scene, Scene):
        return ids
    for instance in np.unique(scene.ids):
        solids = scene.ids == instance
        low = (scene.centers - scene.halves)[solids].min(0)
        high = (scene.centers + scene.halves)[solids].max(0)
        if instance > GROUND_ID and max(high[:2] - low[:2]) < CARRIED_M and low[2] < LOW_M:
            ids.append(int(instance))
    return ids


def without(scene: Scene, instance: int) -> Scene:
    """The scene after that thing has been carried away."""
    kept = scene.ids != instance
    arrays = {name: getattr(scene, name)[kept] for name in ("shapes", "centers", "halves", "yaws", "ids", "materials")}
    return Scene(**{**vars(scene), **arrays})


def share_of(scene: AnyPlace, pose: Pose, instance: int, *, camera: Camera = _SMALL) -> float:
    """The share of the view that an instance covers."""
    return float((see(scene, pose, camera).ids == instance).mean())


def face(scene: Scene, rng: np.random.Generator, instance: int) -> Pose | None:
    """A free pose some metres from an instance that looks at it and sees it well."""
    center = scene.centers[scene.ids == instance].mean(0)
    for _ in range(FACE_TRIES):
        angle, distance = rng.uniform(-np.pi, np.pi), rng.uniform(*FACE_M)
        x, y = center[0] + distance * np.cos(angle), center[1] + distance * np.sin(angle)
        pose = Pose.at(x, y, EYE_HEIGHT, float(np.degrees(angle)) + 180.0 + rng.uniform(-FACE_OFF_DEG, FACE_OFF_DEG))
        if not scene.is_free(x, y, FACE_ROOM_M):
            continue
        if FACE_SHARES[0] < share_of(scene, pose, instance) < FACE_SHARES[1] and has_view(scene, pose):
            return pose
    return None


def is_behind(scene: Scene, pose: Pose, instance: int) -> bool:
    """Whether something stands between the camera and an instance that would otherwise be well in the picture."""
    points = scene.centers[scene.ids == instance] - np.asarray(pose.position)
    x, y, z = (points @ pose.rotation).T
    reach = WELL_IN * _SMALL.width / 2 / _SMALL.focal
    inside = (z > LEAST_DEPTH_M) & (np.abs(x) < reach * z) & (np.abs(y) < reach * z) & (z < FAR)
    is_gone = bool(inside.all()) and share_of(scene, pose, instance) == 0.0
    return is_gone and share_of(scene, pose, instance, camera=Camera()) == 0.0  # not even a sliver is visible
