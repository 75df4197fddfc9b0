"""Runs the same work for several sessions or eyes at once, on all cores; code compiled for the CPU lets other threads
run.

Knows nothing of the work; it must be safe to run twice at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
MOST = 8  # threads at most, because they share the memory's bandwidth


class SideBySide:
    """Threads that are started when first needed; num_threads: by default the number of cores."""

    def __init__(self, num_threads: int | None = None):
        self.num_threads = num_threads or min(MOST, num_cores())
        self._pool: ThreadPoolExecutor | None = None

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """work of every item, in order; raises the first failure, when all are done."""
        if len(items) < 2 or self.num_threads < 2:
            return [work(item) for item in items]
        futures = [self._threads.submit(work, item) for item in items]
        errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None:
                raise error
        return [future.result() for future in futures]

    def in_order(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """work of every item, one after the other. While the caller uses one, the threads do those to come; what none
        of them has begun by the time that it is wanted is done by the caller, so that it never waits for busy
        threads. Ends at the first failure."""
        if len(items) < 2 or num_cores() < 2:
            yield from map(work, items)
            return
        later = [self._threads.submit(work, item) for item in items[1:]]
        try:
            yield work(items[0])
            for item, future in zip(items[1:], later, strict=True):
                yield work(item) if future.cancel() else future.result()
        finally:
            for future in later:
                future.cancel()

    @property
    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.num_threads, thread_name_prefix="side-by-side")
        return self._pool


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
