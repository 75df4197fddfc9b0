"""Progress on the error stream, for work that takes longer than a person waits without asking.

Quick work prints nothing; a terminal gets one line that changes, a file a line now and then. If the error stream is
closed or breaks, only these messages are lost.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeVar

FIRST_S = 2.0  # of silence
EVERY_S, EVERY_LINE_S = 0.5, 10.0
Thing = TypeVar("Thing")


def counted(things: Iterable[Thing], what: str, total: int, *, out: TextIO | None = None) -> Iterator[Thing]:
    """Yields the things, and prints how many of them are done, after FIRST_S; also while one of them takes long."""
    stream: TextIO | None = out or sys.stderr  # None if another program has closed it
    is_terminal, number = stream is not None and stream.isatty(), 0
    told_s, is_told = time.monotonic() + FIRST_S, False

    def tell() -> None:
        nonlocal told_s, is_told
        _tell(stream, f"{what}: {number} of {total}", is_terminal)
        told_s, is_told = time.monotonic() + (EVERY_S if is_terminal else EVERY_LINE_S), True

    def late(_: float) -> str:
        if time.monotonic() >= told_s:
            tell()
        return ""

    with telling(late, out=out):
        for number, thing in enumerate(things):  # noqa: B007 -- read by `tell`
            if time.monotonic() >= told_s:
                tell()
            yield thing
    if is_told and is_terminal:
        _tell(stream, "", is_terminal)


@contextmanager
def waiting(what: str, *, out: TextIO | None = None) -> Iterator[None]:
    """Print what is waited for, once it takes longer than FIRST_S, and for how long, as long as it lasts."""
    with telling(lambda since_s: f"{what} ..." + (f" {since_s:.0f} s" if since_s else ""), out=out):
        yield


@contextmanager
def telling(line: Callable[[float], str], *, out: TextIO | None = None) -> Iterator[None]:
    """Print a line now and then while something lasts, the first after FIRST_S; line: called with the seconds that it
    has taken, 0 for the first line; "" says nothing."""
    stream: TextIO | None = out or sys.stderr
    is_over, began_s = threading.Event(), time.monotonic()

    def tell() -> None:
        pause_s, is_first = FIRST_S, True
        while not is_over.wait(pause_s):
            if said := line(0.0 if is_first else time.monotonic() - began_s):
                _tell(stream, said, False)
            pause_s, is_first = EVERY_LINE_S, False

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def _tell(out: TextIO | None, line: str, is_terminal: bool) -> None:
    if out is None:
        return
    with contextlib.suppress(OSError):
        out.write(f"\r\x1b[K{line}" if is_terminal else f"{line}\n")
        out.flush()
