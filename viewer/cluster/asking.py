"""Asks workers and the shared place for what takes a while, on threads of its own; the front's thread gets the
answers."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

log = logging.getLogger(__name__)

THREADS = 24  # a worker that hangs keeps one of them until it is given up


class Asking:
    """wake: ends the front's waiting, from any thread."""

    def __init__(self, wake: Callable[[], None]):
        self._wake, self._waking = wake, threading.Lock()
        self._outcomes: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="roam-asking")

    def ask(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Have work done; `then` gets its value, or the exception, when outcomes are collected."""

        def run() -> None:
            try:
                value = work()
            except Exception as error:  # whoever asked gets it
                value = error
            self.hand_in(then, value)

        self._pool.submit(run)

    def hand_in(self, then: Callable[[Any], None], value: Any) -> None:
        """Have `then` run with a value on the front's thread; from any thread."""
        with self._waking:
            self._outcomes.append((then, value))
            self._wake()

    def collect(self) -> None:
        while self._outcomes:
            then, value = self._outcomes.popleft()
            try:
                then(value)
            except Exception:  # what one outcome runs into is no other's business
                log.exception("an outcome could not be dealt with")

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
