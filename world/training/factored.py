"""Embedding and head for lattice codes, factored over the lattice's dimensions while training.

A code's embedding is the sum of one row a dimension, and its logit the sum of one a dimension, so that every code
learns from every other that shares a level. The sum is an ordinary embedding and head (`folded`), which is what ships.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..vision import VisionTokenizer


class FactoredCodes(nn.Module):
    """levels: lattice steps in each of K dimensions; C: the model's width."""

    def __init__(self, levels: tuple[int, ...], hidden_size: int):
        super().__init__()
        self.levels = levels
        self.embedding = nn.Parameter(torch.randn(sum(levels), hidden_size) * len(levels) ** -0.5)
        self.head = nn.Parameter(torch.zeros(sum(levels), hidden_size))
        self.register_buffer("offsets", torch.tensor([sum(levels[:k]) for k in range(len(levels))]), persistent=False)

    def embed(self, digits: Tensor) -> Tensor:
        """digits (..., K) int64 -> (..., C)."""
        return F.embedding(digits + self.offsets, self.embedding).sum(-2)

    def loss(self, hidden: Tensor, digits: Tensor) -> Tensor:
        """Cross-entropy of the codes, in nats a token: hidden (..., C), digits (..., K) -> (...)."""
        parts = (hidden @ self.head.T).split(self.levels, -1)
        losses = [
            F.cross_entropy(part.flatten(0, -2), digits[..., k].flatten(), reduction="none")
            for k, part in enumerate(parts)
        ]
        return sum(losses).view(hidden.shape[:-1])

    @torch.no_grad()
    def folded(self, vision: VisionTokenizer) -> tuple[Tensor, Tensor]:
        """Embedding and head rows of every code, (V, C) each."""
        digits = vision.digits(torch.arange(vision.config.num_codes, device=self.head.device)) + self.offsets
        return self.embedding[digits].sum(1), self.head[digits].sum(1)
