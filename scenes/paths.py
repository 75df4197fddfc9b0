"""Walks through a scene as lists of actions: random walks for data, and the shapes that benchmarks need."""

from __future__ import annotations

import math

import numpy as np

from ..world.action import STEP, TURN_DEG, Action, paraphrases, parse_action, say
from ..world.pose import Motion, Pose
from .place import Place
from .scene import Scene

_KINDS = ("forward", "back", "left", "right", "turn left", "turn right", "look", "wait", "both")
_ODDS = np.array([0.36, 0.07, 0.05, 0.05, 0.175, 0.175, 0.05, 0.02, 0.05])
_MAX_LOOK_DEG = 25.0
_KEEP_ON = 0.6  # how often a key is held for another step
# how often a walk is walked back the same way, and from how many steps on
_BACK, _BACK_FROM = 0.25, 8
# how often a walker turns away from what stops it, and how it does
_TURN_AWAY, _AWAYS, _AWAY_ODDS = 0.93, ("turn left", "turn right", "back"), (0.45, 0.45, 0.1)
_STOPPED = 0.05  # metres beside the commanded place, beyond which a walker was stopped
_USUAL, _PLAIN = 0.6, 0.5  # how often amounts are the usual ones, and words those of `say`
_STEPS, _TURNS = (0.1, 0.45), (4, 24)  # metres and degrees of the others
_FORWARD = 0.8  # how often a walker that turns meanwhile goes forward, and not back
_OTHER_SIDE = 0.25  # how often a stride begins to turn to the other side
# up to which draw of 0 to 1 a stride is a turn, or goes ahead, or back or aside; else it is a usual step
_TURNING, _AHEAD, _ASIDE = 0.55, 0.75, 0.9


def random_walk(
    scene: Scene | Place, rng: np.random.Generator, steps: int, *, start: Pose | None = None, plain: bool = False
) -> list[Action]:
    """A walk as a person might take it: keys held for a while, seldom into a wall, sometimes the same way back.

    With `plain`, only usual amounts in the usual words; otherwise amounts vary and words are paraphrased.
    """
    actions: list[Action] = []
    pose, kind = start or scene.spawn_pose, "forward"
    turning_back = steps >= _BACK_FROM and rng.uniform() < _BACK
    while len(actions) < (steps // 2 if turning_back else steps):
        if rng.uniform() > _KEEP_ON:
            kind = str(rng.choice(_KINDS, p=_ODDS))
        motion = _draw(kind, pose, rng, plain)
        there = scene.walked(pose, motion)
        if _is_stopped(there, pose.moved(motion)) and rng.uniform() < _TURN_AWAY:
            kind = str(rng.choice(_AWAYS, p=_AWAY_ODDS))
            continue
        actions.append(_word(motion, rng, plain))
        pose = there
    if turning_back:
        actions += [_word(action.known_motion.scaled(-1), rng, plain) for action in reversed(actions)]
    return [*actions, _word(Motion(), rng, plain)][:steps]


def keyframe_walk(scene: Scene | Place, rng: np.random.Generator, count: int, *, start: Pose) -> list[Action]:
    """`count` strides that each show much for the first time: turns of 20 to 75 degrees, mostly in one direction,
    strides of 0.6 to 2.4 metres, now and then a usual step. In the words of `say`."""
    actions: list[Action] = []
    pose, side = start, float(rng.choice([-1, 1]))
    while len(actions) < count:
        if rng.uniform() < _OTHER_SIDE:
            side = -side
        motion = _stride(rng, side)
        there = scene.walked(pose, motion)
        if _is_stopped(there, pose.moved(motion)):
            motion = Motion(yaw_deg=side * float(round(rng.uniform(30, 70))))
            there = scene.walked(pose, motion)
        actions.append(Action(say(motion), motion))
        pose = there
    return actions


def _is_stopped(there: Pose, wanted: Pose) -> bool:
    """Whether a walker ended at another place than commanded; going up or down stairs does not count."""
    return math.dist(there.position[:2], wanted.position[:2]) > _STOPPED


def _stride(rng: np.random.Generator, side: float) -> Motion:
    kind = rng.uniform()
    if kind < _TURNING:
        return Motion(yaw_deg=side * float(round(rng.uniform(20, 75))))
    if kind < _AHEAD:
        ahead = round(rng.uniform(0.6, 2.4), 1)
        return Motion(forward=ahead, yaw_deg=side * float(round(rng.uniform(0, 50))))
    if kind < _ASIDE:
        return (
            Motion(forward=-round(rng.uniform(0.6, 1.8), 1))
            if rng.uniform() < 0.5
            else (Motion(right=side * round(rng.uniform(0.5, 1.5), 1)))
        )
    return _draw(str(rng.choice(_KINDS, p=_ODDS)), Pose.at(0, 0, 0), rng, True)


def repeat(text: str, times: int) -> list[Action]:
    """The same sentence `times` times over."""
    return [parse_action(text)] * times


def out_and_back(text: str, times: int) -> list[Action]:
    """`text` for `times` steps, then its reverse for as many."""
    action = parse_action(text)
    return [action] * times + [parse_action(say(action.known_motion.scaled(-1)))] * times


def loop(side: float = 1.2) -> list[Action]:
    """A square with sides of that many metres, walked forward and turning left, back to where it began."""
    one_side = repeat("move forward", max(1, round(side / STEP))) + repeat("turn left", round(90 / TURN_DEG))
    return one_side * 4


def poses_of(scene: Scene | Place, start: Pose, actions: list[Action]) -> list[Pose]:
    """The poses that a walker passes, one more than there are actions; collisions are resolved."""
    poses = [start]
    for action in actions:
        poses.append(scene.walked(poses[-1], action.motion or Motion()))
    return poses


def _draw(kind: str, pose: Pose, rng: np.random.Generator, plain: bool) -> Motion:
    usual = plain or rng.uniform() < _USUAL
    step = STEP if usual else round(rng.uniform(*_STEPS), 2)
    turn = TURN_DEG if usual else float(round(rng.uniform(*_TURNS)))
    if kind == "look":
        up = pose.pitch_deg < -1 or (abs(pose.pitch_deg) <= 1 and rng.uniform() < 0.5)
        if abs(pose.pitch_deg) + turn > _MAX_LOOK_DEG and (pose.pitch_deg > 0) == up:
            return Motion()
        return Motion(pitch_deg=turn if up else -turn)
    if kind == "both":
        return Motion(forward=step if rng.uniform() < _FORWARD else -step, yaw_deg=turn * rng.choice([-1, 1]))
    return {
        "forward": Motion(forward=step),
        "back": Motion(forward=-step),
        "left": Motion(right=-step),
        "right": Motion(right=step),
        "turn left": Motion(yaw_deg=turn),
        "turn right": Motion(yaw_deg=-turn),
        "wait": Motion(),
    }[kind]


def _word(motion: Motion, rng: np.random.Generator, plain: bool) -> Action:
    if plain or rng.uniform() < _PLAIN:
        return Action(say(motion), motion)
    parts = [
        Motion(forward=motion.forward),
        Motion(right=motion.right),
        Motion(yaw_deg=motion.yaw_deg),
        Motion(pitch_deg=motion.pitch_deg),
    ]
    texts = [str(rng.choice(paraphrases(part))) for part in parts if not part.is_still]
    return Action(" and ".join(texts) or str(rng.choice(paraphrases(Motion()))), motion)
