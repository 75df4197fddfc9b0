"""The walk that is shown where nobody is at the keys: down the open ways, turning where they end."""

from __future__ import annotations

from collections.abc import Callable

from ..world.action import STEP, TURN_DEG, Action, say
from ..world.pose import Motion, Pose

STEPS = 60
_REACH = 8  # steps that the walker looks ahead


def tour(start: Pose, steps: int = STEPS, *, walked: Callable[[Pose, Motion], Pose] = Pose.moved) -> list[Action]:
    """A walk of `steps` actions from `start`, the same each time, that looks at things and bumps into none.

    walked: the pose that a motion leads to, walls included; by default nothing stands in the way.
    """
    pose, actions, side = start, [], 1.0
    while len(actions) < steps:
        motion, side = _next_motion(pose, walked, len(actions), side)
        actions.append(Action(say(motion), motion))
        pose = walked(pose, motion)
    return actions


def _next_motion(pose: Pose, walked, index: int, side: float) -> tuple[Motion, float]:
    """The next motion and the side to turn to: ahead where there is room, in gentle bends, else round to a free way."""
    ahead = _room(pose, walked, 0.0)
    if ahead >= 4 and index % 12 < 8:
        return Motion(forward=STEP), side
    left, right = _room(pose, walked, 2 * TURN_DEG), _room(pose, walked, -2 * TURN_DEG)
    if ahead >= 4:  # a bend, towards where there is more to see
        side = side if left == right else (1.0 if left > right else -1.0)
        return Motion(forward=STEP, yaw_deg=side * TURN_DEG), side
    if index % 12 == 0:  # not in the middle of a turn, lest the walker dither
        side = 1.0 if left >= right else -1.0
    return Motion(yaw_deg=side * TURN_DEG), side


def _room(pose: Pose, walked, turn_deg: float) -> int:
    """How many steps can be walked in that direction before something is in the way, at most _REACH."""
    pose = pose.moved(Motion(yaw_deg=turn_deg))
    for count in range(_REACH):
        there = walked(pose, Motion(forward=STEP))
        if there.distance_to(pose.moved(Motion(forward=STEP))) > 0.02:
            return count
        pose = there
    return _REACH
