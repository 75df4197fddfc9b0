"""The key and value tensors behind the pages, and the attention of a pass over them. Knows nothing of sessions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...kernels.attention import attend
from ...kernels.history import GatheredHistory, PagedHistory, history_slots
from ...kernels.rope import PageWrite, kept_rows
from ..config import LayoutConfig, ModelConfig, PageConfig
from .pages import PagePool


class KVCache:
    """k, v (layers, pages, page_size, Hkv, D); lengths (pages,) int32 valid slots. Doubles up to max_pages, and then
    has another address: `num_moves` counts that."""

    def __init__(
        self,
        model: ModelConfig,
        layout: LayoutConfig | PageConfig,
        *,
        device: torch.device,
        num_pages: int = 64,
        max_pages: int = 16384,
        dtype: torch.dtype = torch.float32,
    ):
        shape = (model.num_hidden_layers, num_pages, layout.page_size, model.num_key_value_heads, model.head_dim)
        self.k, self.v = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
        self.lengths = torch.zeros(num_pages, dtype=torch.int32, device=device)
        self.pool, self.page_size, self.max_pages = PagePool(num_pages), layout.page_size, max_pages
        self.num_moves = 0

    @property
    def bytes_per_page(self) -> int:
        return 2 * self.k[:, 0].numel() * self.k.element_size()

    def allocate(self) -> int:
        """An empty page with one holder. Raises CacheFull when max_pages are in use."""
        if not self.pool.num_free and self.pool.num_pages < self.max_pages:
            self.grow(min(2 * self.pool.num_pages, self.max_pages))
        page = self.pool.allocate()
        self.lengths[page] = 0
        return page

    def slots(self, page: int, first: int, count: int) -> Tensor:
        """(count,) int64 flat slots of a page from slot `first` on."""
        start = page * self.page_size + first
        return torch.arange(start, start + count, device=self.k.device)

    def table(self, pages: Sequence[Sequence[int]], *, width: int | None = None) -> Tensor:
        """(B, M) int32 page table of B lists of pages, padded with -1; M is `width`, or the longest list's length."""
        width = max(map(len, pages), default=0) if width is None else width
        rows = [[*row, *[-1] * (width - len(row))] for row in pages]
        return torch.tensor(rows, dtype=torch.int32, device=self.k.device).view(len(pages), width)

    def grow(self, num_pages: int) -> None:
        """Grow to so many pages, more than there are."""
        extra = num_pages - self.pool.num_pages
        # made outside inference mode: tensors made inside it could not be written later
        with torch.inference_mode(False), torch.no_grad():
            self.k, self.v = (torch.cat([x, x.new_zeros(x.shape[0], extra, *x.shape[2:])], 1) for x in (self.k, self.v))
            self.lengths = torch.cat([self.lengths, self.lengths.new_zeros(extra)])
        self.num_moves += 1
        self.pool.grow(num_pages)


class CachedAttention:
    """One pass over a cache: rows see the valid slots of their pages, then each other (or, causal, those before).

    slots (B, N) says where the rows' own keys and values go, -1 nowhere; None writes nothing. gathered: what passes
    over the same pages have gathered, for each layer.
    """

    def __init__(
        self,
        cache: KVCache,
        table: Tensor,
        *,
        causal: bool,
        slots: Tensor | None = None,
        gathered: Sequence[GatheredHistory] | None = None,
    ):
        self.gathered = gathered
        self.cache, self.table, self.causal, self.write_slots = cache, table, causal, slots
        on_cpu = table.device.type == "cpu"
        self.history = history_slots(table, cache.lengths, cache.page_size) if on_cpu else None
        self.kept = kept_rows(slots) if on_cpu and slots is not None else None

    def write(self, layer: int) -> PageWrite | None:
        if self.write_slots is None:
            return None
        return PageWrite(self.cache.k[layer], self.cache.v[layer], self.write_slots, self.kept)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        cache, gathered = self.cache, None if self.gathered is None else self.gathered[layer]
        pages = PagedHistory(cache.k[layer], cache.v[layer], self.table, cache.lengths, self.history, gathered)
        return attend(q, k, v, pages, causal=self.causal)


class WordsThenCanvas:
    """One pass for both: the first `num_words` rows are words, which see what came before and, causally, each other;
    the rest are a canvas, which sees what came before, the words, and all of itself.

    table (B, M) lists the pages of what came before and, in its last column, each sequence's own page (-1: no words
    for that one). slots (B, num_words) say where in it the words go; those of shorter sentences are padded with -1.
    The words' number must be in the cache's lengths already. gathered: as in `CachedAttention`, of the canvas.
    """

    def __init__(
        self,
        cache: KVCache,
        table: Tensor,
        slots: Tensor,
        num_canvas: int,
        gathered: Sequence[GatheredHistory] | None = None,
    ):
        B, self.num_words = slots.shape
        self._words: CachedAttention | None = None
        if self.num_words:
            padding = slots.new_full((B, num_canvas), -1)
            before = table[:, :-1].contiguous()
            self._words = CachedAttention(cache, before, causal=True, slots=torch.cat([slots, padding], 1))
        self._canvas = CachedAttention(cache, table, causal=False, gathered=gathered)

    def write(self, layer: int) -> PageWrite | None:
        return None if self._words is None else self._words.write(layer)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        L = self.num_words
        if self._words is None:
            return self._canvas.attend(layer, q, k, v)
        words = self._words.attend(layer, q[:, :L], k[:, :L], v[:, :L])
        return torch.cat([words, self._canvas.attend(layer, q[:, L:], k[:, L:], v[:, L:])], 1)
