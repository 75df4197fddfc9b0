"""A model from anywhere can take part: by name, as a subclass, behind an environment, or as a folder of videos."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from roam.bench.consistency.ask import ask
from roam.bench.consistency.models.adapters import Answer, ShuffledActions, WorldModel
from roam.bench.consistency.models.gym import EnvironmentModel
from roam.bench.consistency.models.opening import check_model, open_model
from roam.bench.consistency.models.videos import VideoFolder, export, name_of
from roam.bench.consistency.questions.episode import BenchError
from roam.bench.consistency.questions.truth import Truth

from ..doubles import answers_of, episode

ASKED = episode("T1")


class Recorder(WorldModel):
    """Records what it is told, and shows grey."""

    def reset(self, context):
        self.context, self.told = context, []

    def step(self, command):
        self.told.append(command)
        return Answer(np.full(self.context.frames.shape[1:], 99, np.uint8))


def test_a_model_is_shown_frames_actions_and_poses_that_belong_together():
    model = Recorder()
    answers = answers_of(model, Truth(ASKED))
    shown = model.context
    assert shown.frames.shape == (ASKED.num_context, 128, 128, 3)
    assert len(shown.actions) == ASKED.num_context - 1 and shown.poses == ASKED.poses[: ASKED.num_context]
    assert [c.pose for c in model.told] == list(ASKED.poses[ASKED.num_context :])
    assert [c.text for c in model.told] == [a.text for a in ASKED.actions[ASKED.num_context - 1 :]]
    assert len(answers) == len(model.told)


def test_a_frame_of_the_wrong_size_is_refused_with_the_right_one():
    class Small(Recorder):
        def step(self, command):
            return Answer(np.zeros((64, 64, 3), np.uint8))

    with pytest.raises(BenchError, match=r"wanted \(128, 128, 3\)"):
        ask(Small(), Truth(ASKED))


def test_a_class_of_ones_own_is_asked_by_its_name(monkeypatch):
    module = types.ModuleType("somebodys")
    module.Recorder = Recorder
    monkeypatch.setitem(sys.modules, "somebodys", module)
    assert isinstance(open_model("somebodys:Recorder"), Recorder)


@pytest.mark.parametrize(
    "spec",
    [
        "nothing",
        "no.such.module:Model",
        "json:NoSuchClass",
        "json:JSONDecoder",
        "videos:/nowhere",
        "embedded:memory=maybe",
    ],
)
def test_a_model_that_is_not_there_is_refused_in_a_sentence(spec):
    with pytest.raises(BenchError):
        open_model(spec)
    if spec != "json:JSONDecoder":  # it is made to see what it is
        with pytest.raises(BenchError):
            check_model(spec)


def test_shuffled_actions_are_never_the_commanded_ones_and_the_same_each_time():
    told = []
    for _ in range(2):
        inner = Recorder()
        answers_of(ShuffledActions(inner), Truth(ASKED))
        told.append([command.text for command in inner.told])
    wanted = [command.text for command in ASKED.commands]
    assert told[0] == told[1]
    assert all(a != b for a, b in zip(told[0], wanted, strict=True))


class Room:
    """An environment with Gymnasium's interface. The grey of its picture says how far it was told to turn."""

    def reset(self, *, seed=None, options=None):
        self.turned, self.size = sum(action[2] for action in options["actions"]), options["frames"].shape[1:]
        return {"pixels": np.zeros(self.size, np.uint8)}, {}

    def step(self, action):
        self.turned += action[2]
        return {"pixels": np.full(self.size, 100 + round(float(self.turned)), np.uint8)}, 0.0, False, False, {}

    def close(self):
        pass


def test_an_environment_takes_part_and_is_told_metres_and_degrees():
    class RoomModel(EnvironmentModel):
        def make(self):
            return Room()

    answers = answers_of(RoomModel(), Truth(ASKED))
    left = sum(action.motion.yaw_deg for action in ASKED.actions)
    assert answers[-1].pixels[0, 0, 0] == 100 + round(left)


def test_videos_made_elsewhere_are_scored_as_they_are(tmp_path):
    export([ASKED], tmp_path)
    with np.load(tmp_path / "context" / f"{name_of(ASKED)}.npz") as data:
        assert len(data["pixels"]) == ASKED.num_context
    made = np.stack([np.full((128, 128, 3), k, np.uint8) for k in range(len(ASKED.commands))])
    np.savez(tmp_path / "answers" / f"{name_of(ASKED)}.npz", pixels=made)
    answers = answers_of(VideoFolder(tmp_path), Truth(ASKED))
    assert [a.pixels[0, 0, 0] for a in answers] == list(range(len(made)))


def test_a_video_of_the_wrong_length_is_refused(tmp_path):
    export([ASKED], tmp_path)
    np.savez(tmp_path / "answers" / f"{name_of(ASKED)}.npz", pixels=np.zeros((2, 128, 128, 3), np.uint8))
    with pytest.raises(BenchError, match="2 frames"):
        answers_of(VideoFolder(tmp_path), Truth(ASKED))


def snippets() -> list[str]:
    page = Path(__file__).parents[4] / "docs" / "benchmark.md"
    return [part.split("```")[0] for part in page.read_text().split("```python\n")[1:]]


def test_the_pages_environment_takes_part():
    space: dict = {}
    exec(next(text for text in snippets() if "EnvironmentModel" in text), space)
    answers = answers_of(space["StillModel"](), Truth(ASKED))
    assert np.array_equal(answers[-1].pixels, Truth(ASKED).frame(ASKED.num_context - 1).pixels)


def test_the_pages_way_to_answer_questions_elsewhere_is_scored(tmp_path):
    export([ASKED], tmp_path)
    space: dict = {}
    exec(next(text for text in snippets() if "questions.json" in text), space)
    space["answer"](tmp_path)
    answers = answers_of(VideoFolder(tmp_path), Truth(ASKED))
    assert np.array_equal(answers[0].pixels, Truth(ASKED).frame(ASKED.num_context - 1).pixels)
