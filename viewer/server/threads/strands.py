"""A few threads for work that needs no shared engine: pictures, scenes, walks with an engine of their own, the disk.

Work is sorted into strands. The work of one strand is done in order, one piece at a time. The strand that has used the
least time so far goes first, and long work never occupies all threads. Knows no walk.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

LONG_S = 0.1  # work that takes longer than this must not make others wait
MAX_IDLE = 512  # idle strands whose used time is remembered


class Piece(Protocol):
    """Work that is done a slice at a time."""

    def advance(self) -> bool:
        """Do one slice of the work; returns whether it was the last."""

    def give_up(self) -> None:
        """Drop the rest of it."""


@dataclass
class _Strand:
    waiting: deque[Piece] = field(default_factory=deque)
    spent_s: float = 0.0
    last_s: float = 0.0
    is_running: bool = False

    @property
    def is_long(self) -> bool:
        return self.last_s > LONG_S


class Strands:
    """The threads. num_threads: at least 2, because one is always left for short work."""

    def __init__(self, num_threads: int | None = None):
        count = max(2, num_threads or min(8, os.cpu_count() or 2))
        self._changed = threading.Condition()
        self._strands: dict[str, _Strand] = {}
        self._floor_s = 0.0  # time used by the strand that ran last; new strands start with it
        self._is_stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"roam-beside-{number}", daemon=True) for number in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def submit(self, strand: str, piece: Piece) -> None:
        with self._changed:
            known = self._strands.setdefault(strand, _Strand(spent_s=self._floor_s))
            if not known.waiting and not known.is_running:
                known.spent_s = max(known.spent_s, self._floor_s)  # a strand that was idle gets no advantage from it
            known.waiting.append(piece)
            self._changed.notify()

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """Finish the slices that have begun, and drop all other work."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        for strand in list(self._strands.values()):
            if not strand.is_running:
                for piece in strand.waiting:
                    piece.give_up()

    def _run(self) -> None:
        while strand := self._taken():
            piece, began = strand.waiting[0], time.monotonic()
            is_done = piece.advance()
            with self._changed:
                strand.last_s = time.monotonic() - began
                strand.spent_s += strand.last_s
                strand.is_running = False
                if is_done:
                    strand.waiting.popleft()
                if len(self._strands) > MAX_IDLE:
                    self._strands = {name: s for name, s in self._strands.items() if s.waiting or s.is_running}
                self._changed.notify_all()

    def _taken(self) -> _Strand | None:
        """Wait for a strand with work, and take the one whose turn it is; None at the end."""
        with self._changed:
            while not self._is_stopping:
                running = sum(strand.is_running and strand.is_long for strand in self._strands.values())
                may_be_long = running < len(self._threads) - 1
                ready = [
                    strand
                    for strand in self._strands.values()
                    if strand.waiting and not strand.is_running and (may_be_long or not strand.is_long)
                ]
                if ready:
                    strand = min(ready, key=lambda s: s.spent_s)
                    strand.is_running, self._floor_s = True, max(self._floor_s, strand.spent_s)
                    return strand
                self._changed.wait()
        return None
