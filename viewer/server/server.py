"""The server: many walks over one socket. One thread reads messages and sends frames; other threads make the frames.

A step is taken only if the driver has granted a credit for its frame, so stale frames never queue up. Walks that nobody
uses are parked: moved from memory to disk. Worlds make the walks, Explorers step and store them, and handlers.py
answers messages.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ...world.action import ActionError
from ...world.side_by_side.processes import undisturbed
from ..opening.game_recordings import GameRecordings
from ..opening.worlds import Worlds
from ..wire import protocol as p
from ..wire.security import check_bind
from .awake import Stepped
from .command_queue import Command, CommandQueue
from .explorers import Explorers
from .handlers import Handlers
from .handover import Handover
from .keeping.records import Meta
from .metrics import Metrics
from .registry import Limits, Published, Registry, ServedWalk, Viewer
from .socket import ServerSocket
from .store import Store
from .threads.stepper import DISK, StepJob, Stepper

log = logging.getLogger(__name__)

TICK_S = 0.25
RETRY_MS = 5  # how soon to try a client again whose pipe was full
QUICK_TRIES = 20  # such tries; after them it does not read at all, and must cost nothing
READ_S = 0.005  # of reading messages before frames are sent
PAUSE_S = 0.01  # after an error in the main loop, so that one that always fails does not use a whole core


class Server:
    """Serves walks through `worlds`. The address is bound at once (port 0 takes a free one; see `address`).

    folder: where walks are stored; None: in a temporary folder, which is removed with the server. keys: a folder of
    CURVE keys (wire/security.py); without it only this machine may connect, unless is_open. record: a folder for
    recordings that games send; without it they may not send any. on_first: as in Explorers.
    """

    def __init__(
        self,
        worlds: Worlds,
        address: str = "tcp://127.0.0.1:0",
        *,
        folder: str | Path | None = None,
        keys: str | Path | None = None,
        is_open: bool = False,
        limits: Limits | None = None,
        record: str | Path | None = None,
        on_first: Callable[[str], None] | None = None,
    ):
        check_bind(address, has_keys=keys is not None, is_open=is_open)
        self.limits, self.metrics = limits or Limits(), Metrics()
        self.worlds = worlds
        with undisturbed():
            self._own_folder = None if folder else tempfile.TemporaryDirectory(prefix="roam-")
        with contextlib.ExitStack() as undo:  # at a signal too
            if self._own_folder:
                undo.callback(self._own_folder.cleanup)
            self._begin(address, keys, folder or (self._own_folder.name if self._own_folder else ""), record, undo)
            self._explorers.on_first = on_first or self._explorers.on_first
            for meta in self._store.metas():
                self._take_in(meta)
            undo.pop_all()

    def _begin(
        self,
        address: str,
        keys: str | Path | None,
        folder: str | Path,
        record: str | Path | None,
        undo: contextlib.ExitStack,
    ) -> None:
        """Make the parts of the server; undo: what closes those that are made, should the rest fail."""
        self._store = Store(folder)
        undo.callback(self._store.close)
        self._registry = Registry(self.limits)
        self._recordings = GameRecordings(record, most_bytes=self.limits.max_record_bytes)
        self._wire = ServerSocket(address, keys, limits=self.limits, metrics=self.metrics, on_drop=self._leave)
        undo.callback(self._wire.close)
        limits = self.limits
        self._explorers = Explorers(
            self.worlds, self._store, snapshot_frames=limits.snapshot_frames, snapshot_bytes=limits.snapshot_bytes
        )
        self._stepper = Stepper(self._explorers, self._wire.wake, target_ms=self.limits.batch_ms)
        self._handlers = Handlers(
            self.worlds, self._registry, self._wire, self._explorers, self._stepper, self.metrics, self._recordings
        )
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._next_tick, self._has_backlog = time.monotonic() + TICK_S, False
        self.lost: list[str] | None = []  # walks that could not be stored at the end; None: the end was not reached
        self.handover = Handover(self._registry, self._explorers, self._stepper, self._take_in)

    def _take_in(self, meta: Meta) -> None:
        """Enter a stored walk in the registry."""
        self._registry.add(self._kept(meta))
        self._explorers.know(meta)

    def _kept(self, meta: Meta) -> ServedWalk:
        """A stored walk, as an entry of the registry."""
        reads_words = self._explorers.worlds.reads_words and not meta.is_alone
        controls = CommandQueue(meta.session, last=meta.last, reads_words=reads_words)
        active_at = time.monotonic() - self._store.idle_s(meta.session)
        is_used = not self._store.is_unused(meta.session)
        return ServedWalk(
            meta.session,
            meta.secret,
            controls,
            is_parked=True,
            is_alone=meta.is_alone,
            is_used=is_used,
            guest=meta.guest,
            active_at=active_at,
        )

    def _leave(self, client_id: bytes) -> None:
        """Note that a client is gone."""
        self._registry.leave(client_id)
        self._recordings.leave(client_id.hex())

    @property
    def address(self) -> str:
        """Where clients connect, with the port that was taken."""
        return self._wire.address

    def start(self) -> Server:
        """Serve on a thread of its own; `stop` ends it."""
        self._thread = threading.Thread(target=self.run, name="roam-server", daemon=True)
        self._thread.start()
        return self

    def request_stop(self) -> None:
        """Have `run` save every walk and end, soon; from any thread or a signal handler."""
        self._stopping.set()

    def stop(self) -> None:
        """Save every walk and end; a started server has ended on return."""
        self.request_stop()
        if self._thread:
            self._thread.join()

    def close(self) -> None:
        """Close the socket and the store of a server that was never run."""
        self._store.close()
        self._wire.close()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_error) -> None:
        self.stop()

    def run(self) -> None:
        """Serve on this thread until `stop`."""
        self._stepper.start()
        try:
            while not self._stopping.is_set():
                try:
                    self._turn()
                except Exception:  # one error must not end the service for everybody
                    log.exception("a turn of the server failed")
                    time.sleep(PAUSE_S)
        finally:
            self._shut_down()

    @property
    def num_walks(self) -> tuple[int, int]:
        """How many walks are in memory, and how many only on the disk; from any thread."""
        awake = self._explorers.num_awake
        return awake, max(0, len(self._registry.sessions) - awake)

    def metrics_text(self) -> str:
        """What Prometheus reads; from any thread."""
        walks, awake = list(self._registry.sessions.values()), self._explorers.num_awake
        return self.metrics.text(
            connections=self._wire.watch.num_connections,
            clients=len(self._wire.clients),
            sessions=awake,
            parked=max(0, len(walks) - awake),
            stepping=sum(walk.is_stepping for walk in walks),
            frames_held=sum(walk.latest is not None for walk in walks),
        )

    def _turn(self) -> None:
        is_blocked = bool(self._registry.touched) or self._wire.has_outbox or self._has_backlog
        self._wire.wait(RETRY_MS if is_blocked else max(1, int((self._next_tick - time.monotonic()) * 1000)))
        self._stepper.collect()
        end = time.monotonic() + READ_S
        while time.monotonic() < end and (received := self._wire.receive()) is not None:
            self._handlers.receive(received)
        self._has_backlog = self._handlers.catch_up()
        self._wire.empty_outboxes()
        self._look_after(self._registry.touched)
        if self._explorers.num_awake > self.limits.max_awake and self._num_too_many > 0:
            self._park_walks()
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + TICK_S
            self._tick()

    def _look_after(self, touched: set[str]) -> None:
        """Begin all steps that can begin, then send frames: so encoding runs while the steps are made."""
        sessions = [self._registry.sessions[name] for name in touched if name in self._registry.sessions]
        touched.clear()
        steps = []
        for session in filter(lambda session: session.wants_step, sessions):
            if session.is_parked:
                self._awaken(session)
                continue
            session.is_stepping = True
            steps.append(StepJob(session.controls, partial(self._stepped, session), session.strand))
        if steps:
            self.metrics.together.add(len(steps))
            self._stepper.step(*steps)
        for session in sessions:
            try:
                for client, viewer in list(session.viewers.items()):
                    if not self._flush(client, viewer):
                        touched.add(session.id)
            except Exception as error:  # a frame that cannot be sent ends its own walk only
                log.exception("a frame of session %s cannot be sent", session.id)
                self._end(session, error)

    def _awaken(self, session: ServedWalk) -> None:
        """Load a walk from the disk because a step was asked for; the step is taken when the walk is there."""
        session.jobs += 1

        def then(value: Any) -> None:
            session.jobs -= 1
            if isinstance(value, Exception):
                self._end(session, value)
                return
            session.is_parked = False
            self._registry.touched.add(session.id)

        self._stepper.submit(session.strand, lambda: self._explorers.awaken(session.id), then)

    def _end(self, session: ServedWalk, error: Exception) -> None:
        """Tell everyone who sees a walk that it cannot go on, and remove them from it. Its files stay as they are."""
        self.metrics.errors += 1
        text = f"this walk cannot go on ({type(error).__name__}); the server's log says why"
        for client in list(session.viewers):
            session.leave(client)
            self._wire.send(client, p.Error(code="internal", message=text, session=session.id))
        session.latest = None

    def _stepped(self, session: ServedWalk, done: tuple[Command, Stepped] | None) -> None:
        session.is_stepping, session.active_at = False, time.monotonic()
        self._registry.touched.add(session.id)
        if done is None:  # the key was released before the step began
            return
        command, stepped = done
        if stepped.trouble and session.driver:
            self._wire.send(session.driver, p.Error(code="storage", message=stepped.trouble, session=session.id))
        if stepped.error:
            self._refused(session, command, stepped.error)
            return
        session.is_used = True
        queue_ms = max(0.0, (time.monotonic() - command.arrived) * 1000 - stepped.step_ms)
        self.metrics.steps += 1
        self.metrics.step_ms.add(stepped.step_ms)
        self.metrics.queue_ms.add(queue_ms)
        frame = stepped.frame
        assert frame is not None, "a step that was not refused has a frame"
        receipt = session.controls.applied(command, frame.index)
        if receipt and session.driver:
            self._wire.send(session.driver, receipt)
        self._registry.publish(session, Published(session.id, frame, command, queue_ms, stepped.step_ms))

    def _refused(self, session: ServedWalk, command: Command, error: Exception) -> None:
        is_understood = isinstance(error, ActionError)
        reason = f"{error} ({command.doubt})" if is_understood and command.doubt else str(error)
        if session.id not in self._registry.sessions:
            reason = "the walk was closed before this was done"
        receipt = session.controls.refused(command, session.index, reason or type(error).__name__)
        self.metrics.errors += 1
        if session.driver:
            self._wire.send(session.driver, receipt)

    def _flush(self, client: bytes, viewer: Viewer) -> bool:
        """Send a viewer the frames it has credit for. Returns False if its walk must be looked after in the next turn:
        its pipe is full, or is so no longer and steps can go on. A client that has not read for some tries is tried
        again at a tick only, whatever it grants: its frames are not even encoded meanwhile."""
        was_full, now = viewer.is_full, time.monotonic()
        if viewer.num_tries > QUICK_TRIES and now - viewer.tried_at < TICK_S:
            return True
        while viewer.waiting and viewer.credits:
            published = viewer.waiting[0]
            if not self._wire.send_frame(client, *published.message(viewer.look, viewer.skipped)):
                viewer.num_tries, viewer.tried_at = viewer.num_tries + 1, now
                return client not in self._wire.clients or viewer.num_tries > QUICK_TRIES
            self.metrics.frames_sent += 1
            self.metrics.frames_skipped += viewer.skipped
            self.metrics.encode_ms.add(published.encoded[viewer.look].fields["encode_ms"])
            viewer.waiting.popleft()
            viewer.credits, viewer.skipped, viewer.num_tries = viewer.credits - 1, 0, 0
        return not was_full

    def _tick(self) -> None:
        self._wire.drop_silent()
        for session in self._registry.sessions.values():
            if any(viewer.is_full for viewer in session.viewers.values()):
                self._registry.touched.add(session.id)
        self._park_walks()

    @property
    def _num_too_many(self) -> int:
        """How many walks too many are in memory, counting those that are being opened and not those that are
        leaving."""
        parking = sum(session.is_parking for session in self._registry.sessions.values())
        return self._explorers.num_awake + self._handlers.num_opening - parking - self.limits.max_awake

    def _park_walks(self) -> None:
        """Move walks from memory to disk: those that nobody sees, those without a step for long and, if there are
        too many in memory, those without a step for longest."""
        too_many, limits = self._num_too_many, self.limits
        still = [s for s in self._registry.sessions.values() if not (s.is_parked or s.is_stepping or s.jobs or s.looks)]
        for number, session in enumerate(sorted(still, key=lambda session: session.active_at)):
            patience_s = limits.park_s if session.viewers else min(limits.left_s, limits.park_s)
            if number < too_many or session.idle_s > patience_s:
                self._park(session)

    def _park(self, session: ServedWalk) -> None:
        """Move a walk from memory to disk, after the work on it that waits already."""
        session.jobs, session.is_parking = session.jobs + 1, True
        explorers, strand = self._explorers, session.strand

        def write(frozen: tuple | None) -> tuple | None:
            if frozen is None:
                return None
            try:
                return (*frozen, explorers.written(*frozen))
            except Exception as error:
                return (*frozen, error)

        def end(written: tuple | None) -> bool:
            if written:
                explorers.noted(*written)
            return explorers.park(session.id)

        def then(value: Any) -> None:
            session.jobs, session.is_parking = session.jobs - 1, False
            session.is_parked = value is True
            session.put_by()
            if not session.is_parked:
                session.active_at = time.monotonic()  # so that it is not tried again at once
            self._registry.touched.add(session.id)
            _log_failure(value)

        self._stepper.chain([(strand, lambda _: explorers.freeze(session.id)), (DISK, write), (strand, end)], then)

    def _shut_down(self) -> None:
        for client in list(self._wire.clients):
            self._wire.send(client, p.Goodbye(reason="the server closes; your walk is kept, resume it later"))
        has_ended = self._stepper.stop()
        self.lost = self._stepper.lost if has_ended else None
        self._store.close()
        self._wire.close()
        if self._own_folder:
            self._own_folder.cleanup()


def _log_failure(value: Any) -> None:
    if isinstance(value, Exception):
        log.error("a walk could not be parked", exc_info=value)
