"""What rows attend to in training: T pages side by side, each with its clean rows and noisy copies of its frame.

Clean rows of a page see the clean rows of the `window` pages before it and, causally, their own page. A noisy copy sees
the same earlier pages, its own page's words, and itself without a mask (Emu3.5, arXiv 2510.26583, figure 9): just what
a session's canvas sees. Nothing ever sees a noisy copy but itself.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class BandedAttention:
    """valid (B, T, P) bool marks the clean slots in use: up to L words, then marker and cells. Rows come in the order
    (B, T * (P + copies * (1 + cells)))."""

    def __init__(self, valid: Tensor, *, words: int, copies: int, window: int):
        self.valid, self.words, self.copies, self.window = valid, words, copies, window
        B, T, P = valid.shape
        fresh = P - words
        rows = P + copies * fresh
        own = torch.zeros(rows, rows, dtype=torch.bool, device=valid.device)
        own[:P, :P] = torch.ones(P, P, dtype=torch.bool, device=valid.device).tril()
        own[P:, :words] = True
        for copy in range(copies):
            span = slice(P + copy * fresh, P + (copy + 1) * fresh)
            own[span, span] = True
        earlier = self._windows(valid[..., None, None]).view(B, T, 1, window * P)
        own_valid = torch.cat([valid, valid.new_ones(B, T, copies * fresh)], -1)[:, :, None]
        # a row that may see nothing (an unused word slot) sees itself, for softmax needs something
        own = (own & own_valid) | torch.eye(rows, dtype=torch.bool, device=valid.device)
        seen = torch.cat([earlier.expand(B, T, rows, -1), own], -1)
        self.bias = (
            torch.zeros(seen.shape, device=valid.device).masked_fill_(~seen, float("-inf")).flatten(0, 1)[:, None]
        )

    def write(self, layer: int) -> None:
        return None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        B, T = self.valid.shape[:2]
        keys, values = (self._keys(x.view(B, T, -1, *x.shape[2:])) for x in (k, v))
        queries = q.view(B * T, -1, *q.shape[2:]).transpose(1, 2)
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=self.bias, enable_gqa=True)
        return out.transpose(1, 2).reshape(q.shape)

    def _keys(self, x: Tensor) -> Tensor:
        """(B, T, rows, Hkv, D) -> (B * T, Hkv, window * P + rows, D)."""
        earlier = self._windows(x[:, :, : self.valid.shape[2]])
        return torch.cat([earlier, x], 2).flatten(0, 1).transpose(1, 2)

    def _windows(self, clean: Tensor) -> Tensor:
        """(B, T, P, ...) -> (B, T, window * P, ...): clean rows of the pages before each; zeros before the first."""
        B, T = clean.shape[:2]
        padded = torch.cat([clean.new_zeros(B, self.window, *clean.shape[2:]), clean[:, :-1]], 1)
        return torch.stack([padded[:, k : k + T] for k in range(self.window)], 2).flatten(2, 3)
