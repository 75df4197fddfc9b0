"""`roam adapt` from folder to folder: gathers sequences, adapts in one or several processes, and writes a checkpoint
that denoises whole frames. Accepts our own checkpoints and official Emu3.5 folders; a stopped run continues."""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.distributed.device_mesh import init_device_mesh

from ...kernels.device import device_named
from ..checkpoint import Checkpoint, check_is_there, is_official, load_checkpoint, save_checkpoint
from ..emu.answer import Request
from ..emu.checkpoint import free_bytes, load_official, load_to_learn, parts_of, save_official
from ..emu.learning_plan import LearningPlan
from ..emu.prompts import cells_of, preset
from ..emu.sequence import Format
from ..emu.settings import read_config, refuse_swapped
from ..engine import Engine
from ..files import sha256
from ..pictures.reading import PictureError, read_picture
from ..training.parallel import launch
from ..transformer.dida import MetricPath
from ..transformer.followers import check_devices
from ..transformer.joined import QUANTISED
from ..transformer.model import DTYPES
from ..transformer.sharded import Sharding, whole
from .data import distilled_answers, distilled_walks, recorded_walks, walk_sequences
from .keeping import AdaptError, check_room, has_begun, note_begin
from .lines import LineError, lines_of, object_of
from .samples import AnswerLayout, SampleError, SampleLayout, WalkLayout, load_sequences, save_sequences
from .train import AdaptRecipe, Learner, adapt

log = logging.getLogger(__name__)
SEQUENCES = "sequences.safetensors"
DRAWN = "drawn"  # the folder of answers of its own, until all are there
HELD_OUT = 8  # sequences that are measured and not learnt from, at most a fifth of all
DISTIL_TEMPERATURE = 0.7  # of our own models' walks; official answers are drawn as their task's preset says


@dataclass(frozen=True)
class AdaptOrder:
    """What to adapt, on what, and how.

    model: a checkpoint's folder, None for the embedded one; vision: the vision tokenizer's folder, for official models;
    data: a folder of recorded walks (our own models) or a file of sequences; distil: how many walks or answers the
    model draws itself, and learns from; requests: what official models answer, a JSON object a line with task, question
    and perhaps images and size (emu/prompts.py); changes: fields of the tasks' presets; limit: walks of `data`; frames,
    longest: frames or tokens of a sequence learnt at once; decode_steps: denoising steps a frame that the result is
    served with; text: the text tokenizer's folder, where it is not found; context: the most tokens of a sequence; size:
    of pictures in answers to requests that name none; devices: of this machine, that an official model lies in shards
    over while it draws and learns, where `workers` hold a whole copy each.
    """

    out: Path
    model: Path | None = None
    vision: Path | None = None
    data: Path | None = None
    distil: int = 0
    requests: Path | None = None
    changes: dict = field(default_factory=dict)
    limit: int | None = None
    recipe: AdaptRecipe = AdaptRecipe()  # noqa: RUF009 -- frozen
    frames: int = 8
    longest: int = 8192
    decode_steps: int = 8
    workers: int = 1
    device: str = "cpu"
    precision: str | None = None
    text: Path | None = None
    context: int | None = None
    size: str = "default"
    devices: int = 1

    @property
    def is_official(self) -> bool:
        return self.model is not None and is_official(self.model)

    @property
    def official(self) -> tuple[Path, Path] | None:
        """The folders of an official model and its vision tokenizer."""
        if self.model is None or self.vision is None or not self.is_official:
            return None
        return self.model, self.vision

    @property
    def fixed(self) -> dict:
        """What must be the same when a run continues."""
        recipe = self.recipe
        files = [path for path in (self.data, self.requests) if path and path.is_file()]
        kept: dict = dict(model=_named(self.model), data=_named(self.data), files=[*map(sha256, files)])
        kept |= dict(distil=self.distil, changes=self.changes, size=self.size, limit=self.limit)
        return kept | dict(rank=recipe.rank, batch=recipe.batch, drop=recipe.prompt_dropout, seed=recipe.seed)

    @property
    def num_processes(self) -> int:
        return max(self.workers, self.devices)

    @property
    def num_copies(self) -> int:
        """Noisy copies that are learnt of a picture."""
        return self.recipe.copies

    @property
    def precision_learnt(self) -> str:
        """The precision of the weights that learn."""
        # an optimiser's small steps would be lost in 16 bits; adapters are float32 themselves
        return self.precision or ("bfloat16" if self.recipe.rank and self.device == "cuda" else "float32")

    def check(self, what: str) -> None:
        """Raise AdaptError for what is impossible; what: the kind of run, in one word."""
        if self.precision in QUANTISED:
            raise AdaptError(f"{self.precision} weights cannot be {what}; use bfloat16 with low-rank adapters")
        if self.precision not in (None, *DTYPES):
            raise AdaptError(
                f"unknown precision '{self.precision}'; known: {', '.join(sorted({*DTYPES} - {*QUANTISED}))}"
            )
        if self.model and self.vision:
            refuse_swapped(self.model, self.vision)
        if self.vision and not self.is_official:
            check_is_there(self.model)
            named = self.model or "the embedded model"
            raise AdaptError(f"{named} is no official model, which alone takes a --vision-tokenizer: leave it out")
        if self.recipe.prompt_dropout and not self.is_official:
            raise AdaptError(
                "prompts are dropped of official models alone, whose guidance reads none: leave --drop out"
            )
        if self.is_official and self.vision is None:
            raise AdaptError(f"{self.model} is an official model; name its vision tokenizer's folder as well")
        if self.devices == 1:
            return
        if not self.is_official:
            raise AdaptError("a model of ours is small, and every process has it whole: --workers, not --devices")
        if self.workers > 1:
            raise AdaptError("--workers hold a whole copy each, and --devices share one: leave one of the two out")
        if self.recipe.batch % self.devices:
            raise AdaptError(
                f"a batch of {self.recipe.batch} over {self.devices} devices; wanted a --batch that they divide"
            )
        check_devices(self.devices, self.device)


def run_adaptation(
    order: AdaptOrder,
    *,
    show: Callable[[str, float, dict], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Run the order; returns the folder of the adapted checkpoint. show: called with (part, share done, figures), in
    the first process; say: gets the plan of the memory. Raises AdaptError, DoesNotFit, or the errors of loading and
    reading."""
    show = show or (lambda part, share, row: None)
    order.check("adapted")
    plan_memory(order, say or log.info)
    path = order.out / SEQUENCES
    has_begun(order.out, order.fixed)
    if not path.exists():
        found = [*_gathered(order, lambda share: show("drawing its own", share, {}))]
        if not found:
            raise AdaptError(
                "nothing to learn from; name recorded walks or a file of sequences, or have it draw its own"
            )
        note_begin(order.out, order.fixed)
        save_sequences(found, path)
        shutil.rmtree(order.out / DRAWN, ignore_errors=True)
        gc.collect()  # the process that drew them has ended with its followers, so its memory is free for training
        if order.device == "cuda":
            torch.cuda.empty_cache()
    launch(order.num_processes, _work, order, show if order.num_processes == 1 else None)
    return order.out / "checkpoint"


def _work(rank: int, workers: int, order: AdaptOrder, show) -> None:
    checkpoint, sharding = loaded_to_learn(order, rank)
    layout = _layout(order, checkpoint)
    sequences = readable(load_sequences(order.out / SEQUENCES), layout, order.out / SEQUENCES)
    count = min(HELD_OUT, len(sequences) // 5)
    dida = replace(checkpoint.dida, steps=order.decode_steps, shift=order.recipe.shift)
    lesson = Lesson(
        sequences[count:], sequences[:count] or sequences, layout, replace(checkpoint, dida=dida, is_adapted=True)
    )
    learn(order, lesson, rank, workers, show, part="adapting", sharding=sharding)


@dataclass(frozen=True)
class Lesson:
    """The material of a training: sequences, held-out sequences, their layout, and the checkpoint that learns, with
    the denoising that its result is served with; its is_adapted says whether it denoises."""

    sequences: Sequence[np.ndarray]
    held_out: Sequence[np.ndarray]
    layout: SampleLayout
    checkpoint: Checkpoint


def learn(
    order: AdaptOrder,
    lesson: Lesson,
    rank: int,
    workers: int,
    show,
    *,
    part: str,
    sharding: Sharding | None = None,
) -> None:
    """Train a lesson's checkpoint in place and write the result, or continue a stopped run; show: called with (part,
    share done, figures) in the first process, None to log them; sharding: from loaded_to_learn."""
    report = show or (lambda part, share, row: log.info("%5.1f%% %s", 100 * share, row))
    checkpoint = lesson.checkpoint
    # a vocabulary of two markers has one for holes, which canvases from carried views contain
    has_holes = checkpoint.vocabulary.num_markers == 2
    learner = Learner(checkpoint.model.requires_grad_(True), checkpoint.vocabulary)
    adapt(
        learner,
        lesson.sequences,
        lesson.held_out,
        lesson.layout,
        MetricPath(checkpoint.metric.to(_device(order, rank)), checkpoint.dida),
        replace(order.recipe, hole_share=order.recipe.hole_share if has_holes else 0.0),
        order.out / "run",
        rank=rank,
        workers=workers,
        sharding=sharding,
        progress=lambda share, row: report(part, share, row),
    )
    if rank and not sharding:
        return
    target = order.out / "checkpoint"
    if order.official:
        dida = checkpoint.dida if checkpoint.is_adapted else None
        gather, is_writer = partial(whole, kept=rank == 0), rank == 0
        model = learner.folded()
        save_official(model, order.official[0], target, dida, text=order.text, gather=gather, is_writer=is_writer)
    else:
        save_checkpoint(replace(checkpoint, model=learner.folded()), target)


def readable(sequences: list[np.ndarray], layout: SampleLayout, path: Path) -> list[np.ndarray]:
    """The sequences that can be learnt from; an answer without a picture is skipped. Raises AdaptError if none
    remains."""
    found, reason = [], ""
    for ids in sequences:
        try:
            layout.read(ids, np.random.default_rng(0))
            found.append(ids)
        except SampleError as error:
            reason = str(error)
    if not found:
        raise AdaptError(f"nothing in {path} can be learnt from ({reason}); draw more, or give a larger --longest")
    if reason:
        log.warning(
            "%d of %d sequences are left out; the last: %s", len(sequences) - len(found), len(sequences), reason
        )
    return found


def loaded(order: AdaptOrder, rank: int = 0, *, served: bool = False) -> Checkpoint:
    """The ordered checkpoint, for reading or drawing; over several devices, this process leads the others. served:
    only for drawing (emu/weights.py)."""
    if order.official:
        return load_official(
            *order.official,
            text=order.text,
            device=_device(order, rank),
            precision=order.precision_learnt,
            context=order.context,
            devices=order.devices,
            served=served,
            say=log.info,
        )
    return load_checkpoint(order.model, device=_device(order, rank))


def loaded_to_learn(order: AdaptOrder, rank: int) -> tuple[Checkpoint, Sharding | None]:
    """The ordered checkpoint, for training in the process of that rank; with more than one device, in shards, which
    the training makes."""
    if not order.official:
        return loaded(order, rank), None
    mesh = init_device_mesh(order.device, (order.devices,)) if order.devices > 1 else None
    return load_to_learn(
        *order.official,
        text=order.text,
        device=_device(order, rank),
        precision=order.precision_learnt,
        context=order.context,
        mesh=mesh,
    )


def plan_memory(order: AdaptOrder, say: Callable[[str], None]) -> None:
    """Show how much memory training an official model needs on each device. Raises DoesNotFit if there is less, and
    AdaptError if the disk has no room for the result."""
    if not order.official:
        return
    config, _ = read_config(order.official[0])
    smallest = min(config.hidden_size, config.num_key_value_heads * config.head_dim, config.intermediate_size)
    if order.recipe.rank > smallest:
        raise AdaptError(
            f"adapters of rank {order.recipe.rank}; the smallest layer has {smallest}: give a smaller --rank"
        )
    plan = LearningPlan(
        config,
        order.precision_learnt,
        rank=order.recipe.rank,
        rows=order.longest * (1 + order.num_copies),
        num_devices=order.devices,
        device=order.device,
        available=free_bytes(order.device),
    )
    say(plan.report())
    plan.check()
    check_room(order.out, plan.checkpoint, plan.state)


def _device(order: AdaptOrder, rank: int) -> str:
    return f"cuda:{rank}" if order.device == "cuda" else order.device


def _layout(order: AdaptOrder, checkpoint: Checkpoint) -> SampleLayout:
    if order.is_official:
        return AnswerLayout(Format(parts_of(checkpoint).text, checkpoint.vocabulary), longest=order.longest)
    return _walk_layout(order, checkpoint)


def _walk_layout(order: AdaptOrder, checkpoint: Checkpoint) -> WalkLayout:
    return WalkLayout(checkpoint.layout, checkpoint.vocabulary, frames=order.frames)


def _gathered(order: AdaptOrder, tick) -> Iterator[np.ndarray]:
    """The sequences to learn from: the given ones, then the model's own."""
    if order.data and not order.data.exists():
        raise AdaptError(f"{order.data} is not there; wanted recorded walks or a file of sequences")
    if order.data and order.data.is_file():
        yield from load_sequences(order.data)
    if order.is_official:
        if order.data and not order.data.is_file():
            raise AdaptError(f"{order.data} is no file of sequences, which is what an official model learns from")
        yield from _own_answers(order, tick) if order.distil else ()
        return
    checkpoint = loaded(order)
    layout, walks = _walk_layout(order, checkpoint), order.data if order.data and order.data.is_dir() else None
    if walks:
        yield from walk_sequences(recorded_walks(walks, "train", order.limit), checkpoint, layout)
    if order.distil:
        if not walks:
            raise AdaptError("a walk of its own begins at a recorded frame; name a folder that `roam record` wrote")
        begun = [
            (pixels[: order.frames], actions[: order.frames - 1])
            for pixels, actions in recorded_walks(walks, "train", order.distil)
        ]
        yield from distilled_walks(
            Engine(checkpoint), begun, layout, temperature=DISTIL_TEMPERATURE, seed=order.recipe.seed, progress=tick
        )


def _own_answers(order: AdaptOrder, tick) -> Iterator[np.ndarray]:
    if order.requests is None:
        raise AdaptError("answers of its own need requests: a file with a JSON object a line, of task and question")
    asked = [*read_requests(order.requests, order.changes, order.size)]
    if not asked:
        raise AdaptError(f"{order.requests} holds no request; wanted a JSON object a line, of task and question")
    paths = [order.out / DRAWN / f"{number:06d}.safetensors" for number in range(order.distil)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    if missing:
        chosen = [replace(asked[number % len(asked)], seed=order.recipe.seed + number) for number in missing]
        note_begin(order.out, order.fixed)
        answers = distilled_answers(loaded(order, served=True), chosen)
        for done, (number, ids) in enumerate(zip(missing, answers, strict=True), order.distil - len(missing) + 1):
            save_sequences([ids], paths[number])  # each may take minutes, and a stopped run goes on after it
            tick(done / order.distil)
    for path in paths:
        yield from load_sequences(path)


def read_requests(path: Path, changes: dict, size: str = "default") -> Iterator[Request]:
    """Requests from a file of JSON lines; changes: fields of every preset; size: of pictures, if a line names none.
    Raises AdaptError naming the line."""
    for number, line in lines_of(path):
        try:
            asked = object_of(line)
            images = tuple(read_picture(name) for name in asked.get("images", ()))
            cells = cells_of(asked.get("size", size), asked["task"])
            yield Request(asked["task"], asked["question"], images, preset(asked["task"], **changes), cells)
        except (LineError, PictureError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise AdaptError(f"{path}, line {number}: no request that can be answered ({error})") from error


def _named(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None


def device_of(name: str) -> str:
    """cpu or cuda. Raises AdaptError for anything else, and NoDeviceError for CUDA where there is none."""
    if name not in ("cpu", "cuda"):
        raise AdaptError(f"a device called '{name}'; wanted cpu or cuda")
    return device_named(name)
