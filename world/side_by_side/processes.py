"""Worker processes that end soon after the process that began them, and print nothing when they do.

A terminal sends Ctrl-C to all of its processes. The workers ignore it; the process that began them ends them. Knows
nothing of what they do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Any

LOOK_S = 1.0  # how often a worker looks whether the process that began it still runs


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """For the moment in which processes are begun. They ignore Ctrl-C from their first instruction on; otherwise they
    would print a traceback of their imports. In this process INT, TERM and HUP take effect when the context ends:
    between two lines of the beginning they would leave a process of which nobody knows, or a pool without an end."""
    with undisturbed():
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            yield
            return
        resource_tracker.ensure_running()  # the first spawned process starts it, which would let Ctrl-C through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """What handlers of INT, TERM and HUP do, as raising an exception, is put off until this context ends. (Blocking a
    signal would not do: another thread takes it, and Python runs its handler in the main thread all the same.)"""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handlers = {number: handler for number in numbers if callable(handler := signal.getsignal(number))}
    came: list[int] = []
    try:
        for number in handlers:
            signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in came:
            handlers[signal.Signals(number)](number, None)


def end_with(parent: int) -> None:
    """End this process when its parent, the process of that number, is gone, however that ended: nobody would stop it
    otherwise. Signal handlers that a fork has copied are removed: TERM and HUP end this process at once."""
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Workers(ProcessPoolExecutor):
    """A pool of processes, as a context. When the context is left by an error, waiting work is dropped and begun work
    finished; when it is left by a signal (KeyboardInterrupt, SystemExit), or by closing a generator, its processes are
    ended at once.

    num_processes: at most so many; context: how they are begun; prepare: called in each, with prepare_args. Use only
    `submit`: Executor.map cancels work that a broken pool then fails to mark as broken, which prints a traceback.
    """

    def __init__(
        self,
        num_processes: int | None = None,
        context: BaseContext | None = None,
        prepare: Callable[..., Any] | None = None,
        prepare_args: tuple = (),
    ):
        super().__init__(num_processes or os.cpu_count(), context, _begin, (os.getpid(), prepare, prepare_args))

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Hand in work; processes are begun as it comes. A signal between two lines of that would leave a pool that
        cannot be shut down, so it takes effect afterwards."""
        with deaf():
            return super().submit(work, *args, **kwargs)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_ended = kind is not None and not issubclass(kind, Exception)
        if is_ended:
            for process in list((self._processes or {}).values()):
                process.terminate()
        self.shutdown(cancel_futures=kind is not None and not is_ended)


def _begin(parent: int, prepare: Callable[..., Any] | None, prepare_args: tuple) -> None:
    end_with(parent)
    if prepare:
        prepare(*prepare_args)
