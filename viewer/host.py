"""Keeps explorers: opens, steps, forks, rewinds, saves and parks them, and snapshots them to a Store as they go.

All of it runs on one thread, the stepper's. Knows no socket and no message.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from ..world.action import Action, ActionError
from ..world.frame import Explorer, Frame
from .store import Meta, Store
from .worlds import OpenRequest, Worlds

log = logging.getLogger(__name__)


@runtime_checkable
class Batched(Protocol):
    """An explorer whose engine serves several at once.

    engine.step_many(explorers, actions) -> their frames; engine.settle(explorers): their commit passes, ahead of need.
    """

    engine: Any


@dataclass
class Awake:
    """An explorer in memory; `unsaved` counts the steps since its last snapshot."""

    explorer: Explorer
    meta: Meta
    unsaved: int = 0


@dataclass(frozen=True)
class Stepped:
    """A step's outcome: the frame and how long it took, or the error. error is an ActionError if the words were bad."""

    frame: Frame | None = None
    step_ms: float = 0.0
    error: Exception | None = None


class Host:
    """The explorers of one server. At most max_awake are in memory; the least recently used are parked on disk."""

    def __init__(self, worlds: Worlds, store: Store, *, max_awake: int = 64, snapshot_frames: int = 30):
        self.worlds, self.store = worlds, store
        self.max_awake, self.snapshot_frames = max_awake, snapshot_frames
        self._awake: OrderedDict[str, Awake] = OrderedDict()

    @property
    def num_awake(self) -> int:
        return len(self._awake)

    def open(self, session: str, secret: str, request: OpenRequest) -> Frame:
        return self._begin(session, secret, self.worlds.open(request))

    def load(self, session: str, secret: str, name: str) -> Frame:
        return self._begin(session, secret, self.store.load(name, self.worlds.load))

    def fork(self, session: str, secret: str, source: str) -> Frame:
        return self._begin(session, secret, self._awakened(source).explorer.fork())

    def wake(self, session: str) -> tuple[Frame, int]:
        """The frame on show and the last once's seq, brought back from disk if need be."""
        awake = self._awakened(session)
        return awake.explorer.frame, awake.meta.last

    def step(self, steps: Sequence[tuple[str, Action, int]]) -> list[Stepped]:
        """Step several sessions, those on one engine together. steps: (session, action, seq of a typed act or 0)."""
        outcomes: dict[str, Stepped] = {}
        for group in self._groups(steps, outcomes):
            outcomes.update(self._step_group(group))
        return [outcomes[session] for session, _, _ in steps]

    def is_batched(self, session: str) -> bool:
        """Whether that walk is awake and shares an engine that can step many at once."""
        awake = self._awake.get(session)
        return awake is not None and isinstance(awake.explorer, Batched)

    def after_steps(self, sessions: Sequence[str]) -> None:
        """What may wait until the frames have left: commit passes, and snapshots when enough steps have gone by."""
        stepped = [self._awake[session] for session in sessions if session in self._awake]
        by_engine: dict[int, list[Batched]] = {}
        for awake in stepped:
            if isinstance(awake.explorer, Batched):
                by_engine.setdefault(id(awake.explorer.engine), []).append(awake.explorer)
        for explorers in by_engine.values():
            explorers[0].engine.settle(explorers)
        for awake in self._due(stepped):
            self._snapshot(awake)

    def rewind(self, session: str, frames: int) -> Frame:
        awake = self._awakened(session)
        frame = awake.explorer.rewind(frames)
        self._snapshot(awake)
        return frame

    def save(self, session: str, name: str) -> int:
        explorer = self._awakened(session).explorer
        self.store.save(name, explorer)
        return explorer.frame.index

    def park(self, session: str) -> None:
        """Put a walk to disk and give back its memory; the next request for it brings it back."""
        awake = self._awake.pop(session, None)
        if awake:
            if awake.unsaved:
                self._snapshot(awake)
            self.store.release(session)
            awake.explorer.close()

    def forget(self, session: str) -> None:
        awake = self._awake.pop(session, None)
        if awake:
            awake.explorer.close()
        self.store.forget(session)

    def close(self) -> None:
        """Save and close every walk."""
        for session in list(self._awake):
            _logged_failure(self.park, session)

    def _begin(self, session: str, secret: str, explorer: Explorer) -> Frame:
        self._make_room()
        awake = Awake(explorer, Meta(session, secret))
        self._snapshot(awake)
        self._awake[session] = awake
        return explorer.frame

    def _awakened(self, session: str) -> Awake:
        if session not in self._awake:
            self._make_room()
            meta, explorer = self.store.restore(session, self.worlds.load)
            awake = Awake(explorer, meta)
            self._snapshot(awake)
            self._awake[session] = awake
        self._awake.move_to_end(session)
        return self._awake[session]

    def _make_room(self) -> None:
        while len(self._awake) >= self.max_awake:
            self.park(next(iter(self._awake)))

    def _due(self, stepped: Sequence[Awake]) -> list[Awake]:
        """Whose snapshot cannot wait or, where all can, whose is nearest: walks in step must not all wait at once."""
        due = [awake for awake in stepped if awake.unsaved >= self.snapshot_frames]
        nearest = max(stepped, key=lambda awake: awake.unsaved, default=None)
        if not due and nearest and 2 * nearest.unsaved > self.snapshot_frames:
            return [nearest]
        return due

    def _snapshot(self, awake: Awake) -> None:
        awake.meta, awake.unsaved = self.store.snapshot(awake.meta, awake.explorer), 0

    def _groups(self, steps, outcomes: dict[str, Stepped]) -> list[list[tuple[Awake, Action, int]]]:
        """The steps grouped by engine; one that cannot be brought back gets its error as outcome at once."""
        groups: dict[int, list] = {}
        for session, action, seq in steps:
            try:
                awake = self._awakened(session)
            except Exception as error:  # whatever the world's loader raises must not stop the others
                outcomes[session] = Stepped(error=error)
                continue
            shared = awake.explorer.engine if isinstance(awake.explorer, Batched) else awake
            groups.setdefault(id(shared), []).append((awake, action, seq))
        return list(groups.values())

    def _step_group(self, group: list[tuple[Awake, Action, int]]) -> dict[str, Stepped]:
        if len(group) > 1:
            try:
                return self._step_together(group)
            except ActionError:  # engines refuse before they change anything: find out whose words they were
                log.debug("a batch of %d was refused; stepping one by one", len(group))
            except Exception as error:  # the engine failed, not the server: whoever was in the batch is told
                log.exception("a batch of %d steps failed", len(group))
                return {awake.meta.session: Stepped(error=error) for awake, _, _ in group}
        return {awake.meta.session: self._step_one(awake, action, seq) for awake, action, seq in group}

    def _step_together(self, group: list[tuple[Awake, Action, int]]) -> dict[str, Stepped]:
        began = time.perf_counter()
        engine = group[0][0].explorer.engine
        frames = engine.step_many([awake.explorer for awake, _, _ in group], [action for _, action, _ in group])
        step_ms = (time.perf_counter() - began) * 1000
        for awake, action, seq in group:
            self._note(awake, action, seq)
        return {g[0].meta.session: Stepped(frame, step_ms) for g, frame in zip(group, frames, strict=True)}

    def _step_one(self, awake: Awake, action: Action, seq: int) -> Stepped:
        began = time.perf_counter()
        try:
            frame = awake.explorer.step(action)
        except Exception as error:  # one walk's failure is its own: the server and the others go on
            if not isinstance(error, ActionError):
                log.exception("a step of session %s failed", awake.meta.session)
            return Stepped(error=error)
        step_ms = (time.perf_counter() - began) * 1000
        self._note(awake, action, seq)
        return Stepped(frame, step_ms)

    def _note(self, awake: Awake, action: Action, seq: int) -> None:
        self.store.log(awake.meta.session, action, seq)
        awake.meta, awake.unsaved = replace(awake.meta, last=max(awake.meta.last, seq)), awake.unsaved + 1


def _logged_failure(act: Callable[[str], None], session: str) -> None:
    try:
        act(session)
    except Exception:  # at shutdown the other walks must still be saved
        log.exception("session %s could not be saved", session)
