"""T11 asks for what was never shown: the truth comes first, and models without imagination score low."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from roam.bench.consistency.metrics.definitions import METRICS, balance
from roam.bench.consistency.metrics.unseen import LEAST, VARIANTS, imagined, never_seen, part
from roam.bench.consistency.models.adapters import Answer
from roam.bench.consistency.models.baselines import OtherScene, TruthRow
from roam.bench.consistency.questions.episode import Command
from roam.bench.consistency.questions.tasks import build
from roam.bench.consistency.questions.truth import Truth
from roam.bench.consistency.questions.ways import hidden_places, way_to
from roam.bench.consistency.questions.worlds import stranger_of
from roam.bench.consistency.report.findings import findings
from roam.bench.consistency.report.summary import balanced, tables
from roam.bench.consistency.results import EpisodeResult
from roam.bench.consistency.run import TWICE, blank, episodes_of, two_of
from roam.scenes.splits import make_scene

from .doubles import TINY, Damaged, answers_of, blur, noise, score

SCENES = 2


class Imagined(OtherScene):
    """True views of other scenes, another one for each seed: the best score of imagination that ignores what was
    seen."""

    def reset(self, context):
        number = stranger_of("", "train", self.truth.episode.number, 3 * context.seed)
        self._scene = make_scene("train", number, self.truth.scene.family)


class Pasted(TruthRow):
    """What was seen, unchanged; in the rest, what `fill(true pixels, mask, seed)` returns."""

    def __init__(self, fill):
        self._fill = fill

    def reset(self, context):
        self._seed = context.seed

    def step(self, command: Command) -> Answer:
        view, mask = self.truth.at(command.pose), never_seen(self.truth, command.pose)
        return Answer(np.where(mask[..., None], self._fill(view.pixels, mask, self._seed), view.pixels), view.depth)


def smeared(pixels, mask, seed):
    return cv2.inpaint(pixels, mask.astype(np.uint8), 3, cv2.INPAINT_TELEA) if not mask.all() else pixels * 0 + 128


ROWS = {
    "truth": "truth",
    "imagined": Imagined(),
    "other-scene": "other-scene",
    "copy-last": "copy-last",
    "mean-colour": "mean-colour",
    "blur": Damaged(blur(2.0)),
    "noise": Damaged(noise(30)),
    "smear": Pasted(smeared),
}


asks_all_rows = pytest.mark.slow(reason="eight rows are asked and scored")


@pytest.fixture(scope="module")
def lines() -> list[EpisodeResult]:
    """All models on half turns in four scenes, with two seeds each; a model that ignores the seed is scored once."""
    found = []
    for number in range(SCENES):
        asked, scores = build("T11", number, form=TINY, split="dev")[0], {}
        for seed in (0, 1):
            truth = Truth(replace(asked, seed=seed))
            for name, model in ROWS.items():
                answers = answers_of(model, truth)
                shown = (name, *(part.tobytes() for a in answers for part in (a.pixels, a.depth) if part is not None))
                if shown not in scores:
                    scores[shown] = score(truth, answers)
                values, extra = scores[shown]
                found.append(replace(blank(name, truth.episode), values=values, extra=extra, frames=name))
    return found


def of(lines, name) -> dict[str, float]:
    return imagined([line for line in lines if line.model == name])


@pytest.mark.parametrize("mode", ["C", pytest.param("F", marks=pytest.mark.slow(reason="the same ways once more"))])
def test_what_is_asked_for_was_never_shown(mode):
    for number in (0, 1):
        asked = build("T11", number, mode=mode, form=TINY)
        assert {e.variant for e in asked} <= set(VARIANTS) and len(asked) >= 3
        for e in asked:
            truth = Truth(e)
            assert any(never_seen(truth, e.poses[index]).mean() > 0.8 for index in reversed(e.scored)), e.key


def test_a_room_is_left_by_a_door_and_the_place_is_out_of_sight():
    scene = make_scene("dev", 0, "rooms")
    asked = next(e for e in build("T11", 0, form=TINY, split="dev") if e.variant == "out of sight")
    start = asked.poses[0]
    goal = hidden_places(scene, start)[0]
    way = way_to(scene, start, goal)
    assert way and sum(action.motion.forward > 0 for action in way) >= 5
    here, there = np.array(start.position[:2]), np.array(asked.poses[-4].position[:2])
    between = [here + (there - here) * k / 40 for k in range(1, 40)]
    assert not all(scene.is_free(*point, 0.02) for point in between)


def test_a_stroll_is_sixty_steps_and_ends_far_from_where_it_began():
    asked = build("T11", 1, form=TINY)[-1]
    assert asked.variant == "far stroll" and len(asked.actions) - asked.actions.index(asked.actions[4]) >= 60
    assert max(pose.distance_to(asked.poses[0]) for pose in asked.poses) > 2.5


def test_every_place_is_dreamt_twice_at_least():
    assert "T11" in TWICE and two_of([3]) == (3, 4) and two_of([1, 2, 5]) == [1, 2, 5]
    seeds = {e.seed for e in episodes_of(("T11",), ("C",), TINY, (0,))}
    assert seeds == {0, 1} and {e.seed for e in episodes_of(("T1",), ("C",), TINY, (0,))} == {0}


@asks_all_rows
def test_the_truth_is_first_and_at_its_ideal(lines):
    table = tables(lines, draws=20)[0]
    assert table.models[0] == "truth"
    true = of(lines, "truth")
    assert true["imagination"] == 1 and true["auc"] == 0.5 and true["kid"] == pytest.approx(0, abs=1e-6)
    for name in ("unseen_sharpness", "unseen_things", "seam", "fit"):
        assert true[name] == pytest.approx(1)
        for row in ROWS:
            assert METRICS[name].badness(of(lines, row)[name]) >= METRICS[name].badness(true[name]) - 1e-9, (row, name)


@pytest.mark.parametrize(
    ("row", "loses"),
    [
        ("blur", lambda m: m["unseen_sharpness"] < 0.75),
        ("noise", lambda m: m["unseen_sharpness"] > 1.3),
        ("mean-colour", lambda m: m["unseen_sharpness"] < 0.1 and m["diversity"] == 0 and m["kid"] > 1),
        ("copy-last", lambda m: m["diversity"] == 0 and m["seam"] > 1.5),
        ("other-scene", lambda m: m["diversity"] == 0 and m["seam"] > 1.5 and m["fit"] > 1.5),
        ("imagined", lambda m: m["diversity"] > 0.5 and m["seam"] > 1.5 and m["fit"] > 1.5),
        ("smear", lambda m: m["unseen_sharpness"] < 0.75 and m["diversity"] == 0),
    ],
)
@asks_all_rows
def test_each_row_loses_on_the_measure_that_is_there_for_it(lines, row, loses):
    assert loses(of(lines, row)), of(lines, row)


@asks_all_rows
def test_without_imagination_no_memory_is_worth_much(lines):
    perfect = [
        EpisodeResult("m", "k", task, "v", "C", 0, 0, None, "e", (1,), values=line_values())
        for task in ("T1", "T7", "T8")
    ]
    for row in ("copy-last", "mean-colour", "smear", "blur"):
        mine = [replace(line, model="m") for line in lines if line.model == row]
        assert balanced([*perfect, *mine])["score"] < 0.5, row
    ideal = [replace(line, model="truth") for line in perfect] + [line for line in lines if line.model == "truth"]
    assert balanced(ideal)["score"] == pytest.approx(1)


def line_values():
    from roam.bench.consistency.metrics.definitions import measured

    return {
        name: measured(name, [value])
        for name, value in (("haarpsi", 1.0), ("action_strict", 1.0), ("presence", 1.0), ("flicker", 0.0))
    }


def test_the_part_is_harmonic_and_what_is_missing_is_not_asked():
    good = {"unseen_sharpness": 1.0, "unseen_things": 1.0, "auc": 0.5, "seam": 0.4}
    assert part(good) == 1 and part({}) == pytest.approx(LEAST)
    assert part(good | {"diversity": 0.0}) < 0.15 < part(good | {"diversity": 0.5}) < 1
    assert part(good | {"unseen_things": 2.0}) == part(good | {"unseen_things": 0.5})


def test_weights_that_have_learnt_nothing_score_low_however_much_they_show():
    untrained = {
        "unseen_sharpness": 1.07,
        "unseen_things": 1.04,
        "unseen_structure": 1.55,
        "auc": 0.98,
        "diversity": 0.76,
        "seam": 1.19,
        "fit": 1.3,
    }
    assert balance([1.0, part(untrained)]) < 0.2
    as_measured = {
        "unseen_sharpness": 1.11,
        "unseen_things": 1.63,
        "unseen_structure": 1.53,
        "auc": 0.92,
        "diversity": 0.67,
        "seam": 1.51,
        "fit": 1.48,
    }
    assert balance([1.0, part(as_measured)]) < 0.45
    assert part(untrained | {"auc": 0.7}) > 0.65


def test_half_turns_are_asked_in_more_scenes_than_all_else():
    form = replace(TINY, unseen_scenes=5)
    asked = episodes_of(("T11",), ("C",), form, (0,))
    assert {e.number for e in asked} == set(range(5))
    assert {e.variant for e in asked if e.number > 0} == {VARIANTS[0]}
    assert {e.number for e in episodes_of(("T1",), ("C",), form, (0,))} == {0}


@asks_all_rows
def test_a_model_that_raises_has_no_imagination_where_it_did(lines):
    mine = [line for line in lines if line.model == "truth"]
    half = [replace(line, error="x") if line.scene < SCENES // 2 else line for line in mine]
    assert imagined(half)["imagination"] <= 0.5 and imagined([replace(x, error="x") for x in mine])["imagination"] == 0
    assert imagined([]) == {}


@asks_all_rows
def test_a_sentence_says_what_a_walker_sees(lines):
    said = {name: findings(name, lines, tables(lines, draws=20))[0] for name in ("blur", "imagined")}
    assert "a soft place" in said["blur"] and "the same with every seed" in said["blur"]
    assert "times as different" in said["imagined"]


@asks_all_rows
def test_a_line_keeps_its_traits_through_json(lines):
    again = [EpisodeResult.from_json(line.as_json()) for line in lines if line.model == "imagined"]
    assert imagined(again) == of(lines, "imagined")
