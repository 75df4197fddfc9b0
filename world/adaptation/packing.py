"""Examples as ids, and several of them in one row: as long as can be learnt at once, without seeing each other.

A row's sequences keep positions of their own, from 0. A token's `page` says which sequence it belongs to; the mask
(mask.py) counts its window in pages, and the window is 0 pages back. A sequence begins at its beginning token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ..emu.ibq import IbqTokenizer
from ..emu.prompts import preset
from ..emu.sequence import Format
from ..pictures.reading import read_picture
from .checking import Shape, answer_cells, shape_of, smart_cells
from .examples import Example
from .samples import AnswerLayout, Sample

# number of grids that are remembered for pictures that several examples share; a few thousand numbers each
CODES_KEPT = 512


class PackedLayout:
    """Rows of official sequences, each of which `inner` reads as if it were alone."""

    window = 0

    def __init__(self, inner: AnswerLayout):
        self.inner, self.vocabulary = inner, inner.vocabulary

    def read(self, ids: np.ndarray, rng: np.random.Generator, *, drop: float = 0.0) -> Sample:
        """All sequences of a row end to end; each may be read without words. Raises SampleError."""
        begins = np.flatnonzero(ids == self.inner.form.begin)
        samples = [self.inner.read(part, rng, drop=drop) for part in np.split(ids, begins[1:])]
        starts = np.cumsum([0, *(len(sample.ids) for sample in samples)])
        joined = {name: np.concatenate([getattr(s, name) for s in samples]) for name in ("ids", "positions", "learnt")}
        page = np.concatenate([np.full(len(sample.ids), number) for number, sample in enumerate(samples)])
        spans = [
            (int(start + a), int(start + b))
            for start, sample in zip(starts, samples, strict=False)
            for a, b in sample.spans
        ]
        return Sample(page=page, spans=tuple(spans), **joined)


def packed(sequences: Sequence[np.ndarray], longest: int) -> list[np.ndarray]:
    """Sequences put end to end into rows of at most `longest` ids, the longest ones first and each into the first row
    that has room; one that is longer alone has a row of its own."""
    rows: list[list[np.ndarray]] = []
    left: list[int] = []
    for ids in sorted(sequences, key=len, reverse=True):
        place = next((k for k, room in enumerate(left) if room >= len(ids)), len(rows))
        if place == len(rows):
            rows.append([])
            left.append(longest)
        rows[place].append(ids)
        left[place] -= len(ids)
    return [np.concatenate(row) for row in rows]


def answer_sequences(
    examples: Sequence[Example], form: Format, vision: IbqTokenizer, *, area: int | None = None
) -> Iterator[np.ndarray]:
    """Examples as an official checkpoint of these tokenizers reads and writes them, (n,) int32 ids each. area: pixels
    that pictures are brought to, by default the task's."""
    cell = vision.config.cell
    look, encode = lru_cache(maxsize=4096)(shape_of), lru_cache(maxsize=CODES_KEPT)(_encoder(vision, cell))
    for example in examples:
        pixels = area or preset(example.task).area
        answered, given = answer_cells(example, look, pixels, cell), len(example.images)
        ids: list[int] = []
        for piece in example.pieces():
            if isinstance(piece, str):
                ids += form.text.encode(piece)
                continue
            cells = smart_cells(look(piece), pixels, cell) if given else answered
            given = max(0, given - 1)  # those that are given come first
            ids += form.image_block(encode(piece, cells))
        yield np.array(ids, dtype=np.int32)


def _encoder(vision: IbqTokenizer, cell: int) -> Callable[[Path, Shape], np.ndarray]:
    """A function that reads a picture's codes (h, w) at a grid of cells, resampled like `smart_resize`."""
    from PIL import Image

    def encode(path: Path, cells: Shape) -> np.ndarray:
        height, width = (side * cell for side in cells)
        picture = Image.fromarray(read_picture(path))
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        with torch.inference_mode():
            return vision.encode(torch.tensor(np.asarray(picture))[None])[0].cpu().numpy()

    return encode
