"""Tensor parallelism by torch's DTensor: heads and feed-forward widths are split over processes, the rest is whole.

Each process runs the same passes over its share of the heads, with a cache of its own for them; two sums a layer bring
the shares together, so that all processes draw the same tokens from the same seed.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from ..config import ModelConfig
from .model import Transformer


class SplitError(ValueError):
    """A number of processes that a model cannot be split over; the message says what divides it."""


def check_split(config: ModelConfig, n: int) -> None:
    """Raise SplitError where n processes do not divide the heads and the feed-forward width."""
    if config.num_key_value_heads % n or config.num_attention_heads % n or config.intermediate_size % n:
        raise SplitError(
            f"{n} processes for {config.num_attention_heads} query heads, {config.num_key_value_heads} key heads and a "
            f"width of {config.intermediate_size}; wanted a number that divides all three"
        )


def parallelise(model: Transformer, mesh: DeviceMesh) -> None:
    """Split a model over a mesh of one dimension, in place; its config becomes that of one process's share.

    Raises SplitError where the processes do not divide the heads and the feed-forward width.
    """
    config, n = model.config, mesh.size()
    check_split(config, n)
    plan: dict[str, ParallelStyle] = {f"self_attn.{name}_proj": ColwiseParallel() for name in "qkv"}
    plan |= {f"mlp.{name}_proj": ColwiseParallel() for name in ("gate", "up")}
    plan |= {name: RowwiseParallel() for name in ("self_attn.o_proj", "mlp.down_proj")}
    for layer in model.model.layers:
        parallelize_module(layer, mesh, plan)
    model.config = replace(
        config, num_attention_heads=config.num_attention_heads // n, num_key_value_heads=config.num_key_value_heads // n
    )


def share_of(tensor: Tensor, parameter: nn.Parameter) -> Tensor:
    """This process's share of a whole tensor, as `parameter` is split; the tensor itself where it is not."""
    if not isinstance(parameter, DTensor):
        return tensor
    (placement,), mesh = parameter.placements, parameter.device_mesh
    if isinstance(placement, Shard):
        tensor = tensor.chunk(mesh.size(), placement.dim)[mesh.get_local_rank()].clone()  # frees the whole tensor
    return DTensor.from_local(tensor, mesh, parameter.placements, run_check=False)
