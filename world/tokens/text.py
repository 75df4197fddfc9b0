"""Text to ids and back: one id for each known word, one for each digit, and bytes for everything else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..action import words

_PIECE = re.compile(r"\d|[^\W\d_]+|[^\w\s]|_|[^\x00-\x7f]")


class TextTokenizer:
    """A closed word list over UTF-8 bytes: ids 0 to 255 are bytes, 256 on are the words.

    Text is lower-cased and its spacing normalised, so decoding gives the words back, not the typography.
    """

    def __init__(self, word_list: Sequence[str] | None = None):
        self.words = tuple(word_list if word_list is not None else (*"0123456789", *words()))
        self._ids = {word: 256 + k for k, word in enumerate(self.words)}

    @property
    def size(self) -> int:
        return 256 + len(self.words)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in _PIECE.findall(text.lower()):
            ids += [self._ids[piece]] if piece in self._ids else [*piece.encode(), 32]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        pieces, raw = [], bytearray()
        for token in [*ids, 32]:
            if token < 256 and token != 32:
                raw.append(token)
                continue
            if raw:
                pieces.append(raw.decode(errors="replace"))
                raw.clear()
            if token >= 256:
                pieces.append(self.words[token - 256])
        return " ".join(pieces)
