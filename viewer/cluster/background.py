"""Runs slow calls to workers and to the shared place on a pool of threads, and delivers their results to the front's
thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

log = logging.getLogger(__name__)

THREADS = 24  # a worker that hangs occupies one of them until the front gives it up


class BackgroundCalls:
    """A pool of threads and the results that wait. wake: ends the front's wait for messages; it may be called from any
    thread."""

    def __init__(self, wake: Callable[[], None]):
        self._wake, self._waking = wake, threading.Lock()
        self._outcomes: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="roam-background")

    def call(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run `work` on a thread of the pool. `collect` calls `then` with its value, or the exception."""

        def run() -> None:
            try:
                value = work()
            except Exception as error:  # the caller gets it
                value = error
            self.deliver(then, value)

        self._pool.submit(run)

    def deliver(self, then: Callable[[Any], None], value: Any) -> None:
        """Have `collect` call `then` with a value, on the front's thread. May be called from any thread."""
        with self._waking:
            self._outcomes.append((then, value))
            self._wake()

    def collect(self) -> None:
        """Call the `then` of every result so far, on the calling thread."""
        while self._outcomes:
            then, value = self._outcomes.popleft()
            try:
                then(value)
            except Exception:  # a failure in one result must not stop the others
                log.exception("an outcome could not be dealt with")

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
