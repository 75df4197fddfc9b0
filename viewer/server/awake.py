"""A walk in memory (an awake walk): its explorer, what its engine can do with several of them, and how much of it is
stored."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...world.action import Action
from ...world.frame import Explorer, Frame
from .keeping.records import Done, Meta
from .store import saves_changes

LONGEST_CHAIN = 64  # files of changes after a whole snapshot; together they also never get larger than it


@dataclass
class Awake:
    """An explorer in memory, and how much of it is on the disk (store.py): snapshots, whole or of changes, and logs."""

    explorer: Explorer
    meta: Meta
    newest: int = 0  # number of the log that acts are written to
    unsaved: int = 0  # steps since a snapshot was begun
    unsynced: int = 0  # steps since the log was last synced (fsync)
    unsaved_ms: float = 0.0  # how long the unsaved steps took
    saved: Explorer | None = None  # a fork of the explorer as it was in the newest snapshot
    since_whole: int = 0  # steps since the newest whole snapshot
    whole_bytes: int = 0  # size of the newest whole snapshot
    changed_bytes: int = 0  # size of the newest snapshot of changes
    chain_bytes: int = 0  # size of all changes since the whole snapshot
    is_writing: bool = False  # a snapshot is being written
    trouble: OSError | None = None  # why acts are not being stored at present
    broken: int = 0  # number of the log in which that began
    is_told: bool = False  # whether the driver has been told of the trouble
    tried_at: float = 0.0  # when a snapshot failed last

    @property
    def before(self) -> Explorer | None:
        """The state against which the next snapshot may be written as changes; None if it must be written whole."""
        is_short = len(self.meta.chain) < LONGEST_CHAIN and self.chain_bytes < self.whole_bytes
        return self.saved if is_short else None

    @property
    def kept_bytes(self) -> int:
        return self.whole_bytes * (2 if self.meta.older else 1) + self.chain_bytes

    def keep(self, frozen: Explorer, meta: Meta, size: int) -> None:
        """Note that a snapshot of the state `frozen` is on the disk. meta: its files; size: its bytes."""
        is_whole = len(meta.chain) == 1
        if is_whole:
            self.whole_bytes, self.chain_bytes, self.since_whole = size, 0, self.unsaved
        else:
            self.changed_bytes, self.chain_bytes = size, self.chain_bytes + size
        self.meta = replace(self.meta, snapshot=meta.snapshot, chain=meta.chain, older=meta.older)
        self.close_saved()
        if frozen is not self.explorer and saves_changes(frozen):
            self.saved = frozen
        else:
            close_fork(frozen, self.explorer)

    def close_saved(self) -> None:
        if self.saved is not None:
            self.saved.close()
            self.saved = None

    def close(self) -> None:
        """Free the memory."""
        self.close_saved()
        self.explorer.close()


@dataclass(frozen=True)
class Step:
    """One step that a walk is to take. seq: of its typed act, or 0; number: which of that act's steps it is, from 1;
    is_last: whether it finishes the act."""

    session: str
    action: Action
    seq: int = 0
    number: int = 1
    is_last: bool = True

    @property
    def done(self) -> Done:
        """The line for the log once this step has been taken."""
        return Done(self.action, self.seq) if self.is_last else Done(self.action, part=(self.seq, self.number))


@dataclass(frozen=True)
class Stepped:
    """The result of a step: the frame and how long it took, or the error. error is an ActionError if the words were
    bad; trouble says, once, why acts are not stored from here on."""

    frame: Frame | None = None
    step_ms: float = 0.0
    error: Exception | None = None
    trouble: str = ""


def close_fork(frozen: Explorer, explorer: Explorer | None) -> None:
    """Close a frozen fork that has been saved. If the walk cannot be forked, `frozen` is the walk: it stays open."""
    if frozen is not explorer:
        frozen.close()
