"""Checks a file of examples: lines, pictures, shapes and lengths, with one sentence for each fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ..emu.ibq import CELL, smart_size
from ..emu.prompts import preset
from ..emu.sequence import LARGEST_SIDE
from ..emu.text import EmuTextTokenizer
from ..pictures.reading import PictureError, read_picture
from .examples import Example, ExampleError, parsed
from .lines import lines_of

Shape = tuple[int, int]  # height and width, of pictures in pixels, of grids in cells


@dataclass
class Report:
    """What is in a file. tokens: the length of each example, an upper bound if no tokenizer was there to count
    words; faults: what is wrong, each with its line."""

    tasks: Counter[str] = field(default_factory=Counter)
    pictures: int = 0
    tokens: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def check_examples(
    path: Path, *, area: int | None = None, longest: int, text: EmuTextTokenizer | None = None
) -> Report:
    """Read a file of examples with all pictures that it names. area: pixels to which pictures are scaled, by default
    the task's; longest: tokens that are learnt at once; text: counts words exactly. Raises LineError for what is not
    text at all."""
    report, look = Report(), lru_cache(maxsize=4096)(shape_of)
    for number, line in lines_of(path):
        example, faults = parsed(number, line, path.parent)
        if example is not None:
            report.tasks[example.task] += 1
            report.pictures += len(example.images) + len(example.pictures)
            faults = [*_picture_faults(example, look, area or preset(example.task).area)]
            if not faults:
                report.tokens.append(count := num_tokens(example, look, area, text))
                faults = [_too_long(count, longest, text)] if count > longest else []
        report.faults += [f"line {number}: {fault}" for fault in faults]
    if not report.tasks and not report.faults:
        report.faults.append("there is no example in it; wanted a JSON object a line")
    return report


def refuse_faults(path: Path, report: Report) -> None:
    """Raises ExampleError for the first fault of a file, and says how many there are."""
    if report.faults:
        others = len(report.faults) - 1
        more = f"; and {others} more, which `roam data check {path}` lists" if others else ""
        raise ExampleError(f"{path}, {report.faults[0]}{more}")


def shape_of(path: Path) -> Shape:
    """Height and width of a picture in pixels, after reading it completely. Raises ExampleError, one per file."""
    if not path.exists():
        raise ExampleError(f"picture {path} is not there")
    try:
        height, width = read_picture(path, name="picture " + str(path)).shape[:2]
        return height, width
    except PictureError as error:
        raise ExampleError(str(error)) from error


def smart_cells(shape: Shape, area: int, cell: int = CELL) -> Shape:
    """The grid of a picture of so many pixels."""
    height, width = smart_size(*shape, area=area, cell=cell)
    return height // cell, width // cell


def answer_cells(example: Example, look: Callable[[Path], Shape], area: int, cell: int = CELL) -> Shape:
    """The grid of all pictures of an answer, as in serving: the size that was asked for, else that of the last given
    picture, else of the first in the answer."""
    return example.size or smart_cells(look((*example.images[-1:], *example.pictures)[0]), area, cell)


def num_tokens(example: Example, look: Callable[[Path], Shape], area: int | None, text: EmuTextTokenizer | None) -> int:
    """How long an example is; without a tokenizer a byte is at most a token."""
    area = area or preset(example.task).area
    answered, given, total = answer_cells(example, look, area), len(example.images), 0
    for piece in example.pieces():
        if isinstance(piece, str):
            total += len(piece.encode()) if text is None else len(text.encode(piece))
            continue
        height, width = smart_cells(look(piece), area) if given else answered
        given = max(0, given - 1)  # given pictures come first
        total += len(f"{height}*{width}") + height * width + height + 2  # Format.block_length
    return total


def _picture_faults(example: Example, look: Callable[[Path], Shape], area: int) -> Iterator[str]:
    faults, files = [], dict.fromkeys((*example.images, *example.pictures))
    for path in files:
        try:
            look(path)
        except ExampleError as error:
            faults.append(str(error))
    yield from faults
    if faults:
        return
    height, width = wanted = answer_cells(example, look, area)
    if max(*wanted, *(side for path in example.images for side in smart_cells(look(path), area))) > LARGEST_SIDE:
        yield f"a picture of over {LARGEST_SIDE} cells of {CELL} pixels a side at {area} pixels; take a smaller --area"
    for path in dict.fromkeys(example.pictures):
        tall, wide = look(path)
        # one cell more or less is rounding, not another shape
        if not (width - 1) / (height + 1) <= wide / tall <= (width + 1) / max(1, height - 1):
            yield (
                f"picture {path} has {wide}x{tall} pixels and the answer's are {width}x{height} cells, a given "
                "picture's shape, the first one's or the size asked for: crop it to that, or name its size"
            )


def _too_long(count: int, longest: int, text: EmuTextTokenizer | None) -> str:
    about = "" if text else "up to "
    return (
        f"{about}{count} tokens, and {longest} are learnt at once; take fewer pictures, a smaller --area or a larger "
        "--longest"
    )
