"""The walks that are shown when nobody uses the keys.

Through a true scene: into the open, and where that ends, towards what is unseen. In a dream: away and back again,
because memory shows places best where one has been.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle, islice

from ...world.action import STEP, TURN_DEG, Action, say
from ...world.pose import Motion, Pose

STEPS = 60
_REACH = 12  # steps that the walker looks ahead
_LEG = 9  # steps after which the walker looks for another way, even if this one goes on
_LEAST_ROOM = 2  # steps ahead that must be free, or the picture shows only a wall
_OUTINGS = ((0, 3), (2, 0), (-2, 0), (1, 3), (-1, 3), (4, 0), (-4, 0))  # turns (left is positive), then steps ahead
_TURNS = range(-11, 13)  # multiples of TURN_DEG, all round
# score of a way, in metres of free way: per metre between its end and where one has been, and minus per turn
_NEWNESS, _TURNING = 2, 0.12
_STOPPED_M = 0.02  # a step that ends farther than this from its target was stopped

Walked = Callable[[Pose, Motion], Pose]


def tour(start: Pose, steps: int = STEPS, *, walked: Walked = Pose.moved) -> Iterator[Action]:
    """A walk of `steps` actions from `start`, the same each time, that bumps into nothing; planned while it is walked.

    walked: the pose that a motion leads to, walls included; by default there are no walls.
    """
    return (Action(say(motion), motion) for motion in islice(_motions(start, walked), steps))


def outings(start: Pose, steps: int = STEPS, *, walked: Walked = Pose.moved) -> Iterator[Action]:
    """A walk of `steps` actions: one way and back, then another and back, without bumping into anything; walked as
    in tour."""
    return (Action(say(motion), motion) for motion in islice(_out_and_home(start, walked), steps))


def _out_and_home(pose: Pose, walked: Walked) -> Iterator[Motion]:
    for turns, steps in cycle(_OUTINGS):
        heading = pose.moved(Motion(yaw_deg=turns * TURN_DEG))
        ahead = max(0, min(steps, _room(heading, walked) - _LEAST_ROOM))
        side = 1 if turns > 0 else -1
        out = [Motion(yaw_deg=side * TURN_DEG)] * abs(turns) + [Motion(forward=STEP)] * ahead
        yield from out or [Motion()]
        yield from (motion.scaled(-1) for motion in reversed(out))


def _motions(pose: Pose, walked: Walked) -> Iterator[Motion]:
    """One leg after the other: turn to the best way, then walk it, turning a little towards free space."""
    passed = [pose]
    while True:
        turns = _best_turns(pose, walked, passed)
        side = 1 if turns > 0 else -1
        for _ in range(abs(turns)):
            can_bend = _room(pose, walked) > _LEAST_ROOM
            motion = Motion(forward=STEP if can_bend else 0.0, yaw_deg=side * TURN_DEG)
            pose = walked(pose, motion)
            passed.append(pose)
            yield motion
        for count in range(_LEG):
            if _room(pose, walked) <= _LEAST_ROOM:
                if count == 0 and turns == 0:  # enclosed: turn on the spot
                    pose = walked(pose, Motion(yaw_deg=TURN_DEG))
                    yield Motion(yaw_deg=TURN_DEG)
                break
            pose = walked(pose, Motion(forward=STEP))
            passed.append(pose)
            yield Motion(forward=STEP)


def _best_turns(pose: Pose, walked: Walked, passed: list[Pose]) -> int:
    """How many times to turn by TURN_DEG (left is positive) towards free space where nobody has been yet."""

    def score(turns: int) -> float:
        heading = pose.moved(Motion(yaw_deg=turns * TURN_DEG))
        room = _room(heading, walked)
        end = heading.moved(Motion(forward=room * STEP))
        newness = min(end.distance_to(other) for other in passed)
        return room * STEP + _NEWNESS * newness - _TURNING * abs(turns)

    return max(_TURNS, key=score)


def _room(pose: Pose, walked: Walked) -> int:
    """How many steps ahead are free, at most _REACH."""
    for count in range(_REACH):
        wanted = pose.moved(Motion(forward=STEP))
        if walked(pose, Motion(forward=STEP)).distance_to(wanted) > _STOPPED_M:
            return count
        pose = wanted
    return _REACH
