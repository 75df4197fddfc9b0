"""The questions are the same for every model, lead through free space in held-out scenes, and are what they are
called."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from roam.bench.consistency.questions.episode import FREE_FRAMES, BenchError
from roam.bench.consistency.questions.tasks import SINGLES, TASKS, build, wobble
from roam.bench.consistency.questions.truth import Truth
from roam.scenes.splits import make_scene
from roam.world.action import parse_action
from roam.world.pose import Motion, Pose

from ..doubles import TINY, episode


@pytest.mark.parametrize("task", TASKS)
def test_a_task_asks_the_same_each_time_and_differently_in_another_scene(task):
    first, again, other = (build(task, number, form=TINY) for number in (0, 0, 2))
    assert [e.digest for e in first] == [e.digest for e in again]
    assert {e.digest for e in first}.isdisjoint(e.digest for e in other)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("mode", ["C", pytest.param("F", marks=pytest.mark.slow(reason="the same ways once more"))])
def test_every_way_is_free_and_every_word_means_its_motion(task, mode):
    for asked in build(task, 1, mode=mode, form=TINY):
        truth = Truth(asked)
        for before, after, action in zip(asked.poses, asked.poses[1:], asked.actions, strict=False):
            assert truth.scene.walked(before, action.motion).distance_to(before.moved(action.motion)) < 1e-3
            assert after.distance_to(before.moved(action.motion)) < 1e-3
            assert after.angle_to(before.moved(action.motion)) < 1e-3
        assert {(a.text, a.motion) for a in asked.actions} == {
            (a.text, parse_action(a.text).motion) for a in asked.actions
        }
        assert asked.num_context <= FREE_FRAMES or mode == "C"


@pytest.mark.parametrize(("task", "variant"), [("T1", ""), ("T2", "left"), ("T3", "turning"), ("T4", "")])
def test_returning_tasks_end_where_they_began(task, variant):
    asked = episode(task, variant=variant)
    assert asked.poses[-1].distance_to(asked.poses[0]) < 1e-3
    assert asked.poses[-1].angle_to(asked.poses[0]) < 1e-2


def test_an_offset_revisit_passes_no_pose_that_was_shown():
    for asked in build("T5", 0, form=TINY):
        shown, later = asked.poses[: asked.num_context], asked.poses[asked.num_context :]
        assert all(a.distance_to(b) > 0.05 or a.angle_to(b) > 1.5 for a in shown for b in later)


@pytest.mark.parametrize("gap", [16, 64])
def test_a_gap_lies_between_the_last_of_four_views_and_the_first_of_the_same_four(gap):
    asked = next(e for e in build("T6", 0, form=replace(TINY, gaps=(gap,))))
    assert asked.gap == gap and len(asked.scored) == 4
    for before, after in zip(range(4), asked.scored, strict=True):
        assert asked.poses[before].distance_to(asked.poses[after]) < 1e-3
        assert asked.poses[before].angle_to(asked.poses[after]) < 1e-2
    assert asked.scored[0] - 3 == gap
    away = asked.poses[10 : asked.num_context]  # looking about, 80 degrees wide
    assert all(asked.poses[1].angle_to(pose) > 80 and asked.poses[2].angle_to(pose) > 80 for pose in away)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 16, 48, 240, 1008])
def test_looking_about_takes_the_frames_it_is_given_and_ends_as_it_began(count):
    path, pose = wobble(count), Pose.at(0, 0, 1.5)
    assert len(path) == count
    for action in path:
        pose = pose.moved(action.motion)
        assert abs(pose.yaw_deg) <= 90.01
    assert pose.angle_to(Pose.at(0, 0, 1.5)) < 1e-3


def test_the_hidden_thing_is_seen_then_hidden_then_seen():
    for number in (0, 2):
        for asked in build("T7", number, form=TINY):
            truth = Truth(asked)
            share = [(truth.with_and_without(pose)[0].ids == asked.target).mean() for pose in asked.poses]
            assert share[0] > 0.02 and share[-1] > 0.02 and min(share) < 0.005


def test_an_absent_thing_is_nowhere_to_be_seen():
    truth = Truth(episode("T7", variant="absent"))
    assert all((truth.at(pose).ids != truth.episode.target).all() for pose in truth.episode.poses)


def test_the_action_grid_has_every_single_action_and_each_in_other_words():
    asked = build("T8", 0, form=TINY)
    motions = [e.actions[-1].motion for e in asked]
    assert set(SINGLES) <= set(motions) and Motion() in motions
    words = [e.actions[-1] for e in asked if e.variant.startswith("words")]
    assert {a.motion for a in words} == set(SINGLES)
    assert len({a.text for a in words} & {e.actions[-1].text for e in asked if not e.variant.startswith("words")}) == 0


def test_the_test_split_is_asked_unless_told_and_dev_scenes_are_others_under_other_names():
    truth = Truth(episode("T1"))
    dev = build("T1", 0, form=TINY, split="dev")[0]
    assert truth.scene.seed == make_scene("test", 0).seed
    assert Truth(dev).scene.seed == make_scene("dev", 0).seed and dev.key != truth.episode.key
    assert all(np.any(view.pixels != truth.frame(0).pixels) for view in truth.strangers())


def test_an_episode_is_data():
    assert json.loads(json.dumps(asdict(episode("T1"))))["task"] == "T1"


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(BenchError, match="known: T1, T2"):
        build("T99", 0)
