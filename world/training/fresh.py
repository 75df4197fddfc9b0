"""New walks rendered during training, for a GPU that has used all recordings on disk within a minute.

A walk by keyframes through a scene of its own becomes two rows of canvases, the walk and its mirror image, in which
left is right; what is carried is warped once for both. Processes write them to a folder in shards, and a run draws from
all that are there. The painter's glimpses come from such walks too, in order: a step's batch depends only on its
number; and codes are dreamt at glimpses for its last stage.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch
from torch import multiprocessing

from ...scenes.recorder import Walked, keyframe_walk_of
from ...scenes.splits import SPLIT_SIZE
from ..checkpoint import Checkpoint
from ..dreamer import Asked, Dreamer
from ..engine import Engine
from ..pose import Pose
from ..side_by_side.processes import Workers, deaf, end_with
from ..tokens.painter import Painter, PainterConfig
from ..tokens.text import TextTokenizer
from ..tokens.vision import VisionTokenizer
from .canvases import Canvases, carried_views, load_canvases, save_canvases, scaled_off
from .data import Walks
from .painter import Glimpse, PainterRecipe, draw_glimpse, dreamt_glimpse

PER_SHARD = 8  # walks
GLIMPSES = 4  # of a walk
LEAST_SHARE = 50  # new rows are taken in when they are one in so many of those that are there
TOGETHER = 8  # glimpses that are dreamt at once


@torch.inference_mode()
def canvases_of(walked: Walked, number: int, vision: VisionTokenizer, text: TextTokenizer, capacity: int) -> Canvases:
    """Two rows: a walk, with its true pixels and the renderer's depth, and its mirror image. number: seed of the
    depth errors."""
    assert walked.depth is not None and walked.poses is not None, "scenes have both"
    depth = scaled_off(walked.depth, np.random.default_rng(number))
    warps = carried_views(walked.pixels, depth, walked.poses, walked.actions, is_true=True)
    T, views = len(walked.pixels), np.concatenate([walked.pixels, np.stack([w.pixels for w in warps])])
    shares = np.stack([w.coverage(vision.config.grid) for w in warps])
    rows = []
    for is_mirrored in (False, True):
        side = (lambda x: np.ascontiguousarray(np.flip(x, 2))) if is_mirrored else np.asarray
        codes = vision.encode(torch.from_numpy(side(views))).flatten(1).numpy().astype(np.int16)
        words = np.full((T, capacity), -1, np.int16)
        for t, action in enumerate(walked.actions, 1):
            ids = text.encode(mirrored(action.text) if is_mirrored else action.text)[:capacity]
            words[t, : len(ids)] = ids
        covered = side(shares).reshape(T - 1, -1)
        carried, coverage = np.concatenate([codes[:1], codes[T:]]), np.concatenate([covered[:1] * 0, covered])
        rows.append((codes[:T], carried, coverage, words))
    return Canvases(*(np.stack(column) for column in zip(*rows, strict=True)))


def mirrored(words: str) -> str:
    """The mirror image of an action: left is right."""
    return words.replace("left", "\0").replace("right", "left").replace("\0", "right")


def write_shards(folder: str, vision: VisionTokenizer, first: int, apart: int, frames: int, capacity: int) -> None:
    """Write shards of PER_SHARD walks with the numbers first, first + apart, ...; existing ones are kept."""
    end_with(os.getppid())
    if hasattr(os, "nice"):  # the training process must not wait for a core
        os.nice(10)
    torch.set_num_threads(1)
    text = TextTokenizer()
    for start in itertools.count(first, apart):
        path = Path(folder) / f"fresh-{start:07d}.safetensors"
        if not path.exists():
            numbers = range(start, start + PER_SHARD)
            walked = (keyframe_walk_of("train", number, frames) for number in numbers)
            parts = [canvases_of(one, n, vision, text, capacity) for one, n in zip(walked, numbers, strict=True)]
            save_canvases(joined_canvases(parts), path)


def joined_canvases(parts: list[Canvases]) -> Canvases:
    """Their rows, one after the other."""
    names = ("tokens", "warped", "coverage", "text")
    return Canvases(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class FreshShards:
    """Processes that write shards to a folder, of walks from number `first` on, until it is closed; a context."""

    def __init__(
        self, folder: Path, vision: VisionTokenizer, *, first: int, frames: int, capacity: int, processes: int
    ):
        folder.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("spawn")
        self._processes = [
            context.Process(
                target=write_shards,
                args=(str(folder), vision, first + k * PER_SHARD, processes * PER_SHARD, frames, capacity),
                daemon=True,
            )
            for k in range(processes)
        ]
        with deaf():
            for process in self._processes:
                process.start()

    def __enter__(self) -> FreshShards:
        return self

    def __exit__(self, *_) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()


class Growing:
    """Canvases that a run draws from: those it has, and those that have come to a folder since. Runs cannot be
    repeated to the bit, because the canvases that are there at a step depend on how fast they were made."""

    def __init__(self, begun: Canvases | None, folder: Path):
        self.folder, self._parts, self._seen = folder, [] if begun is None else [begun], set[Path]()
        self.refresh()

    def refresh(self) -> int:
        """Take in new canvases, unless there are so few that copying the rest would cost more; returns the number of
        rows."""
        new = sorted(set(self.folder.glob("fresh-*.safetensors")) - self._seen)
        held = sum(len(part.tokens) for part in self._parts)
        if new and len(new) * 2 * PER_SHARD >= held / LEAST_SHARE:
            self._seen.update(new)
            self._parts = [joined_canvases(self._parts + [load_canvases(path) for path in new])]
        return sum(len(part.tokens) for part in self._parts)

    @property
    def canvases(self) -> Canvases:
        """All that is there. Raises FileNotFoundError while nothing is."""
        if not self._parts:
            raise FileNotFoundError(f"no canvases in {self.folder} yet")
        return self._parts[0]


def fresh_walks(split: str, numbers: range, frames: int) -> Walks:
    """Walks by keyframes of those numbers in memory, as a recipe reads them."""
    walked = [keyframe_walk_of(split, number, frames) for number in numbers]
    return Walks(
        np.stack([one.pixels for one in walked]),
        np.stack([one.depth for one in walked if one.depth is not None]),
        [one.poses for one in walked if one.poses is not None],
        [one.actions for one in walked],
    )


def glimpses_of(step: int, first: int, frames: int, recipe: PainterRecipe) -> list[Glimpse]:
    """The painter's glimpses of a step: a few of each of so many new walks, numbered from `first` on; after the last
    scene the first ones are used again."""
    count = -(-recipe.batch // GLIMPSES)
    begun = first + step * count % (SPLIT_SIZE - first - count)
    walks = fresh_walks("train", range(begun, begun + count), frames)
    rng = np.random.default_rng([recipe.seed, step])
    return [draw_glimpse(walks, rng, recipe) for _ in range(recipe.batch)]


def fresh_glimpses(
    recipe: PainterRecipe, *, first: int, frames: int, processes: int, step: int = 0
) -> Generator[list[Glimpse]]:
    """The glimpses of every step from `step` on, made ahead in processes; end it with close()."""
    context = multiprocessing.get_context("spawn")
    with Workers(processes, context, torch.set_num_threads, (1,)) as pool:
        waiting = [pool.submit(glimpses_of, k, first, frames, recipe) for k in range(step, step + 2 * processes)]
        for later in itertools.count(step + len(waiting)):
            waiting.append(pool.submit(glimpses_of, later, first, frames, recipe))
            yield waiting.pop(0).result()


@torch.inference_mode()
def dream_codes(
    checkpoint: Checkpoint, walks: Walks, count: int, recipe: PainterRecipe, *, progress=None
) -> np.ndarray:
    """(count, h, w) int16: the codes dreamt beside the first `count` dreamt_glimpses of the walks, with no words and no
    pages before, as the first view of a walk. progress: called with the share done."""
    engine = Engine(checkpoint)
    config = engine.vision.config
    painter = Painter(PainterConfig(config.size, len(config.levels), config.widths, config.heads))
    dreamer = Dreamer(engine.passes, engine.vision, painter, checkpoint.dida)
    pages = [engine.cache.allocate() for _ in range(TOGETHER)]
    parts = []
    for first in range(0, count, TOGETHER):
        numbers = range(first, min(first + TOGETHER, count))
        asked = [
            Asked(Pose.at(0, 0, 0), dreamt_glimpse(walks, number, recipe).carried, (), (), page, 0, number)
            for number, page in zip(numbers, pages, strict=False)
        ]
        parts.append(dreamer.decide(asked).view(-1, *config.grid).cpu().numpy().astype(np.int16))
        if progress:
            progress(min(1.0, (first + TOGETHER) / count))
    return np.concatenate(parts)
