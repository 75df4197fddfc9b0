"""Strolls: they lead on, go back by the same steps, and tell a walk that keeps its places from one that does not."""

from dataclasses import replace

import pytest
from roam.bench.imagination import stroll
from roam.bench.imagination.stroll import (
    MODEL,
    TRUTH,
    Stroll,
    frozen_stroll,
    report_of,
    strolled,
    true_stroll,
    way_back,
)
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene


@pytest.fixture(scope="module")
def truths():
    return [true_stroll(number, split="dev") for number in range(4)]


def scene(number):
    return SceneSession(make_scene("dev", number))


class Forgetful:
    """A walk that shows other pixels from its 70th step on."""

    def __init__(self, walk):
        self._walk, self._steps = walk, 0

    @property
    def frame(self):
        return self._walk.frame

    def step(self, action):
        self._steps += 1
        frame = self._walk.step(action)
        return frame if self._steps < 70 else replace(frame, pixels=255 - frame.pixels)


@pytest.mark.parametrize("number", [0, 1])
def test_a_stroll_leads_away_and_back_to_where_it_began(number):
    walk = scene(number)
    frames, actions = strolled(walk)
    assert len(frames) == stroll.STEPS + 1 and len(actions) == stroll.STEPS
    assert max(frame.pose.distance_to(frames[0].pose) for frame in frames) > 3
    assert way_back(walk, frames, actions) > 30
    assert walk.frame.pose.distance_to(frames[0].pose) < 0.05


def test_a_walk_that_does_not_keep_its_places_is_found_out_on_the_way_back():
    walk = Forgetful(scene(1))
    frames, actions = strolled(walk)
    assert way_back(walk, frames, actions) < 30


def test_the_truth_is_at_the_ideal_and_who_stands_still_or_blurs_is_not(truths):
    frozen = [frozen_stroll(number, split="dev") for number in range(4)]
    report = report_of([{TRUTH: one, MODEL: other} for one, other in zip(truths, frozen, strict=True)])
    ideal = {"auc": 0.5, "kid": 0.0, "back": None}
    for name, value in report[TRUTH].items():
        if name != "metres":
            assert value == (None if name == "back" else pytest.approx(ideal.get(name, 1.0), abs=1e-6)), name
    assert report[TRUTH]["metres"] > 5 and report[MODEL]["metres"] == 0
    assert any(abs(report[MODEL][name] - 1) > 0.3 for name in ("things", "structure", "pieces", "sharpness"))


def test_a_report_has_the_mean_of_those_that_went_back(truths):
    rows = [
        Stroll(one.traits, back, 1.0, one.tiles) for one, back in zip(truths, (40.0, None, 50.0, None), strict=True)
    ]
    report = report_of([{TRUTH: one, MODEL: row} for one, row in zip(truths, rows, strict=True)])
    assert report[MODEL]["back"] == 45.0
    assert stroll.sheet_of([{MODEL: row} for row in rows]).shape == (4 * 128, len(stroll.SHOWN) * 128, 3)
