"""History that attention reads: keys and values in pages, and on a CPU which slots of them, worked out or gathered once
for several calls. Knows pages as arrays and a table; who owns them and when they are freed is decided in world/."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class HistorySlots:
    """What the layers of one step have in common on the CPU: where the valid history of each sequence lies.

    index holds one (L,) int64 a sequence, flat slots page * S + slot in the order of its table.
    """

    index: tuple[torch.Tensor, ...]


class GatheredHistory:
    """One layer's history, gathered once on a CPU for several calls. These must all list the same slots, into which
    nothing may be written meanwhile, and have the same number of fresh rows."""

    def __init__(self):
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def keys_and_values(self, b, gather, k, v):
        """History and fresh rows k, v (N, Hkv, D) of sequence b end to end, (Hkv, L + N, D); `gather` makes both."""
        if b not in self._kept:
            self._kept[b] = gather()
        else:
            for whole, fresh in zip(self._kept[b], (k, v), strict=True):
                whole[:, -len(fresh) :] = fresh.transpose(0, 1)
        return self._kept[b]


@dataclass(frozen=True)
class PagedHistory:
    """Frozen keys and values of earlier frames, and which of them each sequence sees.

    k_pages, v_pages (P, S, Hkv, D); page_table (B, M) int32, where -1 means no page; page_lengths (P,) int32 counts
    the valid slots of a page, which are its first ones. slots may carry `history_slots` of the same table, so that the
    layers of a step do not each work it out, and gathered what earlier calls have gathered of the same slots; only the
    reference reads these two.
    """

    k_pages: torch.Tensor
    v_pages: torch.Tensor
    page_table: torch.Tensor
    page_lengths: torch.Tensor
    slots: HistorySlots | None = None
    gathered: GatheredHistory | None = None


def history_slots(page_table: torch.Tensor, page_lengths: torch.Tensor, page_size: int) -> HistorySlots:
    """List every sequence's valid slots, in order."""
    pages = page_table.long()
    listed = pages.clamp(min=0)
    offsets = torch.arange(page_size, device=pages.device)
    lengths = page_lengths.long()[listed].masked_fill_(pages < 0, 0)
    index = listed[..., None] * page_size + offsets
    inside = offsets < lengths[..., None]
    return HistorySlots(tuple(slots[used] for slots, used in zip(index, inside, strict=True)))
