"""The walks in a server's memory: opens, steps, forks, rewinds, saves and parks them, and writes snapshots to a Store.

Work on one walk is done in order. Work on different walks may run on several threads, but all walks that share an
engine run on one thread (stepper.py decides). If the disk fails, walks go on without being stored. Knows no socket and
no message.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import Any

from ...world.action import ActionError
from ...world.frame import Batched, Explorer, Frame, Preparing
from ...world.sight import LookError, Looking, Outlook
from ..opening.worlds import Worlds
from .awake import Awake, Step, Stepped, close_fork
from .keeping.records import Done, Meta
from .store import Store, StoreError, saves_changes

log = logging.getLogger(__name__)

RETRY_S = 5.0  # how soon after a failure the disk is tried again
LONGEST_FACTOR = 4  # a large snapshot is postponed by at most this many times snapshot_frames
REDO_MS = 250.0  # a small snapshot is taken once repeating its steps after a kill would take this long


class Explorers:
    """The explorers of one server.

    in_background(awake, work, then): runs slow work on another thread, then `then` with its value, in order with the
    walk's other work; until it is set, snapshots are written at once. on_first: called with the id of each new walk
    when its first snapshot is on the disk and before anybody can see it, on the thread that wrote it.
    """

    def __init__(self, worlds: Worlds, store: Store, *, snapshot_frames: int = 30, snapshot_bytes: int = 1 << 20):
        self.worlds, self.store = worlds, store
        self.snapshot_frames, self.snapshot_bytes = snapshot_frames, snapshot_bytes
        self.in_background: Callable[[Awake, Callable[[], Any], Callable[[Any], None]], None] = _at_once
        self.on_first: Callable[[str], None] = lambda session: None
        self._awake: dict[str, Awake] = {}
        self._bytes: dict[str, int] = {}  # of every walk's snapshots, awake or not
        # walks that stepped last and have prepared no dream yet, the newest at the end
        self._unprepared: dict[str, None] = {}
        self._disk = threading.Lock()  # one snapshot is written at a time

    def kept_bytes(self, sessions: Iterable[str]) -> int:
        """About how many bytes the snapshots of these walks take on the disk."""
        return sum(self._bytes.get(session, 0) for session in sessions)

    def know(self, meta: Meta) -> None:
        """Note how many bytes a walk on the disk takes there."""
        whole, *changes = self.store.sizes(meta)
        self._bytes[meta.session] = whole + sum(changes) + (whole if meta.older else 0)

    @property
    def num_awake(self) -> int:
        return len(self._awake)

    def begin(self, meta: Meta, explorer: Explorer) -> tuple[Awake, Explorer]:
        """Take in a new explorer; returns it as an awake walk, and the frozen fork for `write_first` to write."""
        return Awake(explorer, meta), _frozen_fork(explorer)

    def write_first(self, awake: Awake, frozen: Explorer) -> None:
        """Write a new walk to the disk; from then on it is stored. Raises OSError if that fails."""
        try:
            with self._disk:
                awake.meta, awake.whole_bytes = self.store.write(self.store.turn(awake.meta, 1), frozen)
                awake.newest = 1
        except BaseException:
            self.store.forget(awake.meta.session)
            raise
        self.on_first(awake.meta.session)

    def seat(self, awake: Awake, frozen: Explorer) -> Frame:
        """Enter a walk that has been written as awake."""
        awake.keep(frozen, awake.meta, awake.whole_bytes)
        self._bytes[awake.meta.session] = awake.kept_bytes
        self._awake[awake.meta.session] = awake
        return awake.explorer.frame

    def awaken(self, session: str) -> Generator[None, None, tuple[Frame, Meta]]:
        """Load a walk from the disk if it is not in memory. Yields after each act that is repeated; returns the
        walk's frame and Meta. Raises StoreError if it cannot be loaded."""
        if session not in self._awake:
            opened: list[Explorer] = []  # the explorer and, where changes can be saved, a frozen fork at its snapshot

            def say(explorer: Explorer) -> None:
                opened.append(explorer)
                if saves_changes(explorer):
                    opened.append(_frozen_fork(explorer))

            try:
                meta, explorer, newest = yield from self.store.restored(session, self.worlds.load, say=say)
            except GeneratorExit:
                for explorer in opened:
                    explorer.close()
                raise
            except StoreError:
                raise
            except Exception as error:  # any error of the world's loader, or of an act that is repeated
                log.exception("session %s cannot be taken up", session)
                for explorer in opened:
                    explorer.close()
                raise StoreError(f"this walk cannot be taken up again ({type(error).__name__})") from error
            self._awake[session] = self._taken_up(explorer, meta, newest, opened[1:])
        awake = self._awake[session]
        return awake.explorer.frame, awake.meta

    def outlook(self, session: str) -> Outlook:
        """What looks into an awake walk read; works on any thread, also during a step. Raises LookError if the world
        can only be seen from its walker's pose."""
        explorer = self._known(session).explorer
        if not isinstance(explorer, Looking):
            raise LookError("this world is seen from where its walker stands and from nowhere else")
        return explorer.outlook()

    def fork(self, session: str) -> Explorer:
        return self._known(session).explorer.fork()

    def step(self, steps: Sequence[Step]) -> list[Stepped]:
        """Step several awake sessions; those on one engine together."""
        outcomes: dict[str, Stepped] = {}
        for group in self._groups(steps, outcomes):
            outcomes.update(self._step_group(group))
        return [outcomes[step.session] for step in steps]

    def refuse(self, session: str, seq: int, reason: str) -> None:
        """Log that an act was refused, so that it gets the same answer if it is sent again."""
        awake = self._awake.get(session)
        if awake is not None:
            self._note(awake, Done(None, seq, refused=reason or "it could not be done"))

    def is_batched(self, session: str) -> bool:
        """Whether that walk is awake and shares an engine that can step many at once."""
        awake = self._awake.get(session)
        return awake is not None and isinstance(awake.explorer, Batched)

    def gains_together(self, session: str) -> bool:
        """Whether a step of that walk takes less time together with others' than after them."""
        awake = self._awake.get(session)
        return awake is not None and isinstance(awake.explorer, Batched) and awake.explorer.engine.gains_together

    def after_steps(self, sessions: Sequence[str]) -> None:
        """Do what can wait until the new frames have been sent: commit passes, and the snapshots that are due."""
        stepped = [self._awake[session] for session in sessions if session in self._awake]
        by_engine: dict[int, list[Batched]] = {}
        for awake in stepped:
            if isinstance(awake.explorer, Batched):
                self._unprepared.pop(awake.meta.session, None)
                self._unprepared[awake.meta.session] = None
                by_engine.setdefault(id(awake.explorer.engine), []).append(awake.explorer)
        for explorers in by_engine.values():
            explorers[0].engine.settle(explorers)
        for awake in stepped:
            if awake.unsynced >= self.snapshot_frames:
                awake.unsynced = 0
                self.in_background(awake, partial(self.store.sync, awake.meta.session), lambda _: None)
            if self._is_due(awake):
                self._snapshot(awake)

    def prepare(self, stop: Callable[[], bool]) -> bool:
        """In idle time, let the walk that stepped last prepare its next dream. This changes no frame, only how soon
        it comes. stop: asked often, and True as soon as other work waits. Returns whether there was such a walk."""
        while self._unprepared:
            awake = self._awake.get(self._unprepared.popitem()[0])
            if awake is not None and isinstance(awake.explorer, Preparing):
                awake.explorer.prepare(stop=stop)
                return True
        return False

    def rewind(self, session: str, frames: int) -> Frame:
        awake = self._known(session)
        frame = awake.explorer.rewind(frames)
        if frames:
            self._note(awake, Done(None, rewound=frames))
        return frame

    def save(self, session: str, secret: str, name: str) -> tuple[int, Explorer | None]:
        """The index of the frame on show, and a frozen fork of the walk for `write_save` to write. The fork is None if
        the walk cannot be forked; then it has been saved already."""
        explorer = self._known(session).explorer
        frozen = _frozen_fork(explorer)
        if frozen is explorer:
            self.write_save(secret, name, frozen)
            return explorer.frame.index, None
        return explorer.frame.index, frozen

    def write_save(self, secret: str, name: str, frozen: Explorer) -> None:
        with self._disk:
            self.store.save(secret, name, frozen)

    def freeze(self, session: str) -> tuple[Awake, Meta, Explorer] | None:
        """Begin the snapshot of a walk that is to be parked: the arguments of `written`; None if it has nothing new."""
        awake = self._awake.get(session)
        if awake is None or awake.is_writing or not (awake.unsaved or awake.trouble):
            return None
        try:
            return awake, *self._turned(awake)
        except OSError:
            if awake.trouble:
                raise
            return None  # its log contains everything

    def park(self, session: str) -> bool:
        """Remove a walk from memory; the next request for it loads it from the disk. Returns False, and keeps it,
        while a snapshot of it is being written or if its acts could not be logged."""
        awake = self._awake.get(session)
        if awake is None:
            return True
        if awake.trouble or awake.is_writing:
            return False
        del self._awake[session]
        self.store.release(session)
        awake.close()
        return True

    def forget(self, session: str) -> None:
        awake = self._awake.pop(session, None)
        if awake:
            awake.close()
        self._bytes.pop(session, None)
        self.store.forget(session)

    def close(self, *, patience_s: float = 5.0) -> list[str]:
        """Save and close every walk, even if others fail; returns the ids of those that could not be stored. After
        patience_s, walks whose acts are all in their logs get no snapshot any more: the log is enough."""
        lost, end = [], time.monotonic() + patience_s
        for session, awake in sorted(self._awake.items(), key=lambda item: item[1].trouble is None):
            try:
                if awake.trouble or (awake.unsaved and time.monotonic() < end):
                    self._snapshot(awake, at_once=True)
                self.store.sync(session)
            except Exception as error:  # at shutdown the other walks must still be saved
                log.exception("session %s could not be saved", session)
                awake.trouble = awake.trouble or OSError(str(error))
            lost += [session] if awake.trouble else []
            self.store.release(session)
            awake.close()
        self._awake.clear()
        return lost

    def written(self, awake: Awake, meta: Meta, frozen: Explorer) -> tuple[Meta, int]:
        """Write the snapshot that `freeze` began; may run on any thread."""
        with self._disk:
            return self.store.write(meta, frozen, awake.before)

    def noted(self, awake: Awake, meta: Meta, frozen: Explorer, value: tuple[Meta, int] | Exception) -> None:
        """Note that a snapshot was written, or failed; must run in order with the walk's other work."""
        awake.is_writing = False
        if isinstance(value, Exception):
            log.error("a snapshot of session %s failed: %s", meta.session, value)
            close_fork(frozen, awake.explorer)
            awake.tried_at = time.monotonic()
            awake.unsaved += 1
            return
        awake.keep(frozen, *value)
        self._bytes[awake.meta.session] = awake.kept_bytes
        if awake.trouble and meta.snapshot > awake.broken:
            log.warning("session %s is kept again", meta.session)
            awake.trouble, awake.is_told = None, False

    def _known(self, session: str) -> Awake:
        if session not in self._awake:
            raise StoreError(f"the walk '{session}' is not awake")
        return self._awake[session]

    def _is_due(self, awake: Awake) -> bool:
        """Whether a snapshot should be taken now. Usually after snapshot_frames steps; earlier if the steps since
        the last one took long and the changes are small; later if it is large, because the log has every act anyway."""
        if awake.is_writing or (awake.tried_at and time.monotonic() - awake.tried_at < RETRY_S):
            return False
        has_changes = awake.before is not None
        size, since = (awake.changed_bytes, awake.unsaved) if has_changes else (awake.whole_bytes, awake.since_whole)
        may = since >= min(size // self.snapshot_bytes, LONGEST_FACTOR * self.snapshot_frames)
        is_long = awake.saved is not None and awake.unsaved_ms >= REDO_MS
        return bool(awake.trouble) or (may and (is_long or awake.unsaved >= self.snapshot_frames))

    def _taken_up(self, explorer: Explorer, meta: Meta, newest: int, frozen: list[Explorer]) -> Awake:
        """A walk that was read from the disk. frozen: at most one fork of it, as it was in its snapshot."""
        awake = Awake(explorer, meta, newest=newest, unsaved=max(0, newest - meta.snapshot))
        sizes = self.store.sizes(meta)
        awake.whole_bytes, awake.chain_bytes = sizes[0], sum(sizes[1:])
        awake.saved = frozen[0] if frozen and frozen[0] is not explorer else None
        return awake

    def _turned(self, awake: Awake) -> tuple[Meta, Explorer]:
        """Begin a new log; returns the Meta that goes with it, and the frozen fork to be written as its snapshot."""
        number = awake.newest + (2 if awake.trouble else 1)  # a gap in the numbers: acts are missing
        frozen = _frozen_fork(awake.explorer)
        try:
            meta = self.store.turn(awake.meta, number)
        except BaseException:
            close_fork(frozen, awake.explorer)
            raise
        awake.newest, awake.unsaved, awake.unsynced, awake.is_writing = number, 0, 0, True
        awake.unsaved_ms = 0.0
        return meta, frozen

    def _snapshot(self, awake: Awake, *, at_once: bool = False) -> None:
        try:
            meta, frozen = self._turned(awake)
        except OSError as error:  # the old log goes on
            log.error("a snapshot of session %s failed: %s", awake.meta.session, error)
            awake.tried_at = time.monotonic()
            return
        run = _at_once if at_once or frozen is awake.explorer else self.in_background
        run(awake, lambda: self.written(awake, meta, frozen), lambda value: self.noted(awake, meta, frozen, value))

    def _groups(self, steps: Sequence[Step], outcomes: dict[str, Stepped]) -> list[list[tuple[Awake, Step]]]:
        """The steps grouped by engine; a step of a walk that is no longer awake gets an error in `outcomes`."""
        groups: dict[int, list] = {}
        for step in steps:
            awake = self._awake.get(step.session)
            if awake is None:
                outcomes[step.session] = Stepped(error=StoreError(f"the walk '{step.session}' is not awake"))
                continue
            shared = awake.explorer.engine if isinstance(awake.explorer, Batched) else awake
            groups.setdefault(id(shared), []).append((awake, step))
        return list(groups.values())

    def _step_group(self, group: list[tuple[Awake, Step]]) -> dict[str, Stepped]:
        if len(group) > 1:
            try:
                return self._step_together(group)
            except Exception as error:  # engines check all steps before they do any: find the bad one
                level = logging.DEBUG if isinstance(error, ActionError) else logging.ERROR
                log.log(level, "a batch of %d was refused; stepping one by one: %s", len(group), error)
        return {step.session: self._step_one(awake, step) for awake, step in group}

    def _step_together(self, group: list[tuple[Awake, Step]]) -> dict[str, Stepped]:
        began = time.perf_counter()
        first = group[0][0].explorer
        assert isinstance(first, Batched)  # as _groups has it
        engine = first.engine
        frames = engine.step_many([awake.explorer for awake, _ in group], [step.action for _, step in group])
        step_ms = (time.perf_counter() - began) * 1000
        return {
            step.session: self._stepped(awake, step, frame, step_ms)
            for (awake, step), frame in zip(group, frames, strict=True)
        }

    def _step_one(self, awake: Awake, step: Step) -> Stepped:
        began = time.perf_counter()
        try:
            frame = awake.explorer.step(step.action)
        except Exception as error:  # one walk's failure must not stop the server or the others
            if not isinstance(error, ActionError):
                log.exception("a step of session %s failed", awake.meta.session)
            if step.seq:
                self.refuse(step.session, step.seq, str(error))
            return Stepped(error=error)
        return self._stepped(awake, step, frame, (time.perf_counter() - began) * 1000)

    def _stepped(self, awake: Awake, step: Step, frame: Frame, step_ms: float) -> Stepped:
        awake.unsaved_ms += step_ms
        self._note(awake, step.done)
        trouble = "" if awake.is_told or not awake.trouble else _said(awake.trouble)
        awake.is_told = awake.is_told or bool(trouble)
        return Stepped(frame, step_ms, trouble=trouble)

    def _note(self, awake: Awake, done: Done) -> None:
        awake.meta = awake.meta.after(done)
        awake.unsaved, awake.unsynced = awake.unsaved + 1, awake.unsynced + 1
        awake.since_whole += 1
        try:
            self.store.log(awake.meta.session, done)
        except OSError as error:
            self._is_in_trouble(awake, error)

    def _is_in_trouble(self, awake: Awake, error: OSError) -> None:
        if not awake.trouble:
            log.error("the acts of session %s are not kept: %s", awake.meta.session, error)
            awake.trouble = error
        awake.broken = awake.newest


def _frozen_fork(explorer: Explorer) -> Explorer:
    """A fork, which stays as the explorer is now; or the explorer itself if it cannot be forked."""
    try:
        return explorer.fork()
    except Exception:  # each world has its own error for this; such a walk is then written at once
        return explorer


def _said(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"what you do is not being kept ({reason}); the walk goes on, and is kept again when the disk can take it"


def _at_once(_awake: Awake, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
    try:
        value = work()
    except Exception as error:
        value = error
    then(value)
