"""How a cluster moves walks to and from a running server without losing a frame.

May be called from any thread; the work is done on the server's threads, in order with the walk's other work.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from .explorers import Explorers
from .keeping.records import Meta
from .registry import Registry, ServedWalk
from .store import StoreError
from .threads.stepper import DISK, Stepper

MOST_TRIES = 200  # how often a walk whose snapshot is being written is tried again


@dataclass(frozen=True)
class Held:
    """What a server holds of one walk. secret: SHA-256 of its token; index: of the newest frame that was shown."""

    session: str
    secret: str
    guest: str
    index: int
    is_parked: bool
    is_driven: bool


class Handover:
    """Takes walks into a running server and releases them. take_in: enters a stored walk in the registry."""

    def __init__(self, registry: Registry, explorers: Explorers, stepper: Stepper, take_in: Callable[[Meta], None]):
        self._registry, self._explorers, self._stepper, self._take_in = registry, explorers, stepper, take_in

    def adopt(self, session: str) -> Future[None]:
        """Take in a walk whose folder was put among the stored walks. The Future raises StoreError if there is no
        such walk, or it cannot be read."""
        return self._asked(lambda: self._adopted(session))

    def held(self) -> Future[list[Held]]:
        """Every walk on this server."""
        return self._asked(lambda: [_held(walk) for walk in self._registry.sessions.values()])

    def release(self, session: str) -> Future[None]:
        """Release a walk. The Future is done when no step of it runs and its files are closed; the files stay. It
        raises StoreError for a walk that is not here, or whose acts the disk did not take."""
        done: Future[None] = Future()

        def begin(_: Any) -> None:
            walk = self._registry.sessions.get(session)
            if walk is None:
                done.set_exception(StoreError(f"no walk '{session}' here"))
                return
            self._registry.remove(walk)
            for client in list(walk.viewers):
                walk.leave(client)
            self._park_and_release(walk, done, MOST_TRIES)

        self._stepper.deliver(begin, None)
        return done

    def _adopted(self, session: str) -> None:
        if session in self._registry.sessions:
            raise StoreError(f"the walk '{session}' is here already")
        self._take_in(self._explorers.store.meta(session))

    def _park_and_release(self, walk: ServedWalk, done: Future[None], tries: int) -> None:
        def then(value: Any) -> None:
            if value is True:
                done.set_result(None)
            elif tries and not isinstance(value, Exception):  # a snapshot of it is being written: try after that
                self._park_and_release(walk, done, tries - 1)
            else:
                self._registry.add(walk)
                reason = value if isinstance(value, Exception) else "its disk does not take what is done in it"
                done.set_exception(StoreError(f"the walk '{walk.id}' cannot be let go: {reason}"))

        links = [(DISK, lambda _: None), (walk.strand, lambda _: self._explorers.park(walk.id))]
        self._stepper.chain(links, then)

    def _asked(self, work: Callable[[], Any]) -> Future:
        done: Future = Future()

        def then(_: Any) -> None:
            try:
                done.set_result(work())
            except Exception as error:  # the caller gets it
                done.set_exception(error)

        self._stepper.deliver(then, None)
        return done


def _held(walk: ServedWalk) -> Held:
    return Held(walk.id, walk.secret, walk.guest, walk.index, walk.is_parked, walk.driver is not None)
