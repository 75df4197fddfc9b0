"""Head, guidance and sampling in one op: from final hidden states to a token and its confidence.

    h = uncond + guidance * (cond - uncond);  z_v = h . weight_v       the head is linear, so guidance may go first
    token = argmax_v (z_v + temperature * g_v) over allowed v, and with top_k over the k largest z;  g is Gumbel noise
    confidence = exp(z_token - log sum_v exp z_v) over allowed v: the probability at temperature 1 and without top-k

Knows nothing of noise levels or schedules; `weight` is whatever rows of the head may be drawn.
"""

import math

import torch
import torch.nn.functional as F

from .device import backend, block_of, has_half_dots, tl, triton
from .gumbel import SAMPLE_STREAM, gumbel, gumbel_reference, row_keys, row_keys_reference, seeds_and_positions
from .loops import draw_loops
from .tiles import keep_best, launch_options, plan_tiles, tile_products, winners

# Logits are made this many elements at a time on the CPU: with their noise they stay in a core's cache.
_LOGITS_AT_ONCE = 1 << 17
# Top-k reads a logit's 32 bits as a number and finds the k-th largest digit by digit, so in three passes.
_DIGITS = (11, 11, 10)


def mix_guidance(hidden, uncond, guidance):
    """uncond + guidance * (hidden - uncond), in float32 and rounded once; hidden itself where there is no uncond."""
    if uncond is None:
        return hidden
    wide = uncond.float()
    return (wide + guidance * (hidden.float() - wide)).to(hidden.dtype)


def head_sample_reference(
    hidden,
    weight,
    seed,
    *,
    positions,
    temperature,
    top_k=None,
    uncond=None,
    guidance=1.0,
    allowed=None,
    has_confidence=True,
    draw=None,
):
    """`head_sample` in plain torch, a few rows of logits at a time; logits are float32 whatever the dtypes. draw: takes
    scores (R, V), keys (R,) and temperatures (R,) to codes (R,), None for `draw_reference`.

    On a CPU that has bf16 products a bf16 head is multiplied by them, and torch rounds what they give: logits that the
    rounding makes equal are then ties.
    """
    B, N, C = hidden.shape
    V = weight.shape[0]
    dtype = weight.dtype if weight.device.type == "cpu" and has_half_dots(weight) else torch.float32
    rows = mix_guidance(hidden, uncond, guidance).reshape(B * N, C).to(dtype)
    head = weight.to(dtype)
    keys = row_keys_reference(seed, positions, SAMPLE_STREAM).reshape(-1)
    heat = temperature.repeat_interleave(N) if isinstance(temperature, torch.Tensor) else None
    is_cold = heat is None and temperature == 0
    if heat is None:
        heat = torch.full((B * N,), temperature, device=hidden.device)
    draw = draw or draw_reference
    banned = None if allowed is None else ~allowed.expand(B, V)
    tokens = torch.empty(B * N, dtype=torch.int64, device=hidden.device)
    confidence = torch.empty(B * N, dtype=torch.float32, device=hidden.device)
    step = max(1, _LOGITS_AT_ONCE // max(V, 1))
    for start in range(0, B * N, step):
        chunk = slice(start, min(start + step, B * N))
        logits = F.linear(rows[chunk], head).float()
        if banned is not None:
            logits.masked_fill_(banned[torch.arange(chunk.start, chunk.stop, device=hidden.device) // N], -math.inf)
        scores = logits
        if top_k is not None and top_k < V:
            scores = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -math.inf)
        token = scores.argmax(-1) if is_cold else draw(scores, keys[chunk], heat[chunk])
        tokens[chunk] = token
        if has_confidence:
            confidence[chunk] = logits.softmax(-1).gather(1, token[:, None])[:, 0]
    return tokens.view(B, N), confidence.view(B, N) if has_confidence else None


def draw_reference(scores, keys, temperatures):
    """The codes (R,) with the largest scores (R, V) + temperatures (R,) * Gumbel noise of keys (R,)."""
    codes = torch.arange(scores.shape[1], dtype=torch.int32, device=scores.device)
    return (scores + gumbel_reference(keys, codes).mul_(temperatures[:, None])).argmax(-1)


@triton.jit
def _allowed_logits(
    hidden_ptr,
    weight_ptr,
    allowed_ptr,
    rows,
    codes,
    num_rows,
    N,
    num_codes,
    width,
    hidden_stride,
    weight_stride,
    allowed_stride,
    HAS_ALLOWED: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A tile of logits, -inf where a code is banned or past the end. Counting and drawing must see the same bits."""
    logits = tile_products(
        hidden_ptr,
        rows.to(tl.int64) * hidden_stride,
        rows < num_rows,
        weight_ptr,
        codes,
        num_codes,
        width,
        weight_stride,
        BLOCK_R,
        BLOCK_V,
        BLOCK_K,
        PRECISION,
    )
    logits += 0.0  # -0 and 0 are one logit, and must be one digit string
    kept = (codes < num_codes)[None, :]
    if HAS_ALLOWED:
        place = (rows // N).to(tl.int64)[:, None] * allowed_stride + codes[None, :]
        kept = kept & (tl.load(allowed_ptr + place, mask=kept & (rows < num_rows)[:, None], other=0) != 0)
    return tl.where(kept, logits, float("-inf")), kept


@triton.jit
def _digits_of(logits):
    """Bits of a float32 as an unsigned number that rises with it."""
    bits = logits.to(tl.uint32, bitcast=True)
    return tl.where(bits >> 31 == 1, bits ^ 0xFFFFFFFF, bits | 0x80000000)


@triton.jit
def _logit_of(digits):
    """The float32 that `_digits_of` made digits from; 0, which none has, stands for -inf."""
    bits = tl.where(digits >> 31 == 1, digits ^ 0x80000000, digits ^ 0xFFFFFFFF)
    return tl.where(digits == 0, float("-inf"), bits.to(tl.float32, bitcast=True))


@triton.jit
def _count_kernel(
    hidden_ptr,
    weight_ptr,
    allowed_ptr,
    prefix_ptr,
    counts_ptr,
    num_rows,
    N,
    num_codes,
    width,
    hidden_stride,
    weight_stride,
    allowed_stride,
    tiles_a_share,
    SHIFT: tl.constexpr,
    BITS: tl.constexpr,
    FIRST: tl.constexpr,
    HAS_ALLOWED: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Count, a row, the values of the next digit among logits whose digits so far are the row's prefix."""
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    share = tl.program_id(1)
    prefix = tl.load(prefix_ptr + rows, mask=rows < num_rows, other=0).to(tl.uint32, bitcast=True)
    counts_ptr += tl.program_id(0).to(tl.int64) * BLOCK_R << BITS
    for tile in range(share * tiles_a_share, (share + 1) * tiles_a_share):
        codes = tile * BLOCK_V + tl.arange(0, BLOCK_V)
        logits, kept = _allowed_logits(
            hidden_ptr,
            weight_ptr,
            allowed_ptr,
            rows,
            codes,
            num_rows,
            N,
            num_codes,
            width,
            hidden_stride,
            weight_stride,
            allowed_stride,
            HAS_ALLOWED,
            BLOCK_R,
            BLOCK_V,
            BLOCK_K,
            PRECISION,
        )
        kept = kept & (rows < num_rows)[:, None]
        digits = _digits_of(logits) >> SHIFT
        if not FIRST:
            kept = kept & ((digits >> BITS) == prefix[:, None])
        place = (tl.arange(0, BLOCK_R)[:, None] << BITS) + (digits & ((1 << BITS) - 1)).to(tl.int32)
        tl.atomic_add(counts_ptr + place, 1, mask=kept, sem="relaxed")


@triton.jit
def _narrow_kernel(counts_ptr, prefix_ptr, wanted_ptr, num_rows, BITS: tl.constexpr, BLOCK_R: tl.constexpr):
    """Extend each row's prefix by the digit in which its k-th largest logit lies, and count down k to within it."""
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    inside = rows < num_rows
    bins = tl.arange(0, 1 << BITS)
    place = (rows.to(tl.int64)[:, None] << BITS) + bins[None, :]
    counts = tl.load(counts_ptr + place, mask=inside[:, None], other=0)
    above = tl.sum(counts, 1)[:, None] - tl.cumsum(counts, 1)
    wanted = tl.load(wanted_ptr + rows, mask=inside, other=0)
    chosen = (above < wanted[:, None]) & (wanted[:, None] <= above + counts)  # nowhere, where fewer than k are allowed
    digit = tl.sum(tl.where(chosen, bins[None, :], 0), 1)
    prefix = tl.load(prefix_ptr + rows, mask=inside, other=0)
    tl.store(prefix_ptr + rows, (prefix << BITS) + digit, mask=inside)
    tl.store(wanted_ptr + rows, wanted - tl.sum(tl.where(chosen, above, 0), 1), mask=inside)


@triton.jit
def _sample_kernel(
    hidden_ptr,
    weight_ptr,
    allowed_ptr,
    seeds_ptr,
    positions_ptr,
    temperature_ptr,
    threshold_ptr,
    best_ptr,
    code_ptr,
    logit_ptr,
    top_ptr,
    sum_ptr,
    num_rows,
    N,
    num_codes,
    width,
    hidden_stride,
    weight_stride,
    allowed_stride,
    tiles_a_share,
    STREAM: tl.constexpr,
    IS_NOISY: tl.constexpr,
    HAS_THRESHOLD: tl.constexpr,
    HAS_ALLOWED: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    inside = rows < num_rows
    share = tl.program_id(1)
    if IS_NOISY:
        seeds = tl.load(seeds_ptr + rows // N, mask=inside, other=0)
        keys = row_keys(seeds, tl.load(positions_ptr + rows, mask=inside, other=0), STREAM)
        temperature = tl.load(temperature_ptr + rows // N, mask=inside, other=0.0)
    if HAS_THRESHOLD:
        threshold = _logit_of(tl.load(threshold_ptr + rows, mask=inside, other=0).to(tl.uint32, bitcast=True))
    best = tl.full((BLOCK_R,), float("-inf"), tl.float32)
    best_code = tl.zeros((BLOCK_R,), tl.int32)
    top = tl.full((BLOCK_R,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_R,), tl.float32)
    for tile in range(share * tiles_a_share, (share + 1) * tiles_a_share):
        codes = tile * BLOCK_V + tl.arange(0, BLOCK_V)
        logits, _ = _allowed_logits(
            hidden_ptr,
            weight_ptr,
            allowed_ptr,
            rows,
            codes,
            num_rows,
            N,
            num_codes,
            width,
            hidden_stride,
            weight_stride,
            allowed_stride,
            HAS_ALLOWED,
            BLOCK_R,
            BLOCK_V,
            BLOCK_K,
            PRECISION,
        )
        new_top = tl.maximum(top, tl.max(logits, 1))
        base = tl.where(new_top == float("-inf"), 0.0, new_top)  # nothing allowed so far
        total = total * tl.exp(top - base) + tl.sum(tl.exp(logits - base[:, None]), 1)
        top = new_top
        scores = logits
        if IS_NOISY:
            scores += temperature[:, None] * gumbel(keys[:, None], codes[None, :])
        if HAS_THRESHOLD:
            scores = tl.where(logits >= threshold[:, None], scores, float("-inf"))
        best, best_code = keep_best(best, best_code, scores, codes, BLOCK_V)
    logit = best
    if IS_NOISY:  # subtract the noise again: cheaper than keeping the tile's logits beside its scores
        logit -= temperature * gumbel(keys, best_code)
    place = rows * tl.num_programs(1) + share
    tl.store(best_ptr + place, best, mask=inside)
    tl.store(code_ptr + place, best_code, mask=inside)
    tl.store(logit_ptr + place, logit, mask=inside)
    tl.store(top_ptr + place, top, mask=inside)
    tl.store(sum_ptr + place, total, mask=inside)


def head_sample_triton(
    hidden,
    weight,
    seed,
    *,
    positions,
    temperature,
    top_k=None,
    uncond=None,
    guidance=1.0,
    allowed=None,
    has_confidence=True,
    plan=None,
):
    """`head_sample` as one scan of the head, after three that count for top-k; `plan` overrides the choice of tiles."""
    B, N, C = hidden.shape
    V = weight.shape[0]
    R, device = B * N, hidden.device
    if R == 0:
        return torch.empty(B, N, dtype=torch.int64, device=device), torch.empty(B, N, device=device)
    rows = mix_guidance(hidden, uncond, guidance).reshape(R, C).to(weight.dtype).contiguous()
    weight = weight if weight.stride(1) == 1 else weight.contiguous()
    plan = plan or plan_tiles(R, V, C, device, weight.dtype)
    grid = (triton.cdiv(R, plan.block_r), plan.shares)
    mask = rows if allowed is None else allowed.to(torch.uint8).contiguous()
    mask_stride = V if allowed is not None and allowed.ndim == 2 else 0
    sizes = (R, N, V, C, rows.stride(0), weight.stride(0), mask_stride, plan.tiles_a_share(V))
    options = dict(HAS_ALLOWED=allowed is not None, **launch_options(plan, weight.dtype))
    threshold = None
    if top_k is not None and top_k < V:
        threshold = _kth_largest(rows, weight, mask, sizes, grid, options, top_k)
    best, logit, top, total = torch.empty(4, R, plan.shares, dtype=torch.float32, device=device)
    code = torch.empty(R, plan.shares, dtype=torch.int32, device=device)
    if isinstance(temperature, torch.Tensor):
        heat = temperature.float().contiguous()
    else:
        heat = torch.full((B,), temperature, dtype=torch.float32, device=device)
    _sample_kernel[grid](
        rows,
        weight,
        mask,
        seed.contiguous(),
        positions.contiguous(),
        heat,
        code if threshold is None else threshold,
        best,
        code,
        logit,
        top,
        total,
        *sizes,
        STREAM=SAMPLE_STREAM,
        IS_NOISY=isinstance(temperature, torch.Tensor) or temperature > 0,
        HAS_THRESHOLD=threshold is not None,
        **options,
    )
    tokens, confidence = winners(best, code, *((logit, top, total) if has_confidence else ()))
    return tokens.view(B, N), confidence.view(B, N) if has_confidence else None


def _kth_largest(rows, weight, mask, sizes, grid, options, top_k):
    """The digits of each row's k-th largest allowed logit: (R,) int32; 0, below them all, where fewer are allowed."""
    R, device = len(rows), rows.device
    # one stage fewer than the scan that draws: counting needs the registers, and products stay the same to the bit
    options = options | dict(num_stages=max(1, options["num_stages"] - 1))
    prefix = torch.zeros(R, dtype=torch.int32, device=device)
    wanted = torch.full((R,), top_k, dtype=torch.int32, device=device)
    shift = 32
    for digit in _DIGITS:
        shift -= digit
        counts = torch.zeros(R, 1 << digit, dtype=torch.int32, device=device)
        _count_kernel[grid](
            rows, weight, mask, prefix, counts, *sizes, SHIFT=shift, BITS=digit, FIRST=shift + digit == 32, **options
        )
        block_r = block_of(R, smallest=1, largest=2)
        _narrow_kernel[(triton.cdiv(R, block_r),)](counts, prefix, wanted, R, BITS=digit, BLOCK_R=block_r)
    return prefix


def head_sample(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    seed: int | torch.Tensor,
    *,
    positions: torch.Tensor | None = None,
    temperature: float | torch.Tensor = 1.0,
    top_k: int | None = None,
    uncond: torch.Tensor | None = None,
    guidance: float | torch.Tensor = 1.0,
    allowed: torch.Tensor | None = None,
    has_confidence: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Pick a token and its confidence for every row.

    hidden (B, N, C), final normed states; weight (V, C), the head's rows that may be drawn; seed an int or (B,) int64;
    positions (B, N) or (N,) int64, default 0 .. N-1: a row's draw depends on its seed and position alone, so a sequence
    draws the same alone and in a batch. temperature >= 0, where 0 means argmax, for all or (B,) a sequence. top_k keeps
    the k largest logits, and all that tie with the last of them. uncond (B, N, C) are the states of the unconditional
    branch. allowed (V,) or (B, V) bool bans codes; at least one must stay. has_confidence False leaves confidence out,
    which is a third of this op's work on a CPU.
    Returns tokens (B, N) int64, numbered from the first row of weight, and confidence (B, N) float32 or None.
    """
    B, N, _ = hidden.shape
    _check(hidden, weight, temperature, top_k, uncond, allowed)
    seed, positions = seeds_and_positions(seed, positions, B, N, hidden.device)
    options = dict(
        positions=positions, temperature=temperature, top_k=top_k, allowed=allowed, has_confidence=has_confidence
    )
    if backend(hidden.device) == "triton":
        return head_sample_triton(hidden, weight, seed, uncond=uncond, guidance=guidance, **options)
    draw = draw_loops if hidden.device.type == "cpu" else draw_reference
    return head_sample_reference(hidden, weight, seed, uncond=uncond, guidance=guidance, draw=draw, **options)


def _check(hidden, weight, temperature, top_k, uncond, allowed):
    B, _, C = hidden.shape
    V = weight.shape[0]
    if weight.shape != (V, C) or V == 0:
        raise ValueError(f"head_sample: weight {tuple(weight.shape)}; wanted (V, {C}) with V > 0")
    if uncond is not None and uncond.shape != hidden.shape:
        raise ValueError(f"head_sample: uncond {tuple(uncond.shape)}; wanted hidden's {tuple(hidden.shape)}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"head_sample: top_k {top_k}; wanted at least 1, or None to keep every code")
    if isinstance(temperature, torch.Tensor) and temperature.shape != (B,):
        raise ValueError(f"head_sample: temperature {tuple(temperature.shape)}; wanted a float or ({B},)")
    if not isinstance(temperature, torch.Tensor) and temperature < 0:
        raise ValueError(f"head_sample: temperature {temperature}; wanted 0 (argmax) or more")
    if allowed is not None and allowed.shape not in ((V,), (B, V)):
        raise ValueError(f"head_sample: allowed {tuple(allowed.shape)}; wanted ({V},) or ({B}, {V}) bool")
