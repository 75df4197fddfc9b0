"""Recorded walks as examples: key frames with words between them, like a video and its transcript as one sequence.

Each part of a walk gives one example per reading: led by words, which are turns then, or walked freely, where the words
are the answer's own; begun at its first frame, or at words alone, so that the first frame is part of the answer. These
are the four readings that Emu3.5's report (arXiv 2510.26583) makes of a clip for world exploration.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path

import numpy as np
from PIL import Image

from ...scenes.recorder import load_recording
from ..action import Action, say
from ..emu.engine import PLACE
from ..emu.prompts import MODES, exploration
from ..files import whole
from .examples import ExampleError

BEGINS = ("picture", "words")


@dataclass(frozen=True)
class Interleaving:
    """What to make from recordings. out: the file of examples, next to a folder of its name with the pictures;
    modes, begins: which readings, of MODES and BEGINS; frames: pictures of an example, at most; every: steps from
    key frame to key frame; scene: the place, in words; scenes: the same for single worlds, by their names; limit:
    walks that are read, at most."""

    recordings: Path
    out: Path
    split: str = "train"
    modes: tuple[str, ...] = ("interactive",)
    begins: tuple[str, ...] = ("picture",)
    frames: int = 7
    every: int = 1
    scene: str = ""
    scenes: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None

    def __post_init__(self):
        for given, known, what in ((self.modes, MODES, "mode"), (self.begins, BEGINS, "begin")):
            if not given or set(given) - set(known):
                raise ExampleError(f"unknown --{what} '{', '.join(given)}'; known: {', '.join(known)}")
        if self.frames < 2 or self.every < 1:
            raise ExampleError(f"{self.frames} frames every {self.every} steps; wanted at least 2, every 1")


@dataclass(frozen=True)
class Stretch:
    """Key frames (n, H, W, 3) uint8 of a walk in one world, and the n - 1 directions that led from each to the next,
    "" where the walker stood still. name: of its first frame's file, without a suffix."""

    world: str
    walk: str
    first: int
    pixels: np.ndarray
    directions: tuple[str, ...]

    def file(self, number: int) -> str:
        """The file of its number-th key frame; the following stretch uses the same file if it begins there."""
        return f"{self.walk}-{self.first + number:03d}.png"


def interleave(order: Interleaving, *, progress: Callable[[int, int], None] | None = None) -> tuple[int, int]:
    """Write the examples and their pictures; returns how many of each. progress: called with (files of recordings read,
    all). Raises ExampleError where there is nothing to write, and what reading recordings raises."""
    folder = order.out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    count, pictures = 0, set()
    with whole(order.out) as partial, partial.open("w", encoding="utf-8") as file:
        for stretch in stretches(order, progress):
            for number, pixels in enumerate(stretch.pixels):
                if (path := folder / stretch.file(number)) not in pictures:
                    with whole(path) as picture:
                        Image.fromarray(pixels).save(picture, "png")
                    pictures.add(path)
            for mode, begin in product(order.modes, order.begins):
                file.write(json.dumps(example_of(stretch, order, mode, begin), ensure_ascii=False) + "\n")
                count += 1
        if not count:
            raise ExampleError(
                f"no walk of split '{order.split}' in {order.recordings} has two frames to make a step of"
            )
    return count, len(pictures)


def stretches(order: Interleaving, progress: Callable[[int, int], None] | None = None) -> Iterator[Stretch]:
    """The recorded walks of a split in parts of at most `frames` key frames, each of which begins where the one before
    it ends. Raises FileNotFoundError where there are none."""
    paths, count = sorted(order.recordings.glob(f"{order.split}-*.safetensors")), 0
    if not paths:
        raise ExampleError(f"no recordings of split '{order.split}' in {order.recordings}; `roam record` makes them")
    for done, path in enumerate(paths, 1):
        held = load_recording(path)
        for k, (number, world) in enumerate(zip(held.numbers, held.worlds, strict=True)):
            if count == order.limit:
                return
            count += 1
            yield from _parts(order, f"{order.split}-{number:06d}", world, held.pixels[k], held.actions[k])
        if progress:
            progress(done, len(paths))


def _parts(
    order: Interleaving, walk: str, world: str, pixels: np.ndarray, actions: Sequence[Action]
) -> Iterator[Stretch]:
    keys = range(0, len(pixels), order.every)
    between = [direction_of(actions[a : a + order.every]) for a in keys[:-1]]
    for start in range(0, len(keys) - 1, order.frames - 1):
        chosen = [*keys[start : start + order.frames]]
        yield Stretch(world, walk, start, pixels[chosen], tuple(between[start : start + len(chosen) - 1]))


def direction_of(actions: Sequence[Action]) -> str:
    """One direction for several steps: a repeated motion is one motion, and standing still has no words."""
    said = []
    for action, run in groupby(actions, key=lambda action: Action(action.text, action.motion)):
        count, motion = len([*run]), action.motion
        if motion is not None and motion.is_still:
            continue
        same = count == 1 or motion is None
        said.append(action.text if same or motion is None else say(motion.scaled(count)))
    return ", then ".join(text.strip() for text in said if text.strip())


def example_of(stretch: Stretch, order: Interleaving, mode: str, begin: str) -> dict:
    """One reading of a stretch, as in examples.py. Raises ExampleError if words are needed and missing."""
    scene = order.scenes.get(stretch.world, order.scene).strip()
    if begin == "words" and not scene:
        raise ExampleError(
            f"a walk that begins at words alone needs them, and world '{stretch.world}' has none: give --scene, or "
            "--scenes with a JSON object from worlds to words"
        )
    names = [f"{order.out.stem}/{stretch.file(number)}" for number in range(len(stretch.pixels))]
    said = "turn" if mode == "interactive" else "text"
    steps = [
        part
        for direction, name in zip(stretch.directions, names[1:], strict=True)
        for part in ([{said: direction}] if direction else []) + [{"image": name}]
    ]
    given, answer = (names[:1], steps) if begin == "picture" else ([], [{"image": names[0]}, *steps])
    row = {"task": "explore", "question": exploration(scene or PLACE, mode), "images": given, "answer": answer}
    return row | {"ends": False}  # a recording's end does not end the exploration
