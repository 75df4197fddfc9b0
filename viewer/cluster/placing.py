"""Who may begin a walk, where, and who waits: the workers' places, the queue, and what one key may have.

Times in seconds. Sends nothing; knows walks by number only.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..wire.protocol import ProtocolError
from .worker import About, Status

PAGES_EACH = 16  # of the cache, that a walk is sure to want: its window, and some to rewind to
FIRST_GUESS_S = 60.0  # how long a walk takes, until some have ended


@dataclass
class WorkerState:
    """A worker as the front sees it."""

    about: About
    status: Status = field(default_factory=Status)
    is_draining: bool = False
    driven: int = 0  # walks on it that somebody drives
    opening: int = 0  # walks that are on their way to it
    heard_at: float = field(default_factory=time.monotonic)
    empty_since: float = field(default_factory=time.monotonic)

    @property
    def busy(self) -> int:
        return self.driven + self.opening


@dataclass(frozen=True)
class Rules:
    """What may be begun, and who may wait."""

    most_walks: int = 16  # driven at a time on one worker
    target_ms: float = 0.0  # p95 of a worker's steps beyond which it gets no more walks; 0: no limit
    most_each: int = 128  # walks driven at a time by one key or address
    most_waiting: int = 64  # places of the queue
    longest_wait_s: float = 120.0  # in the queue


@dataclass
class Waiter:
    """An `open` that waits for a place."""

    guest: str
    ticket: object  # whatever the front wants back when it is its turn
    since: float = field(default_factory=time.monotonic)
    told: int = 0  # the place in the queue that it was told last


def place(workers: Iterable[WorkerState], rules: Rules, *, is_urgent: bool = False) -> WorkerState | None:
    """The worker for one walk more: the one on which a step will take least, of those that have room; None where none
    has. is_urgent: a walk that is under way already, which goes on wherever anything runs."""
    there = [worker for worker in workers if not worker.is_draining]
    free = [worker for worker in there if has_room(worker, rules)]
    if not free and is_urgent:
        free = there
    return min(free, key=_cost, default=None)


def has_room(worker: WorkerState, rules: Rules) -> bool:
    """Whether a worker may take a walk more: by number, by the pages of its cache, and by how long its steps take."""
    pages = worker.status.num_free
    is_slow = 0 < rules.target_ms < worker.status.step_p95_ms and worker.busy > 0
    has_pages = pages < 0 or pages >= PAGES_EACH * (1 + worker.opening)
    return worker.busy < rules.most_walks and has_pages and not is_slow


def _cost(worker: WorkerState) -> tuple[float, int, int]:
    """About how long a step will take with one walk more; then who has fewer walks, and more free pages."""
    each_ms = worker.status.step_p50_ms / max(1, worker.driven)
    return round(each_ms * (worker.busy + 1), -1), worker.busy, -worker.status.num_free


class Queue:
    """Those who wait for a place. Turns are fair between keys: whoever drives fewest walks is next, then who has waited
    longest."""

    def __init__(self, rules: Rules):
        self.rules = rules
        self._waiters: list[Waiter] = []
        self._stays: deque[float] = deque(maxlen=64)  # how long walks took that have ended

    def __len__(self) -> int:
        return len(self._waiters)

    def ended(self, stay_s: float) -> None:
        """A walk has given its place back."""
        self._stays.append(stay_s)

    def wait_s(self, place: int, places: int) -> float:
        """About how long number `place` waits, where so many walks share the places."""
        stay_s = sorted(self._stays)[len(self._stays) // 2] if self._stays else FIRST_GUESS_S
        return round(max(1.0, place * stay_s / max(1, places)), 1)

    def join(self, waiter: Waiter, places: int) -> None:
        """Raises ProtocolError, which says when to come back, where the queue is full."""
        if len(self._waiters) >= self.rules.most_waiting:
            raise full(f"{places} places are taken and {len(self)} wait", self.wait_s(len(self), places))
        self._waiters.append(waiter)

    def leave(self, waiter: Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def order(self, driven: Callable[[str], int]) -> list[Waiter]:
        """Everybody, whoever is next first. driven: how many walks a key drives."""
        rounds: dict[str, int] = {}
        ranked = []
        for waiter in self._waiters:
            ahead = rounds[waiter.guest] = rounds.get(waiter.guest, driven(waiter.guest) - 1) + 1
            ranked.append((ahead, waiter.since, waiter))
        return [waiter for _, _, waiter in sorted(ranked, key=lambda row: row[:2])]

    def overdue(self) -> list[Waiter]:
        """Those who have waited too long; they leave."""
        late = [w for w in self._waiters if time.monotonic() - w.since > self.rules.longest_wait_s]
        for waiter in late:
            self.leave(waiter)
        return late


def full(why: str, wait_s: float) -> ProtocolError:
    """The refusal of a cluster that has no place, with the time to come back at."""
    return ProtocolError("full", f"{why}; come back in {wait_s:.0f} s")
