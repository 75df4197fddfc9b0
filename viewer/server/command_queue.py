"""What a walk is to do next: held keys are a state, typed sentences a queue. Also makes the receipts of both.

The thread that reads the socket and the thread that steps share it, so every method takes the lock. Knows no socket.
Two words of the protocol: a "once" is a typed act that is done once; every act has a number, its "seq".
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass

from ...world.action import STEP, TURN_DEG, Action, ActionError, dream_at, parse_action, parse_actions, say
from ...world.records import known_pose_of, motion_of
from ...world.sight import unit
from ..wire.protocol import MAX_STEP_M, MAX_TURN_DEG, Act, Dream, Receipt
from .keeping.records import MAX_ACTS, Meta

MAX_QUEUED = 512  # steps, not sentences
MAX_REMEMBERED = MAX_ACTS  # receipts of either kind that a resumed client may ask for again


@dataclass(frozen=True)
class Command:
    """One step to take. number: which of its act's steps it is, from 1; is_last: whether it is the last of them;
    doubt: why the words could not be read as a motion, or ""."""

    action: Action
    seq: int
    clock: float
    arrived: float
    is_held: bool
    is_last: bool = True
    doubt: str = ""
    number: int = 1


class QueueFullError(ValueError):
    """More typed steps than the queue holds."""


class OutOfTurnError(ValueError):
    """An act that comes too late: one with a higher seq was done already, and this one is not among the newest acts
    done."""


class CommandQueue:
    """The commands of one session.

    last: the highest seq of a once so far; reads_words: whether the world understands free words, so that a sentence
    that is no motion is passed on to it instead of refused here. The receipts of the newest acts are remembered, so
    that an act that is sent again gets the same receipt and is not done twice.
    """

    def __init__(self, session: str, *, last: int = 0, reads_words: bool = False):
        self.session, self.last, self.reads_words = session, last, reads_words
        self._lock = threading.Lock()
        self._held: Command | None = None
        self._is_held_fresh = False
        self._queue: deque[Command] = deque()
        self._begun = 0  # seq of the once whose step is being made
        self._done_to = last  # the highest seq of a once that was applied
        self._applied: set[int] = set()  # seqs of onces that were applied before the walk was last read from disk
        self._part = (0, 0)  # seq of a once that an earlier server did partly, and how many of its steps it did
        self._receipts: OrderedDict[int, Receipt] = OrderedDict()  # of what was applied
        self._refusals: OrderedDict[int, Receipt] = OrderedDict()

    @property
    def has_work(self) -> bool:
        return bool(self._queue) or self._held is not None

    def take_in(self, act: Act | Dream, *, frame: int) -> list[Receipt]:
        """Accept an act; returns the receipts that can be sent already. frame: the index of the current frame."""
        commands = _commands(act, reads_words=self.reads_words)
        with self._lock:
            return self._hold(act, commands, frame) if act.mode == "hold" else self._enqueue(act, commands, frame)

    def next(self) -> Command | None:
        """The command for a step that begins now: the next typed one, else that of the held keys, else None."""
        with self._lock:
            if not self._queue:
                return self._held
            command = self._queue.popleft()
            self._begun = command.seq
            return command

    def applied(self, command: Command, frame: int) -> Receipt | None:
        """Note that a command was done and gave that frame; returns a receipt if one is due now."""
        with self._lock:
            if command.is_held:
                is_due = self._is_held_fresh and self._held is command
                self._is_held_fresh = self._is_held_fresh and not is_due
            else:
                is_due, self._begun = command.is_last, 0
                self._done_to = max(self._done_to, command.seq) if is_due else self._done_to
            return self._receipt(command.seq, "applied", frame, is_kept=not command.is_held) if is_due else None

    def refused(self, command: Command, frame: int, reason: str) -> Receipt:
        """Note that a command cannot be done. Drops the rest of its act, or releases the key; returns the receipt."""
        with self._lock:
            if command.is_held:
                self._held = None if self._held is command else self._held
            else:
                self._queue, self._begun = deque(c for c in self._queue if c.seq != command.seq), 0
            return self._receipt(command.seq, "refused", frame, reason=reason, is_kept=not command.is_held)

    def release(self) -> None:
        """Release every held key: the client that held it is gone."""
        with self._lock:
            self._held, self._is_held_fresh = None, False

    def go_on(self, meta: Meta) -> None:
        """Restore what the Meta of a walk that was read from disk says of its acts."""
        with self._lock:
            self.last = max(self.last, meta.last, *(seq for seq, _ in meta.refused))
            self._done_to, self._applied = max(self._done_to, meta.last), set(meta.applied)
            for seq, reason in meta.refused:
                if seq not in self._refusals:
                    self._receipt(seq, "refused", 0, reason=reason, is_kept=True)
            if not self._queue and not self._begun:  # otherwise the rest of that act waits here already
                self._part = meta.part

    def _hold(self, act: Act | Dream, commands: list[Command], frame: int) -> list[Receipt]:
        before = self._held if self._is_held_fresh else None
        self._held = commands[0] if commands else None
        self._is_held_fresh = bool(commands)
        receipts = [self._receipt(before.seq, "superseded", frame)] if before else []
        return receipts if commands else [*receipts, self._receipt(act.seq, "applied", frame)]

    def _enqueue(self, act: Act | Dream, commands: list[Command], frame: int) -> list[Receipt]:
        known = self._receipts.get(act.seq) or self._refusals.get(act.seq)
        if known:
            return [known]
        if act.seq == self._begun or any(command.seq == act.seq for command in self._queue):
            return []  # sent again after a lost connection while it still waits
        if act.seq in self._applied:
            return [self._receipt(act.seq, "applied", frame)]
        if act.seq <= self._done_to:
            raise OutOfTurnError(
                f"act {act.seq} after {self._done_to} was done is none of the last {MAX_REMEMBERED}: count up"
            )
        self.last = max(self.last, act.seq)
        if len(self._queue) + len(commands) > MAX_QUEUED:
            reason = f"{len(self._queue)} typed steps wait already; at most {MAX_QUEUED} may"
            self._receipt(act.seq, "refused", frame, reason=reason, is_kept=True)  # refused for good
            raise QueueFullError(reason)
        seq, num_done = self._part
        left = commands[num_done:] if seq == act.seq else commands
        self._queue.extend(left)
        return [] if left else [self._receipt(act.seq, "applied", frame, is_kept=True)]

    def _receipt(self, seq: int, status: str, frame: int, *, reason: str = "", is_kept: bool = False) -> Receipt:
        receipt = Receipt(session=self.session, seq=seq, status=status, frame=frame, reason=reason[:600])
        if is_kept:
            kept = self._refusals if status == "refused" else self._receipts
            kept[seq] = receipt
            if len(kept) > MAX_REMEMBERED:
                kept.popitem(last=False)
        return receipt


def _commands(act: Act | Dream, *, reads_words: bool) -> list[Command]:
    """The steps of an act. A typed sentence is split into steps of one frame each, an exact motion never is. Raises
    ActionError for words without a meaning here, LookError for a dream whose pose is invalid."""
    if isinstance(act, Dream):
        return [Command(dream_at(unit(known_pose_of(act.pose))), act.seq, act.clock, time.monotonic(), is_held=False)]
    is_held, doubt, words = act.mode == "hold", "", " ".join(act.text.split())
    if not words and not act.motion:
        if is_held:
            return []
        raise ActionError("typed words without a word; say for instance 'move forward'")
    if act.motion:
        motion = motion_of(act.motion)
        actions = [Action(words or say(motion), motion)]
    else:
        try:
            actions = _steps(words, is_held=is_held)
        except ActionError as error:
            if not reads_words:
                raise
            actions, doubt = [Action(words)], str(error)
    now, end = time.monotonic(), len(actions) - 1
    return [Command(a, act.seq, act.clock, now, is_held, i == end, doubt, i + 1) for i, a in enumerate(actions)]


def _steps(words: str, *, is_held: bool) -> list[Action]:
    """The steps that a sentence asks for, one frame each and in order; held words are one step. Raises ActionError
    for words without a meaning, QueueFullError for more steps than may be queued."""
    acts = [parse_action(words)] if is_held else parse_actions(words)
    motions = [act.known_motion for act in acts]
    far_m = sum(max(abs(m.forward), abs(m.right)) for m in motions)
    turn_deg = sum(max(abs(m.yaw_deg), abs(m.pitch_deg)) for m in motions)
    longest_m, longest_deg = (MAX_STEP_M, MAX_TURN_DEG) if is_held else (MAX_QUEUED * STEP, MAX_QUEUED * TURN_DEG)
    if not (far_m <= longest_m and turn_deg <= longest_deg):
        raise QueueFullError(
            f"'{words[:60]}' is too much at once; at most {longest_m:g} metres and {longest_deg:g} degrees"
        )
    return acts if is_held else [step for act in acts for step in act.split()]
