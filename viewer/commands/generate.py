"""`roam generate`: one of Emu3.5's six tasks, streamed to the terminal and written to a folder with one page to read.

The folder holds NN.png for every picture, given-NN.png for those that it goes by, answer.txt, thoughts.txt and
index.html. Works on an iterator of events, so it knows the model only where `generate` opens one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files.outputs import ready
from ..files.pictures import PictureError, read_picture

if TYPE_CHECKING:
    from ...world.emu.answer import Event

_TITLES = {"plan": "The plan", "thought": "Thinking"}
_STYLE = """
:root { color-scheme: light dark }
body { max-width: 46rem; margin: 3rem auto; padding: 0 1rem; font: 1.05rem/1.6 Georgia, serif }
h1 { font-size: 1.3rem; font-weight: normal; font-style: italic; border-left: 3px solid #999; padding-left: 1rem }
p { white-space: pre-wrap }
img { width: 100%; height: auto; border-radius: 4px; margin: 1rem 0 }
.given { display: flex; gap: 1rem } .given img { max-height: 12rem; width: auto; max-width: 100%; opacity: .9 }
.direction { font-style: italic; border-left: 3px solid #999; padding-left: 1rem; margin-top: 2.5rem }
details { opacity: .75; font-size: .9rem; margin: 1rem 0 } summary { cursor: pointer }
footer { opacity: .6; font-size: .85rem; margin-top: 3rem }
"""


class GenerateError(ValueError):
    """Something that `roam generate` cannot take; the message says what to do."""


@dataclass
class _Story:
    """What has been written so far: (kind, words) or ("image", file name), in order."""

    parts: list[tuple[str, str]] = field(default_factory=list)

    def add(self, kind: str, text: str) -> None:
        if self.parts and self.parts[-1][0] == kind and kind not in ("image", "given"):
            text = self.parts.pop()[1] + text
        self.parts.append((kind, text))


def generate(
    task: str,
    question: str,
    out: Path,
    *,
    model: Path,
    vision: Path,
    images: Iterable[Path] = (),
    instructions: Iterable[str] = (),
    mode: str | None = None,
    seed: int = 0,
    size: tuple[int, int] | str | None = None,
    device: str | None = None,
    precision: str | None = None,
    context: int | None = None,
    **changes,
) -> None:
    """Answer one request from the official folders `model` and `vision` into the folder `out`.

    images: files that the task starts from; instructions: the later turns of an interactive exploration; mode: of an
    exploration, put into the question's own words where it is given; size: cells (h, w) of the pictures to make, or
    "h*w", or a ratio (prompts.py); context: the most tokens of a sequence; changes: fields of the task's preset. The
    memory plan is printed first. Raises an error of one sentence for whatever cannot be used.
    """
    import torch

    from ...world.emu.answer import AnswerWriter, Request
    from ...world.emu.checkpoint import load_official
    from ...world.emu.engine import explore_preset
    from ...world.emu.prompts import preset, prompt

    asked, turns = _question(task, question, mode, [*instructions]), [*instructions]
    pixels = tuple(read_image(path) for path in images)
    prompt(task, asked, len(pixels))  # what no template takes is refused before minutes of loading
    drawn = explore_preset(**changes) if turns else preset(task, **changes)
    request = Request(task, asked, pixels, drawn, cells_of(size), seed)
    prepare(out)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = load_official(
        model, vision, device=device, precision=precision, context=context, area=drawn.area, say=print
    )
    writer = AnswerWriter(checkpoint, request)
    try:
        write(_conversation(writer, turns), out, title=question, given=pixels)
    finally:
        writer.close()


def _question(task: str, question: str, mode: str | None, instructions: list[str]) -> str:
    """What is asked: an exploration's scene in the wording of its mode, if one is named."""
    from ...world.emu.prompts import exploration

    if task != "explore" and (mode or instructions):
        raise GenerateError(f"--mode and --then are of the task explore; {task} takes neither")
    return exploration(question, mode) if mode else question


def cells_of(size: tuple[int, int] | str | None) -> tuple[int, int] | None:
    """Cells (h, w) of a size as a person writes it. Raises GenerateError for one that no picture has."""
    from ...world.emu.prompts import RATIOS

    if not isinstance(size, str):
        return size
    tall, _, wide = size.partition(":")
    if size in RATIOS:
        return RATIOS[size]
    if f"{wide}:{tall}" in RATIOS:
        return RATIOS[f"{wide}:{tall}"][::-1]
    sides = size.split("*")
    if len(sides) != 2 or not all(side.isdecimal() and 1 <= int(side) <= 99 for side in sides):
        raise GenerateError(f"a size of '{size}'; wanted height*width in cells, 1 to 99 each, or {', '.join(RATIOS)}")
    return int(sides[0]), int(sides[1])


def _conversation(writer, turns: list[str]) -> Iterable[Event]:
    from ...world.emu.sequence import Text

    yield from writer.events()
    for instruction in turns:
        writer.instruct(instruction)
        yield Text("direction", instruction)
        yield from writer.events()


def write(events: Iterable[Event], out: Path, *, title: str, given: Iterable[np.ndarray] = ()) -> None:
    """Show events on the terminal as they come and write the folder; what came before a break-off is kept. given: the
    pictures (H, W, 3) uint8 that the answer goes by."""
    from PIL import Image
    from rich.console import Console

    console, story = Console(highlight=False), _Story()
    for number, pixels in enumerate(given, 1):
        Image.fromarray(pixels).save(out / f"given-{number:02d}.png")
        story.add("given", f"given-{number:02d}.png")
    try:
        for event in events:
            _show(event, console, before=story.parts[-1][0] if story.parts else "")
            _keep(event, out, story)
    finally:
        _write_pages(story, out, title)
    console.print(f"\n{out / 'index.html'}", style="bold")


def read_image(path: Path) -> np.ndarray:
    """A picture file as (H, W, 3) uint8, upright. Raises GenerateError for one too large or none at all."""
    try:
        return read_picture(path)
    except PictureError as error:
        raise GenerateError(str(error)) from error


def prepare(out: Path) -> None:
    """Make the folder. Raises GenerateError if it already holds an answer, OutputError if it cannot be made."""
    if (ready(out) / "index.html").exists():
        raise GenerateError(f"{out} already holds an answer; name another folder or remove it")


def _show(event: Event, console, *, before: str) -> None:
    """before: the kind of the part that the event follows."""
    from ...world.emu.answer import End, Image, Row, Text

    if isinstance(event, Text):
        if before not in (event.kind, "", "image", "given"):
            console.print("\n")
        console.print(event.text, style="" if event.kind == "text" else "dim italic", end="", markup=False)
    elif isinstance(event, Row) and console.is_terminal:
        console.print(f"picture {event.index + 1}: row {event.done} of {event.height}", style="cyan", end="\r")
    elif isinstance(event, Image):
        console.print(f"\npicture {event.index + 1}: {event.pixels.shape[1]}x{event.pixels.shape[0]}", style="cyan")
    elif isinstance(event, End):
        console.print(f"\n{event.reason}: {event.num_tokens} tokens in {event.num_passes} passes", style="dim")


def _keep(event: Event, out: Path, story: _Story) -> None:
    from PIL import Image as Picture

    from ...world.emu.answer import Image, Text

    if isinstance(event, Text):
        story.add(event.kind, event.text)
    elif isinstance(event, Image):
        file = f"{event.index + 1:02d}.png"
        Picture.fromarray(event.pixels).save(out / file)
        story.add("image", file)


def _write_pages(story: _Story, out: Path, title: str) -> None:
    spoken = {"text": "{}", "image": "[{}]", "direction": "> {}"}
    text = [spoken[kind].format(body) for kind, body in story.parts if kind in spoken]
    (out / "answer.txt").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    thoughts = [f"{_TITLES[kind]}\n{body}" for kind, body in story.parts if kind in _TITLES]
    (out / "thoughts.txt").write_text("\n\n".join(thoughts) + "\n", encoding="utf-8")
    shown = [f'<img src="{escape(file)}" alt="given">' for kind, file in story.parts if kind == "given"]
    body = f'<div class="given">{"".join(shown)}</div>\n' if shown else ""
    body += "\n".join(_section(kind, content) for kind, content in story.parts if kind != "given")
    (out / "index.html").write_text(
        f'<!doctype html>\n<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n"
        "<footer>Pictures and words by Emu3.5, with Roam.</footer>\n</body></html>\n",
        encoding="utf-8",
    )


def _section(kind: str, content: str) -> str:
    if kind == "image":
        return f'<img src="{escape(content)}" alt="picture {int(content[:2])}">'
    if kind == "direction":
        return f'<p class="direction">{escape(content.strip())}</p>'
    if kind in _TITLES:
        return f"<details><summary>{_TITLES[kind]}</summary><p>{escape(content.strip())}</p></details>"
    return f"<p>{escape(content.strip())}</p>" if content.strip() else ""
