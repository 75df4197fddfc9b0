"""Plain causal sequences over the paged cache: a stream knows its pages and what waits to be written.

Tokens are appended freely and read by the model only when a hidden state is asked for, so tokens that the format forces
cost no pass of their own. Knows nothing of sampling, formats or images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from .cache import CachedAttention, KVCache
from .footprint import PREFILL_ROWS
from .model import Transformer


class ContextFull(ValueError):
    """More tokens than a sequence may have; the message says how many came and how many fit."""


class TokenStream:
    """One growing sequence. Owns its pages and gives them back on close; positions count from 0."""

    def __init__(self, cache: KVCache, *, context: int):
        self.cache, self.context = cache, context
        self.pages: list[int] = []
        self.pending: list[int] = []
        self.written = 0

    def __len__(self) -> int:
        return self.written + len(self.pending)

    def append(self, tokens: Iterable[int]) -> None:
        """Put tokens at the end, to be read with the next pass. Raises ContextFull past the context."""
        tokens = [*tokens]
        if len(self) + len(tokens) > self.context:
            raise ContextFull(
                f"a sequence of {len(self) + len(tokens)} tokens; the context holds {self.context}: shorten the text, "
                "use fewer or smaller images, or load the model with a longer context"
            )
        self.pending += tokens

    def slots(self, count: int) -> Tensor:
        """(count,) int64 flat slots for the next tokens, in new pages where the last one is full."""
        size = self.cache.page_size
        while len(self.pages) * size < self.written + count:
            self.pages.append(self.cache.allocate())
        places = torch.arange(self.written, self.written + count)
        return (torch.tensor(self.pages)[places // size] * size + places % size).to(self.cache.k.device)

    def commit(self, count: int) -> None:
        """Say that the first `count` pending tokens have been written."""
        first = self.written // self.cache.page_size
        self.written += count
        del self.pending[:count]
        for number, page in enumerate(self.pages[first:], first):
            self.cache.lengths[page] = min(self.written - number * self.cache.page_size, self.cache.page_size)

    def close(self) -> None:
        for page in self.pages:
            self.cache.pool.release(page)
        self.pages.clear()


@torch.inference_mode()
def advance(model: Transformer, streams: Sequence[TokenStream]) -> Tensor:
    """Read all that is pending and return the last token's hidden state of each stream: (B, C).

    Streams go together through as many tokens as all have pending; what one has more of goes first, alone. Every
    stream must have something pending.
    """
    together = min(len(stream.pending) for stream in streams)
    assert together, "a stream with nothing to read has no new state"
    for stream in streams:
        while len(stream.pending) > together:
            _read(model, [stream], min(len(stream.pending) - together, PREFILL_ROWS))
    while True:
        hidden = _read(model, streams, min(len(streams[0].pending), PREFILL_ROWS))
        if not streams[0].pending:
            return hidden


def _read(model: Transformer, streams: Sequence[TokenStream], count: int) -> Tensor:
    """One causal pass over the next `count` tokens of each stream: the last hidden states (B, C)."""
    cache, device = streams[0].cache, streams[0].cache.k.device
    ids = torch.tensor([stream.pending[:count] for stream in streams], device=device)
    slots = torch.stack([stream.slots(count) for stream in streams])
    start = torch.tensor([stream.written for stream in streams], device=device)
    positions = start[:, None] + torch.arange(count, device=device)
    attention = CachedAttention(cache, cache.table([stream.pages for stream in streams]), causal=True, slots=slots)
    hidden = model(model.embed(ids), positions, attention)
    for stream in streams:
        stream.commit(count)
    return hidden[:, -1]
