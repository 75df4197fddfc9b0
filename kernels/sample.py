"""Head, guidance and sampling in one op: from final hidden states to a token and its confidence.

    h = uncond + guidance * (cond - uncond);  z_v = h . weight_v          the head is linear, so guidance may precede it
    token = argmax_v (z_v + temperature * g_v) over allowed v, and with top_k over the k largest z;  g is Gumbel noise
    confidence = exp(z_token - log sum_v exp z_v) over allowed v: the model's probability, at temperature 1 without top-k

Knows nothing of noise levels or schedules; `weight` is whatever rows of the head may be drawn.
"""

import math

import torch

from .device import backend
from .gumbel import SAMPLE_STREAM, gumbel_reference, row_keys_reference, seeds_and_positions

# Logits are made this many elements at a time on the CPU: with their noise they stay in a core's cache.
_LOGITS_AT_ONCE = 1 << 17


def mix_guidance(hidden, uncond, guidance):
    """uncond + guidance * (hidden - uncond), in float32 and rounded once; hidden itself where there is no uncond."""
    if uncond is None:
        return hidden
    wide = uncond.float()
    return (wide + guidance * (hidden.float() - wide)).to(hidden.dtype)


def head_sample_reference(
    hidden, weight, seed, *, positions, temperature, top_k=None, uncond=None, guidance=1.0, allowed=None
):
    """`head_sample` in plain torch, a few rows of logits at a time; logits are float32 whatever the dtypes."""
    B, N, C = hidden.shape
    V = weight.shape[0]
    rows = mix_guidance(hidden, uncond, guidance).reshape(B * N, C).float()
    head = weight.float().t()
    keys = row_keys_reference(seed, positions, SAMPLE_STREAM).reshape(-1)
    codes = torch.arange(V, dtype=torch.int32, device=hidden.device)
    heat = temperature.repeat_interleave(N) if isinstance(temperature, torch.Tensor) else None
    banned = None if allowed is None else ~allowed.expand(B, V)
    tokens = torch.empty(B * N, dtype=torch.int64, device=hidden.device)
    confidence = torch.empty(B * N, dtype=torch.float32, device=hidden.device)
    step = max(1, _LOGITS_AT_ONCE // max(V, 1))
    for start in range(0, B * N, step):
        chunk = slice(start, min(start + step, B * N))
        logits = rows[chunk] @ head
        if banned is not None:
            logits.masked_fill_(banned[torch.arange(chunk.start, chunk.stop, device=hidden.device) // N], -math.inf)
        scores = logits
        if top_k is not None and top_k < V:
            scores = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -math.inf)
        if heat is not None or temperature > 0:
            noise = gumbel_reference(keys[chunk], codes)
            scores = scores + noise.mul_(temperature if heat is None else heat[chunk, None])
        token = scores.argmax(-1, keepdim=True)
        tokens[chunk] = token[:, 0]
        confidence[chunk] = (logits.gather(1, token) - logits.logsumexp(-1, keepdim=True)).exp_()[:, 0]
    return tokens.view(B, N), confidence.view(B, N)


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
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pick a token and its confidence for every row.

    hidden (B, N, C), final normed states; weight (V, C), the head's rows that may be drawn; seed an int or (B,) int64;
    positions (B, N) or (N,) int64, default 0 .. N-1: a row's draw depends on its seed and position alone, so a sequence
    draws the same alone and in a batch. temperature >= 0, where 0 means argmax, for all or (B,) a sequence. top_k keeps
    the k largest logits, and all that tie with the last of them. uncond (B, N, C) are the states of the unconditional
    branch. allowed (V,) or (B, V) bool bans codes; at least one must stay.
    Returns tokens (B, N) int64, numbered from the first row of weight, and confidence (B, N) float32.
    """
    B, N, C = hidden.shape
    V = weight.shape[0]
    _check(hidden, weight, temperature, top_k, uncond, allowed)
    seed, positions = seeds_and_positions(seed, positions, B, N, hidden.device)
    options = dict(positions=positions, temperature=temperature, top_k=top_k, allowed=allowed)
    return head_sample_reference(hidden, weight, seed, uncond=uncond, guidance=guidance, **options)


def _check(hidden, weight, temperature, top_k, uncond, allowed):
    B, _, C = hidden.shape
    V = weight.shape[0]
    if weight.shape != (V, C) or V == 0:
        raise ValueError(f"head_sample: hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)}; wanted (V, {C}), V > 0")
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
