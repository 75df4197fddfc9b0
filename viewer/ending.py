"""How signals end a command: with an exception, one sentence and the shell's status. Knows no command."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from types import FrameType

GRACE_S = 2.0  # within which a command should end
AGAIN_S = 0.02


class Ended(SystemExit):
    """A signal has ended the program; its code is that of shells, 128 and the signal's number."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.number = number

    def __str__(self) -> str:
        return f"ended by {signal.Signals(self.number).name}, before it was done"


def tell(ended: Ended, more: str = "") -> None:
    """Say on the error stream what has ended the program, if anybody reads it."""
    with contextlib.suppress(OSError, AttributeError):  # the terminal is gone, or was never there
        print(f"roam: {ended}{more}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Raise Ended at INT, TERM and HUP, unless they are ignored or handled by somebody else, as servers do.

    While files and processes are put away, further signals do nothing; after GRACE_S they end the program at once.
    Where Python cannot raise, as while an object is freed, it is raised a moment later. Nothing is said of objects that
    the signal has left half-made, and that cannot be freed for it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended_at: list[float] = []
    is_left = threading.Event()
    unraisable = sys.unraisablehook

    def end(number: int, _: FrameType | None) -> None:
        if not ended_at:
            ended_at.append(time.monotonic())
            raise Ended(number)
        if time.monotonic() - ended_at[0] > GRACE_S:
            os._exit(128 + number)

    def again(number: int) -> None:
        if not is_left.wait(AGAIN_S):
            ended_at.clear()
            signal.raise_signal(number)

    def hook(said: sys.UnraisableHookArgs) -> None:
        if isinstance(said.exc_value, Ended):
            threading.Thread(target=again, args=(said.exc_value.number,), daemon=True).start()
        elif not ended_at:  # else it tells of what the signal has left half-made
            unraisable(said)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    mine = [number for number in numbers if before[number] in (signal.SIG_DFL, signal.default_int_handler)]
    if mine:
        sys.unraisablehook = hook
    for number in mine:
        signal.signal(number, end)
    try:
        yield
    except Ended as ended:
        traceback.clear_frames(ended.__traceback__)  # what is half-made is freed before anybody hears of it again
        raise
    finally:
        is_left.set()
        sys.unraisablehook = unraisable
        for number in mine:
            signal.signal(number, before[number])
