"""What rows attend to in DiDA's adaptation: a clean sequence, and noisy copies of its pictures.

Clean rows see the clean rows up to themselves and never a noisy one, so words stay as they were. A noisy copy sees the
clean rows before its picture, and all of itself (Emu3.5, arXiv 2510.26583, figure 9): exactly what a canvas sees while
it is denoised. The rule is written once; a GPU gets it as blocks for FlexAttention, a CPU as a dense mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CLEAN, PADDING = -1, -2  # copies are numbered from 0


@dataclass(frozen=True)
class Places:
    """The positions of the rows of a batch, (B, R) int64 each.

    place: of a clean row among the clean ones; limit: a row sees clean rows of lower place only; page: the unit of a
    window; copy: which noisy copy a row belongs to, CLEAN or PADDING for others.
    """

    place: Tensor
    limit: Tensor
    page: Tensor
    copy: Tensor

    def seen(self, window: int | None) -> Tensor:
        """(B, R, R) bool: whether row q sees row k, at [b, q, k]. window: pages that are seen back, None for all."""
        B, R = self.place.shape
        rows = torch.arange(R, device=self.place.device)
        batch = torch.arange(B, device=self.place.device)[:, None, None]
        return self.sees(batch, rows[:, None], rows, window)

    def sees(self, b: Tensor, q: Tensor, k: Tensor, window: int | None) -> Tensor:
        """The rule, for any row numbers that can be broadcast together."""
        is_earlier = (self.copy[b, k] == CLEAN) & (self.place[b, k] < self.limit[b, q])
        if window is not None:
            is_earlier = is_earlier & (self.page[b, k] + window >= self.page[b, q])
        is_own = (self.copy[b, q] >= 0) & (self.copy[b, q] == self.copy[b, k])
        return is_earlier | is_own | (q == k)  # padding sees itself, because softmax needs something


class CopyAttention:
    """An `Attention` (transformer/model.py) of a training batch. is_blocked: FlexAttention, by default on a GPU."""

    def __init__(self, places: Places, *, window: int | None = None, is_blocked: bool | None = None):
        device = places.place.device
        self._bias: Tensor | None = None  # one of the two: a dense mask, or blocks of one
        self._blocks: Any = None
        if device.type == "cuda" if is_blocked is None else is_blocked:
            from torch.nn.attention.flex_attention import create_block_mask

            B, R = places.place.shape
            rule = lambda b, h, q, k: places.sees(b, q, k, window)  # noqa: E731
            self._blocks = create_block_mask(rule, B, None, R, R, device=device)
        else:
            seen = places.seen(window)[:, None]
            self._bias = torch.zeros(seen.shape, device=device).masked_fill_(~seen, float("-inf"))

    def write(self, layer: int) -> None:
        return None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k.to(q.dtype), v.to(q.dtype)))
        if self._bias is not None:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=self._bias.to(q.dtype), enable_gqa=True)
        else:
            out = _flex(q.device.type)(q, k, v, block_mask=self._blocks, enable_gqa=True)
        return out.transpose(1, 2)


@cache
def _flex(device: str):
    """FlexAttention, compiled where that makes one kernel of it; on a CPU it has no compiled backward pass."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if device == "cuda" else flex_attention
