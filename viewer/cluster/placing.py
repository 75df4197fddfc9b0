"""Who may begin a walk, on which worker, and who waits: the workers' capacity, the queue, and the limits per key.

Times in seconds. Sends nothing; knows only how many walks there are.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ..wire.protocol import ProtocolError
from .worker import About, Status

PAGES_EACH = 16  # cache pages that a walk will certainly need: its window, and some to rewind to
FIRST_GUESS_S = 60.0  # assumed duration of a walk, until some have ended


@dataclass
class WorkerState:
    """A worker, as the front sees it."""

    about: About
    status: Status = field(default_factory=Status)
    is_draining: bool = False
    driven: int = 0  # walks on it that somebody drives
    opening: int = 0  # walks that are being opened on it
    heard_at: float = field(default_factory=time.monotonic)
    empty_since: float = field(default_factory=time.monotonic)

    @property
    def busy(self) -> int:
        return self.driven + self.opening


@dataclass(frozen=True)
class Rules:
    """How many walks may be begun, and who may wait."""

    most_walks: int = 16  # driven at a time on one worker
    target_ms: float = 0.0  # a worker whose steps have a p95 above this gets no more walks; 0: no limit
    most_each: int = 128  # walks driven at a time by one key or address
    most_waiting: int = 64  # length of the queue
    longest_wait_s: float = 120.0  # in the queue


@dataclass
class Waiter:
    """An `open` that waits for a place."""

    guest: str
    ticket: object  # what the front needs when it is this client's turn
    since: float = field(default_factory=time.monotonic)
    told: int = 0  # the place in the queue that it was told last


def place(workers: Iterable[WorkerState], rules: Rules, *, is_urgent: bool = False) -> WorkerState | None:
    """The worker for one more walk: among those with room, the one on which a step will take least time; None if
    none has room. is_urgent: the walk has begun already and goes to a worker without room rather than to none."""
    there = [worker for worker in workers if not worker.is_draining]
    free = [worker for worker in there if has_room(worker, rules)]
    if not free and is_urgent:
        free = there
    return min(free, key=_cost, default=None)


def has_room(worker: WorkerState, rules: Rules) -> bool:
    """Whether a worker may take one more walk: by the number of walks, by free pages of its cache, and by the time
    of its steps."""
    pages = worker.status.num_free
    is_slow = 0 < rules.target_ms < worker.status.step_p95_ms and worker.busy > 0
    has_pages = pages < 0 or pages >= PAGES_EACH * (1 + worker.opening)
    return worker.busy < rules.most_walks and has_pages and not is_slow


def _cost(worker: WorkerState) -> tuple[float, int, int]:
    """A sort key: about how long a step will take with one more walk; then the fewest walks, then the most free
    pages."""
    each_ms = worker.status.step_p50_ms / max(1, worker.driven)
    return round(each_ms * (worker.busy + 1), -1), worker.busy, -worker.status.num_free


class Queue:
    """Clients that wait for a place. Turns are fair between keys: next is whoever drives fewest walks, then whoever
    has waited longest."""

    def __init__(self, rules: Rules):
        self.rules = rules
        self._waiters: list[Waiter] = []
        self._stays: deque[float] = deque(maxlen=64)  # durations of the latest walks that have ended

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiters)

    def ended(self, stay_s: float) -> None:
        """A walk has ended and its place is free."""
        self._stays.append(stay_s)

    def wait_s(self, place: int, places: int) -> float:
        """About how long the client at that place must wait, if the walks share so many places."""
        stay_s = sorted(self._stays)[len(self._stays) // 2] if self._stays else FIRST_GUESS_S
        return round(max(1.0, place * stay_s / max(1, places)), 1)

    def join(self, waiter: Waiter, places: int) -> None:
        """Add a client to the queue. Raises ProtocolError, with the time to come back at, if the queue is full."""
        if len(self._waiters) >= self.rules.most_waiting:
            raise full(f"{places} places are taken and {len(self)} wait", self.wait_s(len(self), places))
        self._waiters.append(waiter)

    def leave(self, waiter: Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def order(self, driven: Callable[[str], int]) -> list[Waiter]:
        """All clients that wait, the next one first. driven: how many walks a key drives."""
        rounds: dict[str, int] = {}
        ranked = []
        for waiter in self._waiters:
            ahead = rounds[waiter.guest] = rounds.get(waiter.guest, driven(waiter.guest) - 1) + 1
            ranked.append((ahead, waiter.since, waiter))
        return [waiter for _, _, waiter in sorted(ranked, key=lambda row: row[:2])]

    def overdue(self) -> list[Waiter]:
        """The clients that have waited too long; they are removed."""
        late = [w for w in self._waiters if time.monotonic() - w.since > self.rules.longest_wait_s]
        for waiter in late:
            self.leave(waiter)
        return late


def full(why: str, wait_s: float) -> ProtocolError:
    """The error for a client when the cluster has no place, with the time to come back at."""
    return ProtocolError("full", f"{why}; come back in {wait_s:.0f} s")
