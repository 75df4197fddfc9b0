"""What all parts of a front share: its socket, its connections to workers, its walks, its workers and its counters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..server.socket import ServerSocket
from ..wire import protocol as p
from .background import BackgroundCalls
from .connections import WorkerConnection, WorkerConnections
from .fleet import Fleet
from .placing import Queue, Rules, WorkerState
from .routes import Route, Routes


@dataclass
class Counts:
    """Everything counted since the front began."""

    frames: int = 0
    resumes: int = 0
    moves: int = 0
    deaths: int = 0
    frames_lost: int = 0
    refused_full: int = 0
    walks_lost: int = 0


@dataclass
class FrontState:
    """The state that all parts of a front share; only the front's thread uses it."""

    wire: ServerSocket
    connections: WorkerConnections
    background: BackgroundCalls
    fleet: Fleet
    rules: Rules
    queue: Queue
    routes: Routes = field(default_factory=Routes)
    workers: dict[str, WorkerState] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)

    def connection(self, client: bytes, worker: str) -> WorkerConnection:
        """The connection of a client to a worker that is running."""
        who = self.wire.clients.get(client)
        return self.connections.get_or_connect(client, self.workers[worker].about, name=who.name if who else "")

    def recount(self) -> None:
        """Update how many walks are driven on each worker."""
        for state in self.workers.values():
            state.driven = 0
        for route in self.routes.by_session.values():
            if route.driver is not None and route.worker in self.workers:
                self.workers[route.worker].driven += 1

    @property
    def num_places(self) -> int:
        """How many walks may be driven on all workers together."""
        return self.rules.most_walks * sum(not worker.is_draining for worker in self.workers.values())

    def tell(self, client: bytes, message: p.Message) -> None:
        """Send a message to a client, if its version has that message."""
        who = self.wire.clients.get(client)
        if who is None or who.version < message.SINCE:
            return
        if isinstance(message, p.Error) and message.code == "full" and who.version < 3:
            message = replace(message, code="limit")
        self.wire.send(client, message)

    def fail(self, route: Route, why: str) -> None:
        """End a walk for everyone who drives or watches it, because it cannot go on for now; its stored state stays."""
        for client in list(route.seats):
            self.tell(client, p.Error(code="internal", message=why[:600], session=route.session))
            route.leave(client)
        for client, message in route.waiting:
            seq = message.seq if isinstance(message, p.Request) else 0
            self.tell(client, p.Error(seq=seq, code="internal", message=why[:600], session=route.session))
        route.waiting.clear()
        route.is_moving = False
