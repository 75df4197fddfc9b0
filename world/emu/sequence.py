"""How text and pictures are arranged in Emu3.5's sequence: image blocks, the grammar that keeps an answer legal, its
parts.

An image block is: image start, "h*w" in digits, image token, then rows of codes with an end-of-line between them, image
end. Knows nothing of models, sampling or prompts.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..tokens.vocabulary import Vocabulary
from .text import IMAGE_END, IMAGE_START, IMAGE_TOKEN, EmuTextTokenizer

SMALLEST_SIDE, LARGEST_SIDE = 10, 99  # cells a side of a picture whose size the model chooses


@dataclass(frozen=True)
class Format:
    """The ids of control tokens, and image blocks made of them. Names are those of the official code, spelled out."""

    text: EmuTextTokenizer
    vocabulary: Vocabulary

    def id_of(self, surface: str) -> int:
        return self.text.specials[surface]

    @cached_property
    def begin(self) -> int:
        return self.id_of("<|extra_203|>")

    @cached_property
    def end(self) -> int:
        return self.id_of("<|extra_204|>")

    @cached_property
    def answer_begin(self) -> int:
        return self.id_of("<|extra_100|>")

    @cached_property
    def answer_end(self) -> int:
        return self.id_of("<|extra_101|>")

    @cached_property
    def plan_begin(self) -> int:
        return self.id_of("<|extra_60|>")

    @cached_property
    def plan_end(self) -> int:
        return self.id_of("<|extra_61|>")

    @cached_property
    def thought_begin(self) -> int:
        return self.id_of("<|extra_50|>")

    @cached_property
    def thought_end(self) -> int:
        return self.id_of("<|extra_51|>")

    @cached_property
    def row_end(self) -> int:
        return self.id_of("<|extra_200|>")

    @cached_property
    def image_begin(self) -> int:
        return self.id_of(IMAGE_START)

    @cached_property
    def codes_begin(self) -> int:
        return self.id_of(IMAGE_TOKEN)

    @cached_property
    def image_end(self) -> int:
        return self.id_of(IMAGE_END)

    @cached_property
    def outside_text(self) -> tuple[int, ...]:
        """Ids below the codes that no text may have: they occur only inside image blocks or at the start of a
        prompt."""
        legacy = ("<|endoftext|>", "<|extra_201|>")
        return (self.row_end, self.codes_begin, self.image_end, self.begin, self.answer_begin, *map(self.id_of, legacy))

    def header(self, height: int, width: int) -> list[int]:
        """The tokens before a block's first code, from image start on; the height comes first."""
        return [self.image_begin, *self.text.encode(f"{height}*{width}"), self.codes_begin]

    def image_block(self, codes: np.ndarray) -> list[int]:
        """codes (h, w) from 0 -> the ids of the whole block."""
        rows = (np.asarray(codes, dtype=np.int64) + self.vocabulary.first_code).tolist()
        ids = self.header(*codes.shape)
        for row in rows[:-1]:
            ids += [*row, self.row_end]
        return [*ids, *rows[-1], self.image_end]

    def block_length(self, height: int, width: int) -> int:
        return len(f"{height}*{width}") + height * width + height + 2


@dataclass(frozen=True)
class Text:
    """A stretch of an answer in words; kind: "text", "plan" (global thinking) or "thought" (of one step)."""

    kind: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A whole image of an answer: codes (h, w) int32 from 0."""

    codes: np.ndarray


class Grammar:
    """What may come next in an answer, one token at a time.

    size: cells (h, w) of every picture, None to let the model choose the first one's; keeps_size: whether later
    pictures have the first one's size; largest: tokens of a picture whose size the model chooses, at most.
    """

    def __init__(
        self, form: Format, *, size: tuple[int, int] | None = None, keeps_size: bool = True, largest: int | None = None
    ):
        self.form, self.size, self.keeps_size = form, size, keeps_size
        self.largest = largest
        self.is_sized = size is not None
        self._block: list[int] = []  # the image block being written, from its image start; empty outside of one
        self.height = 0  # rows of the block being written, once its header is read
        self.width = self._cells = 0  # codes a row, and codes and row ends in all

    @property
    def in_image(self) -> bool:
        return bool(self._block)

    @property
    def wants_code(self) -> bool:
        """Whether a visual token comes next."""
        return self.in_image and self._cells > 0 and self.forced() is None

    def codes(self) -> list[int]:
        """The codes that the picture being written has so far, counted from 0."""
        first = self.form.vocabulary.first_code
        return [token - first for token in self._block[self._block.index(self.form.codes_begin) :] if token >= first]

    def places_ahead(self, count: int) -> list[bool]:
        """For the next positions, up to the `count`-th code or the picture's end, whether each is a code; the others
        are row ends."""
        ahead: list[bool] = []
        for place in range(self._place(), self._cells):
            if sum(ahead) == count:
                break
            ahead.append(place % (self.width + 1) != self.width)
        return ahead

    def forced(self) -> int | None:
        """The only token that may come next, or None."""
        if not self.in_image:
            return None
        if self._cells:
            place = self._place()
            if place == self._cells:
                return self.form.image_end
            return self.form.row_end if place % (self.width + 1) == self.width else None
        choices = self.choices(10**9)
        return choices[0] if len(choices) == 1 else None

    def choices(self, budget: int) -> list[int]:
        """Within a size header, the ids that may come next: those of sizes whose blocks end within `budget` tokens."""
        form, begun = self.form, self.form.text.decode(self._block[1:])
        if self.is_sized and self.size:
            return [form.header(*self.size)[len(self._block)]]
        left = min(budget + len(self._block), self.largest or budget + len(self._block))
        fitting = {
            head[len(begun) : len(begun) + 1]
            for head, length in self._headers
            if length <= left and head.startswith(begun)
        }
        return sorted(form.text.encode(char)[0] if char else form.codes_begin for char in fitting)

    @cached_property
    def _headers(self) -> list[tuple[str, int]]:
        sides = range(SMALLEST_SIDE, LARGEST_SIDE + 1)
        return [(f"{h}*{w}", self.form.block_length(h, w)) for h in sides for w in sides]

    def can_begin_image(self, budget: int) -> bool:
        """Whether a picture's whole block can still be written in `budget` tokens."""
        size = self.size if self.is_sized and self.size else (SMALLEST_SIDE, SMALLEST_SIDE)
        return self.form.block_length(*size) <= budget

    def accept(self, token: int) -> None:
        """Go on to the state after `token`, which must be legal."""
        form = self.form
        if token == form.image_begin:
            self._block, self._cells = [token], 0
        elif token == form.image_end:
            self._block = []
            self.is_sized = self.is_sized and self.keeps_size
        elif self.in_image:
            self._block.append(token)
            if token == form.codes_begin:
                self.height, self.width = self._read_header()
                self._cells = self.height * (self.width + 1) - 1

    def _read_header(self) -> tuple[int, int]:
        height, width = map(int, self.form.text.decode(self._block[1:-1]).split("*"))
        size = height, width
        if self.keeps_size:
            self.size, self.is_sized = size, True
        return size

    def _place(self) -> int:
        """How many codes and row ends the block has so far."""
        return len(self._block) - 1 - self._block.index(self.form.codes_begin)


class AnswerReader:
    """Splits an answer into its parts as its tokens come: words as they are, pictures when they are whole."""

    def __init__(self, form: Format):
        self.form, self.kind = form, "text"
        self.rows: list[list[int]] | None = None  # codes of the picture being read, one list a row
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, token: int) -> Iterator[Text | Picture]:
        form, kinds = self.form, self._kinds
        if token in kinds:
            yield from self.flush()
            self.kind = kinds[token]
        elif token == form.image_begin:
            yield from self.flush()
            self.rows = [[]]
        elif self.rows is not None:
            yield from self._read_cell(token, self.rows)
        elif token in (form.end, form.answer_begin, form.answer_end):
            yield from self.flush()
        elif piece := self._utf8.decode(form.text.bytes_of(token)):
            yield Text(self.kind, piece)

    def flush(self) -> Iterator[Text]:
        """What is left of a broken character."""
        if piece := self._utf8.decode(b"", final=True):
            yield Text(self.kind, piece)

    @cached_property
    def _kinds(self) -> dict[int, str]:
        form = self.form
        return {form.plan_begin: "plan", form.plan_end: "text", form.thought_begin: "thought", form.thought_end: "text"}

    def _read_cell(self, token: int, rows: list[list[int]]) -> Iterator[Picture]:
        first = self.form.vocabulary.first_code
        if token >= first:
            rows[-1].append(token - first)
        elif token == self.form.row_end:
            rows.append([])
        elif token == self.form.image_end:
            self.rows = None
            if len({*map(len, rows)}) == 1 and rows[0]:  # an uneven picture cannot be shown, and is left out
                yield Picture(np.array(rows, dtype=np.int32))


def parse_answer(ids: Iterable[int], form: Format) -> list[Text | Picture]:
    """The parts of a whole answer in order; words of one kind that touch are one part, unfinished pictures left out."""
    reader = AnswerReader(form)
    parts: list[Text | Picture] = []
    for part in (*(part for token in ids for part in reader.read(token)), *reader.flush()):
        last = parts[-1] if parts else None
        if isinstance(part, Text) and isinstance(last, Text) and last.kind == part.kind:
            parts[-1] = Text(part.kind, last.text + part.text)
        else:
            parts.append(part)
    return parts
