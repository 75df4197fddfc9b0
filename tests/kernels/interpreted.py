"""Every Triton kernel against its reference, run by Triton's interpreter on CPU tensors.

Collected only by test_triton.py, in a process of its own: the interpreter is chosen when a kernel is defined. All
in float32, since the interpreter's bf16 is wrong. Tiles are few and large, because its cost is by operation.
Whatever a kernel allocates comes filled with NaN, inside a larger guarded block.
"""

import os

import numpy as np
import pytest
import torch
import triton  # before the kernels are imported, which would not need Triton on a CPU
import triton.language as tl
from roam.kernels import attention, linear, norm, renoise, rope, sample, swiglu
from roam.kernels import gumbel as noise
from roam.kernels.attention import AttendPlan, attend_reference, attend_triton
from roam.kernels.history import PagedHistory
from roam.kernels.linear import quantise_rows_reference, quantise_rows_triton
from roam.kernels.nearest import nearest_code_reference, nearest_code_triton
from roam.kernels.norm import rms_norm_reference, rms_norm_triton
from roam.kernels.packed import Packed, packed_linear_reference, packed_linear_triton
from roam.kernels.renoise import renoise_reference, renoise_triton
from roam.kernels.rope import PageWrite, qk_norm_rope_reference, qk_norm_rope_triton
from roam.kernels.sample import head_sample_reference, head_sample_triton
from roam.kernels.swiglu import swiglu_reference, swiglu_triton
from roam.kernels.tiles import TilePlan
from roam.world.config import DidaConfig, LayoutConfig, ModelConfig
from roam.world.tokens.vocabulary import Vocabulary
from roam.world.transformer.cache import KVCache
from roam.world.transformer.dida import Canvas, MetricPath, decode_canvas
from roam.world.transformer.model import Transformer
from roam.world.transformer.passes import Evidence, Passes

assert os.environ.get("TRITON_INTERPRET") == "1", "run by test_triton.py"

GUARD = 64
TILES = TilePlan(block_r=64, block_v=256, block_k=64, shares=2, num_warps=4, num_stages=1)


@pytest.fixture(autouse=True)
def guarded(monkeypatch):
    """Make torch.empty return poisoned memory between guard bytes, and check afterwards that no guard was
    overwritten."""
    blocks = []
    empty = torch.empty

    def poisoned(*size, dtype=None, device=None):
        dtype = dtype or torch.float32
        shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        length = int(np.prod(shape))
        block = empty(length + 2 * GUARD, dtype=dtype, device=device)
        poison = torch.nan if dtype.is_floating_point else -77
        block.fill_(poison)
        blocks.append((block, block.clone(), length))
        return block[GUARD : GUARD + length].view(*shape)

    monkeypatch.setattr(torch, "empty", poisoned)
    monkeypatch.setattr(torch, "empty_like", lambda x: poisoned(x.shape, dtype=x.dtype))
    torch.manual_seed(0)
    yield
    for block, before, length in blocks:
        for guard in (slice(None, GUARD), slice(GUARD + length, None)):
            same = torch.equal(block[guard].view(torch.uint8), before[guard].view(torch.uint8))
            assert same, "a guard was overwritten"


def close(actual, expected, tolerance=2e-5):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def history(table, lengths, S, Hkv, D):
    """Pages whose slots past their length are NaN, so that reading one of them shows in the result."""
    lengths = torch.tensor(lengths, dtype=torch.int32)
    k_pages, v_pages = torch.randn(2, len(lengths), S, Hkv, D)
    for page, length in enumerate(lengths.tolist()):
        k_pages[page, length:] = torch.nan
        v_pages[page, length:] = torch.nan
    return PagedHistory(k_pages, v_pages, torch.tensor(table, dtype=torch.int32).view(len(table), -1), lengths)


def attention_matches(B, N, H, Hkv, D, past, *, plan, causal=False):
    q, k, v = torch.randn(B, N, H, D), torch.randn(B, N, Hkv, D), torch.randn(B, N, Hkv, D)
    close(attend_triton(q, k, v, past, causal=causal, plan=plan), attend_reference(q, k, v, past, causal=causal))


def test_attention_over_pages_of_every_length():
    past = history([[3, 1, -1, 4], [-1, -1, 0, 2]], [65, 64, 1, 63, 0], S=65, Hkv=1, D=16)
    attention_matches(2, 63, 2, 1, 16, past, plan=AttendPlan(128, 64, 1, 4, 1))


def test_attention_of_one_row_split_over_history():
    past = history([[0, 1, 2, 3, -1]], [33, 32, 33, 2], S=33, Hkv=2, D=20)
    attention_matches(1, 1, 8, 2, 20, past, plan=AttendPlan(16, 32, 3, 4, 1))


def test_attention_split_where_one_share_holds_no_page():
    past = history([[-1, -1, 0, 1], [0, 1, 2, 2]], [5, 16, 9], S=16, Hkv=1, D=16)
    attention_matches(2, 3, 2, 1, 16, past, plan=AttendPlan(16, 16, 4, 4, 1))


def test_causal_attention_with_and_without_history():
    past = history([[1, 0]], [17, 31], S=32, Hkv=2, D=16)
    attention_matches(1, 63, 4, 2, 16, past, plan=AttendPlan(64, 64, 1, 4, 1), causal=True)
    attention_matches(1, 65, 3, 3, 16, None, plan=AttendPlan(64, 64, 1, 4, 1), causal=True)


def test_causal_attention_split_over_history():
    past = history([[1, 0]], [17, 31], S=32, Hkv=1, D=16)
    attention_matches(1, 9, 2, 1, 16, past, plan=AttendPlan(32, 32, 2, 4, 1), causal=True)


def test_attention_of_a_500_row_canvas():
    past = history([[0]], [500], S=512, Hkv=1, D=32)
    attention_matches(1, 500, 1, 1, 32, past, plan=AttendPlan(256, 512, 1, 4, 1))


def test_attention_reads_strided_rows_and_an_empty_page_table():
    rows = torch.randn(2, 5, 6, 16)  # q, k and v as views of one fused projection
    q, k, v = rows[:, :, :4], rows[:, :, 4:5], rows[:, :, 5:]
    past = history([[], []], [3], S=4, Hkv=1, D=16)
    plan = AttendPlan(32, 16, 1, 4, 1)
    close(attend_triton(q, k, v, past, plan=plan), attend_reference(q, k, v, past))


@pytest.mark.parametrize("B, N", [(0, 3), (2, 0)])
def test_empty_batches_give_empty_results(B, N):
    q, k = torch.randn(B, N, 2, 16), torch.randn(B, N, 1, 16)
    assert attend_triton(q, k, k).shape == q.shape
    out = qk_norm_rope_triton(q, k, k, torch.ones(16), torch.ones(16), torch.ones(N, 16), torch.ones(N, 16), eps=1e-6)
    assert [x.shape for x in out] == [q.shape, k.shape]
    seed, positions = torch.zeros(B, dtype=torch.int64), torch.zeros(B, N, dtype=torch.int64)
    tokens, _ = head_sample_triton(q[:, :, 0], torch.ones(5, 16), seed, positions=positions, temperature=1.0)
    assert tokens.shape == (B, N)
    assert renoise_triton(positions, torch.ones(B, N), torch.ones(5, 3), seed, positions=positions).shape == (B, N)
    assert rms_norm_triton(q, torch.ones(16), eps=1e-6).shape == q.shape
    assert swiglu_triton(q, q).shape == q.shape
    assert nearest_code_triton(q, torch.ones(5, 16)).shape == q.shape[:-1]
    assert quantise_rows_triton(q)[0].shape == q.shape


def test_qk_norm_and_rope_write_the_pages_they_are_told_to():
    B, N, H, Hkv, D = 2, 7, 3, 1, 24
    rows = torch.randn(B, N, H + 2 * Hkv, D)
    q, k, v = rows[:, :, :H], rows[:, :, H : H + Hkv], rows[:, :, H + Hkv :]
    cos, sin = torch.randn(2, B, N, D)
    slots = torch.arange(B * N).flip(0).view(B, N) + 4
    slots[0, ::3] = -1
    weights = torch.randn(D), torch.randn(D)
    pages = [PageWrite(*torch.full((2, 4, 5, Hkv, D), torch.nan), slots) for _ in range(2)]
    got = qk_norm_rope_triton(q, k, v, *weights, cos, sin, eps=1e-5, pages=pages[0])
    want = qk_norm_rope_reference(q, k, v, *weights, cos, sin, eps=1e-5, pages=pages[1])
    for a, b in zip(got, want, strict=True):
        close(a, b)
    torch.testing.assert_close(pages[0].k_pages, pages[1].k_pages, rtol=2e-5, atol=2e-5, equal_nan=True)
    torch.testing.assert_close(pages[0].v_pages, pages[1].v_pages, rtol=0, atol=0, equal_nan=True)


def test_rope_shares_angles_that_have_no_batch_axis():
    q, k = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 2, 8)
    cos, sin = torch.randn(2, 3, 8)
    got = qk_norm_rope_triton(q, k, k, torch.ones(8), torch.ones(8), cos, sin, eps=1e-6)
    want = qk_norm_rope_reference(q, k, k, torch.ones(8), torch.ones(8), cos, sin, eps=1e-6)
    for a, b in zip(got, want, strict=True):
        close(a, b)


@pytest.mark.parametrize("rows, width", [(1, 500), (63, 33), (5, 1)])
def test_rms_norm_with_and_without_residual(rows, width):
    x, residual, weight = torch.randn(rows, width), torch.randn(rows, width), torch.randn(width)
    close(rms_norm_triton(x, weight, eps=1e-6), rms_norm_reference(x, weight, eps=1e-6))
    got = rms_norm_triton(x, weight, eps=1e-6, residual=residual)
    want = rms_norm_reference(x, weight, eps=1e-6, residual=residual)
    close(got[0], want[0])
    close(got[1], want[1])


@pytest.mark.parametrize("rows, width", [(1, 1), (3, 500), (2, 1025)])
def test_swiglu_of_two_halves_of_a_projection(rows, width):
    both = torch.randn(rows, 2 * width) * 20
    gate, up = both.chunk(2, -1)
    close(swiglu_triton(gate, up), swiglu_reference(gate, up))


def draw(run, hidden, weight, **options):
    B, N, _ = hidden.shape
    options = dict(temperature=1.0, positions=torch.arange(N).expand(B, N) * 3 + 2**33) | options
    return run(hidden, weight, torch.tensor([5, -(2**40) + 1, 7])[:B], **options)


def sampling_matches(hidden, weight, **options):
    tokens, confidence = draw(head_sample_triton, hidden, weight, plan=TILES, **options)
    expected, expected_confidence = draw(head_sample_reference, hidden, weight, **options)
    assert torch.equal(tokens, expected)
    close(confidence, expected_confidence)


def test_the_noise_has_the_same_bits_everywhere():
    seeds, positions = torch.tensor([0, -1, 2**40 + 3, 9, 9, 2**63 - 1, 1, 8]), torch.arange(8) + 2**31
    keys = torch.zeros(8, dtype=torch.int32)
    out = torch.zeros(8, 64)
    _noise_kernel[(1,)](seeds, positions, keys, out)
    expected = noise.row_keys_reference(seeds, positions[:, None], noise.SAMPLE_STREAM)[:, 0]
    assert torch.equal(keys, expected)
    close(out, noise.gumbel_reference(expected, torch.arange(64, dtype=torch.int32)), tolerance=1e-6)


@triton.jit
def _noise_kernel(seeds_ptr, positions_ptr, keys_ptr, out_ptr):
    rows, codes = tl.arange(0, 8), tl.arange(0, 64)
    keys = noise.row_keys(tl.load(seeds_ptr + rows), tl.load(positions_ptr + rows), 1)
    tl.store(keys_ptr + rows, keys.to(tl.int32, bitcast=True))
    tl.store(out_ptr + rows[:, None] * 64 + codes[None, :], noise.gumbel(keys[:, None], codes[None, :]))


def test_sampling_draws_what_the_reference_draws():
    sampling_matches(torch.randn(3, 21, 40), torch.randn(500, 40) / 3)


def test_sampling_one_row_from_one_code():
    sampling_matches(torch.randn(1, 1, 5), torch.randn(1, 5))


def test_sampling_without_heat_is_the_argmax_with_ties_to_the_lowest_code():
    weight = torch.randn(300, 16).repeat(2, 1)  # every code twice, in different tiles
    sampling_matches(torch.randn(1, 9, 16), weight, temperature=0.0)


def test_sampling_with_guidance_and_a_temperature_a_sequence():
    options = dict(uncond=torch.randn(2, 8, 24), guidance=3.0, temperature=torch.tensor([0.0, 0.7]))
    sampling_matches(torch.randn(2, 8, 24), torch.randn(300, 24) / 4, **options)


@pytest.mark.parametrize("top_k", [1, 37, 499])
def test_top_k_keeps_exactly_the_k_largest(top_k):
    sampling_matches(torch.randn(1, 9, 16), torch.randn(500, 16) / 4, top_k=top_k)


def test_top_k_among_fewer_allowed_codes_keeps_them_all():
    allowed = torch.zeros(2, 300, dtype=torch.bool)
    allowed[0, 280:285] = True
    allowed[1, ::2] = True
    sampling_matches(torch.randn(2, 4, 16), torch.randn(300, 16) / 4, top_k=50, allowed=allowed)


def test_renoising_draws_what_the_reference_draws():
    codebook = torch.randn(500, 20)
    tokens = torch.randint(0, 500, (3, 21))
    beta = torch.rand(3, 21) * 0.3
    beta[:, 0], beta[:, 1], beta[:, 2] = 0.0, torch.inf, 1e6
    options = dict(positions=torch.arange(21).expand(3, 21) + 5)
    seed = torch.tensor([1, 2, -3])
    got = renoise_triton(tokens, beta, codebook, seed, plan=TILES, **options)
    assert torch.equal(got, renoise_reference(tokens, beta, codebook, seed, **options))
    assert torch.equal(got[:, 1:3], tokens[:, 1:3])


@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_the_nearest_code_is_the_references(metric):
    z, codebook = torch.randn(7, 9, 20), torch.randn(501, 20)
    assert torch.equal(
        nearest_code_triton(z, codebook, metric=metric, plan=TILES), nearest_code_reference(z, codebook, metric=metric)
    )


def test_a_frame_through_the_kernels_is_the_references_frame(monkeypatch):
    """The engine's passes as on CUDA: padded page tables and words, evidence, guidance."""
    vocabulary, layout = Vocabulary(20, 48), LayoutConfig(grid=(1, 3), text_capacity=3, window=2)
    config = ModelConfig(vocabulary.size, 32, 48, num_hidden_layers=1, num_attention_heads=4, head_dim=16)
    model, codebook = Transformer(config).served("float32"), torch.randn(48, 4)
    frames = []
    for choice in ("reference", "triton"):
        for module in (attention, norm, renoise, rope, sample, swiglu):
            monkeypatch.setattr(module, "backend", lambda device, choice=choice: choice)
        cache = KVCache(config, layout, device=torch.device("cpu"), num_pages=4)
        passes = Passes(model, cache, MetricPath(codebook, DidaConfig(c=0.3)), layout, vocabulary, guidance=2.0)
        with torch.inference_mode():
            frames.append(every_pass(passes))
    for one, other in zip(*frames, strict=True):
        close(one, other)


def every_pass(passes):
    """Two sequences, one with a frame behind it, through two denoising steps, a commit and a token."""
    pages = [passes.cache.allocate() for _ in range(3)]
    past, own, index, codes = [pages[:1], []], pages[1:], torch.tensor([1, 0]), torch.arange(6).view(2, 3) * 7
    known = Evidence(codes, torch.full((2, 3), 0.2))

    def predict(canvas, seeds, heat):
        return passes.denoise([(3, 4), (6,)], index, past, own, canvas, known, seeds, temperature=heat)

    passes.commit(codes[:1], torch.tensor([0]), [[]], pages[:1])
    canvas = Canvas(codes, torch.full((2, 3), 0.3))
    tokens = decode_canvas(predict, canvas, passes.path, [torch.tensor([1, 2]), torch.tensor([3, 4])])
    passes.commit(tokens, index, past, own)
    seeds, words = torch.tensor([5, 6]), torch.tensor([2, 1], dtype=torch.int32)
    last = passes.next_tokens(tokens[:, :1], 1, words, index, past, own, seeds, temperature=1.0)
    return tokens, last, passes.cache.k, passes.cache.v, passes.cache.lengths


def test_rows_are_quantised_to_their_peak(monkeypatch):
    monkeypatch.setattr(linear, "FP8", torch.float32)  # the interpreter's cast to fp8 drops carries: 1.96 becomes 1
    x = torch.randn(5, 500) * torch.logspace(-3, 3, 5)[:, None]
    x[2] = 0
    codes, scale = quantise_rows_triton(x)
    expected, expected_scale = quantise_rows_reference(x)
    close(scale, expected_scale)
    close(codes, expected)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("rows, inputs, outputs", [(1, 256, 33), (19, 128, 64), (70, 64, 40)])
def test_products_of_packed_weights_are_those_of_the_unpacked(bits, rows, inputs, outputs):
    weight = Packed.of(torch.randn(outputs, inputs) + 0.5, bits)
    x = torch.randn(rows, 2 * inputs)[:, :inputs]  # a view into wider rows
    close(packed_linear_triton(x, weight), packed_linear_reference(x, weight), 1e-4)
