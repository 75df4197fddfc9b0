"""Muon (Jordan et al. 2024; scaled as in Moonshot's arXiv 2502.16982): orthogonalised momentum, for weight matrices.

torch.optim.Muon does its Newton-Schulz steps in bfloat16, one matrix at a time; on a CPU without bfloat16 products that
costs more than the whole training step. This one works on all matrices of a shape at once, and in float32 unless the
caller's context says otherwise (run.half_products).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..transformer.sharded import is_in_shards, share


class Muon(torch.optim.Optimizer):
    """For matrices, and for convolutions as matrices (O, I * h * w); updates have the root mean square 0.2 lr, so
    AdamW's rates and decay carry over."""

    def __init__(self, params, lr: float, *, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault((len(p), p[0].numel()), []).append(p)
            for shape, params in shapes.items():
                updates = _orthogonal([self._momentum(p, group["momentum"]) for p in params])
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for p, update in zip(params, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.view(p.shape), alpha=-rate)

    def _momentum(self, p: Tensor, momentum: float) -> Tensor:
        state, grad = self.state[p], p.grad
        assert grad is not None, "only weights with gradients are stepped"
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        state["momentum"].lerp_(grad, 1 - momentum)
        return grad.lerp(state["momentum"], momentum)  # Nesterov


def _orthogonal(updates: list[Tensor]) -> list[Tensor] | Tensor:
    """The updates made orthogonal, as matrices; sharded ones are gathered one after the other, because the
    computation needs whole matrices."""
    if not is_in_shards(updates[0]):
        return orthogonal(torch.stack([update.flatten(1) for update in updates]))
    made = []
    for update in updates:
        assert is_in_shards(update), "all are in shards, or none is"
        made.append(share(orthogonal(update.full_tensor().flatten(1)[None])[0].view(update.shape), update))
    return made


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly, by a quintic Newton-Schulz iteration: (K, R, C) -> (K, R, C)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x
