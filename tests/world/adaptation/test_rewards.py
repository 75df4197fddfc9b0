"""Learning from rewards: better dreams become likelier, the distance to the first weights stays bounded, and a run
that was stopped and resumed gives the same weights."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from roam.kernels.sample import head_sample
from roam.viewer.cli import main
from roam.world.adaptation.rewards.dreams import Studio, drawn, steps_chosen
from roam.world.adaptation.rewards.policy import advantages, divergence_from, surrogate
from roam.world.adaptation.rewards.run import Player, RewardOrder, RewardRecipe, run_rewards, trainer_of
from roam.world.adaptation.rewards.spots import spots_of
from roam.world.adaptation.rewards.system import Judge, RewardError, Rewards, weights_of
from roam.world.adaptation.tuning import AdaptError
from roam.world.checkpoint import load_checkpoint, save_checkpoint
from roam.world.config import DidaConfig

from ..conftest import dreaming_checkpoint, tiny_checkpoint

TINY = RewardRecipe(
    group=3, walks=1, frames=2, chosen=2, epochs=2, peak=1e-3, max_steps=4, examples=2, held_out=1, save_every=2
)


def darkness(spot, pixels, depth):
    """Two parts of a reward for pictures (G, H, W, 3): how dark they are, which counts far more, and how even."""
    flat = pixels.reshape(len(pixels), -1) / 255
    return {"dark": 100 * (1 - flat.mean(1)), "even": 1 - flat.std(1)}


DARK = Judge(
    {"dark": 1.0, "even": 0.5},
    lambda examples: darkness,
    {"white": lambda spot, picture, seed: picture * 0 + 255},
    lambda groups: {"dreams": float(sum(len(pixels) for _, pixels in groups))},
)


@pytest.fixture(scope="module")
def checkpoint():
    dida = DidaConfig(dream_steps=4, dream_guidance=1.0, dream_holes=2)  # draws from the weights' own distribution
    return replace(dreaming_checkpoint(), dida=dida)


@pytest.fixture(scope="module")
def studio(checkpoint):
    return Studio(checkpoint)


@pytest.fixture(scope="module")
def spots(checkpoint):
    return spots_of("train", 300_000, 3, checkpoint)


def test_an_advantage_is_what_a_dream_is_worth_beside_its_group():
    worth = advantages(torch.tensor([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]]))
    assert torch.allclose(worth[0], torch.tensor([-1.2247, 0.0, 1.2247]), atol=1e-3)
    assert torch.equal(worth[1], torch.zeros(3))


def test_lowering_the_loss_makes_the_better_of_two_likelier_and_the_worse_less_likely():
    logits = torch.zeros(1, 5, requires_grad=True)
    codes, worth = torch.tensor([1, 3]), advantages(torch.tensor([[2.0, 1.0]]))[0]
    own = logits.log_softmax(-1)[0, codes]
    surrogate(own, own.detach(), worth, clip=0.2).loss.backward()
    (gradient,) = -logits.grad
    assert gradient[1] > 0 > gradient[3] and gradient[[0, 2, 4]].abs().max() < 1e-6


def test_a_ratio_out_of_bounds_pulls_no_further_and_is_counted():
    before = torch.zeros(4)
    now = torch.tensor([math.log(1.5), math.log(0.5), math.log(1.5), math.log(0.5)], requires_grad=True)
    found = surrogate(now, before, torch.tensor([1.0, -1.0, -1.0, 1.0]), clip=0.2)
    found.loss.backward()
    # what has moved far enough in the right direction has no gradient; what moved in the wrong one is pulled back
    assert now.grad[:2].abs().max() == 0 and now.grad[2] > 0 > now.grad[3]
    assert found.clipped == 1.0


def test_the_leash_is_nothing_at_the_start_and_grows_with_the_distance():
    start = torch.randn(7, 11).log_softmax(-1)
    far = [divergence_from(start, (start + k * torch.eye(7, 11)).log_softmax(-1)).item() for k in (0, 1, 2)]
    assert abs(far[0]) < 1e-6 < far[1] < far[2]


def test_a_group_is_what_a_walk_would_dream_and_its_steps_decide_every_hole_once(studio, checkpoint, spots):
    (group, other) = studio.groups(checkpoint.model, spots[:1] * 2, [[1, 2, 3], [2]])
    assert np.array_equal(group.pixels[1], other.pixels[0])
    assert not np.array_equal(group.pixels[0], group.pixels[1])
    decided = torch.stack([group.decided(step) for step in range(group.steps)]).sum(0)
    assert torch.equal(decided, (group.canvases[0] < 0).long())
    covered = spots[0].carried.covered
    assert (group.pixels[:, covered] == spots[0].carried.pixels[covered]).all()


def test_probabilities_are_those_of_the_draw(studio, checkpoint, spots):
    """The trainer reads a canvas with the noise that serving drew with, and gets the codes that serving drew."""
    trainer, seeds = trainer_of(checkpoint), [11, 12]
    (group,) = studio.groups(trainer.exported(), spots[-1:], [seeds])
    steps = list(range(group.steps))
    with torch.no_grad():
        found = drawn(trainer, [group], [steps], temperature=checkpoint.dida.dream_temperature)
    assert torch.allclose(found.logs.exp().sum(-1), torch.ones(len(found.logs)), atol=1e-4)
    member, step, cell = torch.stack([group.decided(k) for k in steps], 1).nonzero().unbind(1)
    assert torch.equal(member, found.member) and len(member) > 20
    codes, _ = head_sample(
        found.logs[:, None] * checkpoint.dida.dream_temperature,
        torch.eye(found.logs.shape[1]),
        torch.tensor(seeds)[member] + 1 + step,
        positions=cell[:, None],
        temperature=checkpoint.dida.dream_temperature,
        has_confidence=False,
    )
    assert torch.equal(codes[:, 0], found.codes)


def test_steps_of_a_walk_are_read_side_by_side_as_one_by_one(studio, checkpoint, spots):
    trainer = trainer_of(checkpoint)
    groups = studio.groups(trainer.exported(), spots, [[1, 2]] * len(spots))
    steps = steps_chosen(groups, 2, np.random.default_rng(0))
    with torch.no_grad():
        both = drawn(trainer, groups, steps, temperature=1.0)
        alone = [drawn(trainer, [g], [s], temperature=1.0) for g, s in zip(groups, steps, strict=True)]
    assert len(groups) > 1 and both.group.unique().tolist() == [0, 1]
    for number, one in enumerate(alone):
        assert torch.allclose(both.own[both.group == number], one.own, atol=1e-4)


def player_of(checkpoint, **changes):
    recipe, trainer = replace(TINY, **changes), trainer_of(checkpoint)
    return Player(recipe, Studio(checkpoint), trainer, Rewards(darkness, DARK.usual))


def test_a_step_makes_the_better_dreams_of_a_group_likelier(checkpoint):
    player = player_of(checkpoint, group=4, chosen=8)
    walk = spots_of("train", 300_000, TINY.frames, checkpoint)
    seeds = np.random.default_rng([TINY.seed, 0]).integers(2**40, size=(len(walk), 4)).tolist()
    (group,) = player.studio.groups(player.start.exported(), walk, seeds)
    worth = advantages(torch.tensor(player.rewards.of(group.spot, group.pixels, group.depth)[0]))
    player.step(0)
    read = [drawn(which, [group], [range(group.steps)], temperature=1.0) for which in (player.start, player.trainer)]
    gain = (worth[read[0].member] * (read[1].own - read[0].own)).mean().item()
    assert worth.abs().max() > 0.5 and gain > 1e-3, gain


def test_the_leash_keeps_the_weights_near_those_that_a_run_began_with(checkpoint):
    distances = []
    for leash in (0.0, 100.0):
        player = player_of(checkpoint, leash=leash)
        distances.append([player.step(step) for step in range(3)][-1]["leash"])
    assert distances[1] < 0.5 * distances[0], distances


@pytest.mark.slow(reason="two runs of dreams that are rewarded")
def test_a_run_that_was_stopped_goes_on_to_the_same_log_and_weights(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "begun", dtype=torch.float32)

    class Stopped(Exception):
        pass

    def stop(part, share, row):
        if part == "learning" and share == 0.75:
            raise Stopped

    recipe = replace(TINY, measure_every=2)
    orders = [RewardOrder(tmp_path / name, DARK.usual, tmp_path / "begun", recipe) for name in ("whole", "parts")]
    run_rewards(orders[0], DARK)
    with pytest.raises(Stopped):
        run_rewards(orders[1], DARK, show=stop)
    run_rewards(orders[1], DARK)
    logs = [rows_of(order.out / "run" / "log.csv") for order in orders]
    assert logs[0] == logs[1] and [row["step"] for row in logs[0]] == ["0", "1", "2", "2", "3", "4", "4"]
    first, second = (load_checkpoint(order.out / "checkpoint").model.state_dict() for order in orders)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (orders[1].out / "strip.png").exists() and "| dark | 1 |" in (orders[1].out / "report.md").read_text()
    with pytest.raises(AdaptError, match="holds a run with another 'leash'"):
        run_rewards(replace(orders[1], recipe=replace(recipe, leash=1.0)), DARK)


def rows_of(path):
    with open(path) as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["shine=1"], "unknown part 'shine' of the reward; known: dark, even"),
        (["dark"], "'dark' where a part and its weight are wanted"),
        (["dark=much"], "'dark=much' where a part"),
        (["dark=-1"], "'dark=-1' where a part"),
        (["dark=0", "even=0"], "every part of the reward weighs 0"),
    ],
)
def test_weights_that_mean_nothing_are_refused_in_a_sentence(asked, message):
    with pytest.raises(RewardError, match=message):
        weights_of(asked, DARK.usual)


def test_weights_change_the_usual_ones():
    assert weights_of(["even=2"], DARK.usual) == {"dark": 1.0, "even": 2.0}


@pytest.mark.parametrize(
    ("dida", "message"),
    [
        (DidaConfig(dream_guidance=3.0), "are guided"),
        (DidaConfig(dream_guidance=1.0, dream_temperature=0.0), "at temperature 0"),
    ],
)
def test_weights_whose_draws_have_no_known_probability_are_refused(checkpoint, dida, message):
    with pytest.raises(RewardError, match=message):
        Studio(replace(checkpoint, dida=dida))


def test_weights_without_a_painter_are_refused():
    with pytest.raises(RewardError, match="no painter"):
        Studio(tiny_checkpoint())


def code_of(words) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["tune", "reward", *map(str, words)])
    return ended.value.code or 0


@pytest.mark.slow(reason="a whole run of dreams that are rewarded, from the command line")
def test_the_command_rewards_tells_and_leaves_a_model_that_opens(checkpoint, tmp_path, capsys):
    out, begun = tmp_path / "run", tmp_path / "begun"
    save_checkpoint(checkpoint, begun, dtype=torch.float32)
    small = [
        "--group",
        "2",
        "--walks",
        "1",
        "--frames",
        "2",
        "--chosen",
        "1",
        "--steps",
        "1",
        "--examples",
        "2",
        "--held-out",
        "2",
        "--parts",
        "depth=0",
    ]
    assert code_of(["--out", out, "--model", begun, *small]) == 0
    told = capsys.readouterr().out
    assert "held-out scenes" in told and "What nobody was rewarded for" in told
    for name in ("strip.png", "report.json", "run/log.csv", "run/curve.png"):
        assert (out / name).exists(), name
    assert load_checkpoint(out / "checkpoint").painter is not None
    assert code_of(["--out", out, "--model", begun, *small, "--kl", "3"]) == 2
    assert "holds a run with another 'leash'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--parts", "shine=1"], "unknown part 'shine' of the reward; known: seam, fit"),
        (["--parts", "seam=a lot"], "'seam=a lot' where a part and its weight are wanted"),
        (["--clip", "2"], "wanted a clip between 0 and 1"),
        (["--model", "nowhere"], "no checkpoint in nowhere"),
    ],
)
def test_what_cannot_be_rewarded_is_told_in_a_sentence(words, message, tmp_path, capsys):
    assert code_of(["--out", tmp_path / "run", *words]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()
