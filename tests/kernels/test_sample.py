"""Laws of sampling from the head, on the reference; the distribution is tested as well as single values."""

import math

import pytest
import torch
from roam.kernels import gumbel
from roam.kernels.sample import head_sample

V, C = 50, 12


@pytest.fixture
def head():
    torch.manual_seed(0)
    return torch.randn(V, C) / 2


def state(seed=1):
    return torch.randn(C, generator=torch.Generator().manual_seed(seed))


def draw(hidden, head, seed=3, N=20000, **options):
    """Draw N times from one hidden state: (N,) codes."""
    expand = dict(uncond=options.pop("uncond").expand(1, N, C)) if "uncond" in options else {}
    return head_sample(hidden.expand(1, N, C), head, seed, **expand, **options)[0][0]


def test_draws_follow_the_softmax(head, follows):
    assert follows(draw(state(), head), (head @ state()).softmax(0))


def test_draws_follow_temperature_and_guidance(head, follows):
    cond, uncond = state(1), state(2)
    draws = draw(cond, head, temperature=0.7, uncond=uncond, guidance=2.0)
    logits = head @ uncond + 2.0 * (head @ cond - head @ uncond)
    assert follows(draws, (logits / 0.7).softmax(0))


def test_draws_follow_top_k(head, follows):
    logits = head @ state()
    kept = torch.full((V,), -math.inf).scatter(0, logits.topk(7).indices, logits.topk(7).values)
    assert follows(draw(state(), head, top_k=7), kept.softmax(0))


def test_draws_follow_what_is_allowed(head, follows):
    allowed = torch.arange(V) % 3 == 0
    logits = (head @ state()).masked_fill(~allowed, -math.inf)
    assert follows(draw(state(), head, allowed=allowed), logits.softmax(0))


def test_equal_logits_over_a_large_head_are_drawn_evenly(follows):
    codes, _ = head_sample(torch.zeros(1, 4000, 1), torch.zeros(20000, 1), 3)
    assert follows(codes // 500, torch.full((40,), 1 / 40))


def test_different_seeds_draw_independently(head, follows):
    pairs = draw(state(), head, seed=1, top_k=4) * V + draw(state(), head, seed=2, top_k=4)
    kept = (head @ state()).topk(4)
    one = torch.zeros(V).scatter(0, kept.indices, kept.values.softmax(0))
    assert follows(pairs, torch.outer(one, one).flatten())


def test_confidence_is_the_models_probability_of_the_token(head):
    hidden = torch.randn(2, 9, C)
    tokens, confidence = head_sample(hidden, head, 3, temperature=2.0, top_k=5)
    expected = (hidden @ head.t()).softmax(-1).gather(2, tokens[..., None])[..., 0]
    torch.testing.assert_close(confidence, expected)


def test_temperature_zero_is_the_argmax(head):
    hidden = torch.randn(2, 9, C)
    assert torch.equal(head_sample(hidden, head, 3, temperature=0.0)[0], (hidden @ head.t()).argmax(-1))
    heat = torch.tensor([0.0, 1.0])
    assert torch.equal(head_sample(hidden, head, 3, temperature=heat)[0][0], (hidden @ head.t()).argmax(-1)[0])


def test_the_same_seed_draws_the_same_and_another_does_not(head):
    hidden = torch.randn(1, 200, C)
    assert torch.equal(head_sample(hidden, head, 3)[0], head_sample(hidden, head, 3)[0])
    assert not torch.equal(head_sample(hidden, head, 3)[0], head_sample(hidden, head, 3 + 2**32)[0])


def test_a_batch_draws_what_its_sequences_draw_alone(head):
    hidden, seeds = torch.randn(3, 8, C), torch.tensor([5, 6, -7])
    positions = torch.randint(0, 1000, (3, 8))
    tokens, confidence = head_sample(hidden, head, seeds, positions=positions)
    for b in range(3):
        alone = head_sample(hidden[b : b + 1], head, int(seeds[b]), positions=positions[b : b + 1])
        assert torch.equal(tokens[b : b + 1], alone[0])
        torch.testing.assert_close(confidence[b : b + 1], alone[1])


def test_some_positions_alone_draw_what_they_draw_among_all(head):
    hidden, some = torch.randn(1, 64, C), torch.tensor([3, 9, 60])
    everything = head_sample(hidden, head, 3)[0]
    assert torch.equal(head_sample(hidden[:, some], head, 3, positions=some)[0], everything[:, some])


def test_guidance_of_one_is_no_guidance(head):
    hidden, uncond = torch.randn(1, 30, C), torch.randn(1, 30, C)
    assert torch.equal(head_sample(hidden, head, 3, uncond=uncond)[0], head_sample(hidden, head, 3)[0])


def test_ties_with_the_last_of_top_k_are_all_kept():
    assert draw(torch.ones(C), torch.zeros(6, C), N=500, top_k=2).unique().numel() == 6


@pytest.mark.parametrize("B, N", [(0, 5), (2, 0)])
def test_no_rows_give_no_tokens(head, B, N):
    tokens, confidence = head_sample(torch.randn(B, N, C), head, 3)
    assert tokens.shape == confidence.shape == (B, N)


def test_the_noise_is_gumbels():
    keys = gumbel.row_keys_reference(1, torch.arange(200)[None], gumbel.SAMPLE_STREAM)[0]
    noise = gumbel.gumbel_reference(keys, torch.arange(5000, dtype=torch.int32)).double()
    spread = math.pi / math.sqrt(6 * noise.numel())
    assert abs(noise.mean().item() - 0.5772157) < 4 * spread
    assert abs(noise.var().item() - math.pi**2 / 6) < 0.02
    assert noise.isfinite().all()
    neighbours = torch.corrcoef(torch.stack([noise[:-1].flatten(), noise[1:].flatten()]))[0, 1]
    assert abs(neighbours.item()) < 4 / math.sqrt(noise.numel())


def test_two_uses_of_one_seed_share_no_noise():
    positions = torch.arange(1000)[None]
    keys = [gumbel.row_keys_reference(1, positions, stream) for stream in (1, 2, 3, 4)]
    assert torch.stack(keys).unique().numel() == 4000


def test_a_wrong_top_k_is_refused(head):
    with pytest.raises(ValueError, match="top_k 0; wanted at least 1"):
        head_sample(torch.randn(1, 1, C), head, 3, top_k=0)
