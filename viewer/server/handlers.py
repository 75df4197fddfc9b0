"""What each message from a client does: one method per message. Slow work goes to other threads and its result comes
back.

Runs on the thread that owns the socket. Does not know how frames are sent or when steps are taken (server.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ...world.frame import Explorer, Frame
from ..opening.game_recordings import GameRecordings
from ..opening.worlds import Worlds
from ..wire import protocol as p
from .command_queue import QueueFullError
from .explorers import Explorers
from .keeping.records import Meta
from .looks import pieces_of, sight_of
from .metrics import Metrics
from .opener import WalkOpener
from .reception import Reception
from .refusals import log_failure
from .registry import Client, Published, Registry, ServedWalk, Viewer
from .socket import ServerSocket
from .store import StoreError
from .threads.stepper import DISK, Stepper

log = logging.getLogger(__name__)

DRIVES = "you drive this walk already; its frames come to you"


class Handlers(Reception):
    """Answers the messages of clients."""

    def __init__(
        self,
        worlds: Worlds,
        registry: Registry,
        wire: ServerSocket,
        explorers: Explorers,
        stepper: Stepper,
        metrics: Metrics,
        recordings: GameRecordings,
    ):
        super().__init__(wire, registry.limits, metrics)
        self._worlds, self._registry, self._recordings = worlds, registry, recordings
        self._explorers, self._stepper = explorers, stepper
        self._opener = WalkOpener(worlds, registry, wire, explorers, stepper, ask=self._ask, make_room=self._make_room)
        self._by_type: dict[type[p.Message], Callable[[Client, Any], None]] = {
            p.Load: self._opener.load,
            p.Resume: self._resume,
            p.Watch: self._watch,
            p.Act: self._act,
            p.Dream: self._act,
            p.Credit: self._credit,
            p.Look: self._look,
            p.Surfaces: self._surfaces,
            p.Fork: self._opener.fork,
            p.Rewind: self._rewind,
            p.Save: self._save,
            p.Close: self._close,
            p.Ping: self._ping,
            p.Stats: self._stats,
            p.Goodbye: self._goodbye,
        }

    def _handle(self, client_id: bytes, message: p.Message, payload: bytes | memoryview) -> None:
        client = self._wire.clients.get(client_id)
        if isinstance(message, p.Hello):
            self._hello(client_id, message)
        elif client is None and isinstance(message, p.Goodbye):
            log.debug("goodbye from a client that was known to be gone")
        elif client is None:
            raise p.ProtocolError("hello_first", "say hello first")
        elif isinstance(message, p.Open):
            self._opener.open(client, message, payload)
        elif isinstance(message, p.Record):
            self._record(client, message, payload)
        else:
            self._by_type[type(message)](client, message)

    def _hello(self, client_id: bytes, hello: p.Hello) -> None:
        version, clients = p.chosen_version(hello), self._wire.clients
        if client_id not in clients and len(clients) >= self._limits.max_clients:
            raise p.ProtocolError("limit", f"{len(clients)} clients are connected; no more are let in")
        clients.setdefault(client_id, Client(client_id, hello.client, version))
        log.info("hello from %r", hello.client)
        welcome = p.Welcome(
            version=version,
            server="roam",
            models=self._worlds.models,
            worlds=self._worlds.worlds,
            patience_s=self._limits.patience_s,
            snapshot_frames=self._limits.snapshot_frames,
            fov_deg=self._worlds.fov_deg,
            records=self._recordings.is_on,
        )
        self._wire.send(client_id, welcome)

    def _resume(self, client: Client, message: p.Resume) -> None:
        session = self._registry.with_token(message.token)
        session.active_at = time.monotonic()

        def then(woken: tuple[Frame, Meta]) -> None:
            frame, meta = woken
            self._unseat(session, client.id)
            session.controls.go_on(meta)
            session.is_parked = False
            if client.id not in self._wire.clients:
                return
            client.secrets.append(session.secret)
            opened = p.Opened(
                seq=message.seq, session=session.id, token=message.token, index=frame.index, last=session.controls.last
            )
            self._wire.send(client.id, opened)
            self._registry.seat(session, client.id, message, frame)

        self._ask(client, message, [], then, of=session)

    def _unseat(self, session: ServedWalk, client_id: bytes) -> None:
        before = session.driver
        if before and before != client_id:
            session.leave(before)
            text = "this walk was resumed from another connection"
            self._wire.send(before, p.Error(code="not_yours", message=text, session=session.id))

    def _watch(self, client: Client, message: p.Watch) -> None:
        session = self._registry.known(message.session)
        if client.id == session.driver:
            raise p.ProtocolError("bad_request", DRIVES)
        if len(session.viewers) > self._limits.max_spectators:
            raise p.ProtocolError("limit", f"{self._limits.max_spectators} watch this walk already")

        def seat(viewer: Viewer) -> None:
            session.viewers[client.id] = viewer
            self._wire.send(client.id, p.Opened(seq=message.seq, session=session.id, index=session.index))
            if session.latest:
                viewer.show(session.latest)
            self._registry.touched.add(session.id)

        def then(woken: tuple[Frame, Meta]) -> None:
            session.is_parked = False
            if session.latest is None:
                session.latest = Published(session.id, woken[0])
            if client.id == session.driver:  # it has resumed it meanwhile
                self.refuse(client.id, message, p.ProtocolError("bad_request", DRIVES))
            elif client.id in self._wire.clients:
                seat(Viewer.of(message, is_driver=False))

        if session.latest:
            seat(Viewer.of(message, is_driver=False))
        else:  # nobody has seen it since the server began: load it to show its current frame
            self._ask(client, message, [], then, of=session)

    def _act(self, client: Client, message: p.Act | p.Dream) -> None:
        session = self._registry.driven(message.session, client.id)
        try:
            receipts = session.controls.take_in(message, frame=session.index)
        except QueueFullError as error:
            if message.mode == "once":
                keep = partial(self._explorers.refuse, session.id, message.seq, str(error))
                self._stepper.submit(session.strand, keep, log_failure)
            raise
        for receipt in receipts:
            self._wire.send(client.id, receipt)

    def _credit(self, client: Client, message: p.Credit) -> None:
        session = self._registry.known(message.session)
        if client.id not in session.viewers:
            raise p.ProtocolError("not_yours", f"you neither drive nor watch {message.session}")
        session.viewers[client.id].grant(message.frames)
        self._registry.touched.add(session.id)

    def _look(self, client: Client, message: p.Look) -> None:
        self._look_into(client, message, lambda: sight_of(self._explorers.outlook(message.session), message))

    def _surfaces(self, client: Client, message: p.Surfaces) -> None:
        self._look_into(client, message, lambda: pieces_of(self._explorers.outlook(message.session), message))

    def _look_into(self, client: Client, message: p.Look | p.Surfaces, work: Callable[[], Any]) -> None:
        """Do work that only reads a walk. It runs in the client's own strand (stepper.py), so the walk's steps need
        not wait for it."""
        session = self._registry.known(message.session)
        if client.id not in session.viewers:
            raise p.ProtocolError("not_yours", f"you neither drive nor watch {message.session}")
        if client.looks >= self._limits.max_looks:
            raise p.ProtocolError("limit", f"{client.looks} of your looks are being drawn; wait for one")
        session.active_at = time.monotonic()
        client.looks, session.looks = client.looks + 1, session.looks + 1

        def then(seen: Any) -> None:
            client.looks, session.looks = client.looks - 1, session.looks - 1
            session.is_parked = session.is_parked and isinstance(seen, StoreError)  # otherwise it is awake by now
            if isinstance(seen, Exception):
                self.refuse(client.id, message, seen)
            elif client.id in self._wire.clients and not self._wire.send_frame(client.id, *seen):
                text = "you do not read what you asked for; look again when you do"
                self.refuse(client.id, message, p.ProtocolError("limit", text))

        looks = f"looks of {client.id.hex()}"
        self._stepper.chain([*self._awakened(session), (looks, lambda _: work())], then)

    def _awakened(self, session: ServedWalk) -> list:
        """For Stepper.chain: the link that loads a walk from the disk; no link if it is in memory."""
        if not session.is_parked:
            return []

        def awaken(_: Any) -> Any:
            return self._explorers.awaken(session.id)

        return [(session.strand, awaken)]

    def _rewind(self, client: Client, message: p.Rewind) -> None:
        session = self._registry.driven(message.session, client.id)

        def then(frame: Frame) -> None:
            self._wire.send(client.id, p.Done(seq=message.seq, session=session.id, index=frame.index))
            self._registry.publish(session, Published(session.id, frame))

        links = [(session.strand, lambda _: self._explorers.rewind(session.id, message.frames))]
        self._ask(client, message, links, then, of=session)

    def _save(self, client: Client, message: p.Save) -> None:
        session = self._registry.driven(message.session, client.id)
        explorers = self._explorers

        def write(made: tuple[int, Explorer | None]) -> tuple:
            index, frozen = made
            try:
                if frozen is not None:
                    explorers.write_save(session.secret, message.name, frozen)
            except Exception as error:
                return index, frozen, error
            return index, frozen, None

        def end(written: tuple) -> int:
            index, frozen, error = written
            if frozen is not None:
                frozen.close()
            if error:
                raise error
            return index

        def then(index: int) -> None:
            self._wire.send(client.id, p.Done(seq=message.seq, session=session.id, index=index))

        save = (session.strand, lambda _: explorers.save(session.id, session.secret, message.name))
        self._ask(client, message, [save, (DISK, write), (session.strand, end)], then, of=session)

    def _record(self, client: Client, message: p.Record, payload: bytes | memoryview) -> None:
        if self._opener.picture_bytes + len(payload) > self._limits.max_picture_bytes:
            raise p.ProtocolError("limit", "many pictures are being read; ask again in a moment")
        self._opener.picture_bytes += len(payload)

        def settled() -> None:
            self._opener.picture_bytes -= len(payload)

        take = (DISK, lambda _: self._recordings.take(client.id.hex(), message, payload))
        self._ask(client, message, [take], lambda done: self._wire.send(client.id, done), settled=settled)

    def _close(self, client: Client, message: p.Close) -> None:
        session = self._registry.known(message.session)
        done = p.Done(seq=message.seq, session=session.id, index=session.index)
        if client.id not in session.viewers:
            raise p.ProtocolError("not_yours", f"you neither drive nor watch {message.session}")
        if client.id == session.driver:
            self._forget(session, lambda _: self._wire.send(client.id, done))
        else:
            session.leave(client.id)
            self._wire.send(client.id, done)

    def _ping(self, client: Client, message: p.Ping) -> None:
        self._wire.send(client.id, p.Pong(clock=message.clock))

    def _goodbye(self, client: Client, message: p.Goodbye) -> None:
        self._wire.drop(client.id, message.reason or "it hung up")

    def _stats(self, client: Client, message: p.Stats) -> None:
        m, awake = self._metrics, self._explorers.num_awake
        answer = p.Statistics(
            seq=message.seq,
            uptime_s=time.monotonic() - m.began,
            clients=len(self._wire.clients),
            sessions=awake,
            parked=max(0, len(self._registry.sessions) - awake),
            steps=m.steps,
            frames_sent=m.frames_sent,
            frames_skipped=m.frames_skipped,
            errors=m.errors,
            step_p50_ms=m.step_ms.percentile(50),
            step_p95_ms=m.step_ms.percentile(95),
        )
        self._wire.send(client.id, answer)

    def _ask(
        self,
        client: Client,
        message: p.Message,
        links: list,
        then: Callable[[Any], None],
        *,
        of: ServedWalk | None = None,
        failed: Callable[[], None] = lambda: None,
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        """Run slow work for a client's message. links: the work, as Stepper.chain takes it; then: gets its value. An
        error is sent to the client, after `failed` was called; settled: called first in both cases. of: the walk
        that the message is about; it is loaded from the disk first, and takes no step until the work is done."""
        if client.jobs >= self._limits.max_jobs:
            raise p.ProtocolError("limit", f"{client.jobs} of your requests are being worked on; wait for one")
        client.jobs += 1
        if of:
            of.jobs += 1
            links = [(of.strand, lambda _: self._explorers.awaken(of.id)), *links]

        def finish(value: Any) -> None:
            client.jobs -= 1
            settled()
            if of:
                of.jobs -= 1
                self._registry.touched.add(of.id)
            if isinstance(value, Exception):
                failed()
                self.refuse(client.id, message, value)
            else:
                then(value)

        self._stepper.chain(links, finish)

    @property
    def num_opening(self) -> int:
        """How many walks are being opened and are not in the registry yet."""
        return self._opener.num_opening

    def _make_room(self, guest: str) -> None:
        kept_bytes = self._explorers.kept_bytes(session.id for session in self._registry.of(guest))
        to_make_room = self._registry.to_make_room(guest, kept_bytes=kept_bytes)
        if to_make_room:
            self._forget(to_make_room, log_failure)

    def _forget(self, session: ServedWalk, then: Callable[[Any], None]) -> None:
        self._registry.remove(session)
        for viewer in session.viewers:
            if viewer != session.driver:
                text = "its driver has closed this walk"
                self._wire.send(viewer, p.Error(code="unknown_session", message=text, session=session.id))
        self._stepper.submit(session.strand, lambda: self._explorers.forget(session.id), then)
