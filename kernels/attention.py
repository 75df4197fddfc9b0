"""Attention of fresh rows over paged history and over themselves: the canvas, a prefill or a commit.

    out_i = sum_j softmax_j(scale * q_i . k_j) v_j
    j runs over every valid slot of the listed pages, then over the fresh rows: all of them (canvas) or j <= i (causal).
    Query head h reads key head h // (H / Hkv); those H / Hkv heads are folded into rows, so K and V are read once.

Knows pages as arrays and a table; who owns them and when they are freed is decided in world/.
"""

import math
from dataclasses import dataclass

import torch

from .device import backend

# Score matrices are made this many elements at a time on the CPU: 4 MiB of float32 stays in a core's share of cache.
_SCORES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class HistorySlots:
    """Where a batch's valid history lies: what the layers of one step have in common on the CPU.

    index (B, L) int64 are flat slots page * S + slot; valid (B, L) bool is None when every entry counts.
    """

    index: torch.Tensor
    valid: torch.Tensor | None


@dataclass(frozen=True)
class PagedHistory:
    """Frozen keys and values of earlier frames, and which of them each sequence sees.

    k_pages, v_pages (P, S, Hkv, D); page_table (B, M) int32, where -1 means no page; page_lengths (P,) int32 counts the
    valid slots of a page, which are its first ones. slots may carry `history_slots` of the same table, so that the layers
    of a step do not each work it out; only the reference reads it.
    """

    k_pages: torch.Tensor
    v_pages: torch.Tensor
    page_table: torch.Tensor
    page_lengths: torch.Tensor
    slots: HistorySlots | None = None


def history_slots(page_table: torch.Tensor, page_lengths: torch.Tensor, page_size: int) -> HistorySlots:
    """List the valid slots of every sequence, left-packed; sequences with fewer than the most are padded with slot 0."""
    B, M = page_table.shape
    pages = page_table.long()
    listed = pages.clamp(min=0)
    offsets = torch.arange(page_size, device=pages.device)
    lengths = torch.where(pages >= 0, page_lengths.long()[listed], 0) if M and B else pages
    index = (listed[..., None] * page_size + offsets).view(B, M * page_size)
    inside = (offsets < lengths[..., None]).view(B, M * page_size)
    counts = inside.sum(1)
    L = int(counts.max()) if B else 0
    if L == M * page_size and bool(inside.all()):
        return HistorySlots(index, None)
    if bool((counts == L).all()):
        return HistorySlots(index[inside].view(B, L), None)
    order = torch.argsort(~inside, dim=1, stable=True)[:, :L]
    valid = inside.gather(1, order)
    return HistorySlots(index.gather(1, order).masked_fill_(~valid, 0), valid)


def attend_reference(q, k, v, history=None, *, causal=False, scale=None):
    """`attend` in plain torch: pages gathered once, then bmm, softmax, bmm over rows that hold a whole GQA group."""
    B, N, H, D = q.shape
    Hkv = k.shape[2]
    G = H // Hkv
    if q.numel() == 0:
        return torch.empty_like(q, memory_format=torch.contiguous_format)
    scale = D**-0.5 if scale is None else scale
    slots = None
    if history is not None and history.page_table.shape[1]:
        slots = history.slots or history_slots(history.page_table, history.page_lengths, history.k_pages.shape[1])
    keys = _history_then_fresh(None if slots is None else history.k_pages, slots, k)
    values = _history_then_fresh(None if slots is None else history.v_pages, slots, v)
    T = keys.shape[1]
    hidden = _hidden_keys(slots, B, Hkv, T)
    if hidden is not None:  # a padded slot may hold anything, NaN too, and 0 * NaN is NaN
        values = values.masked_fill(hidden.transpose(1, 2), 0)
    rows = q.reshape(B, N, Hkv, G, D).permute(0, 2, 1, 3, 4).reshape(B * Hkv, N * G, D)
    out = torch.empty_like(rows)
    step = max(G, _SCORES_AT_ONCE // (B * Hkv * T) // G * G)
    for start in range(0, N * G, step):
        chunk = rows[:, start : start + step]
        scores = chunk.new_empty(B * Hkv, chunk.shape[1], T)
        scores = torch.baddbmm(scores, chunk, keys.transpose(1, 2), beta=0, alpha=scale)
        if hidden is not None:
            scores.masked_fill_(hidden, -math.inf)
        if causal:
            query = torch.arange(start, start + chunk.shape[1], device=q.device) // G
            later = torch.arange(N, device=q.device) > query[:, None]
            scores[:, :, T - N :].masked_fill_(later, -math.inf)
        out[:, start : start + step] = torch.bmm(torch.softmax(scores, -1), values)
    return out.view(B, Hkv, N, G, D).permute(0, 2, 1, 3, 4).reshape(B, N, H, D)


def _history_then_fresh(pages, slots, fresh):
    """Lay a sequence's history and fresh rows side by side: (B * Hkv, L + N, D), strided so that bmm takes it as it is."""
    B, N, Hkv, D = fresh.shape
    if slots is None:
        return fresh.transpose(0, 1).reshape(N, B * Hkv, D).transpose(0, 1)
    L = slots.index.shape[1]
    both = fresh.new_empty(L + N, B * Hkv, D)
    flat = pages.view(-1, Hkv, D)  # a view or an error: a copy of the whole cache must not hide here
    torch.index_select(flat, 0, slots.index.t().reshape(-1), out=both[:L].view(L * B, Hkv, D))
    both[L:] = fresh.transpose(0, 1).reshape(N, B * Hkv, D)
    return both.transpose(0, 1)


def _hidden_keys(slots, B, Hkv, T):
    """(B * Hkv, 1, T) bool, true where a shorter sequence was padded; None when nothing was."""
    if slots is None or slots.valid is None:
        return None
    hidden = torch.zeros(B, Hkv, 1, T, dtype=torch.bool, device=slots.valid.device)
    hidden[..., : slots.valid.shape[1]] = ~slots.valid[:, None, None]
    return hidden.view(B * Hkv, 1, T)


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    history: PagedHistory | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """Attend from fresh rows to the listed pages and to the fresh rows themselves.

    q (B, N, H, D); k, v (B, N, Hkv, D), the rows' own keys and values, with H a multiple of Hkv. Every row sees every
    valid slot of its sequence's pages, then all fresh rows (the canvas) or, with causal, those up to itself. scale
    defaults to D ** -0.5. Returns (B, N, H, D) in q's dtype.
    """
    _check(q, k, v, history)
    return attend_reference(q, k, v, history, causal=causal, scale=scale)


def _check(q, k, v, history):
    B, N, H, D = q.shape
    Hkv = k.shape[2]
    if k.shape != (B, N, Hkv, D) or v.shape != k.shape or H % Hkv:
        raise ValueError(
            f"attend: q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}; wanted (B, N, H, D) and twice "
            f"(B, N, Hkv, D) with H a multiple of Hkv"
        )
    if history is None:
        return
    P, S, pages_Hkv, pages_D = history.k_pages.shape
    if (pages_Hkv, pages_D) != (Hkv, D) or history.v_pages.shape != history.k_pages.shape:
        raise ValueError(
            f"attend: pages {tuple(history.k_pages.shape)} and {tuple(history.v_pages.shape)}; wanted (P, S, {Hkv}, {D})"
        )
    if history.page_table.shape[0] != B or history.page_lengths.shape != (P,):
        raise ValueError(
            f"attend: page table {tuple(history.page_table.shape)} and lengths {tuple(history.page_lengths.shape)}; "
            f"wanted ({B}, M) and ({P},)"
        )
