"""The metric path and the jumps along it, on the reference; distributions are compared with the exact ones."""

import math

import pytest
import torch
from roam.kernels.renoise import beta_of, kinetic_jump, renoise, squared_norms

V, E = 24, 6


@pytest.fixture
def codebook():
    torch.manual_seed(0)
    return torch.randn(V, E)


def distances(codebook, token):
    return (codebook - codebook[token]).square().sum(-1)


@pytest.mark.parametrize("beta", [0.0, 0.05, 0.4])
def test_draws_follow_the_metric_path(codebook, follows, beta):
    tokens = torch.full((1, 20000), 5)
    draws = renoise(tokens, torch.full((1, 20000), beta), codebook, 3)
    assert follows(draws, (-beta * distances(codebook, 5)).softmax(0))


def test_an_infinite_beta_keeps_the_token_and_a_huge_one_does_too(codebook):
    tokens = torch.randint(0, V, (2, 40))
    for beta in (math.inf, 1e30):
        assert torch.equal(renoise(tokens, torch.full((2, 40), beta), codebook, 3), tokens)


def test_every_token_has_its_own_noise_level(codebook):
    tokens = torch.randint(0, V, (1, 400))
    beta = torch.where(torch.arange(400) % 2 == 0, math.inf, 0.0)[None]
    out = renoise(tokens, beta, codebook, 3)
    assert torch.equal(out[:, ::2], tokens[:, ::2])
    assert not torch.equal(out[:, 1::2], tokens[:, 1::2])


def test_a_batch_draws_what_its_sequences_draw_alone(codebook):
    tokens, beta, seeds = torch.randint(0, V, (3, 9)), torch.rand(3, 9), torch.tensor([1, 2, -3])
    positions = torch.randint(0, 100, (3, 9))
    together = renoise(tokens, beta, codebook, seeds, positions=positions)
    for b in range(3):
        row = slice(b, b + 1)
        alone = renoise(tokens[row], beta[row], codebook, int(seeds[b]), positions=positions[row])
        assert torch.equal(together[row], alone)


def test_norms_that_the_caller_keeps_change_nothing(codebook):
    tokens, beta = torch.randint(0, V, (1, 50)), torch.rand(1, 50)
    kept = renoise(tokens, beta, codebook, 3, squares=squared_norms(codebook))
    assert torch.equal(kept, renoise(tokens, beta, codebook, 3))


def test_the_callers_tokens_stay_as_they_were(codebook):
    tokens = torch.zeros(1, 50, dtype=torch.int64)
    renoise(tokens, torch.zeros(1, 50), codebook, 3)
    assert not tokens.any()


@pytest.mark.parametrize("B, N", [(0, 5), (2, 0)])
def test_no_tokens_stay_none(codebook, B, N):
    assert renoise(torch.zeros(B, N, dtype=torch.int64), torch.zeros(B, N), codebook, 3).shape == (B, N)


def test_beta_runs_from_nothing_to_infinity():
    assert beta_of(0.0, alpha=0.9, c=3.0) == 0 and beta_of(1.0, alpha=0.9, c=3.0) == math.inf
    assert beta_of(0.5, alpha=0.9, c=3.0) == 3.0
    levels = torch.tensor([0.0, 0.25, 0.5, 1.0])
    expected = [beta_of(t, alpha=0.9, c=3.0) for t in levels.tolist()]
    torch.testing.assert_close(beta_of(levels, alpha=0.9, c=3.0), torch.tensor(expected))


def test_small_jumps_towards_the_truth_stay_on_the_metric_path(codebook, follows):
    path, steps = dict(alpha=0.9, c=0.15), 100
    x1 = torch.full((1, 4000), 5)
    canvas = renoise(x1, torch.zeros(1, 4000), codebook, 99)
    for step in range(steps // 2):
        canvas = kinetic_jump(canvas, x1, step / steps, 1 / steps, codebook, step, **path)
    exact = (-beta_of(0.5, **path) * distances(codebook, 5)).softmax(0)
    assert (torch.bincount(canvas[0], minlength=V) / 4000 - exact).abs().sum() < 0.08  # 100 Euler steps, 4000 draws


def test_a_jump_only_goes_to_codes_nearer_the_truth(codebook):
    x1, canvas = torch.full((1, 500), 5), torch.randint(0, V, (1, 500))
    away = distances(codebook, 5)
    after = kinetic_jump(canvas, x1, 0.5, 0.3, codebook, 3, alpha=0.9, c=3.0)
    moved = after != canvas
    assert moved.any() and (away[after] < away[canvas])[moved].all()


def test_the_last_jump_takes_the_truth(codebook):
    x1, canvas = torch.randint(0, V, (2, 1, 50))
    assert torch.equal(kinetic_jump(canvas, x1, 0.75, 0.25, codebook, 3, alpha=0.9, c=3.0), x1)
