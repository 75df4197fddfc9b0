"""The eleven tasks as paths: each is a list of walks, the first part of which is explored and the rest dreamt.

A task's function takes a scene, a random generator and a Form, and gives its Walks; `build` makes them Episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np

from ....scenes.scene import Scene
from ....world.action import STEP, TURN_DEG, Action, paraphrases, parse_action, say
from ....world.pose import Motion, Pose
from .episode import FREE_FRAMES, MODES, BenchError, Episode
from .forms import FORMS, Form
from .places import face, find_start, free_poses, is_behind, share_of, things, without
from .ways import far_places, hidden_places, way_to
from .worlds import AnyPlace, place_of, seed_of

SPLIT = "test"
FAR_STEPS = 60  # of a stroll to where nothing was shown
OPEN_M = 0.8  # radius that must be free where a long walk begins
GO_ON = 0.6  # probability that a stroller repeats its last action
STROLL = (0.4, 0.08, 0.06, 0.06, 0.2, 0.2)  # otherwise, the probability of each of the first six of SINGLES
HOME_M = 2.0  # from which a stroll does not lead farther away


@dataclass(frozen=True)
class EpisodePlan:
    """A path before it is an episode: `explore` is shown in mode C, `answer` is asked for.

    scored: which frames of the whole path are measured, None for all that are asked.
    """

    variant: str
    start: Pose
    explore: Sequence[Action]
    answer: Sequence[Action]
    phase: str = "return"
    scored: Callable[[int], bool] | None = None
    gap: int | None = None
    target: int | None = None
    is_absent: bool = False


def turn_return(scene: AnyPlace, rng: np.random.Generator, form: Form) -> Iterator[EpisodePlan]:
    """T1. Turn away and back: is what left the view remembered?"""
    for degrees in form.turns:
        start = find_start(scene, rng, lambda pose: True)
        side = int(rng.choice([-1, 1]))
        if start:
            yield EpisodePlan(f"turn {degrees}", start, turns(side * degrees), turns(-side * degrees))


def full_turn(scene: AnyPlace, rng: np.random.Generator, form: Form) -> Iterator[EpisodePlan]:
    """T2. All the way round, twice: does a circle close?"""
    for name, side in (("left", 1), ("right", -1)):
        if start := find_start(scene, rng, lambda pose: True):
            yield EpisodePlan(
                f"full turn {name}", start, turns(side * 360), turns(side * 360), "second turn", scored=in_pairs
            )


def out_and_back(scene: AnyPlace, rng: np.random.Generator, form: Form) -> Iterator[EpisodePlan]:
    """T3. Walk to another place and home, backwards or by turning round: memory across translation."""
    out = steps(forward=STEP, count=5)
    start = find_start(scene, rng, lambda pose: free_poses(scene, pose, out) is not None)
    if start:
        yield EpisodePlan("backwards", start, out, steps(forward=-STEP, count=5))
        # a look behind at the start, so that the way home has been seen
        yield EpisodePlan(
            "turning round", start, [*turns(360), *out], [*turns(180), *out, *turns(180)], scored=in_pairs
        )


def loop(scene: AnyPlace, rng: np.random.Generator, form: Form) -> Iterator[EpisodePlan]:
    """T4. A square, A to B to C seen and C to D to A dreamt: home by a new way, not a mirror of the first."""
    side = [*steps(forward=STEP, count=3), *turns(90)]
    start = find_start(scene, rng, lambda pose: free_poses(scene, pose, side * 4) is not None)
    if start:
        yield EpisodePlan("square", start, [*turns(360, 22.5), *side, *side], [*side, *side], "new way home")


def offset_revisit(scene: AnyPlace, rng: np.random.Generator, form: Form) -> Iterator[EpisodePlan]:
    """T5. Like T1 and T3, but a little beside the first way and turned by a few degrees: no shown frame is the
    answer."""
    for name, out, back in (
        ("turn 60", turns(60), turns(-60)),
        ("turn 120", turns(120), turns(-120)),
        ("backwards", steps(forward=STEP, count=4), steps(forward=-STEP, count=4)),
    ):
        motion = Motion(
            right=round(rng.choice([-1, 1]) * rng.uniform(0.1, 0.3), 2),
            yaw_deg=round(rng.choice([-1, 1]) * rng.uniform(2, 5), 1),
        )
        path = [*out, act(motion), *back]
        if start := find_start(scene, rng, partial(_is_walkable, scene, path)):
            yield EpisodePlan(f"offset {name}", start, out, path[len(out) :])


def gap_sweep(scene: AnyPlace, rng: np.random.Generator, form: Form) -> Iterator[EpisodePlan]:
    """T6. The same four views again after N frames of looking about, which shows nothing of them.

    Four views, because a picture frozen from the start shows one alone.
    """
    start = find_start(scene, rng, lambda pose: True)
    for gap in form.gaps:
        if start is None:
            return
        away, home = [*turns(45), *turns(157.5, 22.5), *wobble(gap - 14)], [*turns(157.5, 22.5), *turns(45)]
        yield EpisodePlan(f"gap {gap:04d}", start, away, home, "return", scored=lambda left: left <= 3, gap=gap)


def permanence(scene: AnyPlace, rng: np.random.Generator, form: Form) -> Iterator[EpisodePlan]:
    """T7. A thing is seen, hidden, and seen again: out of view, behind something, or never there at all."""
    if not isinstance(scene, Scene):  # other people's places cannot be taken apart
        return
    shown = find_target(scene, rng)
    if shown:
        target, start = shown
        walk = EpisodePlan(
            "out of view", start, turns(90), turns(-90), "reappear", target=target, scored=lambda left: left <= 3
        )
        yield walk
        yield replace(walk, variant="absent", is_absent=True)
    if hidden := behind(scene, rng):
        yield hidden


def action_grid(scene: AnyPlace, rng: np.random.Generator, form: Form) -> Iterator[EpisodePlan]:
    """T8. Every action alone, in pairs, not at all, and in other words: does the model do what it is told?"""
    glance = [*turns(30), *turns(-60), *turns(30)]
    grid = [[act(motion)] * form.repeats for motion in (*SINGLES, *PAIRS)]
    start = find_start(scene, rng, lambda pose: all(free_poses(scene, pose, path) for path in grid))
    if start is None:
        return
    for path in grid:
        yield EpisodePlan(path[0].text, start, glance, path, "act")
    for motion in SINGLES:
        other = Action(str(rng.choice(paraphrases(motion)[1:])), motion)
        yield EpisodePlan(f"words: {other.text}", start, glance, [other] * form.repeats, "act")


def long_walk(scene: AnyPlace, rng: np.random.Generator, form: Form) -> Iterator[EpisodePlan]:
    """T9. A long walk to and fro in one neighbourhood: how fast does the picture drift from the truth?"""
    first = min(100, form.long_frames // 4)
    if start := find_start(scene, rng, lambda pose: scene.is_free(*pose.position[:2], OPEN_M)):
        explore = [*turns(360)][:first]
        explore += stroll(scene, _end(scene, start, explore), rng, first - len(explore), home=start)
        answer = stroll(scene, _end(scene, start, explore), rng, form.long_frames - first, home=start)
        every = max(8, form.long_frames // 50)
        yield EpisodePlan("stroll", start, explore, answer, "walk", scored=lambda left: left % every < 2)


def rest(scene: AnyPlace, rng: np.random.Generator, form: Form) -> Iterator[EpisodePlan]:
    """T10. Stand still for long, then look about: does the picture flicker or creep, and does it still obey?"""
    if start := find_start(scene, rng, lambda pose: True):
        probe = [*turns(30), *turns(-30)]
        every = max(2, form.rest_frames // 12)
        yield EpisodePlan(
            "stand still",
            start,
            probe,
            [act(Motion())] * form.rest_frames + probe,
            "rest",
            scored=lambda left: left < len(probe) or left % every == 0,
        )


def unseen(scene: AnyPlace, rng: np.random.Generator, form: Form) -> Iterator[EpisodePlan]:
    """T11. A glance, then away from all that it showed: what is dreamt where nothing has been seen?

    Half a turn to the left; to the right, and on through another full turn; to the nearest place that cannot be seen
    from the start, through a door or round a house; 60 steps away. Two dreams of each.
    """
    glance = [*turns(15), *turns(-30), *turns(15)]
    if start := find_start(scene, rng, lambda pose: True):
        yield EpisodePlan("half turn left", start, glance, turns(180), "unseen")
        round_again = 360 // TURN_DEG  # frames between a look and the same look again
        yield EpisodePlan(
            "one turn and a half right",
            start,
            glance,
            turns(-540),
            "unseen",
            scored=lambda left: left < 6 or left >= round_again,
        )
    way: list[Action] | None = None
    for _ in range(12):
        start = find_start(scene, rng, lambda pose: round(pose.yaw_deg) % 90 == 0)
        if start and (way := way_out_of_sight(scene, start)):
            yield EpisodePlan(
                "out of sight", start, glance, [*way, *turns(45)], "unseen", scored=lambda left: left < 12
            )
            break
    if start and (path := far_stroll(scene, start, rng, FAR_STEPS)):
        yield EpisodePlan("far stroll", start, glance, path, "unseen", scored=lambda left: left % 5 == 0)


TASKS: dict[str, Callable[[AnyPlace, np.random.Generator, Form], Iterator[EpisodePlan]]] = {
    "T1": turn_return,
    "T2": full_turn,
    "T3": out_and_back,
    "T4": loop,
    "T5": offset_revisit,
    "T6": gap_sweep,
    "T7": permanence,
    "T8": action_grid,
    "T9": long_walk,
    "T10": rest,
    "T11": unseen,
}


def build(
    task: str,
    number: int,
    seed: int = 0,
    *,
    mode: str = "C",
    form: Form = FORMS["full"],
    split: str = SPLIT,
    world: str = "",
    most: int | None = None,
) -> list[Episode]:
    """The episodes of a task in the number-th scene of a split, or the first so many of them; the same for the same
    arguments, on any machine.

    A scene that has no place for a walk gives fewer; the report counts them.
    """
    if task not in TASKS or mode not in MODES:
        raise BenchError(f"task '{task}' or mode '{mode}' unknown; known: {', '.join(TASKS)} and {', '.join(MODES)}")
    scene = place_of(world, split, number)
    rng = np.random.default_rng([*seed_of(world, split, number), seed, int(task[1:])])
    about = (task, number, seed, mode, split)
    return [replace(_episode(scene, walk, *about), world=world) for walk in islice(TASKS[task](scene, rng, form), most)]


def _is_walkable(scene: AnyPlace, path: Sequence[Action], pose: Pose) -> bool:
    return free_poses(scene, pose, path) is not None


def _end(scene: AnyPlace, start: Pose, path: Sequence[Action]) -> Pose:
    """Where a path ends that is known to be free."""
    poses = free_poses(scene, start, path)
    assert poses is not None
    return poses[-1]


def _episode(scene: AnyPlace, walk: EpisodePlan, task: str, number: int, seed: int, mode: str, split: str) -> Episode:
    actions = (*walk.explore, *walk.answer)
    bare = scene
    if isinstance(scene, Scene) and walk.is_absent and walk.target is not None:
        bare = without(scene, walk.target)
    poses = free_poses(bare, walk.start, actions)
    if poses is None:
        raise BenchError(f"{task} {walk.variant} in scene {number}: something stands in the way")
    shown = len(walk.explore) + 1
    num_context = shown if mode == "C" else min(FREE_FRAMES, shown)
    last = len(actions)
    scored = [t for t in range(num_context, last + 1) if walk.scored is None or walk.scored(last - t)]
    phases = ("explore",) * shown + (walk.phase,) * (last + 1 - shown)
    return Episode(
        task=task,
        variant=walk.variant,
        mode=mode,
        number=number,
        seed=seed,
        actions=actions,
        poses=tuple(poses),
        phases=phases,
        num_context=num_context,
        scored=tuple(scored),
        gap=walk.gap,
        target=walk.target,
        is_absent=walk.is_absent,
        split=split,
    )


def in_pairs(left: int) -> bool:
    """Every other two frames of a long way: neighbours, so that the motion between them can be told."""
    return left % 4 < 2


def act(motion: Motion) -> Action:
    """The plain words for a motion, and just the motion that those words say."""
    return parse_action(say(motion))


def turns(degrees: float, step: float = TURN_DEG) -> list[Action]:
    """A turn on the spot, left if positive, in equal steps of at most about `step` degrees."""
    count = max(1, round(abs(degrees) / step))
    return [act(Motion(yaw_deg=degrees / count))] * count


def steps(*, forward: float = 0.0, right: float = 0.0, count: int = 1) -> list[Action]:
    return [act(Motion(forward=forward, right=right))] * count


def wobble(count: int) -> list[Action]:
    """Looking about on the spot for `count` frames, at most 45 degrees to either side, ending as it began.

    An odd frame over is spent standing still.
    """
    swing = [*turns(45), *turns(-90), *turns(45)]
    path = swing * (count // len(swing))
    half = (count - len(path)) // 2
    path += turns(45)[:half] if half <= 3 else [*turns(45), *turns(-15 * (half - 3))]
    path += [act(action.known_motion.scaled(-1)) for action in reversed(path[len(path) - half :])] if half else []
    return path + [act(Motion())] * (count - len(path))


SINGLES = (
    Motion(forward=STEP),
    Motion(forward=-STEP),
    Motion(right=-STEP),
    Motion(right=STEP),
    Motion(yaw_deg=TURN_DEG),
    Motion(yaw_deg=-TURN_DEG),
    Motion(pitch_deg=TURN_DEG),
    Motion(pitch_deg=-TURN_DEG),
    Motion(),
)
PAIRS = (
    Motion(forward=STEP, yaw_deg=TURN_DEG),
    Motion(forward=STEP, yaw_deg=-TURN_DEG),
    Motion(forward=-STEP, yaw_deg=TURN_DEG),
    Motion(right=-STEP, yaw_deg=-TURN_DEG),
    Motion(right=STEP, yaw_deg=TURN_DEG),
    Motion(forward=STEP, pitch_deg=-TURN_DEG),
)


def find_target(scene: Scene, rng: np.random.Generator) -> tuple[int, Pose] | None:
    """A thing and a pose that sees it and, after a turn of 90 degrees to the left, does not."""
    ids = things(scene)
    for _ in range(len(ids)):
        target = int(ids[rng.integers(len(ids))])
        pose = face(scene, rng, target)
        if pose and share_of(scene, pose.moved(Motion(yaw_deg=90)), target) == 0:
            return target, pose
    return None


def behind(scene: Scene, rng: np.random.Generator) -> EpisodePlan | None:
    """A sidestep that puts a thing behind another, and back."""
    for target in rng.permutation(things(scene)):
        pose = face(scene, rng, int(target))
        if pose is None:
            continue
        for side in (-1, 1):
            for count in range(2, 7):
                out = steps(right=side * STEP, count=count)
                poses = free_poses(scene, pose, out)
                if poses is None:
                    break
                if is_behind(scene, poses[-1], int(target)):
                    back = steps(right=-side * STEP, count=count)
                    return EpisodePlan(
                        "occluded", pose, out, back, "reappear", target=int(target), scored=lambda left: left <= 2
                    )
    return None


def stroll(scene: AnyPlace, pose: Pose, rng: np.random.Generator, count: int, *, home: Pose) -> list[Action]:
    """`count` plain steps of a person near a start, never into anything and never 2 metres from it."""
    path: list[Action] = []
    motion = SINGLES[0]
    while len(path) < count:
        if rng.uniform() > GO_ON:
            motion = SINGLES[int(rng.choice(6, p=STROLL))]
        there = free_poses(scene, pose, [act(motion)])
        if there is None or (
            there[-1].distance_to(home) > HOME_M and there[-1].distance_to(home) > pose.distance_to(home)
        ):
            motion = SINGLES[4 if rng.uniform() < 0.5 else 5]
            continue
        pose = there[-1]
        path.append(act(motion))
    return path


def way_out_of_sight(scene: AnyPlace, start: Pose) -> list[Action] | None:
    """Plain steps to the nearest place that cannot be seen from the start, and on a little; None where there is none
    within reach. The start looks along an axis of the world."""
    places = hidden_places(scene, start)
    way = way_to(scene, start, places[0]) if places else None
    return way if way and free_poses(scene, start, [*way, *turns(45)]) else None


def far_stroll(scene: AnyPlace, start: Pose, rng: np.random.Generator, count: int) -> list[Action] | None:
    """`count` plain steps to the farthest places that can be walked to, one after the other."""
    path: list[Action] = []
    pose = start
    for _ in range(8):
        places = far_places(scene, pose, [start, pose])
        way = way_to(scene, pose, places[int(rng.integers(min(4, len(places))))]) if places else None
        poses = free_poses(scene, pose, way) if way else None
        if not way or poses is None:
            break
        path += way
        pose = poses[-1]
        if len(path) >= count:
            return path[:count]
    return None
