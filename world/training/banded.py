"""What rows attend to in training: T pages in a row, each with its clean rows and noisy copies of its frame.

Clean rows of a page see the clean rows of the `window` pages before it and, causally, their own page. A noisy copy sees
the same earlier pages, its own page's words, and itself without a mask (Emu3.5, arXiv 2510.26583, figure 9): exactly
what a session's canvas sees. Only a noisy copy sees itself. On a CPU each page is a product of its own, on CUDA all
pages are one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class BandedAttention:
    """valid (B, T, P) bool marks the clean slots in use: up to L words, then marker and cells. Rows come in the order
    (B, T * (P + copies * (1 + cells))).

    Each page is a product of its own over just the slots that it sees, with the heads of a group folded into rows: most
    pages of a window see fewer pages than the window holds, and a mask over all of them cost most of a training step.
    The copies of a page are one unmasked product, each over what all of them see and then itself.
    """

    def __init__(self, valid: Tensor, *, words: int, copies: int, window: int):
        self.valid, self.words, self.copies, self.window = valid, words, copies, window
        B, _, P = valid.shape
        self.lengths = valid.sum(-1).tolist()
        self.used = [valid[b].flatten().nonzero()[:, 0] for b in range(B)]
        own = torch.ones(P, P, dtype=torch.bool, device=valid.device).tril() & valid[:, :, None]
        # a row that may see nothing (an unused word slot) sees itself, because softmax needs something
        own = own | torch.eye(P, dtype=torch.bool, device=valid.device)
        self.bias = torch.zeros(own.shape, device=valid.device).masked_fill_(~own, float("-inf"))

    def write(self, layer: int) -> None:
        return None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        B, T, P = self.valid.shape
        H, Hkv, D = q.shape[2], k.shape[2], q.shape[3]
        fresh = P - self.words
        if torch.is_autocast_enabled(q.device.type):
            q, k, v = (x.to(torch.get_autocast_dtype(q.device.type)) for x in (q, k, v))
        q = q.view(B, T, -1, Hkv, H // Hkv, D)
        k, v = (x.view(B, T, -1, Hkv, D) for x in (k, v))
        # clean rows (Hkv, P * G, D), copies (C, Hkv, fresh * G, D), a list of B * T each; lists, not slices of the
        # whole: the gradient of a slice is as large as what it was taken from
        clean_q = q[:, :, :P].transpose(2, 3).flatten(3, 4).flatten(0, 1).unbind(0)
        copy_q = q[:, :, P:].unflatten(2, (self.copies, fresh)).transpose(3, 4).flatten(4, 5).flatten(0, 1).unbind(0)
        clean_k, clean_v = (x[:, :, :P].transpose(2, 3).flatten(0, 1).unbind(0) for x in (k, v))
        copy_k, copy_v = (
            x[:, :, P:].unflatten(2, (self.copies, fresh)).transpose(3, 4).flatten(0, 1).unbind(0) for x in (k, v)
        )
        bias = self.bias.to(q.dtype).repeat_interleave(H // Hkv, 2)
        clean, copies = [], []
        for b in range(B):
            past_k, past_v = (
                x[b, :, :P].transpose(1, 2).transpose(0, 1).flatten(1, 2)[:, self.used[b]].split(self.lengths[b], 1)
                for x in (k, v)
            )
            for t in range(T):
                page, seen = b * T + t, slice(max(0, t - self.window), t)
                scores = torch.bmm(clean_q[page] * D**-0.5, torch.cat([*past_k[seen], clean_k[page]], 1).mT)
                scores[..., scores.shape[-1] - P :] += bias[b, t]
                clean.append(torch.bmm(scores.softmax(-1), torch.cat([*past_v[seen], clean_v[page]], 1)))
                num_words = self.lengths[b][t] - fresh
                keys, values = (
                    torch.cat([torch.cat([*past[seen], own[:, :num_words]], 1).expand(len(copy), -1, -1, -1), copy], 2)
                    for past, own, copy in (
                        (past_k, clean_k[page], copy_k[page]),
                        (past_v, clean_v[page], copy_v[page]),
                    )
                )
                copies.append(F.scaled_dot_product_attention(copy_q[page], keys, values))
        clean = torch.stack(clean).unflatten(2, (P, H // Hkv)).transpose(1, 2)
        copies = torch.stack(copies).unflatten(3, (fresh, H // Hkv)).transpose(2, 3).flatten(1, 2)
        return torch.cat([clean, copies], 1).reshape(B, -1, H, D)


class MaskedAttention:
    """BandedAttention in two products under masks: on a GPU many small products cost more than the masked positions.
    Same arguments."""

    def __init__(self, valid: Tensor, *, words: int, copies: int, window: int):
        self.valid, self.words, self.copies = valid, words, copies
        B, T, P = valid.shape
        page, slot = (index.flatten() for index in torch.meshgrid(torch.arange(T), torch.arange(P), indexing="ij"))
        page, slot = page.to(valid.device), slot.to(valid.device)
        back = page[:, None] - page
        is_before, is_own = (back > 0) & (back <= window), back == 0
        used = valid.flatten(1)[:, None]
        own = is_own & (slot <= slot[:, None])
        # a row that may see nothing (an unused word slot) sees itself, because softmax needs something
        self.clean = used & (is_before | own) | torch.eye(T * P, dtype=torch.bool, device=valid.device)
        first = torch.arange(T, device=valid.device) * P  # one row per page
        of_page = used & (is_before | is_own & (slot < words))[first]
        fresh = torch.ones(B, T, P - words, dtype=torch.bool, device=valid.device)
        self.noisy = torch.cat([of_page, fresh], 2).flatten(0, 1)  # (B * T, T * P + fresh)

    def write(self, layer: int) -> None:
        return None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        (B, T, P), C = self.valid.shape, self.copies
        fresh, H = P - self.words, q.shape[2]
        if torch.is_autocast_enabled(q.device.type):
            q, k, v = (x.to(torch.get_autocast_dtype(q.device.type)) for x in (q, k, v))
        k, v = (x.repeat_interleave(H // x.shape[2], 2) for x in (k, v))
        q, k, v = (x.view(B, T, -1, H, x.shape[-1]) for x in (q, k, v))
        clean_q, clean_k, clean_v = (x[:, :, :P].flatten(1, 2).transpose(1, 2) for x in (q, k, v))
        clean = F.scaled_dot_product_attention(clean_q, clean_k, clean_v, attn_mask=self.clean[:, None])
        # (B * T * C, H, fresh, D); the copies of a page share its mask
        noisy = [x[:, :, P:].unflatten(2, (C, fresh)).transpose(3, 4).flatten(0, 2) for x in (q, k, v)]
        spread = lambda x: x[:, None].expand(-1, T * C, -1, -1, -1).flatten(0, 1)  # noqa: E731
        keys, values = (torch.cat([spread(a), b], 2) for a, b in ((clean_k, noisy[1]), (clean_v, noisy[2])))
        mask = self.noisy.repeat_interleave(C, 0)[:, None, None]
        copies = F.scaled_dot_product_attention(noisy[0], keys, values, attn_mask=mask)
        clean = clean.transpose(1, 2).unflatten(1, (T, P))
        copies = copies.transpose(1, 2).unflatten(0, (B, T, C)).flatten(2, 3)
        return torch.cat([clean, copies], 2).reshape(B, -1, H, q.shape[-1])
