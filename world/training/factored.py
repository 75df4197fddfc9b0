"""Embedding and head for lattice codes during training: a table factored over the lattice's dimensions, plus a free
one.

A code's embedding is the sum of one row per dimension, and its logit the sum of one per dimension, so that every code
learns from all others that share a level. Alone, that makes the distribution of a code the product of independent
distributions of its digits: its arg-max is good, but a draw between two things is a code of neither. The free table
adds a row for each code, which makes the distribution joint. The sum of both is an ordinary embedding and head
(`folded`), which is what ships.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FactoredCodes(nn.Module):
    """levels: lattice steps in each of K dimensions; C: the model's width."""

    digits: Tensor
    _steps: Tensor
    offsets: Tensor

    def __init__(self, levels: tuple[int, ...], hidden_size: int):
        super().__init__()
        self.levels = levels
        self.embedding = nn.Parameter(torch.randn(sum(levels), hidden_size) * len(levels) ** -0.5)
        self.head = nn.Parameter(torch.zeros(sum(levels), hidden_size))
        codes = torch.cartesian_prod(*(torch.arange(n) for n in levels)).view(-1, len(levels))
        self.free_embedding = nn.Parameter(torch.zeros(len(codes), hidden_size))
        self.free_head = nn.Parameter(torch.zeros(len(codes), hidden_size))
        self.register_buffer("digits", codes, persistent=False)
        self.register_buffer(
            "_steps", torch.tensor([math.prod(levels[k + 1 :]) for k in range(len(levels))]), persistent=False
        )
        self.register_buffer("offsets", torch.tensor([sum(levels[:k]) for k in range(len(levels))]), persistent=False)

    def embed(self, digits: Tensor) -> Tensor:
        """digits (..., K) int64 -> (..., C)."""
        factored = F.embedding(digits + self.offsets, self.embedding).sum(-2)
        return factored + F.embedding((digits * self._steps).sum(-1), self.free_embedding)

    def loss(self, hidden: Tensor, digits: Tensor) -> Tensor:
        """Cross-entropy of the codes, in nats a token: hidden (..., C), digits (..., K) -> (...)."""
        parts = (hidden @ self.head.T).split(self.levels, -1)
        losses: list[Tensor] = [
            F.cross_entropy(part.flatten(0, -2), digits[..., k].flatten(), reduction="none")
            for k, part in enumerate(parts)
        ]
        return sum(losses[1:], losses[0]).view(hidden.shape[:-1])

    def joint_loss(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """Cross-entropy of the codes under the joint distribution, in nats: hidden (M, C), codes (M,) -> (M,)."""
        return F.cross_entropy(self.joint_logits(hidden), codes, reduction="none")

    def joint_logits(self, hidden: Tensor) -> Tensor:
        """Of every code: hidden (M, C) -> (M, V)."""
        return hidden @ self._rows(self.head, self.free_head).T

    @torch.no_grad()
    def folded(self) -> tuple[Tensor, Tensor]:
        """Embedding and head rows of every code, (V, C) each."""
        return self._rows(self.embedding, self.free_embedding), self._rows(self.head, self.free_head)

    @torch.no_grad()
    def unfold(self, embedding: Tensor, head: Tensor) -> None:
        """Take the rows of every code, (V, C) each, as they ship: their best factored approximation, and the rest."""
        chosen = F.one_hot(self.digits + self.offsets, sum(self.levels)).sum(1).to(embedding.dtype)
        for factored, free, rows in (
            (self.embedding, self.free_embedding, embedding),
            (self.head, self.free_head, head),
        ):
            factored.copy_(torch.linalg.pinv(chosen) @ rows)
            free.copy_(rows - chosen @ factored)

    def _rows(self, factored: Tensor, free: Tensor) -> Tensor:
        return F.embedding(self.digits + self.offsets, factored).sum(1) + free
