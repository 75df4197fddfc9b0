"""The Triton kernels on a real GPU, in the dtypes that ship, against the references in float32 on the same numbers."""

import pytest
import torch
from roam.kernels.attention import attend, attend_reference
from roam.kernels.graph import CapturedStep
from roam.kernels.gumbel import seeds_and_positions
from roam.kernels.history import PagedHistory
from roam.kernels.linear import Fp8Linear, has_fp8_products
from roam.kernels.nearest import nearest_code
from roam.kernels.norm import rms_norm
from roam.kernels.packed import PackedLinear
from roam.kernels.renoise import renoise, renoise_reference
from roam.kernels.rope import PageWrite, qk_norm_rope, qk_norm_rope_reference
from roam.kernels.sample import head_sample, head_sample_reference
from roam.kernels.swiglu import swiglu

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

BF16 = torch.bfloat16
# bf16 has 8 bits of mantissa: a value rounded on the way in, in the middle and on the way out is off by 3 * 2^-9
TOLERANCE = dict(rtol=2e-2, atol=2e-2)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def random(*shape, dtype=BF16):
    return torch.randn(*shape, device="cuda").to(dtype)


def history(B, M, S, Hkv, D):
    pages = B * M + 1
    k_pages, v_pages = random(pages, S, Hkv, D), random(pages, S, Hkv, D)
    lengths = torch.randint(1, S + 1, (pages,), dtype=torch.int32, device="cuda")
    for page, length in enumerate(lengths.tolist()):
        k_pages[page, length:] = torch.nan
        v_pages[page, length:] = torch.nan
    table = torch.randperm(B * M, device="cuda").view(B, M).int()
    table[0, 1::3] = -1
    return PagedHistory(k_pages, v_pages, table, lengths)


def wide(past):
    return PagedHistory(past.k_pages.float(), past.v_pages.float(), past.page_table, past.page_lengths)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("B, N, H, Hkv, D, M", [(1, 256, 64, 8, 128, 8), (2, 1, 8, 2, 64, 33), (3, 63, 6, 2, 32, 5)])
def test_attention_is_the_references_to_bf16s_precision(B, N, H, Hkv, D, M, causal):
    q, k, v, past = random(B, N, H, D), random(B, N, Hkv, D), random(B, N, Hkv, D), history(B, M, 272, Hkv, D)
    expected = attend_reference(q.float(), k.float(), v.float(), wide(past), causal=causal)
    torch.testing.assert_close(attend(q, k, v, past, causal=causal).float(), expected, **TOLERANCE)


def test_attention_in_float32_is_exact():
    q, k, v = random(1, 70, 4, 64).float(), random(1, 70, 2, 64).float(), random(1, 70, 2, 64).float()
    past = wide(history(1, 3, 80, 2, 64))
    torch.testing.assert_close(attend(q, k, v, past), attend_reference(q, k, v, past), rtol=1e-4, atol=1e-4)


def test_qk_norm_rope_and_the_page_write_round_once_as_the_reference_does():
    q, k, v = random(2, 500, 64, 128), random(2, 500, 8, 128), random(2, 500, 8, 128)
    weight, cos, sin = random(128), random(2, 500, 128, dtype=torch.float32), random(2, 500, 128, dtype=torch.float32)
    slots = torch.randperm(1000, device="cuda").view(2, 500)
    slots[0, ::7] = -1
    pages = [PageWrite(*torch.zeros(2, 5, 256, 8, 128, dtype=BF16, device="cuda"), slots) for _ in range(2)]
    got = qk_norm_rope(q, k, v, weight, weight, cos, sin, eps=1e-6, pages=pages[0])
    want = qk_norm_rope_reference(q, k, v, weight, weight, cos, sin, eps=1e-6, pages=pages[1])
    for a, b in [*zip(got, want, strict=True), (pages[0].k_pages, pages[1].k_pages)]:
        torch.testing.assert_close(a, b, rtol=2**-7, atol=2**-7)  # one unit in the last place
    assert torch.equal(pages[0].v_pages, pages[1].v_pages)


@pytest.mark.parametrize("options", [{}, {"top_k": 500}, {"temperature": 0.0}, {"guidance": 3.0}])
def test_the_tokens_drawn_are_the_references(options):
    hidden, weight = random(2, 200, 512), random(20000, 512) / 16
    if "guidance" in options:
        options = options | {"uncond": random(2, 200, 512)}
    tokens, confidence = head_sample(hidden, weight, 3, **options)
    seed, positions = seeds_and_positions(3, None, 2, 200, hidden.device)
    full = dict(temperature=1.0) | options
    expected, sure = head_sample_reference(hidden, weight, seed, positions=positions, **full)
    same = tokens == expected
    assert same.float().mean() > 0.995  # sums in another order may decide a near-tie the other way
    torch.testing.assert_close(confidence[same], sure[same], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_the_tokens_renoised_are_the_references(dtype):
    codebook = torch.nn.functional.normalize(random(20000, 256, dtype=torch.float32), dim=1).to(dtype)
    tokens, beta = torch.randint(0, 20000, (2, 300), device="cuda"), torch.rand(2, 300, device="cuda") * 20
    seed, positions = seeds_and_positions(3, None, 2, 300, tokens.device)
    expected = renoise_reference(tokens, beta, codebook, seed, positions=positions)
    assert (renoise(tokens, beta, codebook, 3) == expected).float().mean() > 0.995


def test_draws_on_the_gpu_follow_the_softmax(follows):
    hidden, weight = random(1, 1, 32).expand(1, 40000, 32).contiguous(), random(50, 32) / 4
    tokens, _ = head_sample(hidden, weight, 3)
    assert follows(tokens.cpu(), (hidden[0, 0].float() @ weight.float().t()).softmax(0).cpu())


def test_norm_swiglu_and_nearest_code():
    x, residual, weight = random(63, 5120), random(63, 5120), random(5120)
    y, total = rms_norm(x, weight, eps=1e-6, residual=residual)
    assert torch.equal(total, x + residual)
    exact = total.float() * torch.rsqrt(total.float().square().mean(-1, keepdim=True) + 1e-6) * weight.float()
    torch.testing.assert_close(y.float(), exact, **TOLERANCE)
    gate, up = random(63, 2 * 25600).chunk(2, -1)
    torch.testing.assert_close(swiglu(gate, up), torch.nn.functional.silu(gate) * up, rtol=2**-7, atol=2**-7)
    z, codebook = random(500, 256), random(131072, 256)
    assert (nearest_code(z, codebook) == (z.float() @ codebook.float().t()).argmax(-1)).float().mean() > 0.995


def test_fp8_is_within_four_percent_of_bf16():
    if not has_fp8_products("cuda"):
        pytest.skip("needs Hopper or later")
    x, weight = random(63, 5120), random(1024, 5120)
    exact = x.float() @ weight.float().t()
    assert (Fp8Linear.from_weight(weight)(x).float() - exact).norm() / exact.norm() < 0.04


@pytest.mark.parametrize("bits, within", [(8, 0.008), (4, 0.12)])
@pytest.mark.parametrize("rows", [1, 33, 200, 300])
def test_packed_weights_are_applied_as_they_unpack_and_near_the_exact_ones(bits, within, rows):
    x, weight = random(rows, 5120), random(1024, 5120)
    layer, exact = PackedLinear.from_weight(weight, bits), x.float() @ weight.float().t()
    # weights are unpacked to bf16: of 300,000 sums of 5,120 products, off by 0.1 each in the mean, one is off by 0.5
    torch.testing.assert_close(layer(x).float(), x.float() @ layer.dequantised().t(), rtol=2**-6, atol=1.0)
    assert (layer(x).float() - exact).norm() / exact.norm() < within


def test_a_captured_step_gives_what_the_step_gives():
    weight = random(500, 64)

    def step(kind, hidden, seed):
        return head_sample(hidden, weight, seed, temperature=kind)

    captured = CapturedStep(step)
    for number in range(3):
        hidden, seed = random(1, 30, 64), torch.tensor([number], device="cuda")
        tokens, confidence = captured(0.8, hidden, seed)
        expected = step(0.8, hidden, seed)
        assert torch.equal(tokens, expected[0]) and torch.equal(confidence, expected[1])
    assert len(captured) == 1
    assert captured(0.0, hidden, seed)[0].shape == (1, 30) and len(captured) == 2
