"""The material of the adaptation: token sequences with pictures in them, as plain ids in one file, and batches.

A layout reads ids into a Sample: positions, pages, where the pictures are, and which tokens are to be learnt. One
layout is our own (pages of words, marker and cells), the other the official one (image blocks with size header and row
ends). A picture's span goes from the marker before its first code to its last code: the next-token shift is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from ..config import LayoutConfig
from ..emu.prompts import unconditional_prompt
from ..emu.sequence import Format
from ..files import whole
from ..tokens.vocabulary import Vocabulary
from ..transformer.dida import MetricPath, shifted
from .mask import CLEAN, PADDING, Places

NOISE_SHARE = 0.2  # share of copies that are pure noise: the first step of every frame starts there


class SampleError(ValueError):
    """Sequences that cannot be learnt from; the message says what came and what was wanted."""


@dataclass(frozen=True)
class Sample:
    """One sequence: ids, positions, page (n,) int64; learnt (n,) bool, the tokens to be predicted from those before;
    spans, (first row, last row + 1) of each picture to be denoised, its marker included."""

    ids: np.ndarray
    positions: np.ndarray
    page: np.ndarray
    learnt: np.ndarray
    spans: tuple[tuple[int, int], ...]


class SampleLayout(Protocol):
    """Reads sequences of one format. window: how many pages back a row sees, None for all."""

    vocabulary: Vocabulary

    @property
    def window(self) -> int | None: ...

    def read(self, ids: np.ndarray, rng: np.random.Generator, *, drop: float = 0.0) -> Sample:
        """A part of a sequence that is short enough to learn from; drop: probability of reading it as guidance's
        unconditional branch does, if the layout has one. Raises SampleError if there is none."""


class WalkLayout:
    """Our own checkpoints: a page is the words that led to a frame, the image marker and the frame's codes."""

    def __init__(self, layout: LayoutConfig, vocabulary: Vocabulary, *, frames: int):
        self.layout, self.vocabulary, self.window, self.frames = layout, vocabulary, layout.window, frames

    def ids_of(self, tokens: np.ndarray, words: Sequence[Sequence[int]]) -> np.ndarray:
        """tokens (T, N) codes and the T lists of word ids that led to each frame -> ids (n,) int32."""
        marker, first = [self.vocabulary.image], self.vocabulary.first_code
        rows = [
            np.r_[list(text[: self.layout.text_capacity]), marker, codes + first]
            for text, codes in zip(words, tokens, strict=True)
        ]
        return np.concatenate(rows).astype(np.int32)

    def read(self, ids: np.ndarray, rng: np.random.Generator, *, drop: float = 0.0) -> Sample:
        """`frames` pages from a random one on; of the first, which has no history, nothing is learnt."""
        N, layout = self.layout.num_cells, self.layout
        markers = np.flatnonzero(ids == self.vocabulary.image)
        ends = markers + 1 + N
        begins = np.r_[0, ends[:-1]]
        if not len(markers) or ends[-1] != len(ids) or (markers < begins).any():
            raise SampleError(f"a sequence of {len(ids)} ids that is no whole number of frames of {N} cells")
        first = int(rng.integers(max(1, len(markers) - self.frames + 1)))
        chosen = range(first, min(first + self.frames, len(markers)))
        positions = [
            np.r_[np.arange(markers[k] - begins[k]), np.arange(layout.text_capacity, layout.page_size)]
            + number * layout.page_size
            for number, k in enumerate(chosen)
        ]
        page = np.concatenate([np.full(len(part), number) for number, part in enumerate(positions)])
        part = ids[begins[chosen[0]] : ends[chosen[-1]]].astype(np.int64)
        learnt = (part >= self.vocabulary.first_code) & (page > 0)
        spans = tuple((int(markers[k] - begins[first]), int(ends[k] - begins[first])) for k in chosen[1:])
        return Sample(part, np.concatenate(positions), page, learnt, spans)


class AnswerLayout:
    """Official checkpoints: prompt and answer in one plain sequence; what the answer says is learnt, words and all."""

    def __init__(self, form: Format, *, longest: int):
        self.form, self.vocabulary, self.window, self.longest = form, form.vocabulary, None, longest

    def read(self, ids: np.ndarray, rng: np.random.Generator, *, drop: float = 0.0) -> Sample:
        """The sequence from its beginning, cut before the picture that would make it longer than `longest`, or that
        was never finished. drop: probability of reading it without words; then only codes are learnt."""
        form, ids = self.form, self._finished(ids.astype(np.int64))
        is_dropped = rng.random() < drop if drop else False
        ids = self.unprompted(ids) if is_dropped else ids
        begins = np.flatnonzero(ids == form.codes_begin)
        ends = np.flatnonzero(ids == form.image_end)
        if len(begins) != len(ends) or (begins > ends).any():
            raise SampleError(f"a sequence of {len(ids)} ids with {len(begins)} pictures begun and {len(ends)} ended")
        whole = [(int(a), int(b)) for a, b in zip(begins, ends, strict=True) if b < self.longest]
        if len(whole) < len(begins):
            last = whole[-1][1] + 1 if whole else 0
        else:
            last = min(len(ids), self.longest)
        answering = np.cumsum(ids == form.answer_begin) > np.cumsum(ids == form.answer_end)
        learnt = np.r_[False, answering[:-1]] | (ids == form.end)  # the ends of an answer and of all are part of it
        spans = tuple(span for span in whole if learnt[span[0]])
        if not spans:
            raise SampleError(f"a sequence of {len(ids)} ids without a picture in an answer within {self.longest}")
        learnt = learnt & (ids >= self.vocabulary.first_code) if is_dropped else learnt
        places = np.arange(last)
        return Sample(ids[:last], places, places * 0, learnt[:last], spans)

    def unprompted(self, ids: np.ndarray) -> np.ndarray:
        """What the unconditional branch reads of a sequence: no words, only the given pictures and those of the
        answer."""
        form = self.form
        starts, ends = np.flatnonzero(ids == form.image_begin), np.flatnonzero(ids == form.image_end)
        blocks = [ids[a : b + 1] for a, b in zip(starts, ends, strict=True)]
        num_given = int((starts < np.argmax(ids == form.answer_begin)).sum())
        pieces = [
            blocks[piece] if isinstance(piece, int) else form.text.encode(piece)
            for piece in unconditional_prompt(num_given)
        ]
        return np.concatenate([*pieces, *blocks[num_given:]]).astype(np.int64)

    def _finished(self, ids: np.ndarray) -> np.ndarray:
        """Without an unfinished picture at the end."""
        starts, ends = (np.flatnonzero(ids == which) for which in (self.form.image_begin, self.form.image_end))
        return ids[: starts[-1]] if len(starts) == len(ends) + 1 else ids


@dataclass(frozen=True)
class Batch:
    """Rows (B, R), the clean ones of each sample and then the copies of its pictures, padded. ids and positions int64;
    targets int64, the token that a row is to predict, -1 for none."""

    ids: Tensor
    positions: Tensor
    targets: Tensor
    places: Places

    @property
    def is_noisy(self) -> Tensor:
        return self.places.copy >= 0

    def part(self, which: slice) -> Batch:
        """Some of the samples, padded no more than necessary."""
        copy = self.places.copy[which]
        longest = int((copy != PADDING).sum(1).max())  # padding comes after everything else
        cut = lambda x: x[which, :longest]  # noqa: E731
        places = Places(*(cut(x) for x in (self.places.place, self.places.limit, self.places.page, self.places.copy)))
        return Batch(cut(self.ids), cut(self.positions), cut(self.targets), places)


def make_batch(
    samples: Sequence[Sample],
    vocabulary: Vocabulary,
    path: MetricPath,
    rng: np.random.Generator,
    *,
    copies: int,
    shift: float = 1.0,
    level: float | None = None,
    hole_share: float = 0.0,
) -> Batch:
    """Samples with `copies` noisy copies of every picture, on the path's device.

    A copy's noise level is drawn by `noise_levels`, or is `level`. hole_share: share of copies that have holes, marked
    as such, and otherwise are nearly clean, like carried views; only for vocabularies with a hole.
    """
    rows = [_rows(sample, vocabulary, copies) for sample in samples]
    longest = max(len(row["ids"]) for row in rows)
    empty = dict(ids=0, positions=0, targets=-1, place=0, limit=0, page=0, copy=PADDING)
    packed = {name: np.full((len(rows), longest), fill, np.int64) for name, fill in empty.items()}
    for b, row in enumerate(rows):
        for name, values in row.items():
            packed[name][b, : len(values)] = values
    _make_noise(packed, vocabulary, path, rng, shift, level, hole_share)
    device = path.codebook.device
    tensors = {name: torch.from_numpy(values).to(device) for name, values in packed.items()}
    places = Places(*(tensors.pop(name) for name in ("place", "limit", "page", "copy")))
    return Batch(places=places, **tensors)


def noise_levels(rng: np.random.Generator, count: int, shift: float) -> np.ndarray:
    """(count,) levels t in [0, 1): pure noise for NOISE_SHARE of them, else uniform under URSA's time shift."""
    levels = shifted(rng.random(count) * 0.999, shift)
    return np.where(rng.random(count) < NOISE_SHARE, 0.0, levels)


def _rows(sample: Sample, vocabulary: Vocabulary, copies: int) -> dict[str, np.ndarray]:
    n = len(sample.ids)
    spans = [span for span in sample.spans for _ in range(copies)]
    source = np.concatenate([np.arange(n), *(np.arange(*span) for span in spans)])
    lengths = [stop - start for start, stop in spans]
    follower = np.r_[sample.ids[1:], -1]
    clean = np.where(np.r_[sample.learnt[1:], False], follower, -1)
    noisy = [np.r_[follower[start : stop - 1], -1] for start, stop in spans]
    noisy = [np.where(targets >= vocabulary.first_code, targets, -1) for targets in noisy]
    return {
        "ids": sample.ids[source],
        "positions": sample.positions[source],
        "page": sample.page[source],
        "targets": np.concatenate([clean, *noisy]),
        "place": source,
        "limit": np.r_[np.arange(1, n + 1), np.repeat([start for start, _ in spans], lengths)],
        "copy": np.r_[np.full(n, CLEAN), np.repeat(np.arange(len(spans)), lengths)],
    }


def _make_noise(
    packed: dict[str, np.ndarray],
    vocabulary: Vocabulary,
    path: MetricPath,
    rng: np.random.Generator,
    shift: float,
    level: float | None,
    hole_share: float,
) -> None:
    """Replace the codes of all copies by noisy ones in place; row ends and markers stay as they are."""
    ids, copy, first = packed["ids"], packed["copy"], vocabulary.first_code
    is_code = (copy >= 0) & (ids >= first)
    if not is_code.any():
        return
    shape = (len(ids), int(copy.max()) + 1)
    levels = noise_levels(rng, shape[0] * shape[1], shift) if level is None else np.full(shape, level)
    b, r = np.nonzero(is_code)
    has_holes = (rng.random(shape) < hole_share)[b, copy[b, r]]
    share = rng.random(shape)[b, copy[b, r]]
    own = np.where(has_holes, 0.6 + 0.4 * rng.random(shape)[b, copy[b, r]], levels.reshape(shape)[b, copy[b, r]])
    seed = torch.tensor([int(rng.integers(2**62))], device=path.codebook.device)
    codes, at = (torch.from_numpy(x)[None].to(seed.device) for x in (ids[b, r] - first, own.astype(np.float32)))
    noised = path.noised(codes, at, seed)[0].cpu().numpy() + first
    ids[b, r] = np.where(has_holes & (rng.random(len(b)) < share), vocabulary.hole, noised)


def save_sequences(sequences: Sequence[np.ndarray], path: str | Path) -> None:
    """Write sequences of ids end to end into one file, completely or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([len(ids) for ids in sequences], dtype=np.int64)
    with whole(path) as partial:
        save_file({"ids": np.concatenate(sequences).astype(np.int32), "ends": ends}, partial)


def load_sequences(path: str | Path) -> list[np.ndarray]:
    """The sequences that `save_sequences` wrote. Raises SampleError for a file that is incomplete or something else."""
    try:
        held = load_file(path)
        return np.split(held["ids"], held["ends"][:-1])
    except FileNotFoundError:
        raise SampleError(f"{path} is missing; make it with `roam adapt --distil`") from None
    except (OSError, SafetensorError, KeyError) as error:
        raise SampleError(f"{path} is torn or holds no sequences ({error}); make it again") from error
