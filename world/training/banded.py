"""What rows attend to in training: T pages side by side, each with its clean rows and noisy copies of its frame.

Clean rows of a page see the clean rows of the `window` pages before it and, causally, their own page. A noisy copy sees
the same earlier pages, its own page's words, and itself without a mask (Emu3.5, arXiv 2510.26583, figure 9): just what
a session's canvas sees. Nothing ever sees a noisy copy but itself.
"""

from __future__ import annotations

import torch
from torch import Tensor


class BandedAttention:
    """valid (B, T, P) bool marks the clean slots in use: up to L words, then marker and cells. Rows come in the order
    (B, T * (P + copies * (1 + cells))).

    Each page is a product of its own over just the slots that it sees, with the heads of a group folded into rows: most
    pages of a window see fewer pages than the window holds, and a mask over all of them cost most of a training step.
    """

    def __init__(self, valid: Tensor, *, words: int, copies: int, window: int):
        self.valid, self.words, self.copies, self.window = valid, words, copies, window
        B, T, P = valid.shape
        self.lengths = valid.sum(-1).tolist()
        self.used = [valid[b].flatten().nonzero()[:, 0] for b in range(B)]
        own = own_page_mask(P, words, copies, valid.device)
        own = own & torch.cat([valid, valid.new_ones(B, T, len(own) - P)], -1)[:, :, None]
        # a row that may see nothing (an unused word slot) sees itself, for softmax needs something
        own = own | torch.eye(own.shape[-1], dtype=torch.bool, device=valid.device)
        self.bias = torch.zeros(own.shape, device=valid.device).masked_fill_(~own, float("-inf"))

    def write(self, layer: int) -> None:
        return None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        B, T, P = self.valid.shape
        H, Hkv, D = q.shape[2], k.shape[2], q.shape[3]
        if torch.is_autocast_enabled(q.device.type):
            q, k, v = (x.to(torch.get_autocast_dtype(q.device.type)) for x in (q, k, v))
        # (B, T, Hkv, rows * G, D) and (B, T, Hkv, rows, D)
        rows = (q * D**-0.5).view(B, T, -1, Hkv, H // Hkv, D).transpose(2, 3).flatten(3, 4)
        k, v = (x.view(B, T, -1, Hkv, D).transpose(2, 3) for x in (k, v))
        bias = self.bias.to(q.dtype).repeat_interleave(H // Hkv, 2)
        # lists, not slices of the whole: the gradient of a slice is as large as what it was taken from
        rows, own_k, own_v = (x.flatten(0, 1).unbind(0) for x in (rows, k, v))
        out = []
        for b in range(B):
            past_k, past_v = (
                x[b, :, :, :P].transpose(0, 1).flatten(1, 2)[:, self.used[b]].split(self.lengths[b], 1) for x in (k, v)
            )
            for t in range(T):
                page, seen = b * T + t, slice(max(0, t - self.window), t)
                keys = torch.cat([*past_k[seen], own_k[page]], 1)
                values = torch.cat([*past_v[seen], own_v[page]], 1)
                scores = torch.bmm(rows[page], keys.transpose(1, 2))
                scores[..., keys.shape[1] - own_k[page].shape[1] :] += bias[b, t]
                out.append(torch.bmm(scores.softmax(-1), values))
        return torch.stack(out).view(B, T, Hkv, -1, H // Hkv, D).transpose(2, 3).reshape(B, -1, H, D)


def own_page_mask(page: int, words: int, copies: int, device: torch.device | None = None) -> Tensor:
    """(rows, rows) bool: what a page's rows see of their own page, `page` clean rows and then the copies of its frame:
    clean rows causally, a copy the page's words and itself."""
    fresh = page - words
    rows = page + copies * fresh
    own = torch.zeros(rows, rows, dtype=torch.bool, device=device)
    own[:page, :page] = torch.ones(page, page, dtype=torch.bool, device=device).tril()
    own[page:, :words] = True
    for copy in range(copies):
        span = slice(page + copy * fresh, page + (copy + 1) * fresh)
        own[span, span] = True
    return own
