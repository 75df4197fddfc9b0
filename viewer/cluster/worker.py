"""A worker of a cluster: an ordinary Server that accepts only the front's key, and the replicator of its walks.

Apart from frames, a front talks to a worker through the methods of Worker, which may be called from any thread. Knows
no Ray.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from ..opening.worlds import Worlds
from ..server.handover import Held
from ..server.registry import Limits
from ..server.server import Server
from ..server.store import StoreError
from ..wire.security import add_key, make_key
from .storing.replicator import Replicator
from .storing.shared_place import SharedPlace
from .storing.stays import SupersededError

log = logging.getLogger(__name__)

ANSWER_S = 60.0  # how long a call to the server's thread may take
MANY = 1_000_000


@dataclass(frozen=True)
class About:
    """A worker's address, its key and its worlds."""

    name: str
    address: str
    key: str
    models: tuple[str, ...]
    worlds: tuple[str, ...]
    fov_deg: float
    pid: int


@dataclass(frozen=True)
class HeldHere(Held):
    """What a worker holds of one walk. stay: the number of its stay there (storing/stays.py)."""

    stay: int = 1


@dataclass(frozen=True)
class Status:
    """The load and health of a worker."""

    sessions: int = 0
    parked: int = 0
    steps: int = 0
    step_p50_ms: float = 0.0
    step_p95_ms: float = 0.0
    together: float = 0.0  # steps that begin at the same time, p95
    num_free: int = -1  # free pages of the cache; -1 if its worlds have no cache
    memory_bytes: int = 0
    behind_s: float = 0.0  # how old the copies in the shared place may be
    failures: int = 0  # failures of the shared place, so far


class Worker:
    """Serves `worlds` at `address` to whoever has the front's key. place: where walks are stored for other workers;
    target_ms: how long a batch of steps may take, 0 for no limit."""

    def __init__(
        self,
        name: str,
        worlds: Worlds,
        place: SharedPlace,
        *,
        front_key: str,
        address: str = "tcp://127.0.0.1:0",
        every_s: float = 1.0,
        most_walks: int = 64,
        target_ms: float = 0.0,
    ):
        self._folder = Path(tempfile.mkdtemp(prefix=f"roam-{name}-"))
        pair = make_key(self._folder / "keys", "server")
        add_key(self._folder / "keys", "front", front_key)
        limits = Limits(
            max_clients=MANY,
            max_connections_each=MANY,
            max_strangers=256,
            max_sessions=MANY,
            max_kept_each=MANY,  # the front enforces quotas, because to a worker all clients are the front
            max_kept_bytes_each=2**62,
            max_driven=MANY,
            max_jobs=MANY,  # when walks move here, the front resumes all those of a client at once
            opens_per_s=MANY,
            max_awake=max(64, 2 * most_walks),
            batch_ms=target_ms,
        )
        walks = self._folder / "walks"
        self.replicator = Replicator(walks, place, every_s=every_s, worker=name)
        self.replicator.on_superseded = self._drop
        self.server = Server(
            worlds,
            address,
            folder=walks,
            keys=self._folder / "keys",
            limits=limits,
            on_first=self.replicator.send_first,
        ).start()
        self.replicator.start()
        self.about = About(
            name, self.server.address, pair.public, worlds.models, worlds.worlds, worlds.fov_deg, os.getpid()
        )

    def status(self) -> Status:
        """Its current status."""
        metrics, explorers = self.server.metrics, self.server.num_walks
        return Status(
            sessions=explorers[0],
            parked=explorers[1],
            steps=metrics.steps,
            step_p50_ms=metrics.step_ms.percentile(50),
            step_p95_ms=metrics.step_ms.percentile(95),
            together=metrics.together.percentile(95),
            num_free=self.server.worlds.num_free,
            memory_bytes=_memory_bytes(),
            behind_s=self.replicator.every_s + self.replicator.round_s,
            failures=self.replicator.failures,
        )

    def held(self) -> list[HeldHere]:
        """Every walk on this worker."""
        held = self.server.handover.held().result(ANSWER_S)
        return [HeldHere(**vars(walk), stay=self.replicator.stay(walk.session)) for walk in held]

    def adopt(self, sessions: Sequence[str]) -> dict[str, str]:
        """Take walks, from the shared place unless this worker has them already and they have not gone on elsewhere
        since; returns for each what went wrong, or ""."""
        there = {held.session for held in self.held()}

        def adopt(session: str) -> None:
            is_newest = self.replicator.has_newest(session)
            if session in there and is_newest:
                return
            if session in there:
                self._drop(session).result(ANSWER_S)
            if not is_newest:
                self.replicator.fetch(session)
            try:
                self.server.handover.adopt(session).result(ANSWER_S)
            except StoreError:
                if not is_newest:  # the shared place still has it
                    self._forget(session)
                raise

        return {session: _tried(adopt, session) for session in sessions}

    def release(self, sessions: Sequence[str]) -> dict[str, str]:
        """Release walks. When this returns they are complete in the shared place. A walk of which that fails stays
        here: the shared place has only an older copy of it. Returns for each what went wrong, or ""."""

        def release(session: str) -> None:
            self.server.handover.release(session).result(ANSWER_S)
            try:
                self.replicator.send(session)
            except SupersededError:
                log.warning("session %s has gone on elsewhere", session)
            except Exception:
                self.server.handover.adopt(session).result(ANSWER_S)
                raise
            self._forget(session)

        return {session: _tried(release, session) for session in sessions}

    def _drop(self, session: str) -> Future[None]:
        """Give up a walk that has gone on elsewhere."""
        self.replicator.forget(session)
        done = self.server.handover.release(session)
        done.add_done_callback(lambda _: self._forget(session))
        return done

    def _forget(self, session: str) -> None:
        """Copy a released walk no more, and remove its files."""
        self.replicator.forget(session)
        shutil.rmtree(self._folder / "walks" / "sessions" / session, ignore_errors=True)

    def fetch_saves(self, owner: str) -> str:
        """Fetch the saves of that owner, if the shared place has any; returns what went wrong, or ""."""
        return _tried(self.replicator.fetch_saves, owner)

    def stop(self) -> None:
        """End; every walk is then complete in the shared place."""
        self.server.stop()
        self.replicator.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method: str, *arguments: Any) -> Any:
        """Call one of the methods that a front uses, by name, and return its value as dicts, lists and plain values,
        which can be sent to it."""
        methods: dict[str, Callable[..., Any]] = {
            "about": lambda: self.about,
            "status": self.status,
            "held": self.held,
            "adopt": self.adopt,
            "release": self.release,
            "fetch_saves": self.fetch_saves,
        }
        value = methods[method](*arguments)
        if isinstance(value, list):
            return [asdict(item) for item in value]
        return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _tried(work: Callable[[str], None], name: str) -> str:
    try:
        work(name)
    except OSError as error:  # without the path: walkers are told
        return error.strerror or str(error)[:300]
    except Exception as error:  # one walk's failure is reported and does not affect the others
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def _memory_bytes() -> int:
    """The memory of this process; 0 if the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * 4096
