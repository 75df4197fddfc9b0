"""Actions, motions and poses as rows of a file or a message, and back: the only place that knows their order."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .action import Action
from .pose import Motion, Pose


def motion_row(motion: Motion) -> list[float]:
    """Forward and right in metres, yaw and pitch in degrees."""
    return [motion.forward, motion.right, motion.yaw_deg, motion.pitch_deg]


def motion_of(row: Sequence[float]) -> Motion:
    """Raises ValueError for anything but four numbers."""
    if not isinstance(row, Sequence) or len(row) != 4 or not all(_is_number(value) for value in row):
        raise ValueError(f"{str(row)[:80]} where the four numbers of a motion were wanted")
    return Motion(*row)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def action_row(action: Action) -> list:
    """The words, then the motion's row or None for words without a motion, then the row of the pose of a dream, if
    it has one."""
    row = [action.text, None if action.motion is None else motion_row(action.motion)]
    return row if action.at is None else [*row, pose_row(action.at)]


def action_of(row: Sequence) -> Action:
    """The action of a row. Raises ValueError or TypeError for what `action_row` did not write."""
    text, motion, *at = row
    return Action(text, None if motion is None else motion_of(motion), known_pose_of(*at) if at else None)


def pose_row(pose: Pose | None) -> list[float]:
    """Position in metres, then the rotation as a quaternion, w first; seven times NaN for an unknown pose."""
    return [float("nan")] * 7 if pose is None else [*pose.position, *pose.wxyz]


def pose_of(row: Sequence[float]) -> Pose | None:
    """The pose that `pose_row` wrote."""
    x, y, z, *rotation = map(float, row)
    if x != x:
        return None
    w, i, j, k = rotation
    return Pose((x, y, z), (w, i, j, k))


def known_pose_of(row: Sequence[float]) -> Pose:
    """The pose of a row that may not be unknown. Raises ValueError for one that is."""
    pose = pose_of(row)
    if pose is None:
        raise ValueError("a pose of NaN where every pose is known")
    return pose
