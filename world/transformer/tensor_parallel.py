"""Tensor parallelism: heads and feed-forward widths are split over processes, the rest is whole.

Each process runs the same passes over its share of the heads, with a cache of its own for them; two sums per layer
combine the shares, so that all processes draw the same tokens from the same seed. Weights are quantised whole and then
split, and the peaks by which fp8 rounds a row are those of the whole row: the result is what one process computes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh

from ...kernels.linear import Fp8Linear, linear, row_scales
from ...kernels.packed import BITS, group_of
from ..config import ModelConfig
from .joined import Dense, tensors_of, with_tensors

FP8_SIDE = 16  # fp8 products need sides of a weight that are multiples of this


class SplitError(ValueError):
    """A number of processes that a model cannot be split over; the message says what divides it."""


def check_split(config: ModelConfig, n: int, precision: str = "bfloat16") -> None:
    """Raise SplitError if n processes do not divide the heads and the feed-forward width, or quantised weights."""
    if config.num_key_value_heads % n or config.num_attention_heads % n or config.intermediate_size % n:
        raise SplitError(
            f"{n} processes for {config.num_attention_heads} query heads, {config.num_key_value_heads} key heads and a "
            f"width of {config.intermediate_size}; wanted a number that divides all three"
        )
    D = config.head_dim
    split = (config.num_attention_heads * D, config.num_key_value_heads * D, config.intermediate_size)
    if precision == "fp8" and any(size // n % FP8_SIDE for size in split):
        raise SplitError(f"fp8 weights of {split} heads' and inner rows over {n} processes; each wants multiples of 16")
    inputs = (split[0], split[2])
    if precision in BITS and any(group_of(size) and size // group_of(size) % n for size in inputs):
        groups = " and ".join(str(size // group_of(size)) for size in inputs)
        raise SplitError(f"{precision} weights of {groups} groups of inputs over {n} processes, which must divide them")


@dataclass(frozen=True)
class Split:
    """Which share of a model this process has."""

    rank: int
    count: int
    group: ProcessGroup

    @classmethod
    def of(cls, mesh: DeviceMesh) -> Split:
        """Over a mesh of one dimension."""
        return cls(mesh.get_local_rank(), mesh.size(), mesh.get_group())

    def share(self, config: ModelConfig) -> ModelConfig:
        """The numbers of one process's share. Raises SplitError if there is none."""
        n = self.count
        return replace(
            config,
            num_attention_heads=config.num_attention_heads // n,
            num_key_value_heads=config.num_key_value_heads // n,
            intermediate_size=config.intermediate_size // n,
        )

    def product(self, name: str, dense: Dense) -> Dense | Summed:
        """This process's share of a layer's weight: some inputs of o_proj and down_proj, some outputs of all others."""
        parts = tensors_of(dense)
        if name not in ("o_proj", "down_proj"):
            return with_tensors(dense, [self._piece(part, 0) for part in parts])
        # a tensor with one number per output has no inputs to be split
        inputs = [self._piece(part, 1) if part.ndim == 2 else part for part in parts]
        return Summed(with_tensors(dense, inputs), self.group)

    def _piece(self, tensor: Tensor, side: int) -> Tensor:
        return tensor.chunk(self.count, side)[self.rank].clone()  # frees the whole tensor


@dataclass(frozen=True)
class Summed:
    """A dense layer of which each process of a group has some inputs: the product is the sum of theirs."""

    weight: Dense
    group: ProcessGroup

    def __call__(self, x: Tensor) -> Tensor:
        """x (..., I / processes) -> (..., O) in x's dtype, in all processes."""
        if isinstance(self.weight, Fp8Linear):
            scale = row_scales(x)
            dist.all_reduce(scale, dist.ReduceOp.MAX, group=self.group)
            out = self.weight(x, scale)
        else:
            out = linear(x, self.weight)
        dist.all_reduce(out, group=self.group)
        return out
