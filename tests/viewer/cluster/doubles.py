"""A fleet without Ray: workers of tiny worlds in threads of this process, which can crash; a cable that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from roam.viewer.cluster.fleet import FleetError, WorkerLostError
from roam.viewer.cluster.storing.shared_place import SharedPlace
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

    def files(self, folder: str) -> list[str]:
        return []


class Cable:
    """Passes on what a client and the server at `address` send each other, until it is cut: then nothing comes through
    any more, and no connection is closed, as when a machine is switched off."""

    def __init__(self, address: str):
        host, port = address.removeprefix("tcp://").rsplit(":", 1)
        self._server, self._is_cut = (host, int(port)), threading.Event()
        self._ends: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_cut.set()

    def close(self) -> None:
        for end in [self._listening, *self._ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self._ends.append(near)
                if self._is_cut.is_set():
                    continue
                far = socket.create_connection(self._server)
                self._ends.append(far)
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if not self._is_cut.is_set():
                    other.sendall(data)
            if not self._is_cut.is_set():
                other.shutdown(socket.SHUT_WR)
