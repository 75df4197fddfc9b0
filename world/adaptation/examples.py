"""Examples for training: a request as for `roam generate` and the wanted answer, one JSON object per line.

`{"task": "story", "question": "...", "images": ["a.png"], "size": "16:9", "answer": [{"text": "..."}, {"image":
"b.png"}], "ends": true}`; images, size and ends are optional, and files are relative to the lines' own folder. A part
of an answer is one of KINDS; "turn" is the next instruction of an exploration, which is read and not learnt. Lines are
checked here against their task; pictures and lengths are in checking.py. Knows nothing of ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..emu.prompts import PromptError, cells_of, prompt, refuse_controls, turn
from .lines import LineError, lines_of, object_of

KINDS = ("text", "plan", "thought", "image", "turn")
KEYS = ("task", "question", "images", "size", "answer", "ends")
MARKS = {"plan": ("<|extra_60|>", "<|extra_61|>"), "thought": ("<|extra_50|>", "<|extra_51|>")}
BEGIN, END, OVER = "<|extra_100|>", "<|extra_101|>", "<|extra_204|>"  # of an answer, and of the whole sequence
ONE_PICTURE = ("t2i", "x2i")
WANTED = ", ".join(f'{{"{kind}": "..."}}' for kind in KINDS)


class ExampleError(ValueError):
    """Examples that cannot be learnt from; the message says which line, what came and what was wanted."""


@dataclass(frozen=True)
class Part:
    """A part of an answer: its kind, one of KINDS, and its words or, of an image, the path of the file."""

    kind: str
    value: str


@dataclass(frozen=True)
class Example:
    """A request and its answer. line: its number in the file; images: input files; size: cells (h, w) of the
    answer's pictures, None to take them from a given picture or the answer's first; ends: whether the answer is over
    with its last part, or continues beyond what is written."""

    line: int
    task: str
    question: str
    images: tuple[Path, ...]
    answer: tuple[Part, ...]
    size: tuple[int, int] | None = None
    ends: bool = True

    @property
    def pictures(self) -> tuple[Path, ...]:
        """The files of the answer's pictures, in order."""
        return tuple(Path(part.value) for part in self.answer if part.kind == "image")

    def pieces(self) -> list[str | Path]:
        """The whole sequence, as serving reads and writes it: words, with control tokens spelled out, which are
        tokenized piece by piece, and pictures."""
        asked = prompt(self.task, self.question, len(self.images))
        out: list[str | Path] = [self.images[piece] if isinstance(piece, int) else piece for piece in asked]
        for number, part in enumerate(self.answer):
            if part.kind == "turn":
                out += self._turn(out.pop() if not number else None, part.value)
            else:
                before, after = MARKS.get(part.kind, ("", ""))
                out.append(Path(part.value) if part.kind == "image" else before + part.value + after)
        return [*out, END + OVER] if self.ends else out

    def _turn(self, asked: str | Path | None, instruction: str) -> list[str | Path]:
        """A turn; asked: the prompt's end, if nothing was answered yet, so that no answer has to be ended."""
        words = turn(instruction)
        return [words] if asked is None else [str(asked).removesuffix(BEGIN), words.removeprefix(END)]


def read_examples(path: Path) -> Iterator[Example]:
    """The examples of a file. Raises ExampleError for the first line that cannot be used."""
    for number, line in lines_of(path):
        example, faults = parsed(number, line, path.parent)
        if example is None:
            raise ExampleError(f"{path}, line {number}: {faults[0]}")
        yield example


def parsed(number: int, line: str, folder: Path) -> tuple[Example | None, list[str]]:
    """A line as an example, or None and a sentence for each thing that is wrong with it. Files are in `folder`."""
    try:
        row = object_of(line)
    except LineError as error:
        return None, [str(error)]
    faults = [*_key_faults(row), *_request_faults(row), *_answer_faults(row)]
    if faults:
        return None, faults
    parts = [next(iter(part.items())) for part in row["answer"]]
    answer = tuple(Part(kind, str(folder / value) if kind == "image" else value) for kind, value in parts)
    images = tuple(folder / name for name in row.get("images", ()))
    size = cells_of(row["size"], row["task"]) if "size" in row else None
    return Example(number, row["task"], row["question"], images, answer, size, row.get("ends", True)), []


def _key_faults(row: dict) -> Iterator[str]:
    if unknown := [key for key in row if key not in KEYS]:
        yield f"unknown keys {', '.join(unknown)}; known: {', '.join(KEYS)}"
    if not isinstance(row.get("ends", True), bool):
        yield f"'ends' is {row['ends']!r}; wanted true or false"
    for key in ("task", "question"):
        if not isinstance(row.get(key), str):
            yield f"its '{key}' is missing or no text"


def _request_faults(row: dict) -> Iterator[str]:
    """What no template accepts, in the template's own words."""
    task, question, images = row.get("task"), row.get("question"), row.get("images", [])
    if not isinstance(images, list) or not all(isinstance(name, str) for name in images):
        yield "its 'images' are no list of file names"
    elif isinstance(task, str) and isinstance(question, str):
        yield from _refused(lambda: prompt(task, question, len(images)))
    if "size" in row and isinstance(task, str):
        yield from _refused(lambda: cells_of(str(row["size"]), task))


def _answer_faults(row: dict) -> Iterator[str]:
    answer = row.get("answer")
    if not isinstance(answer, list) or not answer:
        yield f"its 'answer' is missing or empty; wanted a list of parts, each one of {WANTED}"
        return
    kinds: list[str] = []
    for number, part in enumerate(answer, 1):
        found = [*_part_faults(part)]
        yield from (f"part {number} of its answer {fault}" for fault in found)
        kinds += [] if found else part
    if len(kinds) == len(answer):
        yield from _task_faults(row.get("task", ""), kinds)


def _part_faults(part: object) -> Iterator[str]:
    if not isinstance(part, dict) or len(part) != 1 or next(iter(part)) not in KINDS:
        yield f"is {str(part)[:60]!r}; wanted one of {WANTED}"
        return
    ((kind, value),) = part.items()
    if not isinstance(value, str) or not value.strip():
        yield f"is an empty '{kind}'; wanted words, or of an image its file"
    elif kind == "turn":
        yield from _refused(lambda: turn(value))
    elif kind != "image":
        yield from _refused(lambda: refuse_controls(value))


def _task_faults(task: str, kinds: list[str]) -> Iterator[str]:
    """What a task's answer is missing or has too much of, by the kinds of its parts."""
    num_pictures, num_turns = kinds.count("image"), kinds.count("turn")
    if num_turns and task != "explore":
        yield f"an answer to {task} with turns, which explore alone has"
    if task in ONE_PICTURE and (num_pictures != 1 or kinds[-1] != "image"):
        yield f"an answer to {task} with {num_pictures} pictures, the last part a {kinds[-1]}; wanted one, at the end"
    elif not num_pictures:
        yield f"an answer to {task} without a picture; wanted at least one"
    if task in ("howto", "story", "vla") and not {"text", "plan", "thought"} & {*kinds}:
        yield f"an answer to {task} without words; wanted words and pictures"
    for number, said in enumerate(_between_turns(kinds)[1:], 1):
        if "image" not in said:
            yield f"turn {number} of its answer is followed by no picture; each wants one"


def _between_turns(kinds: list[str]) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for kind in kinds:
        if kind == "turn":
            groups.append([])
        else:
            groups[-1].append(kind)
    return groups


def _refused(attempt) -> Iterator[str]:
    try:
        attempt()
    except PromptError as error:
        yield str(error)
