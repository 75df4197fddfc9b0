"""A fleet without Ray: workers of tiny worlds in threads of this process, which can crash."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from roam.viewer.cluster.fleet import FleetError, WorkerLostError
from roam.viewer.cluster.shared_place import SharedPlace
from roam.viewer.cluster.worker import About, Worker
from roam.viewer.opening.worlds import Worlds

from ..server.doubles import TinyWorlds

EVERY_S = 0.2  # between copies to the shared place


class ThreadFleet:
    """worlds: makes the worlds of each worker. place: the shared folder. most: how many workers there can be."""

    def __init__(self, place: Path, front_key: str, *, worlds: Callable[[], Worlds] = TinyWorlds, most: int = 8):
        self.place, self.workers = SharedPlace(str(place)), {}
        self._front_key, self._worlds, self._most = front_key, worlds, most
        self._numbers, self._on_death = count(1), lambda name: None
        self._lock, self._is_over = threading.Lock(), False

    def begin(self, on_death: Callable[[str], None]) -> list[About]:
        self._on_death, self._is_over = on_death, False
        return [worker.about for worker in self.workers.values()]

    def start(self) -> About:
        with self._lock:
            if self._is_over or len(self.workers) >= self._most:
                raise FleetError("no machine is left")
            name = f"w{next(self._numbers)}"
            self.workers[name] = Worker(name, self._worlds(), self.place, front_key=self._front_key, every_s=EVERY_S)
            return self.workers[name].about

    def ask(self, name: str, method: str, *arguments: Any) -> Any:
        if name not in self.workers:
            raise WorkerLostError(f"{name} is gone")
        return self.workers[name].call(method, *arguments)

    def crash(self, name: str) -> None:
        """End a worker so that nothing more reaches the shared place, as kill -9 does."""
        worker = self.workers.pop(name)
        worker.replicator.place = _Nowhere()
        worker.stop()
        self._on_death(name)

    def kill(self, name: str) -> None:
        self.crash(name)

    def stop(self, name: str) -> None:
        self.workers.pop(name).stop()

    def end(self, *, workers_stay: bool) -> None:
        with self._lock:  # wait for one that is starting; no other one starts
            self._is_over = True
            for name in [] if workers_stay else list(self.workers):
                self.stop(name)


class _Nowhere:
    """A shared place that nothing reaches."""

    url = "nowhere"

    def put(self, path: str, data: bytes) -> None:
        """It is lost."""

    def remove(self, path: str) -> None:
        """Nothing is there."""
