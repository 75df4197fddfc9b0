"""A true place as an Explorer: what a dream should look like, and the way to test every viewer without weights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..world.action import Action, ActionError, dream_at
from ..world.files import parse_json, read_bytes, sum_of, write_text_whole
from ..world.frame import Frame, Rollout, walk
from ..world.pose import Camera, Motion, Pose
from ..world.records import known_pose_of, motion_of, motion_row, pose_row
from ..world.sight import Gaze, LookError, Piece, Sight, unit
from ..world.spatial.pieces import number_of, piece_of
from .place import Place
from .render import render
from .scene import LONGEST, Scene, SceneError
from .worlds import place_of, told

FORMAT = 1
MAX_SIDE = 4096  # of a frame that a file may ask for
FARTHEST_M = 1e9
FARTHEST_STEP_M = LONGEST + 1e-6  # what a walk may hold, and a little for the rounding of the longest step


@dataclass(frozen=True)
class TrueOutlook:
    """A view into a place: rendered for every look, with nothing unknown. index, pose: of the walk's newest frame;
    camera: of all its frames."""

    place: Scene | Place
    index: int
    pose: Pose
    camera: Camera

    def look(self, gaze: Gaze) -> Sight:
        views = [render(self.place, eye, gaze.camera) for eye in gaze.eyes]
        pixels = np.concatenate([view.pixels for view in views], 1)
        depth = np.concatenate([view.depth for view in views], 1)
        return Sight(gaze, self.index, pixels, depth, np.zeros(depth.shape, np.bool_))

    def pieces(self) -> tuple[int, ...]:
        seen = render(self.place, self.pose, self.camera)
        return (number_of(seen.pixels, seen.depth, self.pose),)

    def piece(self, number: int, *, stride: int = 1) -> Piece:
        seen = render(self.place, self.pose, self.camera)
        if number != number_of(seen.pixels, seen.depth, self.pose):
            raise LookError(f"no piece {number} is in sight any more; ask which there is")
        return piece_of(seen.pixels, seen.depth, self.pose, self.camera, number=number, stride=stride)


class SceneSession:
    """Walks through a scene, or another place (worlds.py); frames have true depth and pose. Collisions stop the walker,
    who slides along walls.

    Keeps the poses and the current frame; an earlier frame is rendered again when somebody goes back to it, so a walk
    of a day needs little memory. A save says where the walk is; where it was before follows from the actions, if
    somebody goes back.
    """

    def __init__(self, scene: Scene | Place, *, start: Pose | None = None, camera: Camera | None = None):
        self.scene = scene
        self.camera = camera or Camera()
        self._start = start or scene.spawn_pose
        self._poses, self._known_from = [self._start], 0  # of all frames from that index on
        self._frame: Frame | None = None  # rendered when somebody wants to see it
        self._actions: list[Action] = []
        self._is_closed = False

    @property
    def frame(self) -> Frame:
        if self._frame is None:
            self._frame = self._look(len(self._actions), self._poses[-1])
        return self._frame

    @property
    def actions(self) -> tuple[Action, ...]:
        """What was done so far, in order."""
        return tuple(self._actions)

    def step(self, action: Action) -> Frame:
        """Walk, and look; a step that dreams elsewhere changes nothing, because everything of a scene is known.
        Raises ActionError for free words: a scene understands motions only."""
        pose = self._next(action)
        frame = self._look(len(self._actions) + 1, pose)
        self._poses.append(pose)
        self._actions.append(action)
        self._frame = frame
        return frame

    def retrace(self, action: Action) -> None:
        """Walk as in `step`, and render the frame only if it is still the current one when somebody wants to see it."""
        self._poses.append(self._next(action))
        self._actions.append(action)
        self._frame = None

    def walked(self, pose: Pose, motion: Motion) -> Pose:
        """The pose that a motion leads to from a pose, as far as the place lets it."""
        return self.scene.walked(pose, motion)

    def rollout(self, actions: Iterable[Action]) -> Rollout:
        return walk(self, actions)

    def fork(self) -> SceneSession:
        twin = SceneSession.__new__(SceneSession)
        twin.scene, twin.camera, twin._is_closed = self.scene, self.camera, False
        twin._frame, twin._poses, twin._actions = self._frame, list(self._poses), list(self._actions)
        twin._start, twin._known_from = self._start, self._known_from
        return twin

    def rewind(self, frames: int) -> Frame:
        if not 0 <= frames <= len(self._actions):
            raise ValueError(f"cannot rewind {frames} frames; {len(self._actions)} have been walked")
        if frames:
            left = len(self._actions) - frames
            if left < self._known_from:
                self._recall()
            del self._poses[left + 1 - self._known_from :]
            del self._actions[left:]
            self._frame = self._look(left, self._poses[-1])
        return self.frame

    def save(self, path: str | Path) -> None:
        """Write the place, start, actions and where they led to as JSON: they rebuild the walk exactly."""
        state = {
            "roam": "scene session",
            "format": FORMAT,
            **told(self.scene),
            "camera": [self.camera.width, self.camera.height, self.camera.fov_deg],
            "start": pose_row(self._start),
            "pose": pose_row(self._poses[-1]),
            "actions": [_row(action) for action in self._actions],
        }
        write_text_whole(path, json.dumps(state | {"sum": sum_of(state)}, indent=1))

    def dream_at(self, pose: Pose) -> Frame:
        """A step without effect, where a dream would dream elsewhere: here nothing is unknown."""
        return self.step(dream_at(unit(pose)))

    def outlook(self) -> TrueOutlook:
        """A view into the place as it is."""
        return TrueOutlook(self.scene, len(self._actions), self._poses[-1], self.camera)

    def look(self, pose: Pose, *, camera: Camera | None = None, ipd_m: float = 0.0) -> Sight:
        """What is seen from any pose, by the frames' own camera unless another is given. Raises LookError for a look
        beyond its limits."""
        return self.outlook().look(Gaze(pose, camera or self.camera, ipd_m))

    def close(self) -> None:
        self._is_closed = True

    def _go(self, actions: list[Action], end: Pose | None) -> None:
        """Walk without looking: to `end`, if it is known that these actions lead there."""
        if end is None:
            self._poses = self._walked(actions)
        else:
            self._poses, self._known_from = [end], len(actions)
        self._actions += actions

    def _recall(self) -> None:
        """Compute again where the walk has been since its start."""
        self._poses = [*self._walked(self._actions[: self._known_from])[:-1], *self._poses]
        self._known_from = 0

    def _walked(self, actions: list[Action]) -> list[Pose]:
        """Where these actions lead to from the start, one after the other; the start first."""
        poses = [self._start]
        for action in actions:
            poses.append(self._after(poses[-1], action))
        return poses

    def _next(self, action: Action) -> Pose:
        """Where an action leads from here. Raises ActionError, like `step`."""
        if self._is_closed:
            raise RuntimeError("this scene session is closed; open another")
        if action.motion is None and action.at is None:
            raise ActionError(f"'{action.text}' is no motion; a true scene understands motions only")
        return self._after(self._poses[-1], action)

    def _after(self, pose: Pose, action: Action) -> Pose:
        return pose if action.at is not None else self.walked(pose, action.known_motion)

    def _look(self, index: int, pose: Pose) -> Frame:
        view = render(self.scene, pose, self.camera)
        return Frame(index, view.pixels, depth=view.depth, pose=pose)


def load_scene_session(path: str | Path) -> SceneSession:
    """Go on from what `SceneSession.save` wrote. Raises SceneError for a torn or foreign file."""
    try:
        state = parse_json(read_bytes(path))
        if not isinstance(state, dict) or state.get("roam") != "scene session" or state.get("format") != FORMAT:
            raise SceneError(f"{path} is no scene session of format {FORMAT}")
        if state.pop("sum", None) not in (None, sum_of(state)):  # the first saves had none
            raise SceneError(f"{path} is not what was saved: its disk has erred, or it was changed; nothing was loaded")
        _whole(state.get("seed", 0))
        scene = place_of(state)
        width, height, fov_deg = state["camera"]
        if max(_whole(width), _whole(height)) > MAX_SIDE:
            raise SceneError(f"{path} has frames of {width}x{height}; at most {MAX_SIDE} a side are drawn")
        session = SceneSession(scene, start=_pose(state["start"]), camera=Camera(width, height, fov_deg))
        end = _pose(state["pose"]) if "pose" in state else None  # the first saves had none
        session._go([_action(*row) for row in state["actions"]], end)
    except SceneError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SceneError(f"{path} is no readable scene session ({reason}); wanted a file that saving wrote") from error
    return session


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} where a whole number was wanted")
    return value


def _pose(row: list) -> Pose:
    pose = known_pose_of(row)
    if max(map(abs, pose.position)) > FARTHEST_M or not abs(math.hypot(*pose.wxyz) - 1) < 1e-3:
        raise ValueError(f"{str(row)[:80]} where a pose was wanted")
    return pose


def _row(action: Action) -> list:
    """The words, then the four numbers of a motion, or the row of the pose that was dreamt at."""
    return [action.text, *motion_row(action.known_motion)] if action.at is None else [action.text, pose_row(action.at)]


def _action(text: object, *rest: Any) -> Action:
    if not isinstance(text, str):
        raise ValueError(f"{text!r} where words were wanted")
    if len(rest) == 1:
        return Action(text, at=_pose(rest[0]))
    motion = motion_of(rest)
    if not (math.hypot(motion.forward, motion.right) <= FARTHEST_STEP_M and all(map(math.isfinite, rest))):
        raise ValueError(f"{str(rest)[:80]} where a step was wanted")
    return Action(text, motion)
