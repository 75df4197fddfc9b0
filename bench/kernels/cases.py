"""The cases of the kernel benchmark: each operation of ours beside what torch offers for it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...kernels.attention import attend, attend_reference
from ...kernels.conv import ServedConv2d, channels_last
from ...kernels.graph import CapturedStep
from ...kernels.history import PagedHistory
from ...kernels.linear import Fp8Linear, linear
from ...kernels.nearest import nearest_code, nearest_code_reference
from ...kernels.norm import rms_norm, rms_norm_reference
from ...kernels.packed import BITS, PackedLinear
from ...kernels.renoise import renoise, renoise_reference, squared_norms
from ...kernels.rope import PageWrite, qk_norm_rope, qk_norm_rope_reference
from ...kernels.sample import head_sample, head_sample_reference
from ...kernels.swiglu import swiglu, swiglu_reference
from .case import CONVOLUTIONS, Bench, Case, Ways, bytes_of, matches

WITHIN = {"int8": 0.008, "int4": 0.12}  # how far a packed layer may be off: half a step of its weights, and bfloat16


def attention_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    for N in s.rows:
        q, k, v = (bench.random(1, N, heads, s.head_dim) for heads in (s.heads, s.key_heads, s.key_heads))
        keys_past, values_past = (bench.random(s.pages, s.page_size, s.key_heads, s.head_dim) for _ in "kv")
        table = torch.arange(s.pages, dtype=torch.int32, device=bench.device)[None]
        past = PagedHistory(keys_past, values_past, table, torch.full_like(table[0], s.page_size))
        T = s.pages * s.page_size + N
        ways: Ways = {"ours": partial(attend, q, k, v, past)}
        ways |= bench.with_compiled(_eager_attention, q, k, v, keys_past, values_past, table)
        rows, keys, values = (x.transpose(1, 2) for x in (q, *_gathered(k, v, keys_past, values_past, table)))
        keys, values = keys.contiguous(), values.contiguous()
        ways["sdpa (gathered for free)"] = partial(
            F.scaled_dot_product_attention, rows, keys, values, enable_gqa=s.heads != s.key_heads
        )
        if bench.compiles:
            from torch.nn.attention.flex_attention import flex_attention

            flex = torch.compile(flex_attention, dynamic=False)
            ways["flex (gathered for free)"] = partial(flex, rows, keys, values, enable_gqa=s.heads != s.key_heads)
        yield Case(
            "attention",
            f"{N} rows, {T - N} past, {s.heads}/{s.key_heads} heads of {s.head_dim}",
            bytes_of(q, q, k, v) + 2 * (T - N) * s.key_heads * s.head_dim * q.element_size(),
            4 * N * T * s.heads * s.head_dim,
            ways,
            matches(ways["ours"], partial(attend_reference, q, k, v, past)),
        )


def _gathered(k, v, k_pages, v_pages, table):
    return [torch.cat([pages[table].flatten(1, 2), fresh], 1) for pages, fresh in ((k_pages, k), (v_pages, v))]


def _eager_attention(q, k, v, k_pages, v_pages, table):
    keys, values = _gathered(k, v, k_pages, v_pages, table)
    group = q.shape[2] // k.shape[2]
    keys, values = (x.repeat_interleave(group, 2).transpose(1, 2) for x in (keys, values))
    scores = q.transpose(1, 2) @ keys.transpose(2, 3) * q.shape[3] ** -0.5
    return (scores.softmax(-1, dtype=torch.float32).to(q.dtype) @ values).transpose(1, 2)


def rope_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    N = s.rows[-1]
    q, k = bench.random(1, N, s.heads, s.head_dim), bench.random(1, N, s.key_heads, s.head_dim)
    weight, cos, sin = bench.random(s.head_dim), bench.random(N, s.head_dim), bench.random(N, s.head_dim)
    slots = torch.arange(N, device=bench.device)[None]
    num_pages = -(-N // s.page_size)
    k_pages, v_pages = bench.random(2, num_pages, s.page_size, s.key_heads, s.head_dim)
    write = PageWrite(k_pages, v_pages, slots)
    run: dict[str, Any] = dict(eps=1e-6, pages=write)
    ways: Ways = {"ours": partial(qk_norm_rope, q, k, k, weight, weight, cos, sin, **run)}
    ways |= bench.with_compiled(_eager_rope, q, k, k, weight, (cos, sin), (write.k_pages, write.v_pages, slots))
    reference = partial(qk_norm_rope_reference, q, k, k, weight, weight, cos, sin, **run)
    moved = bytes_of(q, q, k, k, k, k, k, cos, sin)
    yield Case("qk-norm, rope, write", f"{N} rows", moved, 0, ways, matches(ways["ours"], reference))


def _eager_rope(q, k, v, weight, angles, pages):
    (cos, sin), (k_pages, v_pages, slots) = angles, pages

    def turned(x):
        normed = weight * (x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)
        first, second = normed.chunk(2, -1)
        return normed * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]

    q, k = turned(q), turned(k)
    k_pages.view(-1, *k.shape[2:]).index_copy_(0, slots[0], k[0])
    v_pages.view(-1, *v.shape[2:]).index_copy_(0, slots[0], v[0])
    return q, k


def sample_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    weight = bench.random(s.codes, s.hidden) / s.hidden**0.5
    for N in s.rows:
        hidden, uncond = bench.random(1, N, s.hidden), bench.random(1, N, s.hidden)
        seed = torch.tensor([3], device=bench.device)
        positions = torch.arange(N, device=bench.device)[None]
        guided: dict[str, Any] = dict(uncond=uncond, guidance=3.0, top_k=s.codes // 25)
        for name, options in (("", {}), (", guided, top-k", guided)):
            ours = partial(head_sample, hidden, weight, seed, **options)
            eager = partial(_eager_sample, uncond=options.get("uncond"), top_k=options.get("top_k"))
            ways = {"ours": ours} | bench.with_compiled(eager, hidden, weight)
            run = dict(positions=positions, temperature=1.0) | options
            reference = partial(head_sample_reference, hidden, weight, seed, **run)
            yield Case(
                "head and sampling" + name,
                f"{N} rows, {s.codes} codes of {s.hidden}",
                bytes_of(hidden, weight),
                2 * N * s.hidden * s.codes,
                ways,
                matches(ours, reference, share=0.99),
            )


def _eager_sample(hidden, weight, *, uncond, top_k):
    logits = (hidden @ weight.t()).float()
    if uncond is not None:
        without = (uncond @ weight.t()).float()
        logits = without + 3.0 * (logits - without)
    probabilities = logits.softmax(-1)
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[..., -1:], -torch.inf)
    noise = -torch.log(-torch.log(torch.rand_like(logits).clamp_(1e-7, 1 - 1e-7)))
    tokens = (logits + noise).argmax(-1)
    return tokens, probabilities.gather(-1, tokens[..., None])[..., 0]


def renoise_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    codebook = F.normalize(bench.random(s.codes, s.code_dim, dtype=torch.float32), dim=1).to(s.dtype)
    squares, seed = squared_norms(codebook), torch.tensor([3], device=bench.device)
    for N in s.rows:
        tokens, beta = bench.tokens(1, N), torch.rand(1, N, device=bench.device) * 20
        positions = torch.arange(N, device=bench.device)[None]
        ways: Ways = {"ours": partial(renoise, tokens, beta, codebook, seed, squares=squares)}
        ways |= bench.with_compiled(_eager_renoise, tokens, beta, codebook)
        reference = partial(renoise_reference, tokens, beta, codebook, seed, positions=positions)
        operations = 2 * N * s.code_dim * s.codes
        gate = matches(ways["ours"], reference, share=0.99)
        yield Case("renoise", f"{N} rows, {s.codes} codes", bytes_of(codebook, tokens), operations, ways, gate)


def _eager_renoise(tokens, beta, codebook):
    rows = codebook[tokens[0]]
    squares = codebook.float().square().sum(-1)
    distances = squares - 2 * (rows @ codebook.t()).float() + squares[tokens[0], None]
    return torch.multinomial((-beta[0, :, None] * distances).softmax(-1), 1)[None, :, 0]


def elementwise_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    N = s.rows[-1]
    x, residual, weight = bench.random(N, s.hidden), bench.random(N, s.hidden), bench.random(s.hidden)
    ours = partial(rms_norm, x, weight, eps=1e-6, residual=residual)
    ways = {"ours": ours} | bench.with_compiled(_eager_norm, x, residual, weight)
    gate = matches(ours, partial(rms_norm_reference, x, weight, eps=1e-6, residual=residual))
    yield Case("rms_norm and residual", f"{N} x {s.hidden}", bytes_of(x, x, x, x), 0, ways, gate)
    gate_half, up = bench.random(N, 2 * s.feed_forward).chunk(2, -1)
    ours = partial(swiglu, gate_half, up)
    ways = {"ours": ours} | bench.with_compiled(_eager_swiglu, gate_half, up)
    moved = 3 * gate_half.numel() * gate_half.element_size()
    gate = matches(ours, partial(swiglu_reference, gate_half, up))
    yield Case("swiglu", f"{N} x {s.feed_forward}", moved, 0, ways, gate)
    z, codebook = bench.random(N, s.code_dim), bench.random(s.codes, s.code_dim)
    ours = partial(nearest_code, z, codebook)
    ways = {"ours": ours} | bench.with_compiled(_eager_nearest, z, codebook)
    operations = 2 * N * s.codes * s.code_dim
    gate = matches(ours, partial(nearest_code_reference, z, codebook), share=0.99)
    yield Case("nearest code", f"{N} rows, {s.codes} codes", bytes_of(z, codebook), operations, ways, gate)


def _eager_norm(x, residual, weight):
    total = x + residual
    wide = total.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype), total


def _eager_swiglu(gate, up):
    return F.silu(gate) * up


def _eager_nearest(z, codebook):
    return (z @ codebook.t()).argmax(-1)


def linear_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    weight = bench.random(s.feed_forward, s.hidden) / s.hidden**0.5
    layer = Fp8Linear.from_weight(weight)
    packed = [(name, PackedLinear.from_weight(weight, BITS[name]), within) for name, within in WITHIN.items()]
    for N in s.rows:
        x = bench.random(N, s.hidden)
        ways: Ways = {"ours": partial(layer, x), "eager": partial(linear, x, weight)}
        operations = 2 * N * s.hidden * s.feed_forward
        gate = _layer_gate(layer, x, weight, 0.04)  # 3 bits of mantissa on both sides, averaged over a row
        shape = f"{N} x {s.hidden} -> {s.feed_forward}"
        yield Case("fp8 layer", shape, x.numel() + weight.numel(), operations, ways, gate)
        for name, layer_of_bits, within in packed:
            ways = {"ours": partial(layer_of_bits, x), "eager": partial(linear, x, weight)}
            moved = x.numel() * x.element_size() + layer_of_bits.weight.num_bytes
            yield Case(f"{name} layer", shape, moved, operations, ways, _layer_gate(layer_of_bits, x, weight, within))


def _layer_gate(layer: Callable[[Tensor], Tensor], x: Tensor, weight: Tensor, within: float) -> Callable[[], None]:
    def check() -> None:
        exact = x.float() @ weight.float().t()
        error = ((layer(x).float() - exact).norm() / exact.norm()).item()
        assert error < within, f"a quantised layer is {error:.3f} off"

    return check


def conv_cases(bench: Bench) -> Iterator[Case]:
    dtype = bench.sizes.dtype
    for width, side in CONVOLUTIONS:
        conv = torch.nn.Conv2d(width, width, 3, padding=1).to(bench.device)
        x = bench.random(1, width, side, side).to(memory_format=torch.channels_last)
        plain = channels_last(conv.to(dtype))
        ways: Ways = {"ours": partial(ServedConv2d(conv, dtype), x), "eager": partial(plain, x)}
        operations = 2 * side * side * 9 * width * width
        moved = bytes_of(x, x, plain.weight)
        yield Case(
            "convolution",
            f"{width} channels, {side} x {side}",
            moved,
            operations,
            ways,
            matches(ways["ours"], ways["eager"]),
        )


def graph_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    x, weight, head = bench.random(1, s.rows[0], s.hidden), bench.random(s.hidden), bench.random(256, s.hidden)
    seed = torch.tensor([3], device=bench.device)

    def step(kind, hidden, seed):
        for _ in range(20):
            hidden = rms_norm(hidden, weight, eps=1e-6)
        return head_sample(hidden, head, seed)[0]

    captured = CapturedStep(step)
    ways: Ways = {"ours": partial(captured, "step", x, seed), "eager": partial(step, "step", x, seed)}
    gate = matches(ways["ours"], ways["eager"], share=1.0)
    yield Case("captured step", f"20 norms and a draw, {s.rows[0]} rows", bytes_of(x, head), 0, ways, gate)


CASES = {
    "attention": attention_cases,
    "rope": rope_cases,
    "sample": sample_cases,
    "renoise": renoise_cases,
    "elementwise": elementwise_cases,
    "linear": linear_cases,
    "conv": conv_cases,
    "graph": graph_cases,
}
