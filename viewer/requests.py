"""What each message from a client does: one method a message. Slow work goes to the stepping thread, answers come back.

Runs on the thread that owns the socket. Knows neither how frames are sent nor when steps are taken (server.py).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from ..world.action import ActionError
from ..world.frame import Frame
from . import protocol as p
from .controls import Controls, QueueFullError
from .encoding import read_image
from .host import Host
from .metrics import Metrics
from .post import Post
from .sessions import Books, Client, Published, Session, Viewer, secret_of
from .stepper import Job, Stepper
from .store import StoreError
from .worlds import OpenRequest, Worlds

log = logging.getLogger(__name__)


class Requests:
    """Answers the messages of clients."""

    def __init__(self, worlds: Worlds, books: Books, post: Post, host: Host, stepper: Stepper, metrics: Metrics):
        self._worlds, self._books, self._post = worlds, books, post
        self._host, self._stepper, self._metrics = host, stepper, metrics
        self._limits = books.limits
        self._handlers: dict[type[p.Message], Callable[[Client, Any], None]] = {
            p.Load: self._load, p.Resume: self._resume, p.Watch: self._watch, p.Act: self._act,
            p.Credit: self._credit, p.Fork: self._fork, p.Rewind: self._rewind, p.Save: self._save,
            p.Close: self._close, p.Ping: self._ping, p.Stats: self._stats, p.Goodbye: self._goodbye,
        }  # fmt: skip

    def receive(self, client_id: bytes, parts: list[bytes]) -> None:
        """Do what a message asks, or refuse it with a typed error; what comes too fast waits for `catch_up`."""
        client = self._post.clients.get(client_id)
        if client is None:
            self._do(client_id, parts)
            return
        client.seen_at = time.monotonic()
        client.put_off(parts)
        self._read_on(client)
        if len(client.backlog) > self._limits.max_backlog or client.backlog_bytes > self._limits.max_backlog_bytes:
            self._refuse_haste(client)

    def catch_up(self) -> bool:
        """Go on with what came too fast; says whether some of it must still wait."""
        for client in [client for client in self._post.clients.values() if client.backlog]:
            self._read_on(client)
        return any(client.backlog for client in self._post.clients.values())

    def refuse(self, client_id: bytes, message: p.Message | None, error: Exception) -> None:
        """Tell a client that its message came to nothing; an act gets a receipt where its words were at fault."""
        self._metrics.errors += 1
        code, seq, session, reason = _code(error), _seq(message, error), _session(message), str(error)[:600]
        log.debug("refused a %s with %s: %s", message.TYPE if message else "message", code, reason)
        if isinstance(message, p.Act) and code in ("bad_action", "queue_full"):
            self._post.send(client_id, p.Receipt(session=session, seq=seq, status="refused", reason=reason))
        else:
            self._post.send(client_id, p.Error(seq=seq, code=code, message=reason, session=session))

    def _read_on(self, client: Client) -> None:
        while client.backlog and client.may_speak(self._limits.messages_per_s):
            self._do(client.id, client.take_up())

    def _do(self, client_id: bytes, parts: list[bytes]) -> None:
        message = None
        try:
            message, payload = p.unpack(parts, p.CLIENT_MESSAGES)
            self._handle(client_id, message, payload)
        except ValueError as error:  # ProtocolError, ActionError, StoreError and their kin are all ValueErrors
            self.refuse(client_id, message, error)

    def _handle(self, client_id: bytes, message: p.Message, payload: bytes) -> None:
        client = self._post.clients.get(client_id)
        if isinstance(message, p.Hello):
            self._hello(client_id, message)
        elif client is None and isinstance(message, p.Goodbye):
            log.debug("goodbye from a client that was known to be gone")
        elif client is None:
            raise p.ProtocolError("hello_first", "say hello first")
        elif isinstance(message, p.Open):
            self._open(client, message, payload)
        else:
            self._handlers[type(message)](client, message)

    def _refuse_haste(self, client: Client) -> None:
        self._metrics.refused += 1
        text = f"more than {self._limits.messages_per_s:.0f} messages a second for too long; say hello and begin again"
        self._post.drop(client.id, "it spoke too fast for too long", last=p.Error(code="rate", message=text))

    def _hello(self, client_id: bytes, hello: p.Hello) -> None:
        version, clients = p.chosen_version(hello), self._post.clients
        if client_id not in clients and len(clients) >= self._limits.max_clients:
            raise p.ProtocolError("limit", f"{len(clients)} clients are connected; no more are let in")
        clients.setdefault(client_id, Client(client_id, hello.client))
        log.info("hello from %r", hello.client)
        welcome = p.Welcome(
            version=version, server="roam", models=self._worlds.models, worlds=self._worlds.worlds,
            patience_s=self._limits.patience_s, snapshot_frames=self._limits.snapshot_frames,
            fov_deg=getattr(self._worlds, "fov_deg", 0.0),
        )  # fmt: skip
        self._post.send(client_id, welcome)

    def _open(self, client: Client, message: p.Open, payload: bytes) -> None:
        def work(session: str, secret: str) -> Frame:
            image = read_image(payload) if payload else None
            size = message.width, message.height
            wanted = OpenRequest(message.model, message.world, message.seed, message.text, image, *size)
            return self._host.open(session, secret, wanted)

        self._begin(client, message, work)

    def _load(self, client: Client, message: p.Load) -> None:
        self._begin(client, message, lambda session, secret: self._host.load(session, secret, message.name))

    def _fork(self, client: Client, message: p.Fork) -> None:
        source = self._books.driven(message.session, client.id)
        self._begin(client, message, lambda session, secret: self._host.fork(session, secret, source.id))

    def _begin(self, client: Client, message: p.View, work: Callable[[str, str], Frame]) -> None:
        """Make a walk on the stepping thread, and enter it in the books once it stands."""
        self._make_room()
        name, token = secrets.token_hex(8), secrets.token_hex(16)

        def then(frame: Frame) -> None:
            if client.id not in self._post.clients:  # nobody will ever know the token
                self._stepper.submit(Job(lambda: self._host.forget(name), _log_failure))
                return
            session = self._books.add(Session(name, secret_of(token), Controls(name)))
            self._post.send(client.id, p.Opened(seq=message.seq, session=name, token=token, index=frame.index))
            self._books.seat(session, client.id, message, frame)

        self._ask(client, message, lambda: work(name, secret_of(token)), then)

    def _resume(self, client: Client, message: p.Resume) -> None:
        session = self._books.with_token(message.token)
        session.is_parked, session.active_at = False, time.monotonic()

        def then(woken: tuple[Frame, int]) -> None:
            frame, last = woken
            self._unseat(session, client.id)
            session.controls.set_last(last)
            if client.id not in self._post.clients:
                return
            opened = p.Opened(
                seq=message.seq, session=session.id, token=message.token, index=frame.index, last=session.controls.last
            )
            self._post.send(client.id, opened)
            self._books.seat(session, client.id, message, frame)

        self._ask(client, message, lambda: self._host.wake(session.id), then)

    def _unseat(self, session: Session, client_id: bytes) -> None:
        before = session.driver
        if before and before != client_id:
            session.leave(before)
            text = "this walk was resumed from another connection"
            self._post.send(before, p.Error(code="not_yours", message=text, session=session.id))

    def _watch(self, client: Client, message: p.Watch) -> None:
        session = self._books.known(message.session)
        if client.id == session.driver:
            raise p.ProtocolError("bad_request", "you drive this walk already; its frames come to you")
        if len(session.viewers) > self._limits.max_spectators:
            raise p.ProtocolError("limit", f"{self._limits.max_spectators} watch this walk already")
        viewer = session.viewers[client.id] = Viewer.of(message, is_driver=False)
        self._post.send(client.id, p.Opened(seq=message.seq, session=session.id, index=session.index))
        if session.latest:
            viewer.show(session.latest)
        self._books.touched.add(session.id)

    def _act(self, client: Client, message: p.Act) -> None:
        session = self._books.driven(message.session, client.id)
        for receipt in session.controls.take_in(message, frame=session.index):
            self._post.send(client.id, receipt)

    def _credit(self, client: Client, message: p.Credit) -> None:
        session = self._books.known(message.session)
        if client.id not in session.viewers:
            raise p.ProtocolError("not_yours", f"you neither drive nor watch {message.session}")
        session.viewers[client.id].grant(message.frames)
        self._books.touched.add(session.id)

    def _rewind(self, client: Client, message: p.Rewind) -> None:
        session = self._books.driven(message.session, client.id)

        def then(frame: Frame) -> None:
            self._post.send(client.id, p.Done(seq=message.seq, session=session.id, index=frame.index))
            self._books.publish(session, Published(session.id, frame))

        self._ask(client, message, lambda: self._host.rewind(session.id, message.frames), then)

    def _save(self, client: Client, message: p.Save) -> None:
        session = self._books.driven(message.session, client.id)

        def then(index: int) -> None:
            self._post.send(client.id, p.Done(seq=message.seq, session=session.id, index=index))

        self._ask(client, message, lambda: self._host.save(session.id, message.name), then)

    def _close(self, client: Client, message: p.Close) -> None:
        session = self._books.known(message.session)
        done = p.Done(seq=message.seq, session=session.id, index=session.index)
        if client.id not in session.viewers:
            raise p.ProtocolError("not_yours", f"you neither drive nor watch {message.session}")
        if client.id == session.driver:
            self._forget(session, lambda _: self._post.send(client.id, done))
        else:
            session.leave(client.id)
            self._post.send(client.id, done)

    def _ping(self, client: Client, message: p.Ping) -> None:
        self._post.send(client.id, p.Pong(clock=message.clock))

    def _goodbye(self, client: Client, message: p.Goodbye) -> None:
        self._post.drop(client.id, message.reason or "it hung up")

    def _stats(self, client: Client, message: p.Stats) -> None:
        m, awake = self._metrics, self._host.num_awake
        answer = p.Statistics(
            seq=message.seq, uptime_s=time.monotonic() - m.began, clients=len(self._post.clients), sessions=awake,
            parked=max(0, len(self._books.sessions) - awake), steps=m.steps, frames_sent=m.frames_sent,
            frames_skipped=m.frames_skipped, errors=m.errors, step_p50_ms=m.step_ms.percentile(50),
            step_p95_ms=m.step_ms.percentile(95),
        )  # fmt: skip
        self._post.send(client.id, answer)

    def _ask(self, client: Client, message: p.Message, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Have the stepping thread do slow work; `then` gets its value, the client its error."""
        if client.jobs >= self._limits.max_jobs:
            raise p.ProtocolError("limit", f"{client.jobs} of your requests are being worked on; wait for one")
        client.jobs += 1

        def finish(value: Any) -> None:
            client.jobs -= 1
            if isinstance(value, Exception):
                self.refuse(client.id, message, value)
            else:
                then(value)

        self._stepper.submit(Job(work, finish))

    def _make_room(self) -> None:
        outstayed = self._books.outstayed()
        if outstayed:
            self._forget(outstayed, _log_failure)

    def _forget(self, session: Session, then: Callable[[Any], None]) -> None:
        self._books.remove(session)
        for viewer in session.viewers:
            if viewer != session.driver:
                text = "its driver has closed this walk"
                self._post.send(viewer, p.Error(code="unknown_session", message=text, session=session.id))
        self._stepper.submit(Job(lambda: self._host.forget(session.id), then))


def _code(error: Exception) -> str:
    codes = {
        QueueFullError: "queue_full",
        ActionError: "bad_action",
        StoreError: "not_found",
        ValueError: "bad_request",
    }
    if isinstance(error, p.ProtocolError):
        return error.code
    for kind, code in codes.items():
        if isinstance(error, kind):
            return code
    log.error("a request failed", exc_info=error)
    return "internal"


def _seq(message: p.Message | None, error: Exception) -> int:
    if isinstance(message, p.Request | p.Act):
        return message.seq
    return error.seq if isinstance(error, p.ProtocolError) else 0


def _session(message: p.Message | None) -> str:
    has_session = p.Act | p.Credit | p.Fork | p.Rewind | p.Save | p.Close | p.Watch
    return message.session if isinstance(message, has_session) else ""


def _log_failure(value: Any) -> None:
    if isinstance(value, Exception):
        log.error("a walk could not be put away", exc_info=value)
