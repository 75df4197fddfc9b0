"""Text to ids and back: one id for each known word, one for each digit, and bytes for everything else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..action import words

_BYTES, _SPACE = 256, 32  # ids below the first are bytes; the byte that ends a word that is not on the list
_PIECE = re.compile(r"\d|[^\W\d_]+|[^\w\s]|_|[^\x00-\x7f]")


class TextTokenizer:
    """A closed word list over UTF-8 bytes: ids 0 to 255 are bytes, 256 on are the words.

    Text is lower-cased and its spacing normalised, so decoding gives the words back, not the typography.
    """

    def __init__(self, word_list: Sequence[str] | None = None):
        self.words = tuple(word_list if word_list is not None else (*"0123456789", *words()))
        self._ids = {word: _BYTES + k for k, word in enumerate(self.words)}

    @property
    def size(self) -> int:
        return _BYTES + len(self.words)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in _PIECE.findall(text.lower()):
            ids += [self._ids[piece]] if piece in self._ids else [*piece.encode(), _SPACE]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        pieces, raw = [], bytearray()
        for token in [*ids, _SPACE]:
            if token < _BYTES and token != _SPACE:
                raw.append(token)
                continue
            if raw:
                pieces.append(raw.decode(errors="replace"))
                raw.clear()
            if token >= _BYTES:
                pieces.append(self.words[token - _BYTES])
        return " ".join(pieces)
