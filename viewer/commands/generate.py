"""`roam generate`: one of Emu3.5's six tasks, streamed to the terminal and written to a folder with one page to read.

The folder holds NN.png for every picture of the answer, given-NN.png for the input pictures, answer.txt, thoughts.txt
and index.html. Works on an iterator of events, so only `generate` knows the model.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...world.pictures.reading import PictureError, read_picture
from ..files.outputs import ready, write_whole
from ..files.pictures import png_of

if TYPE_CHECKING:
    from ...world.checkpoint import Checkpoint
    from ...world.emu.answer import Event, Request

ONE_PICTURE = ("t2i", "x2i")  # tasks whose answer is a picture that the next round edits
VLA_NOTE = " How the task vla is asked is not published: the prompt is others' (--vla-template)."

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
    """An input that `roam generate` cannot use; the message says what to do."""


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
    text_tokenizer: Path | None = None,
    images: Iterable[Path] = (),
    instructions: Iterable[str] = (),
    mode: str | None = None,
    seed: int = 0,
    size: str = "default",
    device: str | None = None,
    precision: str | None = None,
    context: int | None = None,
    devices: int = 1,
    offload: int = 0,
    **changes,
) -> None:
    """Answer one request from the official folders `model` and `vision` into the folder `out`.

    text_tokenizer: its folder, if it is not found; images: input files; instructions: further requests, one after the
    other; mode: of an exploration, put into the question's own words if given; size: of the pictures to make, as
    `cells_of` reads it; context: the most tokens of a sequence; devices: how many the model is split over; offload: its
    layers that stay in main memory; changes: fields of the task's preset. The memory plan is printed first. Raises an
    error of one sentence for whatever cannot be used.
    """
    import torch

    from ...world.emu.answer import Request, planned_tokens
    from ...world.emu.checkpoint import Need, load_official
    from ...world.emu.engine import explore_preset
    from ...world.emu.ibq import CELL
    from ...world.emu.prompts import cells_of, decoder_of, preset, prompt, turn
    from ...world.emu.settings import is_adapted, refuse_swapped

    # refuse what is impossible before minutes of loading
    asked, turns = _question(task, question, mode), [*instructions]
    pixels = tuple(read_image(path) for path in images)
    drawn = explore_preset(**changes) if turns and task == "explore" else preset(task, **changes)
    prompt(task, asked, len(pixels))
    for instruction in turns:
        turn(instruction, form=drawn.turns)
    cells = cells_of(size, task)
    refuse_swapped(model, vision)
    decoder_of(drawn, is_adapted=is_adapted(model))
    request = Request(task, asked, pixels, drawn, cells, seed)
    prepare(out)
    is_anew = task in ONE_PICTURE
    need = Need(
        planned_tokens(request, () if is_anew else turns),
        drawn.num_branches,
        max(drawn.area, cells[0] * cells[1] * CELL**2 if cells else 0),
    )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = load_official(
        model,
        vision,
        text=text_tokenizer,
        device=device,
        precision=precision,
        context=context,
        need=need,
        devices=devices,
        offload=offload,
        served=True,
        say=print,
    )
    events = _edited(checkpoint, request, turns, changes) if is_anew else _conversation(checkpoint, request, turns)
    note = VLA_NOTE if task == "vla" else ""
    with closing(events):
        write(events, out, title=question, given=pixels, note=note)


def _question(task: str, question: str, mode: str | None) -> str:
    """The question, for an exploration in the wording of its mode if one is named."""
    from ...world.emu.prompts import exploration

    if task != "explore" and mode:
        raise GenerateError(f"--mode is of the task explore; {task} takes none")
    return exploration(question, mode) if mode else question


def _conversation(checkpoint: Checkpoint, request: Request, turns: list[str]) -> Generator[Event, None, None]:
    """An answer, and one more for each instruction, in the same conversation."""
    from ...world.emu.answer import AnswerWriter
    from ...world.emu.sequence import Text

    with closing(AnswerWriter(checkpoint, request)) as writer:
        yield from writer.events()
        for instruction in turns:
            writer.instruct(instruction)
            yield Text("direction", instruction)
            yield from writer.events()


def _edited(checkpoint: Checkpoint, request: Request, turns: list[str], changes: dict) -> Generator[Event, None, None]:
    """A picture, and then each instruction applied to the last picture as a request of its own, because the model
    knows single rounds of editing."""
    from ...world.emu.answer import Image, Row, answer
    from ...world.emu.prompts import preset
    from ...world.emu.sequence import Text

    number = 0
    for instruction in (None, *turns):
        if instruction is not None:
            if not request.images:
                raise GenerateError("no picture was finished that could be edited; give the answer more tokens")
            yield Text("direction", instruction)
            request = replace(request, task="x2i", question=instruction, preset=preset("x2i", **changes), size=None)
        last: tuple[np.ndarray, ...] = ()
        for event in answer(checkpoint, request):
            if isinstance(event, Image):
                last = (event.pixels,)
            yield replace(event, index=number) if isinstance(event, Image | Row) else event
        number += len(last)
        request = replace(request, images=last)


def write(events: Iterable[Event], out: Path, *, title: str, given: Iterable[np.ndarray] = (), note: str = "") -> None:
    """Show events on the terminal as they come and write the folder; what came before an interruption is kept.
    given: the input pictures (H, W, 3) uint8; note: text for the page's last line."""
    from rich.console import Console

    console, story = Console(markup=False, emoji=False, highlight=False), _Story()
    for number, pixels in enumerate(given, 1):
        write_whole(out / f"given-{number:02d}.png", png_of(pixels))
        story.add("given", f"given-{number:02d}.png")
    try:
        for event in events:
            _show(event, console, before=story.parts[-1][0] if story.parts else "")
            _keep(event, out, story)
    finally:
        _write_pages(story, out, title, note)
    console.print(f"\n{out / 'index.html'}", style="bold")


def read_image(path: Path) -> np.ndarray:
    """A picture file as (H, W, 3) uint8, upright. Raises GenerateError if it is too large or not a picture."""
    try:
        return read_picture(path)
    except PictureError as error:
        raise GenerateError(str(error)) from error


def prepare(out: Path) -> None:
    """Make the folder. Raises GenerateError if it already holds an answer, OutputError if it cannot be made."""
    if (ready(out) / "index.html").exists():
        raise GenerateError(f"{out} already holds an answer; name another folder or remove it")


def _show(event: Event, console, *, before: str) -> None:
    """Print one event. before: the kind of the part before it."""
    from ...world.emu.answer import End, Image, Row, Text

    if isinstance(event, Text):
        if before not in (event.kind, "", "image", "given"):
            console.print("\n")
        console.print(event.text, style="" if event.kind == "text" else "dim italic", end="")
    elif isinstance(event, Row) and console.is_terminal:
        console.print(f"picture {event.index + 1}: row {event.done} of {event.height}", style="cyan", end="\r")
    elif isinstance(event, Image):
        console.print(f"\npicture {event.index + 1}: {event.pixels.shape[1]}x{event.pixels.shape[0]}", style="cyan")
    elif isinstance(event, End):
        console.print(f"\n{event.reason}: {event.num_tokens} tokens in {event.num_passes} passes", style="dim")


def _keep(event: Event, out: Path, story: _Story) -> None:
    from ...world.emu.answer import Image, Text

    if isinstance(event, Text):
        story.add(event.kind, event.text)
    elif isinstance(event, Image):
        file = f"{event.index + 1:02d}.png"
        write_whole(out / file, png_of(event.pixels))
        story.add("image", file)


def _write_pages(story: _Story, out: Path, title: str, note: str) -> None:
    spoken = {"text": "{}", "image": "[{}]", "direction": "> {}"}
    text = [spoken[kind].format(body) for kind, body in story.parts if kind in spoken]
    write_whole(out / "answer.txt", ("\n\n".join(text) + "\n").encode())
    thoughts = [f"{_TITLES[kind]}\n{body}" for kind, body in story.parts if kind in _TITLES]
    write_whole(out / "thoughts.txt", ("\n\n".join(thoughts) + "\n").encode())
    shown = [f'<img src="{escape(file)}" alt="given">' for kind, file in story.parts if kind == "given"]
    body = f'<div class="given">{"".join(shown)}</div>\n' if shown else ""
    body += "\n".join(_section(kind, content) for kind, content in story.parts if kind != "given")
    page = (
        f'<!doctype html>\n<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n"
        f"<footer>Pictures and words by Emu3.5, with Roam.{escape(note)}</footer>\n</body></html>\n"
    )
    write_whole(out / "index.html", page.encode())


def _section(kind: str, content: str) -> str:
    if kind == "image":
        return f'<img src="{escape(content)}" alt="picture {int(content[:2])}">'
    if kind == "direction":
        return f'<p class="direction">{escape(content.strip())}</p>'
    if kind in _TITLES:
        return f"<details><summary>{_TITLES[kind]}</summary><p>{escape(content.strip())}</p></details>"
    return f"<p>{escape(content.strip())}</p>" if content.strip() else ""
