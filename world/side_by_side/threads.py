"""Runs the same work for several sessions or eyes at once, on all cores; code compiled for the CPU lets other threads
run.

Knows nothing of the work; it must be safe to run twice at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
MOST = 8  # threads at most, because they share the memory's bandwidth


class SideBySide:
    """Threads that are started when first needed; num_threads: by default the number of cores."""

    def __init__(self, num_threads: int | None = None):
        self.num_threads = num_threads or min(MOST, _num_cores())
        self._pool: ThreadPoolExecutor | None = None

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """work of every item, in order; raises the first failure, when all are done."""
        if len(items) < 2 or self.num_threads < 2:
            return [work(item) for item in items]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.num_threads, thread_name_prefix="side-by-side")
        futures = [self._pool.submit(work, item) for item in items]
        errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None:
                raise error
        return [future.result() for future in futures]


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
