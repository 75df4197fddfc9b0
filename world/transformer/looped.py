"""A served model's layers for few rows of float32 on a CPU: products into buffers that are made once, and compiled
loops between them.

A pass of a dream has some seventy rows. Between two of its products there are only microseconds of arithmetic; done by
torch, the calls, new tensors and conversions for it took longer than the products. Same arithmetic as
`Transformer.forward`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...kernels.loops import add_norm_rows, norm_rope_rows, norm_rows
from ...kernels.rope import write_pages
from ..config import ModelConfig
from .attention import Attention

MOST_ROWS = 2048  # longer prefills are left to torch, whose calls they hide
MOST_SPACES = 8  # numbers of rows that buffers are kept for


@dataclass(frozen=True)
class LoopedProducts:
    """One layer's dense weights transposed, (in, out)."""

    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass(frozen=True)
class LoopedLayer:
    """One layer's weights; norms (C,), and head_norms (H + Hkv, D), a row a head."""

    first_norm: np.ndarray
    second_norm: np.ndarray
    head_norms: np.ndarray
    products: LoopedProducts


class LoopedLayers:
    """Runs the layers of a model of that config; last_norm (C,): of its final norm."""

    def __init__(self, config: ModelConfig, layers: Sequence[LoopedLayer], last_norm: Tensor):
        self._config, self._layers = config, layers
        self._last_norm = last_norm.detach().contiguous().numpy()
        self._spaces: dict[tuple[int, int], _Space] = {}

    def __call__(
        self, rows: Tensor, cos: Tensor, sin: Tensor, attention: Attention, *, wanted: Tensor | None = None
    ) -> Tensor:
        """rows (B, N, C), cos and sin (B or 1, N, D) -> final normed hidden states (B, N, C), or of the rows wanted
        (B, M) int64 alone: no others go through the last layer's feed-forward part."""
        (B, N, C), config = rows.shape, self._config
        H, Hkv, D, eps = config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.rms_norm_eps
        space = self._space(B * N)
        angles = [np.ascontiguousarray(x.expand(B, N, D).numpy()).reshape(-1, D) for x in (cos, sin)]
        space.stream.view(B, N, C).copy_(rows)
        stream, normed, delta = space.stream.numpy(), space.normed.numpy(), space.delta.numpy()
        gate, up = space.wide.chunk(2, -1)
        for index, layer in enumerate(self._layers):
            if index == 0:
                norm_rows(stream, layer.first_norm, eps, normed)
            else:
                add_norm_rows(delta, stream, layer.first_norm, eps, normed, stream)
            product = torch.mm(space.normed, layer.products.qkv)  # anew in each layer, for keys and values may be kept
            heads = product.numpy()
            norm_rope_rows(heads, layer.head_norms, *angles, eps, heads)
            q, k, v = product.view(B, N, -1, D).split((H, Hkv, Hkv), 2)
            pages = attention.write(index)
            if pages is not None:
                write_pages(pages, k, v)
            mixed = attention.attend(index, q, k, v).view(B, N, H * D)
            if wanted is not None and layer is self._layers[-1]:
                mixed, chosen = chosen_rows(mixed, wanted), chosen_rows(space.stream.view(B, N, C), wanted)
                N = wanted.shape[1]
                space = self._space(B * N)
                space.stream.copy_(chosen.view(B * N, C))
                stream, normed, delta = space.stream.numpy(), space.normed.numpy(), space.delta.numpy()
                gate, up = space.wide.chunk(2, -1)
            torch.mm(mixed.view(B * N, H * D), layer.products.out, out=space.delta)
            add_norm_rows(delta, stream, layer.second_norm, eps, normed, stream)
            torch.mm(space.normed, layer.products.gate_up, out=space.wide)
            torch.mul(F.silu(gate, inplace=True), up, out=space.gated)
            torch.mm(space.gated, layer.products.down, out=space.delta)
        out = torch.empty(B * N, C)
        add_norm_rows(delta, stream, self._last_norm, eps, out.numpy(), stream)
        return out.view(B, N, C)

    def _space(self, count: int) -> _Space:
        """The buffers for so many rows, of this thread alone."""
        key = threading.get_ident(), count
        if key not in self._spaces:
            if len(self._spaces) >= MOST_SPACES:
                self._spaces.clear()
            config = self._config
            widths = (config.hidden_size,) * 3 + (2 * config.intermediate_size, config.intermediate_size)
            self._spaces[key] = _Space(*(torch.empty(count, width) for width in widths))
        return self._spaces[key]


def chosen_rows(rows: Tensor, wanted: Tensor) -> Tensor:
    """rows (B, N, C) and which of them are wanted (B, M) int64 -> (B, M, C)."""
    return rows.gather(1, wanted[..., None].expand(-1, -1, rows.shape[-1]))


@dataclass(frozen=True)
class _Space:
    """A layer's buffers for R rows. stream: the residual stream; delta: what is added to it next."""

    stream: Tensor
    normed: Tensor
    delta: Tensor
    wide: Tensor
    gated: Tensor
