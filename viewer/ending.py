"""How signals end a command: with an exception, one sentence and the shell's status. Knows no command."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
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


def _wait_told(number: int) -> None:
    """Say that a signal has come, and what is waited for."""
    with contextlib.suppress(OSError, AttributeError):
        name = signal.Signals(number).name
        said = "it ends the command when what is running can be interrupted; once more ends it at once"
        print(f"roam: {name} has come; {said}", file=sys.stderr, flush=True)


def tell(ended: Ended, more: str = "") -> None:
    """Say on the error stream what has ended the program, if anybody reads it."""
    with contextlib.suppress(OSError, AttributeError):  # the terminal is gone, or was never there
        print(f"roam: {ended}{more}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Raise Ended at INT, TERM and HUP, unless they are ignored or handled by somebody else, as servers do.

    While files and processes are put away, further signals do nothing; after GRACE_S they end the program at once.
    Where Python cannot raise, as while an object is freed, it is raised a moment later, and where code of others caught
    it and went on, GRACE_S later. Nothing is said of objects that the signal has left half-made, and that cannot be
    freed for it. Where Python does not run at all, as while code is compiled, GRACE_S later a line says so, and one
    more signal ends the program at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended_at: list[float] = []
    again_of: list[int] = []  # signals of our own, which nobody has sent
    asked_of: list[int] = []  # those of them that ask whether the program is ending
    is_left, leaving = threading.Event(), threading.Lock()
    unraisable = sys.unraisablehook

    def end(number: int, _: FrameType | None) -> None:
        if asked_of:
            asked_of.clear()
            if not _is_handled(Ended):
                raise Ended(number)
            return
        if not ended_at:
            ended_at.append(time.monotonic())
            raise Ended(number)
        if time.monotonic() - ended_at[0] > GRACE_S:
            os._exit(128 + number)

    def send(number: int) -> None:
        with leaving:
            if is_left.is_set() or signal.getsignal(number) is not end:
                return
            again_of.append(number)
            if hasattr(signal, "pthread_kill"):  # the main thread wakes for it
                signal.pthread_kill(threading.main_thread().ident or 0, number)
            else:
                signal.raise_signal(number)

    def again(number: int) -> None:
        if not is_left.wait(AGAIN_S):
            ended_at.clear()
            send(number)

    def insist(number: int) -> None:
        while ended_at and not is_left.wait(GRACE_S):
            asked_of.append(number)
            send(number)

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
    stop_hearing = None
    if mine and os.name == "posix":
        stop_hearing = _hear(lambda number: not ended_at and signal.getsignal(number) is end, again_of, insist)
    try:
        yield
    except Ended as ended:
        # What is half-made is freed before anybody hears of it again. The parts of a server know each other, so it
        # takes a search for garbage to remove its temporary folder.
        traceback.clear_frames(ended.__traceback__)
        gc.collect()
        raise
    finally:
        with leaving:
            is_left.set()
        if stop_hearing:
            stop_hearing()
        sys.unraisablehook = unraisable
        for number in mine:
            signal.signal(number, before[number])


def _is_handled(kind: type[BaseException]) -> bool:
    """Whether such an exception is on its way through a block that handles it, or another one that came of it."""
    error = sys.exc_info()[1]
    while error and not isinstance(error, kind):
        error = error.__context__
    return error is not None


def _hear(is_unheard: Callable[[int], bool], again_of: list[int], insist: Callable[[int], None]) -> Callable[[], None]:
    """Hear signals in a thread, which runs while the main thread is in code that is not Python's; returns what ends
    it. is_unheard: whether a signal of that number would end the program, and has not yet; again_of: signals that
    nobody has sent, which are taken from this list; insist: called GRACE_S after a signal that was heard."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def hear() -> None:
        told = False
        while number := os.read(reading, 1):
            if again_of:
                again_of.pop()
                continue
            if told and is_unheard(number[0]):
                os._exit(128 + number[0])
            time.sleep(GRACE_S)
            if is_unheard(number[0]):
                told = True
                _wait_told(number[0])
            else:
                insist(number[0])
        os.close(reading)

    threading.Thread(target=hear, daemon=True).start()

    def stop() -> None:
        signal.set_wakeup_fd(before)
        os.close(writing)

    return stop
