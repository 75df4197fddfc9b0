"""Compiled loops equal the references in torch, and the bits of a row depend on that row alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from roam.kernels import loops
from roam.kernels.device import has_half_dots
from roam.kernels.gumbel import SAMPLE_STREAM, row_keys_reference
from roam.kernels.norm import rms_norm, rms_norm_reference
from roam.kernels.rope import PageWrite, qk_norm_rope, qk_norm_rope_reference
from roam.kernels.sample import draw_reference, head_sample


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("shape", [(1, 1, 7), (2, 5, 192), (3, 33)])
def test_norms_are_those_of_the_reference(rng, shape):
    x, residual = torch.randn(2, *shape, generator=rng)
    weight = torch.randn(shape[-1], generator=rng)
    torch.testing.assert_close(loops.rms_norm_loops(x, weight, eps=1e-6), rms_norm_reference(x, weight, eps=1e-6))
    both = loops.rms_norm_loops(x, weight, eps=1e-6, residual=residual)
    for one, other in zip(both, rms_norm_reference(x, weight, eps=1e-6, residual=residual), strict=True):
        torch.testing.assert_close(one, other)


def rotated(run, product, weights, angles, pages):
    """q and k of one product (B, N, 5 * 8): three heads of queries, one of keys, one of values."""
    q, k, v = product.unflatten(-1, (5, 8)).split((3, 1, 1), 2)
    return run(q, k, v, *weights, *angles, eps=1e-6, pages=pages)


@pytest.mark.parametrize("is_shared", [False, True])
@torch.inference_mode()
def test_rotations_are_those_of_the_reference_and_so_is_what_they_leave_in_pages(rng, is_shared):
    product, weights = torch.randn(2, 6, 40, generator=rng), torch.randn(2, 8, generator=rng)
    angles = torch.randn(2, *(() if is_shared else (2,)), 6, 8, generator=rng)
    slots = torch.tensor([[4, -1, 6, 7, 0, 1], [-1, 9, 10, 11, 12, 13]])
    results = []
    for run in (qk_norm_rope, qk_norm_rope_reference):
        written = torch.zeros(2, 2, 8, 1, 8)
        results.append((*rotated(run, product, weights, angles, PageWrite(*written, slots)), written))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_draws_are_those_of_the_reference(rng):
    scores = 4 * torch.randn(64, 3000, generator=rng)
    scores[5, :2990] = -torch.inf
    keys = row_keys_reference(7, torch.arange(64)[None], SAMPLE_STREAM)[0].contiguous()
    heat = torch.linspace(0, 3, 64)
    assert torch.equal(loops.draw_loops(scores, keys, heat), draw_reference(scores, keys, heat))
    assert torch.equal(loops.draw_loops(scores, keys, 0 * heat), scores.argmax(-1))
    even = torch.zeros(64, 3000)  # where noise alone decides which code is drawn
    assert torch.equal(loops.draw_loops(even, keys, heat + 1), draw_reference(even, keys, heat + 1))


@torch.inference_mode()
def test_a_row_gets_the_same_bits_whatever_is_beside_it(rng):
    product, weights = torch.randn(1, 21, 40, generator=rng), torch.randn(2, 8, generator=rng)
    angles = torch.randn(2, 1, 21, 8, generator=rng)
    whole = rotated(qk_norm_rope, product, weights, angles, None)
    part = rotated(qk_norm_rope, product[:, 4:7], weights, angles[:, :, 4:7], None)
    for one, other in zip(whole, part, strict=True):
        assert torch.equal(one[:, 4:7], other)
    assert torch.equal(
        rms_norm(product, torch.ones(40), eps=1e-6)[:, 3], rms_norm(product[:, 3], torch.ones(40), eps=1e-6)
    )


def test_what_learns_is_asked_of_torch_and_stays_as_torch_has_it():
    x, weight = torch.ones(2, 4, requires_grad=True), torch.ones(4)
    rms_norm(x, weight, eps=1e-6).sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        rms_norm(x, weight, eps=1e-6)
    weight.untyped_storage().resize_(0)  # as sharded weights are between two steps
    with torch.inference_mode():
        assert loops.fits(torch.ones(2), None) and not loops.fits(torch.ones(2).half())


def test_served_heads_draw_by_the_loop(rng, monkeypatch):
    from roam.kernels import sample

    calls = []
    monkeypatch.setattr(sample, "draw_loops", lambda *given: calls.append(1) or loops.draw_loops(*given))
    head_sample(torch.randn(1, 2, 8, generator=rng), torch.randn(9, 8, generator=rng), 1, temperature=1.0)
    assert calls


def test_bf16_is_left_alone_on_a_cpu_without_products_of_it():
    """oneDNN reports that a CPU with AVX-512 alone supports bf16. It does, but several times slower than float32."""
    told = Path("/proc/cpuinfo")
    flags = told.read_text() if told.exists() else ""
    if "avx512f" not in flags:
        pytest.skip("needs a CPU with AVX-512")
    if "avx512_bf16" not in flags:
        assert not has_half_dots(torch.ones(1, dtype=torch.bfloat16))
