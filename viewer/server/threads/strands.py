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
# On a busy machine work of a few milliseconds lasts a hundred, so it is the thread's processor time that counts. Time
# that passes without it counts too, because work that waits for a disk or another process occupies its thread as well.
IDLE_SHARE = 0.25
RECENT = 8  # slices by which a strand is judged
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
    recent_s: deque[float] = field(default_factory=lambda: deque([0.0, 0.0], maxlen=RECENT))
    began: float | None = None  # when the slice began that is done now

    @property
    def is_running(self) -> bool:
        return self.began is not None

    @property
    def is_long(self) -> bool:
        """Whether its next slice will probably take long: at least two of the recent ones did. One alone may have been
        an opening, or the machine's fault; and little things between long steps do not make these short."""
        return sorted(self.recent_s)[-2] > LONG_S

    def occupies(self, now: float) -> bool:
        """Whether a thread is busy with it for long."""
        return self.began is not None and (self.is_long or (now - self.began) * IDLE_SHARE > LONG_S)

    def note(self, *, wall_s: float, processor_s: float) -> None:
        self.recent_s.append(max(processor_s, wall_s * IDLE_SHARE))
        self.spent_s += wall_s
        self.began = None


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
            piece, began, used = strand.waiting[0], time.monotonic(), time.thread_time()
            is_done = piece.advance()
            wall_s, processor_s = time.monotonic() - began, time.thread_time() - used
            with self._changed:
                strand.note(wall_s=wall_s, processor_s=processor_s)
                if is_done:
                    strand.waiting.popleft()
                if len(self._strands) > MAX_IDLE:
                    self._strands = {name: s for name, s in self._strands.items() if s.waiting or s.is_running}
                self._changed.notify_all()

    def _taken(self) -> _Strand | None:
        """Wait for a strand with work, and take the one whose turn it is; None at the end."""
        with self._changed:
            while not self._is_stopping:
                now = time.monotonic()
                occupied = sum(strand.occupies(now) for strand in self._strands.values())
                may_be_long = occupied < len(self._threads) - 1
                ready = [
                    strand
                    for strand in self._strands.values()
                    if strand.waiting and not strand.is_running and (may_be_long or not strand.is_long)
                ]
                if ready:
                    strand = min(ready, key=lambda s: s.spent_s)
                    strand.began, self._floor_s = now, max(self._floor_s, strand.spent_s)
                    return strand
                self._changed.wait()
        return None
