"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) on a transformer's dense layers, and folding them in.

The weights stay as they are and get no gradient; for each, a product of two thin matrices is learnt and added.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RankError(ValueError):
    """A rank that adapters cannot have; the message says which they can."""


class LowRank(nn.Module):
    """A frozen dense layer and a learnt change of it, up @ down, which begins at zero."""

    def __init__(self, dense: nn.Linear, rank: int, seed: torch.Generator | None = None):
        super().__init__()
        if not 1 <= rank <= min(dense.weight.shape):
            raise RankError(f"rank {rank} for a layer of {tuple(dense.weight.shape)}; wanted 1 to its smaller side")
        self.dense = dense.requires_grad_(False)
        out_size, in_size = dense.weight.shape
        # a layer that has not been read yet has no device
        device = "cpu" if dense.weight.is_meta else dense.weight.device
        # in float32 whatever the layer's precision: an optimiser's small steps would be rounded away
        down = torch.randn(rank, in_size, generator=seed) * in_size**-0.5
        self.down = nn.Parameter(down.to(device))
        self.up = nn.Parameter(torch.zeros(out_size, rank, device=device))

    @property
    def weight(self) -> Tensor:
        """The layer with its change, in the layer's precision."""
        return self.dense.weight + (self.up @ self.down).to(self.dense.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        change = F.linear(F.linear(x, self.down.to(x.dtype)), self.up.to(x.dtype))
        return self.dense(x) + change.to(x.dtype)


def add_low_rank(model: nn.Module, rank: int, *, seed: int = 0) -> None:
    """Freeze a transformer and add an adapter to every projection of its layers, in place; the same seed gives the
    same adapters, in every process."""
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for owner, name in _projections(model, nn.Linear):
        setattr(owner, name, LowRank(getattr(owner, name), rank, generator))


@torch.no_grad()
def fold_low_rank(model: nn.Module) -> None:
    """Turn adapted layers back into plain dense layers, with the change in their weights, in place."""
    for owner, name in _projections(model, LowRank):
        adapted = getattr(owner, name)
        adapted.dense.weight.copy_(adapted.weight)
        setattr(owner, name, adapted.dense)


def _projections(model: nn.Module, kind: type) -> list[tuple[nn.Module, str]]:
    return [
        (owner, name)
        for owner in model.modules()
        for name, child in owner.named_children()
        if name.endswith("_proj") and type(child) is kind
    ]
