"""Progress on the error stream, for work that takes longer than a person waits without asking.

Quick work prints nothing; a terminal gets one line that changes, a file a line now and then. If the error stream is
closed or breaks, only these messages are lost.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeVar

FIRST_S = 2.0  # of silence
EVERY_S, EVERY_LINE_S = 0.5, 10.0
Thing = TypeVar("Thing")


def counted(things: Iterable[Thing], what: str, total: int, *, out: TextIO | None = None) -> Iterator[Thing]:
    """Yields the things, and prints how many of them are done, after FIRST_S."""
    stream: TextIO | None = out or sys.stderr  # None if another program has closed it
    is_terminal, told_s, is_told = stream is not None and stream.isatty(), time.monotonic() + FIRST_S, False
    for number, thing in enumerate(things):
        if time.monotonic() >= told_s:
            _tell(stream, f"{what}: {number} of {total}", is_terminal)
            told_s, is_told = time.monotonic() + (EVERY_S if is_terminal else EVERY_LINE_S), True
        yield thing
    if is_told and is_terminal:
        _tell(stream, "", is_terminal)


@contextmanager
def waiting(what: str, *, out: TextIO | None = None) -> Iterator[None]:
    """Print what is waited for, once it takes longer than FIRST_S."""
    stream: TextIO | None = out or sys.stderr
    timer = threading.Timer(FIRST_S, lambda: _tell(stream, f"{what} ...", False))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tell(out: TextIO | None, line: str, is_terminal: bool) -> None:
    if out is None:
        return
    with contextlib.suppress(OSError):
        out.write(f"\r\x1b[K{line}" if is_terminal else f"{line}\n")
        out.flush()
