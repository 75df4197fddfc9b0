"""An official model that learns from rewards: functions of the user's own score its answers, token by token."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from roam.viewer.cli import main
from roam.world.adaptation.rewards.answers import (
    Answered,
    AnswerOrder,
    AnswerPlayer,
    drawn_tokens,
    run_answers,
    scored,
    scorers_of,
    without_adapters,
)
from roam.world.adaptation.rewards.system import RewardError
from roam.world.adaptation.run import AdaptError, read_requests
from roam.world.adaptation.train import AdaptRecipe
from roam.world.emu.checkpoint import load_official

NAME = f"{__name__}:lightness"
QUICK = AdaptRecipe(1, copies=0, peak=3e-3, rank=4, max_steps=4, save_every=2)
SHORT = {"max_tokens": 60, "guidance": 1.0}


def lightness(answer) -> float:
    """A scorer: how light the pictures are; -1 without a picture."""
    return float(np.mean([picture.mean() / 255 for picture in answer.pictures])) if answer.pictures else -1.0


@pytest.fixture
def order(official, tmp_path):
    path = tmp_path / "asked.jsonl"
    path.write_text("\n".join(json.dumps({"task": "t2i", "question": q, "size": "2*3"}) for q in ("a hall", "a door")))
    return AnswerOrder(
        tmp_path / "run", *official, requests=path, changes=SHORT, recipe=QUICK, context=1024, scorers={NAME: 1.0}
    )


@pytest.fixture
def player(order):
    checkpoint = load_official(order.model, order.vision, context=1024)
    return AnswerPlayer(order, checkpoint, [*read_requests(order.requests, order.changes)])


def test_what_is_learnt_of_an_answer_is_what_was_drawn_of_it(player):
    answer = player.answered(replace(player.requests[0], seed=3))
    sample = drawn_tokens(answer, player.form, longest=512)
    learnt, first = answer.ids[sample.learnt], player.form.vocabulary.first_code
    assert not sample.learnt[: answer.prompt].any() and (learnt >= first).sum() == 6
    assert player.form.row_end not in learnt and player.form.image_end not in learnt
    assert len(answer.pictures) == 1 and answer.pictures[0].shape == (32, 48, 3)
    assert len(player.log_probabilities(answer)) == len(learnt)


def test_a_step_makes_the_better_answers_likelier_and_adapters_can_be_set_aside(player):
    rng = np.random.default_rng([0, 0])
    answers = [player.answered(replace(player.requests[0], seed=int(rng.integers(2**40)))) for _ in range(4)]
    with torch.no_grad():
        before = [player.log_probabilities(one) for one in answers]
    row = player.step(0)
    with torch.no_grad():
        after = [player.log_probabilities(one) for one in answers]
        start = [player.log_probabilities(one, at_start=True) for one in answers]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(start, before, strict=True)) and row["leash"] > 0
    worth = np.array([lightness(one) for one in answers])
    gain = [(a - b).mean().item() for a, b in zip(after, before, strict=True)]
    assert worth.std() > 0 and np.dot(worth - worth.mean(), gain) > 0
    with without_adapters(player.learner):
        assert not any(weight.any() for name, weight in player.learner.named_parameters() if name.endswith(".up"))
    assert any(weight.any() for name, weight in player.learner.named_parameters() if name.endswith(".up"))


@pytest.mark.slow(reason="two runs of answers that are rewarded")
def test_a_run_goes_on_to_the_same_weights_and_the_result_opens(order):
    whole = run_answers(order)
    half = replace(order, out=order.out.with_name("parts"), recipe=replace(QUICK, max_steps=2))
    run_answers(half)
    parts = run_answers(replace(half, recipe=QUICK))
    first, second = (load_official(folder, order.vision, context=1024).model.state_dict() for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
    logs = [(o.out / "run" / "log.csv").read_text().splitlines() for o in (order, half)]
    rows = [[{**row, "seconds": ""} for row in csv.DictReader(log)] for log in logs]
    assert rows[0] == rows[1] and len(rows[0]) == 4 and NAME in rows[0][0]


def nothing(answer):
    return None


def infinite(answer) -> float:
    return float("inf")


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (nothing, "scorer 'mine:it' failed on an answer to 'a hall': TypeError"),
        (infinite, "scorer 'mine:it' gives inf for an answer to 'a hall'; wanted a number"),
    ],
)
def test_a_scorer_that_fails_is_named_with_what_it_was_given(player, scorer, message):
    with pytest.raises(RewardError, match=message):
        scored("mine:it", scorer, Answered(player.requests[0], (), np.zeros(3, np.int64), 2))


def test_an_answer_of_which_nothing_was_drawn_is_not_learnt_from(player):
    """The mean over no tokens would make all weights NaN."""
    answer = Answered(player.requests[0], (), np.zeros(9, np.int64), 9)
    with pytest.raises(RewardError, match="nothing was drawn within --longest 8192 tokens"):
        player.log_probabilities(answer)


def test_noise_is_made_where_the_weights_learn_and_not_where_pictures_are_read(order):
    """On a GPU with little room pictures are read on the CPU; meta stands for that GPU."""
    checkpoint = load_official(order.model, order.vision, context=1024)
    player = AnswerPlayer(order, replace(checkpoint, model=checkpoint.model.to("meta")), [])
    assert player.path.codebook.device.type == "meta"


def test_integers_learn_nothing_and_are_refused_before_loading(order):
    with pytest.raises(AdaptError, match="int4 weights cannot be tuned"):
        run_answers(replace(order, precision="int4"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([], "name one, --scorer module:function"),
        (["nowhere:here"], "scorer 'nowhere:here' cannot be used"),
        (["json:loud"], "scorer 'json:loud' cannot be used"),
        (["json"], "scorer 'json' cannot be used"),
        (["json:__name__"], "is no function"),
        (["json:loads=heavy"], "'json:loads=heavy' where a scorer and its weight"),
        (["json:loads=0"], "'json:loads=0' where a scorer and its weight"),
    ],
)
def test_scorers_that_cannot_score_are_refused_in_a_sentence(asked, message):
    with pytest.raises(RewardError, match=message):
        scorers_of(asked)
    assert scorers_of(["json:loads=2"]) == {"json:loads": 2.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scorer", "json:loads"], "requests and scorers are for official models"),
        (["--vision-tokenizer", "v", "--parts", "seam=1"], "no parts of ours"),
        (["--vision-tokenizer", "v", "--scorer", "json:loads"], "takes scorers where it is an official model"),
    ],
)
def test_options_that_do_not_go_together_are_told(words, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["tune", "reward", "--out", str(tmp_path / "run"), *words])
    assert ended.value.code == 2 and message in capsys.readouterr().err
