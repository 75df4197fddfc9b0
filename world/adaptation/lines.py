"""Hand-written JSON lines, read one by one; errors give the line's number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..files import TextError, parse_json, text_lines


class LineError(ValueError):
    """A line or a file of lines that cannot be used; the message says which and what was wanted."""


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not empty, with their numbers from 1. Raises LineError for what is no text."""
    try:
        yield from ((number, line) for number, line in enumerate(text_lines(path), 1) if line.strip())
    except UnicodeError as error:
        reason = getattr(error, "reason", error)
        raise LineError(f"{path} is no text in UTF-8 or UTF-16 ({reason}); wanted a JSON object a line") from error
    except TextError as error:
        raise LineError(f"{path}: {error}; wanted a JSON object a line") from error


def object_of(line: str) -> dict:
    """The JSON object of a line. Raises LineError, without its number."""
    try:
        held = parse_json(line)
    except ValueError as error:
        raise LineError(f"no JSON ({error}); wanted an object on one line") from error
    if not isinstance(held, dict):
        raise LineError(f"{type(held).__name__} where an object is wanted, {{...}}")
    return held
