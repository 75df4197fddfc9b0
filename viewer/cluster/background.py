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

THREADS = 24  # each; a worker that hangs occupies one of them until the front gives it up


class BackgroundCalls:
    """Two pools of threads and the results that wait. wake: ends the front's wait for messages; it may be called from
    any thread."""

    def __init__(self, wake: Callable[[], None]):
        self._wake, self._waking = wake, threading.Lock()
        self._outcomes: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="roam-background")
        self._urgent = ThreadPoolExecutor(THREADS, thread_name_prefix="roam-urgent")

    def call(self, work: Callable[[], Any], then: Callable[[Any], None], *, is_urgent: bool = False) -> None:
        """Run `work` on a thread. `collect` calls `then` with its value, or the exception. is_urgent: do not let it
        wait behind walks that are moved, of which there may be hundreds: workers would seem to hang, and none come."""

        def run() -> None:
            try:
                value = work()
            except Exception as error:  # the caller gets it
                value = error
            self.deliver(then, value)

        (self._urgent if is_urgent else self._pool).submit(run)

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
        for pool in (self._pool, self._urgent):
            pool.shutdown(wait=True, cancel_futures=True)
