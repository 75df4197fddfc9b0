"""Weights in shards over several processes during training (FSDP2, torch.distributed.fsdp.fully_shard).

Each process holds an equal part of every weight's rows, of its gradient and of the optimiser's state, and a layer is
whole only while it computes. The result is the same as in one process, and cards that can hold a part are enough. Knows
nothing of what is learnt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

# imported where something is put in shards: it takes more than a second, which training in one process does not need
if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


@dataclass(frozen=True)
class Sharding:
    """How a model is sharded over the processes of a mesh of one dimension, all of which make the same calls.

    fill: reads the weights that are still on the meta device, of each the rows of this process, once they are in
    shards.
    """

    mesh: DeviceMesh
    fill: Callable[[nn.Module], None]

    @property
    def count(self) -> int:
        return self.mesh.size()

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        kind = self.mesh.device_type
        return torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)

    def shard(self, outer: nn.Module, layers: Iterable[nn.Module]) -> None:
        """Shard a module, in place: its layers one by one, the rest together."""
        from torch.distributed.fsdp import fully_shard

        for layer in layers:
            fully_shard(layer, mesh=self.mesh)
        fully_shard(outer, mesh=self.mesh)
        self.fill(outer)

    def summed(self, values: Tensor) -> Tensor:
        """The sum over all processes of a few numbers on this one's device, in place."""
        dist.all_reduce(values, group=self.mesh.get_group())
        return values


def is_in_shards(value: Any) -> TypeGuard[DTensor]:
    """Whether a value is a tensor in shards; there are none before what makes them has been imported."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)


def reshard(module: nn.Module) -> None:
    """Make a module's parameters shards again, where the last pass left some of them whole."""
    if (fsdp := sys.modules.get("torch.distributed.fsdp")) is None:
        return  # nothing is in shards
    for part in module.modules():
        if isinstance(part, fsdp.FSDPModule):
            part.reshard()


def share(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, sharded like `like`; the tensor itself if that is not sharded."""
    if not is_in_shards(like) or tensor.shape != like.shape:
        return tensor
    start, stop = rows_here(like)
    return _shard(tensor[start:stop].to(like.to_local().device, copy=True), like)


def filled(empty: nn.Parameter, rows: Tensor) -> nn.Parameter:
    """A parameter in shards with the rows of this process, in place of one that has none yet."""
    assert is_in_shards(empty), "what was put in shards"
    device = "cpu" if empty.device_mesh.device_type == "cpu" else torch.cuda.current_device()
    return nn.Parameter(_shard(rows.to(device), empty), requires_grad=empty.requires_grad)


def _shard(rows: Tensor, like: DTensor) -> DTensor:
    from torch.distributed.tensor import DTensor

    mesh, placements = like.device_mesh, like.placements
    return DTensor.from_local(rows, mesh, placements, run_check=False, shape=like.shape, stride=like.stride())


def rows_here(like: Tensor) -> tuple[int, int]:
    """The rows that this process has of a tensor in shards, first and last + 1, as torch.chunk cuts them."""
    assert is_in_shards(like), "what was put in shards"
    mesh = like.device_mesh
    most = -(-len(like) // mesh.size())
    start = min(len(like), mesh.get_local_rank() * most)
    return start, min(len(like), start + most)


def whole(value: Any, *, kept: bool = True) -> Any:
    """A state with every tensor whole and on the CPU, for which all processes have to call this; tensors that are
    not sharded are unchanged. kept: False in processes that only take part, whose result is not used."""
    if isinstance(value, dict):
        return {name: whole(part, kept=kept) for name, part in value.items()}
    if isinstance(value, list):
        return [whole(part, kept=kept) for part in value]
    if not is_in_shards(value):
        return value
    full = value.full_tensor()
    return full.cpu() if kept else None


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Load a state of whole tensors into an optimiser, which keeps this process's part."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    parts = {
        number: {
            name: share(value, parameters[number]) if isinstance(value, Tensor) else value
            for name, value in held.items()
        }
        for number, held in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": parts})


def load_parameters(module: nn.Module, held: dict[str, Tensor]) -> None:
    """Load those parameters into a module that a state of whole tensors has."""
    own = dict(module.named_parameters())
    with torch.no_grad():
        for name, value in held.items():
            own[name].copy_(share(value, own[name]))
