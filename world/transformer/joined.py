"""The dense layers of a served model: in any precision, with products that read the same rows joined into one.

They are assembled from weights in any order, each put into its place as it comes, so that no more than one is held
twice. Knows nothing of files, devices or what rows mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...kernels.linear import Fp8Linear
from ...kernels.packed import BITS, Packed, PackedLinear
from ..config import ModelConfig

QUANTISED = ("fp8", *BITS)
Dense = Tensor | Fp8Linear | PackedLinear  # a weight (out, in), in the model's dtype or quantised
# what a layer's weights become part of
PRODUCTS = {
    "q_proj": "qkv",
    "k_proj": "qkv",
    "v_proj": "qkv",
    "o_proj": "out",
    "gate_proj": "gate_up",
    "up_proj": "gate_up",
    "down_proj": "down",
}


def quantised(weight: Tensor, precision: str) -> Fp8Linear | PackedLinear:
    """A dense layer in a precision of QUANTISED. Raises ValueError for sizes that the precision does not allow."""
    return Fp8Linear.from_weight(weight) if precision == "fp8" else PackedLinear.from_weight(weight, BITS[precision])


@dataclass(frozen=True)
class Joined:
    """A layer's products: queries, keys and values are one, gate and up are one. A product that is not a Dense is
    called."""

    qkv: Dense
    out: Dense | Callable[[Tensor], Tensor]
    gate_up: Dense
    down: Dense | Callable[[Tensor], Tensor]


class Assembly:
    """The products of one layer while its weights are loaded; config: the model's, or of one process's share of it.
    room: makes an empty tensor of a shape and kind, where the product is to be stored; by default on the weights'
    device."""

    def __init__(self, config: ModelConfig, *, room: Callable[[Sequence[int], Tensor], Tensor] | None = None):
        self._room = room
        D = config.head_dim
        q, kv, wide = config.num_attention_heads * D, config.num_key_value_heads * D, config.intermediate_size
        self._rows = {
            "q_proj": (0, q),
            "k_proj": (q, q + kv),
            "v_proj": (q + kv, q + 2 * kv),
            "gate_proj": (0, wide),
            "up_proj": (wide, 2 * wide),
        }
        self._sizes = {"qkv": q + 2 * kv, "gate_up": 2 * wide}
        self._made: dict[str, Any] = {}

    def put(self, name: str, dense: Dense | Callable[[Tensor], Tensor]) -> None:
        """Add a weight under its official name, q_proj and the like."""
        product = PRODUCTS[name]
        if product not in self._sizes and self._room is None:
            self._made[product] = dense
            return
        assert isinstance(dense, Tensor | Fp8Linear | PackedLinear), "what is called lies where it is"
        parts = tensors_of(dense)
        start, stop = self._rows.get(name, (0, len(parts[0])))
        if product not in self._made:
            size, make = self._sizes.get(product, stop), self._room or (lambda shape, like: like.new_empty(*shape))
            self._made[product] = with_tensors(dense, [make((size, *part.shape[1:]), part) for part in parts])
        for whole, part in zip(tensors_of(self._made[product]), parts, strict=True):
            whole[start:stop].copy_(part)

    def joined(self) -> Joined:
        """The result, once all weights are there."""
        return Joined(**self._made)


def tensors_of(dense: Dense) -> tuple[Tensor, ...]:
    """The tensors of a dense layer, all with its outputs first."""
    if isinstance(dense, Tensor):
        return (dense,)
    if isinstance(dense, Fp8Linear):
        return dense.weight, dense.weight_scale
    packed = dense.weight
    return packed.codes, packed.scale, packed.offset


def with_tensors(like: Dense, tensors: list[Tensor]) -> Dense:
    """A dense layer of the same kind, made of these tensors."""
    if isinstance(like, Tensor):
        return tensors[0]
    if isinstance(like, Fp8Linear):
        weight, scale = tensors
        return Fp8Linear(weight, scale)
    codes, scale, offset = tensors
    return PackedLinear(Packed(codes, scale, offset, like.weight.bits))


def dense_of(weight: Tensor, precision: str, dtype: torch.dtype) -> Dense:
    """A weight (out, in) in the form that is served."""
    weight = weight.detach().to(dtype)
    return quantised(weight, precision) if precision in QUANTISED else weight
