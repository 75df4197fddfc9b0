"""Keeps the right number of workers: starts missing ones, asks each for its status, ends those that give no answer,
adds and removes workers with the load."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..wire.security import KeyPair
from .fleet import FleetError
from .front_state import FrontState
from .lifelines import Lifelines
from .mover import Mover
from .placing import WorkerState
from .routes import Route
from .worker import About, Status

log = logging.getLogger(__name__)

ASK_S = 1.0  # between status requests to a worker
RETRY_S = 5.0  # after a worker that could not be started


@dataclass(frozen=True)
class Size:
    """least, most: workers; busy_s: how long walks must wait, or steps be slow, before a worker is added; idle_s:
    how long a worker must be without walks before it is removed; hang_s: after how long without an answer a worker
    is ended; gone_s: after how long one whose machine gives no sign of life at all (lifelines.py)."""

    least: int = 1
    most: int = 1
    busy_s: float = 3.0
    idle_s: float = 60.0
    hang_s: float = 20.0
    gone_s: float = 3.0


class Scaling:
    """Adds and removes workers. own: the front's key pair; on_death: as in Fleet.begin; give_up: as in Mover."""

    def __init__(
        self,
        state: FrontState,
        mover: Mover,
        size: Size,
        *,
        own: KeyPair,
        on_death: Callable[[str], None],
        give_up: Callable[[str], None],
    ):
        self._state, self._mover, self.size = state, mover, size
        self._on_death, self._give_up = on_death, give_up
        self._lifelines, self._gone = Lifelines(own, gone_s=size.gone_s), set[str]()
        self._about: About | None = None
        self._starting, self._may_start_at = 0, 0.0
        self._busy_since: float | None = None
        self._asked: dict[str, float] = {}  # by worker: when the pending status request was sent
        # by worker that is being drained: since when, how many walks it had, and who is told of the end
        self._retiring: dict[str, tuple[float, int, Callable[[str], None]]] = {}

    @property
    def about(self) -> About:
        """The description of a worker; all workers have the same models and worlds."""
        assert self._about is not None, "a front serves once a worker does"
        return self._about

    def begin(self) -> None:
        """Find the workers that are running, and start missing ones. Raises FleetError."""
        from concurrent.futures import ThreadPoolExecutor

        fleet = self._state.fleet
        found = fleet.begin(self._on_death)
        held: list[tuple[str, dict]] = []
        for about in found:
            self._enter(about)
            held += [(about.name, walk) for walk in fleet.ask(about.name, "held")]
        for name, walk in sorted(held, key=lambda one: one[1]["stay"]):  # a worker that was given up may have one too
            self._state.routes.add(Route(walk["session"], walk["secret"], name, index=walk["index"]))
        missing = max(0, self.size.least - len(found))
        with ThreadPoolExecutor(max(1, missing)) as pool:
            for about in [future.result() for future in [pool.submit(fleet.start) for _ in range(missing)]]:
                self._enter(about)

    def tick(self) -> None:
        """Check all workers; called a few times a second."""
        now, state = time.monotonic(), self._state
        state.recount()
        for name, worker in list(state.workers.items()):
            self._look_after(name, worker, now)
        self._give_up_gone()
        for name in list(self._retiring):
            self._retire_further(name)
        self._mover.even_out()
        num = sum(not worker.is_draining for worker in state.workers.values()) + self._starting
        if now >= self._may_start_at and (num < self.size.least or (num < self.size.most and self._is_busy(now))):
            self._start()
        idle = [
            worker
            for worker in state.workers.values()
            if not worker.busy and now - worker.empty_since > self.size.idle_s
        ]
        if num > self.size.least and not len(state.queue) and idle and not self._starting:
            self.retire(idle[-1].about.name, lambda said: log.info("%s", said))

    def close(self) -> None:
        self._lifelines.close()

    def retire(self, name: str, then: Callable[[str], None]) -> None:
        """Move every walk away from a worker and end it; `then` gets a sentence with the result."""
        state = self._state
        if name not in state.workers:
            then(f"no worker '{name}'; there are: {', '.join(sorted(state.workers)) or 'none'}")
            return
        if state.workers[name].is_draining:
            then(f"{name} is being drained already")
            return
        state.workers[name].is_draining = True
        self._retiring[name] = time.monotonic(), len(state.routes.of(name)), then
        self._retire_further(name)

    def _retire_further(self, name: str) -> None:
        """Move the walks that are still on a worker, among them those that were being opened; end it when none is
        left."""
        state, worker, (since, walks, then) = self._state, self._state.workers.get(name), self._retiring[name]
        if worker is None:
            del self._retiring[name]
            then(f"{name} died while it was drained; its walks go on elsewhere from what was copied of them")
            return
        if why := self._mover.failure(name, since=since):
            del self._retiring[name]
            worker.is_draining, worker.empty_since = False, time.monotonic()
            left = len(state.routes.of(name))
            then(f"{name} is not drained, {left} of its walks stay there: {why}; drain it again when that is mended")
            return
        self._mover.empty(name)
        if worker.opening or state.routes.of(name):
            return
        del self._retiring[name]
        state.workers.pop(name)
        for connection in state.connections.of_worker(name):
            state.connections.disconnect(connection)
        told = f"{name} is drained: {walks} walks moved"
        state.background.call(partial(state.fleet.stop, name), lambda _: then(told), is_urgent=True)

    def _look_after(self, name: str, worker: WorkerState, now: float) -> None:
        if worker.busy:
            worker.empty_since = now
        since = self._asked.get(name)
        if since is None and now - worker.heard_at >= ASK_S:
            self._asked[name] = now
            work, then = partial(self._state.fleet.ask, name, "status"), partial(self._answered, name)
            self._state.background.call(work, then, is_urgent=True)
        elif since is not None and now - since > self.size.hang_s:
            log.error("worker %s gives no answer; it is ended", name)
            self._asked.pop(name)
            self._give_up(name)

    def _give_up_gone(self) -> None:
        gone = set(self._lifelines.gone({name: worker.about for name, worker in self._state.workers.items()}))
        for name in gone - self._gone:
            log.error("the machine of worker %s is gone", name)
            self._give_up(name)
        self._gone = gone

    def _answered(self, name: str, value: Any) -> None:
        self._asked.pop(name, None)
        worker = self._state.workers.get(name)
        if worker is not None and isinstance(value, dict):
            worker.status, worker.heard_at = Status(**value), time.monotonic()

    def _is_busy(self, now: float) -> bool:
        """Whether walks have waited, or steps have been slow on every worker, for some time."""
        target_ms, workers = self._state.rules.target_ms, self._state.workers.values()
        is_slow = bool(target_ms) and all(worker.busy and worker.status.step_p95_ms > target_ms for worker in workers)
        if not len(self._state.queue) and not is_slow:
            self._busy_since = None
            return False
        self._busy_since = self._busy_since or now
        return now - self._busy_since >= self.size.busy_s

    def _start(self) -> None:
        self._starting += 1
        self._busy_since = None

        def started(value: Any) -> None:
            self._starting -= 1
            if isinstance(value, Exception):
                log.error("no worker could be started: %s", value)
                self._may_start_at = time.monotonic() + RETRY_S
                return
            self._enter(value)
            self._mover.arrived()

        self._state.background.call(self._state.fleet.start, started, is_urgent=True)

    def _enter(self, about: About) -> None:
        if self._about is not None and about.models != self._about.models:
            raise FleetError(f"worker {about.name} has {about.models}, the others {self._about.models}")
        self._about = self._about or about
        self._state.workers[about.name] = WorkerState(about)
