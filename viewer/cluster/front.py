"""The front of a cluster: to clients it looks like a server; the walks are on the workers behind it.

It forwards each message to the worker that has the walk, over sockets of its own. Of frames it reads only their number.
placing.py decides which worker gets a walk, admission.py who waits, mover.py what happens when a worker dies.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..server.metrics import Metrics
from ..server.reception import Reception
from ..server.refusals import session_of
from ..server.registry import Client, Limits, secret_of
from ..server.socket import ServerSocket
from ..wire import protocol as p
from ..wire.security import KeyPair, check_bind
from .admission import Admission
from .background import BackgroundCalls
from .connections import LOOKS, WorkerConnection, WorkerConnections
from .fleet import Fleet
from .front_state import FrontState
from .mover import Mover
from .placing import Queue, Rules
from .routes import FIRST_INTERNAL_SEQ, Route, Seat
from .scaling import Scaling, Size

log = logging.getLogger(__name__)

TICK_S = 0.25
PING_S = 2.0  # seconds between pings to each worker, so that no client counts as gone
RETRY_MS = 5
READ_S = 0.005  # of reading clients' messages before workers' messages are read
PAUSE_S = 0.01  # after an error in the main loop: one that always fails must not use a whole core


class Front(Reception):
    """Serves the walks of `fleet`'s workers at `address`. keys, is_open: as in Server; own: the key pair by which
    workers know the front; stored_walks: called once, returns the id and secret of every walk in the shared place."""

    def __init__(
        self,
        fleet: Fleet,
        address: str = "tcp://127.0.0.1:0",
        *,
        own: KeyPair,
        keys: str | Path | None = None,
        is_open: bool = False,
        rules: Rules | None = None,
        size: Size | None = None,
        limits: Limits | None = None,
        stored_walks: Callable[[], dict[str, str]] = dict,
    ):
        check_bind(address, has_keys=keys is not None, is_open=is_open)
        limits, rules = limits or Limits(max_clients=4096), rules or Rules()
        metrics = Metrics()
        wire = ServerSocket(address, keys, limits=limits, metrics=metrics, on_drop=self._leave)
        super().__init__(wire, limits, metrics)
        self._stored_walks = stored_walks
        self.state = FrontState(
            wire, WorkerConnections(wire, own), BackgroundCalls(wire.wake), fleet, rules, Queue(rules)
        )
        self._admission = Admission(self.state)
        self._mover = Mover(self.state, self._dispatch, self._give_up)
        self._scaling = Scaling(
            self.state, self._mover, size or Size(), own=own, on_death=self._worker_died, give_up=self._give_up
        )
        # workers_stay: whether they go on when the front ends
        self._ending, self.workers_stay = threading.Event(), True
        self._next_tick = self._next_ping = 0.0
        self._has_backlog = False
        # credits of clients that do not read, by client and session: passed on when they do
        self._held_back: dict[tuple[bytes, str], int] = {}
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where clients connect."""
        return self._wire.address

    @property
    def metrics(self) -> Metrics:
        return self._metrics

    def start(self) -> Front:
        """Find or start the workers, and serve on a thread of its own. Raises FleetError if there can be none."""
        try:
            self._scaling.begin()
            for session, secret in self._stored_walks().items():
                if session not in self.state.routes.by_session:
                    self.state.routes.add(Route(session, secret, ""))
        except BaseException:
            self._close(workers_stay=False)
            raise
        self._thread = threading.Thread(target=self._run, name="roam-front", daemon=True)
        self._thread.start()
        return self

    def stop(self, *, workers_stay: bool = False) -> None:
        """End. workers_stay: the workers go on, with their walks, for the next front; else each ends in an orderly
        way."""
        self.workers_stay = workers_stay
        self._ending.set()
        if self._thread:
            self._thread.join()

    def __enter__(self) -> Front:
        return self.start()

    def __exit__(self, *_error) -> None:
        self.stop()

    def do(self, work: Callable[[], Any], then: Callable[[Any], None] = lambda _: None) -> None:
        """Have work done on the front's thread; may be called from any thread."""
        self.state.background.deliver(lambda _: then(work()), None)

    def drain(self, name: str, then: Callable[[str], None]) -> None:
        """Move every walk away from a worker and end it; on the front's thread. `then` gets a sentence with the
        result."""
        self._scaling.retire(name, then)

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                try:
                    self._turn()
                except Exception:  # whatever failed, the next turn serves everybody else
                    log.exception("a turn of the front failed")
                    time.sleep(PAUSE_S)
        finally:
            self._close(workers_stay=self.workers_stay)

    def _close(self, *, workers_stay: bool) -> None:
        for client in list(self._wire.clients):
            self._wire.send(client, p.Goodbye(reason="the front closes; your walk is kept, resume it later"))
        self.state.connections.close()
        self._scaling.close()
        self.state.fleet.end(workers_stay=workers_stay)
        self.state.background.close()
        self._wire.close()

    def _turn(self) -> None:
        is_blocked = self._wire.has_outbox or self._has_backlog
        until = max(1, int((self._next_tick - time.monotonic()) * 1000))
        ready = self._wire.wait(RETRY_MS if is_blocked else until)
        self.state.background.collect()
        for socket in ready:
            connection = self.state.connections.of_socket(socket)
            if connection:
                self._read(connection)
        end = time.monotonic() + READ_S
        while time.monotonic() < end and (received := self._wire.receive()) is not None:
            self.receive(received)
        self._has_backlog = self.catch_up() or self.state.connections.empty_outboxes()
        self._wire.empty_outboxes()
        self._pass_on_credits()
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + TICK_S
            self._tick()

    def _pass_on_credits(self) -> None:
        """Let those walk on who read again. A worker cannot see whether a client reads: the front reads for it."""
        for client_id, session in list(self._held_back):
            client = self._wire.clients.get(client_id)
            if client and client.outbox:
                continue
            credit = p.Credit(session=session, frames=self._held_back.pop((client_id, session)))
            route = self.state.routes.by_session.get(session)
            if client and route and route.worker and not route.is_moving and client_id in route.seats:
                self.state.connection(client_id, route.worker).send(credit)

    def _tick(self) -> None:
        now = time.monotonic()
        self._wire.drop_silent()
        if now >= self._next_ping:
            self._next_ping = now + PING_S
            for client_id in self._wire.clients:
                for connection in self.state.connections.of_client(client_id):
                    connection.send(p.Ping(clock=now))
        self._admission.turn()
        self._scaling.tick()

    # Messages from clients.

    def _handle(self, client_id: bytes, message: p.Message, payload: bytes | memoryview) -> None:
        client = self._wire.clients.get(client_id)
        if isinstance(message, p.Hello):
            self._hello(client_id, message)
        elif client is None and isinstance(message, p.Goodbye):
            log.debug("goodbye from a client that was known to be gone")
        elif client is None:
            raise p.ProtocolError("hello_first", "say hello first")
        elif isinstance(message, p.Goodbye):
            self._wire.drop(client_id, "it said goodbye")
        elif isinstance(message, p.Ping):
            self._wire.send(client_id, p.Pong(clock=message.clock))
        elif isinstance(message, p.Stats):
            self._wire.send(client_id, self._statistics(message.seq))
        elif isinstance(message, p.Record):
            raise p.ProtocolError("bad_request", "a cluster records no games; connect to `roam serve --record FOLDER`")
        else:
            self._check(client, message)
            self._dispatch(client_id, message, bytes(payload))

    def refuse(self, client_id: bytes, message: p.Message | None, error: Exception) -> None:
        """Send a refusal. Older clients do not know the code `full`."""
        client = self._wire.clients.get(client_id)
        if isinstance(error, p.ProtocolError) and error.code == "full" and (client is None or client.version < 3):
            error = p.ProtocolError("limit", str(error), seq=error.seq)
        super().refuse(client_id, message, error)

    def _check(self, client: Client, message: p.Message) -> None:
        """The limits of a client that a worker cannot enforce, because it does not know who asks. Raises
        ProtocolError."""
        if isinstance(message, p.Request | p.Act | p.Dream) and message.seq >= FIRST_INTERNAL_SEQ:
            raise p.ProtocolError("malformed", f"seq {message.seq}; count up from 1", seq=message.seq)
        if isinstance(message, p.Request) and self._is_taken(client.id, message.seq):
            text = f"seq {message.seq} is of a request that is being worked on; count up"
            raise p.ProtocolError("bad_request", text, seq=message.seq)
        if isinstance(message, p.Fork):
            self._admission.check_quota(client)
        if isinstance(message, p.Request) and not isinstance(message, LOOKS):
            jobs = self.state.connections.num_jobs(client.id)
            if jobs >= self._limits.max_jobs:
                raise p.ProtocolError("limit", f"{jobs} of your requests are being worked on; wait for one")

    def _is_taken(self, client: bytes, seq: int) -> bool:
        """Whether a request of that number of a client waits for an answer. A server answers both of two; here the
        answer of one would be taken for that of the other."""
        return self.state.connections.has_asked(client, seq, self.state.workers) or self._admission.has_asked(
            client, seq
        )

    def _hello(self, client_id: bytes, hello: p.Hello) -> None:
        version, clients = p.chosen_version(hello), self._wire.clients
        if client_id not in clients and len(clients) >= self._limits.max_clients:
            raise p.ProtocolError("limit", f"{len(clients)} clients are connected; no more are let in")
        clients.setdefault(client_id, Client(client_id, hello.client, version))
        about = self._scaling.about
        welcome = p.Welcome(
            version=version,
            server="roam cluster",
            models=about.models,
            worlds=about.worlds,
            patience_s=self._limits.patience_s,
            snapshot_frames=self._limits.snapshot_frames,
            fov_deg=about.fov_deg,
        )
        self._wire.send(client_id, welcome)

    def _dispatch(self, client_id: bytes, message: p.Message, payload: bytes = b"") -> None:
        client = self._wire.clients.get(client_id)
        if client is None:
            return
        try:
            if isinstance(message, p.Open | p.Load):
                self._admission.begin(client, message, payload)
            elif isinstance(message, p.Resume):
                self._pass_on(client_id, message, self.state.routes.with_token(message.token))
            else:
                self._pass_on(client_id, message, self.state.routes.known(session_of(message)))
        except Exception as error:  # handled as in Reception
            self.refuse(client_id, message, error)

    def _pass_on(self, client_id: bytes, message: p.Message, route: Route) -> None:
        """Forward a message to the worker that has the walk, now or once a worker has it."""
        seat = route.seats.get(client_id)
        if isinstance(message, p.Act | p.Dream) and client_id == route.driver:
            route.note(message)
        elif isinstance(message, p.Credit) and seat:
            seat.credits = min(p.MAX_CREDITS, seat.credits + message.frames)
            if self._wire.clients[client_id].outbox:
                held = self._held_back.get((client_id, route.session), 0)
                self._held_back[client_id, route.session] = min(p.MAX_CREDITS, held + message.frames)
                return
        elif route.is_moving or not route.worker:
            route.waiting.append((client_id, message))
        if route.is_moving:
            return  # acts and credits are noted; they are repeated on the worker that takes the walk
        if route.worker:
            route.is_closing |= isinstance(message, p.Close) and client_id == route.driver
            self.state.connection(client_id, route.worker).send(message)
        else:
            self._mover.bring(route)

    # Messages from workers.

    def _read(self, connection: WorkerConnection) -> None:
        for header, parts in connection.messages():
            self._hear(connection, header, parts)

    def _hear(self, connection: WorkerConnection, header: dict, parts: list[bytes]) -> None:
        kind, seq = header["type"], header.get("seq", 0)
        if kind in ("welcome", "pong", "goodbye"):
            return
        if seq >= FIRST_INTERNAL_SEQ:
            connection.pending.pop(seq, None)
            answers = {
                "opened": lambda: self._mover.opened(connection, header),
                "error": lambda: self._mover.refused(header),
            }
            answers.get(kind, lambda: None)()
            return
        route = self.state.routes.by_session.get(header.get("session", ""))
        is_elsewhere = route is not None and route.worker != connection.worker and kind != "opened"
        if kind == "frame":
            if route is None or is_elsewhere or not self._count_frame(connection, route, header):
                return
        elif kind == "receipt":
            is_drivers = route is not None and route.driver == connection.client
            is_done = header.get("status") == "applied"
            if is_elsewhere or (route is not None and is_drivers and not route.receipted(seq, is_done=is_done)):
                return
        elif self._answered(connection, header, route, is_elsewhere=is_elsewhere):
            return
        self._wire.pass_on(connection.client, parts)

    def _count_frame(self, connection: WorkerConnection, route: Route, header: dict) -> bool:
        seat = route.seats.get(connection.client)
        if seat is None:
            return False
        seat.credits -= 1
        route.index = header["index"] if seat.is_driver else route.index
        self.state.counts.frames += 1
        return True

    def _answered(self, connection: WorkerConnection, header: dict, route: Route | None, *, is_elsewhere: bool) -> bool:
        """Process a worker's answer. Returns whether the client must not get it."""
        kind = header["type"]
        asked, payload = connection.pending.pop(header.get("seq", 0), (None, b""))
        if kind == "error" and route is not None and (is_elsewhere or route.is_moving):
            if asked is not None:
                self._dispatch(connection.client, asked, payload)
            return True  # an error for a request that reached a worker after the walk had left it
        if kind == "error" and header.get("code") == "hello_first":
            # the connection was blocked for so long that the worker dropped it
            self.state.connections.disconnect(connection)
            return True
        if isinstance(asked, p.Close) and kind == "error" and route is not None:
            route.is_closing = False
        if isinstance(asked, p.Open | p.Load):
            self._admission.settled(connection.client, asked.seq)
        if kind == "opened" and isinstance(asked, p.Viewing):
            self._opened(connection, asked, header)
        elif (
            kind == "error" and route is not None and header.get("code") in ("not_yours", "internal") and asked is None
        ):
            if header.get("seq", 0) == 0 and route.driver == connection.client:
                route.leave(connection.client)
        elif kind == "done" and route is not None:
            self._done(connection, asked, route)
        return False

    def _opened(self, connection: WorkerConnection, asked: p.Viewing, header: dict) -> None:
        """A client drives or watches a walk now."""
        token, session = header.get("token", ""), header["session"]
        route = self.state.routes.by_session.get(session)
        if route is None:
            guest = self._wire.clients[connection.client].guest if connection.client in self._wire.clients else ""
            route = self.state.routes.add(Route(session, secret_of(token), connection.worker, guest=guest))
        is_driver = not isinstance(asked, p.Watch)
        if is_driver:
            if route.driver is not None and route.driver != connection.client:
                route.leave(route.driver)
            route.taken_over()
            route.token, route.driver, route.index = token, connection.client, header.get("index", 0)
            route.began = time.monotonic()
            self._admission.holds(connection.client, token)
        route.seats[connection.client] = Seat.of(asked, is_driver=is_driver)
        if connection.client not in self._wire.clients:
            route.leave(connection.client)

    def _done(self, connection: WorkerConnection, asked: p.Message | None, route: Route) -> None:
        if isinstance(asked, p.Save):
            self._admission.saved(connection.client, asked.name, route.token)
        if isinstance(asked, p.Close):
            if route.driver == connection.client:
                self.state.queue.ended(time.monotonic() - route.began)
                self.state.routes.remove(route)
                self._admission.turn()
            else:
                route.leave(connection.client)

    # Clients and workers that come and go.

    def _leave(self, client_id: bytes) -> None:
        """Note that a client is gone; its walks stay."""
        self.state.connections.disconnect_client(client_id)
        self._admission.leave(client_id)
        for route in list(self.state.routes.by_session.values()):
            if client_id in route.seats:
                if route.driver == client_id:
                    self.state.queue.ended(time.monotonic() - route.began)
                    if route.is_closing:  # nobody will read the answer
                        self.state.routes.remove(route)
                route.leave(client_id)
        self._mover.leave(client_id)

    def _give_up(self, name: str) -> None:
        """End a worker that does not answer; its walks go on elsewhere."""
        work = partial(self.state.fleet.kill, name)
        self.state.background.call(work, lambda _: self._worker_died(name), is_urgent=True)

    def _worker_died(self, name: str) -> None:
        """May be called from any thread."""

        def died(_: Any) -> None:
            self._admission.lost(name)
            self._mover.died(name)

        self.state.background.deliver(died, None)

    def _statistics(self, seq: int) -> p.Statistics:
        all_of = [worker.status for worker in self.state.workers.values()]
        counted = p.Statistics(
            seq=seq,
            uptime_s=time.monotonic() - self._metrics.began,
            clients=len(self._wire.clients),
            sessions=sum(status.sessions for status in all_of),
            parked=sum(status.parked for status in all_of),
            steps=sum(status.steps for status in all_of),
            frames_sent=self.state.counts.frames,
            errors=self._metrics.errors,
        )
        slowest = max(all_of, key=lambda status: status.step_p95_ms, default=None)
        if slowest is None:
            return counted
        return replace(counted, step_p50_ms=slowest.step_p50_ms, step_p95_ms=slowest.step_p95_ms)
