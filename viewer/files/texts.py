"""Text files as other programs write them: UTF-8 with or without a byte order mark, UTF-16 with one, any line ends."""

from __future__ import annotations

import codecs
from pathlib import Path

from ...world.files import readable

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
MAX_BYTES = 1 << 20


class TextError(ValueError):
    """A file that is not text; the message says what was wanted."""


def read_text(path: str | Path, *, most: int = MAX_BYTES) -> str:
    """The text of a file of at most so many bytes. Raises TextError, or OSError if it cannot be opened."""
    with readable(path, may_be_opened=True).open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise TextError(f"it is larger than {most >> 20} MB")
    kind = next((kind for mark, kind in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(kind)
    except UnicodeDecodeError as error:
        raise TextError("it is neither UTF-8 nor UTF-16; save it as UTF-8") from error
    if "\0" in text:  # UTF-16 without a byte order mark, UTF-32, or not text at all
        raise TextError("it holds NUL bytes, as no text does; save it as UTF-8")
    return text
