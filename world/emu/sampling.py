"""Differential sampling: text and pictures are drawn with settings of their own, through the one sampler in kernels.

Top-p is turned into a mask of what may be drawn, in the official order: temperature, then top-k, then top-p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...kernels.sample import head_sample, mix_guidance


@dataclass(frozen=True)
class Sampling:
    """temperature 0 takes the most likely token; top_k None and top_p 1 keep everything."""

    top_k: int | None = None
    top_p: float = 1.0
    temperature: float = 1.0

    def __post_init__(self):
        if self.temperature < 0 or not 0 < self.top_p <= 1 or (self.top_k is not None and self.top_k < 1):
            raise ValueError(f"{self}: wanted a temperature of at least 0, a top_k of at least 1 and a top_p in (0, 1]")


def draw(
    hidden: Tensor,
    weight: Tensor,
    sampling: Sampling,
    *,
    seed: int,
    positions: Sequence[int],
    uncond: Tensor | None = None,
    guidance: float = 1.0,
    allowed: Tensor | None = None,
) -> Tensor:
    """One row of `weight` for each hidden state: (N,) int64.

    hidden, uncond (N, C); weight (V, C), the head's rows that may be drawn; allowed (V,) bool. A draw depends only on
    the seed and its position. Guidance acts on the hidden states: the head is linear, so that equals guidance on
    log-probabilities up to a constant. With top_p below 1 the head is applied twice; only text uses that.
    """
    if sampling.top_p < 1 and sampling.temperature > 0:
        mixed = mix_guidance(hidden, uncond, guidance)
        logits = F.linear(mixed.to(weight.dtype), weight).float()
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        allowed = torch.stack([nucleus(row, sampling) for row in logits])
    tokens, _ = head_sample(
        hidden[:, None],
        weight,
        seed,
        positions=torch.tensor([*positions], device=hidden.device)[:, None],
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        uncond=None if uncond is None else uncond[:, None],
        guidance=guidance,
        allowed=allowed,
    )
    return tokens[:, 0]


def nucleus(logits: Tensor, sampling: Sampling) -> Tensor:
    """logits (V,) float32 -> (V,) bool: among the top_k, the smallest set of the likeliest that together have top_p."""
    count = min(sampling.top_k or len(logits), len(logits))
    values, order = logits.topk(count)
    chances = (values / sampling.temperature).softmax(-1)
    kept = chances.cumsum(-1) - chances < sampling.top_p
    return torch.zeros_like(logits, dtype=torch.bool).index_fill_(0, order[kept], True)
