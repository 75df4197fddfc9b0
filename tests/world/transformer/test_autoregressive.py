"""Several tokens a pass equal one token a pass: in a toy model with known probabilities, and with the shipped
weights."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from roam.bench.guesses import contexts, decoded
from roam.kernels.sample import head_sample
from roam.world.engine import Engine
from roam.world.transformer.autoregressive import decode_autoregressive, guessed, num_right

CODES, PLACES = 3, 6
CHANCES = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.25, 0.5, 0.25]])  # of a code after each


class Chain:
    """A model whose tokens depend on the token before alone. Counts passes."""

    def __init__(self, seeds: torch.Tensor):
        self.seeds, self.passes = seeds, 0

    def __call__(self, before: torch.Tensor, place: int) -> torch.Tensor:
        self.passes += 1
        logits = CHANCES.log()[before]
        places = place + torch.arange(before.shape[1]).expand(before.shape)
        return head_sample(logits, torch.eye(CODES), self.seeds, positions=places)[0]


def decode(model, window: int) -> torch.Tensor:
    return decode_autoregressive(
        model, PLACES, batch=len(model.seeds), width=3, window=window, device=torch.device("cpu")
    )


@pytest.mark.parametrize("window", [2, 4, PLACES, 50])
def test_a_window_changes_no_token_and_saves_passes(window):
    plain = Chain(torch.arange(20))
    one = [Chain(torch.tensor([seed])) for seed in range(20)]
    wanted = decode(plain, 1)
    assert plain.passes == PLACES and wanted.shape == (20, PLACES)
    assert torch.equal(torch.cat([decode(model, window) for model in one]), wanted)
    assert np.mean([model.passes for model in one]) < 0.8 * PLACES
    assert torch.equal(decode(Chain(torch.arange(20)), window), wanted)  # and in a batch


def test_what_a_window_draws_has_the_distribution_of_the_model():
    tokens = torch.cat([decode(Chain(torch.tensor([seed])), 4) for seed in range(500)])  # alone, so guesses are right
    before = torch.full((CODES,), 0.0)
    before[0] = 1.0  # the marker comes before the first place
    statistic, freedom = 0.0, 0
    for place in range(PLACES):  # of each pair of neighbours, given all that came before: a chain forgets
        joint = before[:, None] * CHANCES
        if place:
            found = torch.bincount(tokens[:, place - 1] * CODES + tokens[:, place], minlength=CODES**2)
            expected = joint.flatten() * len(tokens)
            statistic += float(((found - expected) ** 2 / expected).sum())
            freedom += CODES * (CODES - 1)
        before = joint.sum(0)
    # the statistics of the places are not independent, so the bound is wide: twice the value of one
    # in a thousand
    assert freedom == 30 and statistic < 2 * 59.70  # of chi-square with 30 degrees of freedom


def test_a_guess_is_what_stands_above():
    known = torch.tensor([[1, 2, 3, 4]])
    assert guessed(known, known[:, :0], 4, width=3).tolist() == [[2, 3, 4, 2]]
    assert guessed(known, torch.tensor([[9, 8]]), 4, width=3).tolist() == [[9, 8, 4, 9]]
    assert guessed(known, torch.tensor([[9, 8]]), 1, width=3).tolist() == [[9]]
    assert guessed(known[:, :1], known[:, :0], 2, width=3).tolist() == [[1, 1]]
    assert guessed(known[:, :0], known[:, :0], 2, width=3).tolist() == [[0, 0]]


def test_what_follows_a_wrong_guess_counts_for_nothing():
    guesses, drawn = torch.tensor([[5, 6, 7]]), torch.tensor([[5, 6, 0, 7]])
    assert num_right(guesses, drawn) == 3
    assert num_right(guesses.repeat(2, 1), torch.tensor([[5, 6, 7, 8], [5, 0, 7, 8]])) == 2
    assert num_right(guesses[:, :0], drawn[:, :1]) == 1


def test_the_shipped_weights_give_the_same_frames_in_half_the_passes():
    engine = Engine.from_checkpoint()
    _, context = islice(contexts(engine, 1), 2)  # with two frames behind it
    wanted, passes, _ = decoded(engine, context, 1, 1.0)
    tokens, fewer, _ = decoded(engine, context, 16, 1.0)
    assert torch.equal(tokens, wanted) and passes == engine.layout.num_cells and fewer < passes / 2
