"""Plain causal sequences over the paged cache: a stream knows its pages and what waits to be written.

Tokens are appended freely and read by the model only when a hidden state is asked for, so tokens that the format forces
cost no pass of their own. Knows nothing of sampling, formats or images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..transformer.cache import CachedAttention, KVCache
from ..transformer.model import Transformer
from .memory_plan import PREFILL_ROWS


class ContextFull(ValueError):
    """More tokens than a sequence may have; the message says how many came and how many fit."""


class TokenStream:
    """One growing sequence. Owns the pages that it fills and gives them back on close.

    pages, position: of a sequence that others have begun, whose pages are read, never written and never given back.
    position is that of the next token, counted from 0; some of those before may have been dropped since.
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
        """Say that the first `count` pending tokens, for which slots were asked, have been written."""
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


@torch.inference_mode()
def settle(model: Transformer, streams: Sequence[TokenStream], *, but: int = 0) -> None:
    """Read what is pending, all but the last `but` tokens, where nobody waits for a hidden state."""
    for stream in streams:
        while len(stream.pending) > but:
            _read(model, [stream], min(len(stream.pending) - but, PREFILL_ROWS))


@torch.inference_mode()
def canvas_states(model: Transformer, streams: Sequence[TokenStream], rows: Tensor) -> Tensor:
    """Hidden states (B, N, C) of token ids (B, N) that follow what each stream has read, seeing that and each other
    without a mask. Leaves nothing behind. What is pending must be the first of the rows."""
    cache, device = streams[0].cache, rows.device
    start = torch.tensor([stream.position for stream in streams], device=device)
    attention = CachedAttention(cache, cache.table([stream.pages for stream in streams]), causal=False)
    return model(model.embed(rows), start[:, None] + torch.arange(rows.shape[1], device=device), attention)


@torch.inference_mode()
def advance(model: Transformer, streams: Sequence[TokenStream], guesses: Sequence[int] = ()) -> Tensor:
    """Read all that is pending and return hidden states of each stream: the last token's, then those of the guesses of
    what comes after it, which leave nothing behind: (B, 1 + guesses, C).

    Streams go together through as many tokens as all have pending; what one has more of goes first, alone. Every
    stream must have something pending.
    """
    together = min(len(stream.pending) for stream in streams)
    assert together, "a stream with nothing to read has no new state"
    for stream in streams:
        while len(stream.pending) > together:
            _read(model, [stream], min(len(stream.pending) - together, PREFILL_ROWS))
    while len(streams[0].pending) > PREFILL_ROWS:
        _read(model, streams, PREFILL_ROWS)
    return _read(model, streams, len(streams[0].pending), guesses)


def _read(model: Transformer, streams: Sequence[TokenStream], count: int, guesses: Sequence[int] = ()) -> Tensor:
    """One causal pass over the next `count` tokens of each stream, and guesses: hidden states from the last of those
    tokens on, (B, 1 + guesses, C)."""
    cache, device = streams[0].cache, streams[0].cache.k.device
    ids = torch.tensor([[*stream.pending[:count], *guesses] for stream in streams], device=device)
    slots = F.pad(torch.stack([stream.slots(count) for stream in streams]), (0, len(guesses)), value=-1)
    start = torch.tensor([stream.position for stream in streams], device=device)
    positions = start[:, None] + torch.arange(ids.shape[1], device=device)
    attention = CachedAttention(cache, cache.table([stream.pages for stream in streams]), causal=True, slots=slots)
    hidden = model(model.embed(ids), positions, attention)
    for stream in streams:
        stream.commit(count)
    return hidden[:, count - 1 :]
