"""What `roam train` is told reaches the training's settings."""

from pathlib import Path

import pytest
from roam.viewer.commands.train import TrainOrder, recipe_of, stages_of
from roam.viewer.files.outputs import OutputError
from roam.world.training.recipe import USUAL


def test_every_option_of_training_reaches_its_own_field(roam, monkeypatch):
    orders = []
    monkeypatch.setattr("roam.viewer.commands.train.train", orders.append)
    Path("recorded").mkdir()
    code, _, said = roam(
        *("train", "--out", "mine", "--begin", "embedded", "--data", "recorded", "--workers", 2, "--device", "cpu")
    )
    assert code == 0, said
    order = orders[0]
    assert (order.out, order.begin, order.data) == (Path("mine"), "embedded", Path("recorded"))
    assert (order.workers, order.device) == (2, "cpu")


def test_minutes_are_those_of_all_stages_that_run_and_a_stage_s_own_go_before_them():
    order = TrainOrder(Path("mine"), begin="embedded", minutes=60, dream_minutes=7)
    recipe = recipe_of(order)
    plain = recipe_of(TrainOrder(Path("mine"), begin="embedded", minutes=60))
    parts = (plain.dream, plain.painting, plain.finishing)
    assert sum(part.max_seconds for part in parts) == pytest.approx(3600)
    assert recipe.dream.max_seconds == 420 and recipe.painting == plain.painting and plain.dreams < 2400
    whole = recipe_of(TrainOrder(Path("mine"), minutes=60))
    assert whole.dream.max_seconds < plain.dream.max_seconds and whole.tokenizer.max_seconds > 60


def test_a_large_model_begins_with_another_and_sizes_are_known():
    with pytest.raises(OutputError, match="add --begin embedded"):
        TrainOrder(Path("mine"), size="large")
    with pytest.raises(OutputError, match="unknown size 'huge'; known: small, large"):
        TrainOrder(Path("mine"), size="huge")


def test_what_ships_has_not_been_through_runs_when_it_is_named_alone():
    plain = TrainOrder(Path("mine"), begin="embedded")
    assert stages_of(plain)[0] == "keyframes" and "guide" not in stages_of(plain)
    assert stages_of(TrainOrder(Path("mine"), stages=("guide",), begin="embedded")) == ("guide",)


def test_where_other_worlds_are_learnt_from_a_model_its_tokenizer_and_depth_go_on_at_lower_rates(monkeypatch):
    monkeypatch.setattr("roam.world.training.recipe.stages_for", lambda data: USUAL)
    order = TrainOrder(Path("mine"), begin="embedded", data=Path("recorded"))
    assert stages_of(order)[:3] == ("tokenizer", "depth", "keyframes") and "world" not in stages_of(order)
    anew, on = recipe_of(TrainOrder(Path("mine"))), recipe_of(order)
    assert 0 < on.tokenizer.peak < anew.tokenizer.peak and 0 < on.refiner.peak < anew.refiner.peak
    assert on.painting.texture_weight > anew.painting.texture_weight == 0 and on.dida.dream_guidance == 1
