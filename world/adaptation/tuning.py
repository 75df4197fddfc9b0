"""`roam tune sft` from files to a folder: reads examples, trains on their answers only, and writes a checkpoint.

Training, adapters, processes and saving are the adaptation's (run.py, train.py), which also denoises if the weights
can. An official checkpoint learns words and pictures of any task; one of ours learns walks, whose turns lead from frame
to frame. A stopped run continues, and refuses to continue with different inputs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..action import Action
from ..checkpoint import Checkpoint
from ..emu.checkpoint import load_vision, parts_of
from ..emu.sequence import Format
from ..emu.settings import is_adapted, read_vision_config, refuse_swapped
from ..emu.text import EmuTextTokenizer, find_text_tokenizer
from ..files import sha256
from ..pictures.reading import read_picture
from ..tokens.vision import VisionTokenizer
from ..tokens.vocabulary import Vocabulary
from ..training.parallel import launch
from .checking import check_examples, refuse_faults
from .data import RecordedWalk, walk_sequences
from .examples import Example, ExampleError, read_examples
from .keeping import has_begun, note_begin
from .packing import PackedLayout, answer_sequences, packed
from .run import (
    SEQUENCES,
    AdaptError,
    AdaptOrder,
    Lesson,
    learn,
    loaded,
    loaded_to_learn,
    plan_memory,
    readable,
)
from .samples import AnswerLayout, WalkLayout, load_sequences, save_sequences

log = logging.getLogger(__name__)
HELD_OUT = "held-out.safetensors"
HELD_OUT_SHARE = 10  # without a file of its own, one in so many examples is held out, the last ones
WAIT = "wait"  # the direction from a picture to the next where nothing is said


@dataclass(frozen=True)
class TuneOrder(AdaptOrder):
    """What to tune, on what, and how; as in an AdaptOrder, except `data`, a file of examples. evaluation: another
    file, only for measuring, None for a tenth of `data`; area: pixels to which pictures are scaled, None for the
    task's."""

    evaluation: Path | None = None
    area: int | None = None

    @property
    def num_copies(self) -> int:
        """Noisy copies of pictures, if the weights denoise already and are to keep that."""
        return self.recipe.copies if self.official and is_adapted(self.official[0]) else 0

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.data, self.evaluation) if path)

    @property
    def fixed(self) -> dict:
        """What must be the same when a run continues."""
        recipe, model = self.recipe, self.model and str(self.model.absolute())
        hashes = [sha256(path) for path in self.files]
        kept = dict(model=model, examples=hashes, longest=self.longest, frames=self.frames, area=self.area)
        return kept | dict(rank=recipe.rank, batch=recipe.batch, drop=recipe.prompt_dropout, seed=recipe.seed)


def run_tuning(
    order: TuneOrder,
    *,
    show: Callable[[str, float, dict], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Run the order; returns the folder of the tuned checkpoint. show: called with (part, share done, figures), in
    the first process; say: gets the plan of the memory. Raises AdaptError, ExampleError, DoesNotFit, or the errors
    of loading and reading."""
    order.check("tuned")
    if order.area is not None and not order.is_official:
        raise AdaptError("pictures of a model of ours have its own size: leave --area out")
    plan_memory(order, say or log.info)
    fixed = order.fixed
    if not has_begun(order.out, fixed):
        order.out.mkdir(parents=True, exist_ok=True)  # now, and not after hours of reading pictures
        _gather(order, show or (lambda part, share, row: None))
        note_begin(order.out, fixed)  # written last: it marks the files around it as complete
        if order.device == "cuda":  # what read pictures is done, and other processes may want its memory
            torch.cuda.empty_cache()
    launch(order.num_processes, _work, order, show if order.num_processes == 1 else None)
    return order.out / "checkpoint"


def _gather(order: TuneOrder, show) -> None:
    """Write the training and the held-out examples as ids, after checking every line and picture."""
    found = [_checked(path, order) for path in order.files]
    if order.evaluation is None:
        count = max(1, len(found[0]) // HELD_OUT_SHARE)
        if len(found[0]) < 2:
            raise AdaptError(f"{order.data} has one example, and one is to be measured: name others with --eval")
        found = [found[0][:-count], found[0][-count:]]
    reader = _reader(order)
    total = sum(map(len, found))
    parts: list[list[np.ndarray]] = [[], []]
    for part, examples in zip(parts, found, strict=True):
        for ids in reader.sequences(examples):
            part.append(ids)
            show("reading examples", sum(map(len, parts)) / total, {})
    learnt, measured = (readable(part, reader.layout, path) for part, path in zip(parts, order.files * 2, strict=False))
    save_sequences(packed(learnt, order.longest) if order.is_official else learnt, order.out / SEQUENCES)
    save_sequences(measured, order.out / HELD_OUT)


def _checked(path: Path, order: TuneOrder) -> list[Example]:
    """All examples of a file. Raises ExampleError for the first that cannot be learnt from."""
    text = _words(order) if order.official else None
    report = check_examples(path, area=order.area, longest=order.longest if text else 1 << 62, text=text)
    refuse_faults(path, report)
    return [*read_examples(path)]


@dataclass(frozen=True)
class Reader:
    """Turns examples into ids; layout: how those are read again."""

    sequences: Callable[[Sequence[Example]], Iterator[np.ndarray]]
    layout: PackedLayout | WalkLayout


def _reader(order: TuneOrder) -> Reader:
    """The reader for the ordered model; for an official one it uses only the tokenizers."""
    if order.official is None:
        checkpoint = loaded(order)
        return Reader(partial(_walks, checkpoint, _walk_layout(order, checkpoint)), _walk_layout(order, checkpoint))
    model, folder = order.official
    refuse_swapped(model, folder)
    words = _words(order)
    vision = load_vision(folder, read_vision_config(folder), device=order.device)
    form = Format(words, Vocabulary(words.size, words.num_codes, num_markers=3))
    return Reader(partial(answer_sequences, form=form, vision=vision, area=order.area), _packed_layout(order, form))


def _words(order: TuneOrder) -> EmuTextTokenizer:
    assert order.official is not None, "models of ours have words of their own"
    return EmuTextTokenizer.from_folder(order.text or find_text_tokenizer(*order.official))


def _walks(checkpoint: Checkpoint, layout: WalkLayout, examples: Sequence[Example]) -> Iterator[np.ndarray]:
    assert isinstance(checkpoint.vision, VisionTokenizer), "what a checkpoint of ours has"
    size = checkpoint.vision.config.size
    yield from walk_sequences((walk_of(example, size) for example in examples), checkpoint, layout)


def walk_of(example: Example, size: int) -> RecordedWalk:
    """An exploration as a recorded walk of square frames, pixels a side. Raises ExampleError for anything else."""
    kinds = {part.kind for part in example.answer}
    if example.task != "explore" or kinds - {"image", "turn"} or len(example.images) > 1:
        raise ExampleError(
            f"line {example.line}: a model of ours learns walks from one picture on, task explore with turns and "
            f"images alone, and this is {example.task} of {len(example.images)} given, with {', '.join(sorted(kinds))}"
        )
    files, actions, said = [*example.images], [], ""
    for part in example.answer:
        if part.kind == "turn":
            said = part.value
            continue
        if files:
            actions.append(Action(said or WAIT))
        files.append(Path(part.value))
        said = ""
    if not actions:
        raise ExampleError(f"line {example.line}: a walk of one frame; wanted at least two")
    return np.stack([_square(read_picture(path), size) for path in files]), actions


def _square(pixels: np.ndarray, size: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    picture = Image.fromarray(pixels).crop((left, top, left + side, top + side))
    return np.asarray(picture if side == size else picture.resize((size, size), Image.Resampling.BICUBIC))


def _work(rank: int, workers: int, order: TuneOrder, show) -> None:
    checkpoint, sharding = loaded_to_learn(order, rank)
    learnt, measured = (load_sequences(order.out / name) for name in (SEQUENCES, HELD_OUT))
    # weights that denoise keep learning it; others stay as they are
    recipe = replace(order.recipe, copies=order.recipe.copies if checkpoint.is_adapted else 0, measured=len(measured))
    lesson = Lesson(learnt, measured, _layout(order, checkpoint), checkpoint)
    learn(replace(order, recipe=recipe), lesson, rank, workers, show, part="tuning", sharding=sharding)


def _layout(order: TuneOrder, checkpoint: Checkpoint) -> PackedLayout | WalkLayout:
    if not order.is_official:
        return _walk_layout(order, checkpoint)
    return _packed_layout(order, Format(parts_of(checkpoint).text, checkpoint.vocabulary))


def _packed_layout(order: TuneOrder, form: Format) -> PackedLayout:
    return PackedLayout(AnswerLayout(form, longest=order.longest))


def _walk_layout(order: TuneOrder, checkpoint: Checkpoint) -> WalkLayout:
    return WalkLayout(checkpoint.layout, checkpoint.vocabulary, frames=order.frames)
