"""Plain causal sequences over the paged cache: a stream knows its pages and the tokens that are to be written.

Tokens are appended freely and read by the model only when a hidden state is needed, so tokens that the format forces
cost no pass of their own. Knows nothing of sampling, formats or images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ...kernels.graph import CapturedStep
from ..transformer.cache import CachedAttention, KVCache
from ..transformer.model import Transformer
from .memory_plan import PREFILL_ROWS

ROWS_AT_ONCE, PAGES_AT_ONCE = 16, 16  # a captured pass's rows and pages are padded to multiples of this
MOST_ROWS = 128  # rows of a causal pass that is captured: a token with its guesses and forced ones, and no prompt
MOST_GRAPHS = 64  # captured passes that are kept; pictures of ever new sizes would fill the memory with them


class ContextFull(ValueError):
    """More tokens than a sequence may have; the message says how many came and how many fit."""


class TokenStream:
    """One growing sequence. Owns the pages that it fills and frees them on close.

    pages, position: of a sequence that others have begun; its pages are read, never written and never freed. position
    is that of the next token, counted from 0; some of those before may have been dropped since.
    """

    def __init__(self, cache: KVCache, *, context: int, pages: Sequence[int] = (), position: int = 0):
        self.cache, self.context = cache, context
        self.pages, self.position = [*pages], position
        self.ids: list[int] = []  # all that was appended here
        self.pending: list[int] = []
        self._num_borrowed = len(self.pages)
        self.written = int(cache.lengths[self.pages].sum()) if self.pages else 0
        self._room = 0  # free slots of the last page, which is ours
        self._planned: list[tuple[int, int]] = []  # (page, its length once the pass under way has been made)

    def __len__(self) -> int:
        return self.written + len(self.pending)

    @property
    def own_pages(self) -> list[int]:
        return self.pages[self._num_borrowed :]

    @property
    def end(self) -> int:
        """The position after the last token, pending ones included."""
        return self.position + len(self.pending)

    def append(self, tokens: Iterable[int]) -> None:
        """Put tokens at the end, to be read with the next pass. Raises ContextFull past the context."""
        tokens = [*tokens]
        if len(self) + len(tokens) > self.context:
            raise ContextFull(
                f"a sequence of {len(self) + len(tokens)} tokens; the context holds {self.context}: shorten the text, "
                "use fewer or smaller images, or load the model with a longer context"
            )
        self.pending += tokens
        self.ids += tokens

    def take_back(self) -> int:
        """Undo the append of the last token, which must not have been read yet, and return it."""
        self.ids.pop()
        return self.pending.pop()

    def slots(self, count: int) -> Tensor:
        """(count,) int64 flat slots for the next tokens, in new pages where the last one is full."""
        size, parts, self._planned = self.cache.page_size, [], []
        while count:
            if not self._room:
                self.pages.append(self.cache.allocate())
                self._room = size
            first, taken = size - self._room, min(count, self._room)
            parts.append(self.cache.slots(self.pages[-1], first, taken))
            self._planned.append((self.pages[-1], first + taken))
            count, self._room = count - taken, self._room - taken
        return torch.cat(parts)

    def commit(self, count: int) -> None:
        """Note that the first `count` pending tokens, for which slots were requested, have been written."""
        self.written, self.position = self.written + count, self.position + count
        del self.pending[:count]
        for page, length in self._planned:
            self.cache.lengths[page] = length
        self._planned = []

    def close(self) -> None:
        for page in self.own_pages:
            self.cache.pool.release(page)
        self.pages.clear()
        self._num_borrowed = 0


class StreamPasses:
    """A model's passes over the streams of one cache. On CUDA a pass over few rows is captured once as a graph for
    each of a few shapes, and replayed: tables of pages and causal rows are padded to those, which changes nothing."""

    def __init__(self, model: Transformer, cache: KVCache):
        self.model, self.cache = model, cache
        self.step = CapturedStep(self._run)
        self.is_padded = cache.k.device.type == "cuda"
        if not model.is_alone:
            self.step.run_plainly()
        self._moves = cache.num_moves

    @torch.inference_mode()
    def settle(self, streams: Sequence[TokenStream], *, but: int = 0) -> None:
        """Read pending tokens, all except the last `but`, when nobody waits for a hidden state."""
        for stream in streams:
            while len(stream.pending) > but:
                self._read([stream], min(len(stream.pending) - but, PREFILL_ROWS))

    @torch.inference_mode()
    def canvas_states(self, streams: Sequence[TokenStream], rows: Tensor) -> Tensor:
        """Hidden states (B, N, C) of token ids (B, N) that follow what each stream has read; they see that, and each
        other without a mask. They are not stored. The first rows must be the pending tokens."""
        start = torch.tensor([stream.position for stream in streams], device=rows.device)
        return self._call("canvas", rows, start, self._table(streams))

    @torch.inference_mode()
    def advance(self, streams: Sequence[TokenStream], guesses: Sequence[int] = ()) -> Tensor:
        """Read all pending tokens and return hidden states of each stream: the last token's, then those of the guesses
        of what comes after it, which are not stored: (B, 1 + guesses, C).

        Streams go together through as many tokens as all have pending; the extra ones of a stream go first, alone.
        Every stream must have something pending.
        """
        together = min(len(stream.pending) for stream in streams)
        assert together, "a stream with nothing to read has no new state"
        for stream in streams:
            while len(stream.pending) > together:
                self._read([stream], min(len(stream.pending) - together, PREFILL_ROWS))
        while len(streams[0].pending) > PREFILL_ROWS:
            self._read(streams, PREFILL_ROWS)
        return self._read(streams, len(streams[0].pending), guesses)

    def _read(self, streams: Sequence[TokenStream], count: int, guesses: Sequence[int] = ()) -> Tensor:
        """One causal pass over the next `count` tokens of each stream, and guesses: hidden states from the last of
        those tokens on, (B, 1 + guesses, C)."""
        device, length = self.cache.k.device, count + len(guesses)
        more = -length % ROWS_AT_ONCE if self.is_padded else 0  # rows that no other row sees, because they come last
        ids = torch.tensor([[*stream.pending[:count], *guesses, *[0] * more] for stream in streams], device=device)
        slots = torch.stack([stream.slots(count) for stream in streams])
        slots = F.pad(slots, (0, len(guesses) + more), value=-1)
        start = torch.tensor([stream.position for stream in streams], device=device)
        hidden = self._call("causal", ids, start, self._table(streams), slots)
        for stream in streams:
            stream.commit(count)
        return hidden[:, count - 1 : length]

    def _table(self, streams: Sequence[TokenStream]) -> Tensor:
        """(B, M) int32 pages of each stream."""
        longest = max(len(stream.pages) for stream in streams)
        width = -(-longest // PAGES_AT_ONCE) * PAGES_AT_ONCE if self.is_padded else longest
        return self.cache.table([stream.pages for stream in streams], width=width)

    def _call(self, kind: str, ids: Tensor, *others: Tensor) -> Tensor:
        if self._moves != self.cache.num_moves or len(self.step) >= MOST_GRAPHS:
            self._moves = self.cache.num_moves  # graphs know the pages by their addresses
            self.step.forget()
        # prompts have any length, and their passes are long enough to hide their launches
        is_captured = kind == "canvas" or ids.shape[1] <= MOST_ROWS
        return (self.step if is_captured else self._run)(kind, ids, *others)

    def _run(self, kind: str, ids: Tensor, start: Tensor, table: Tensor, slots: Tensor | None = None) -> Tensor:
        positions = start[:, None] + torch.arange(ids.shape[1], device=ids.device)
        attention = CachedAttention(self.cache, table, causal=kind == "causal", slots=slots)
        return self.model(self.model.embed(ids), positions, attention)
