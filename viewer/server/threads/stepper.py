"""Runs the explorers' work on other threads than the socket's. The socket's thread submits work and collects the
results.

Work is sorted into strands. The work of one strand is done in order, one piece at a time. ENGINE is the strand of all
walks that share an engine. It has its own thread. Where steps together take less time than one after the other, those
that wait at the same time are taken together; elsewhere walks take turns (turns.py). Other work on the engine gets at
most two fifths of it while somebody walks. All other strands share a few threads (strands.py).
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..awake import Awake, Step, Stepped
from ..command_queue import Command, CommandQueue
from ..explorers import Explorers
from .strands import Strands
from .turns import WALKING_S, Turns

log = logging.getLogger(__name__)

ENGINE, DISK = "engine", "disk"
# after other work, steps get this many times its duration: 1 would be half, but who works also needs memory bandwidth
REST = 1.5
MOST_REST_S = 10.0
RECENT = 0.2  # weight of the newest steps in the moving average of a step's time


@dataclass(frozen=True)
class StepJob:
    """One step of a session. The command is asked for when the step begins, so that the newest held keys count."""

    controls: CommandQueue
    then: Callable[[tuple[Command, Stepped] | None], None]
    strand: str = ENGINE


class Task:
    """A piece of work. If it returns a generator, that is run too, one slice at a time. done: called with the value,
    or with the exception that was raised."""

    def __init__(self, work: Callable[[], Any], done: Callable[[Any], None]):
        self._work, self._done = work, done
        self._slices: Any = None  # the generator that the work returned, if it did

    def advance(self) -> bool:
        """Do one slice of the work; returns whether it was the last."""
        try:
            value = self._begun() if self._slices is None else next(self._slices)
        except StopIteration as end:
            self._done(end.value)
            return True
        except Exception as error:  # a world may raise anything; the client gets it as a typed error
            self._done(error)
            return True
        if self._slices is None:
            self._done(value)
        return self._slices is None

    def give_up(self) -> None:
        if self._slices is not None:
            self._slices.close()

    def _begun(self) -> Any:
        value = self._work()
        if inspect.isgenerator(value):
            self._slices = value
        return value


class Stepper:
    """Runs work on its own threads.

    wake: called after each outcome, by one thread at a time; must not block. target_ms: how long the steps of one batch
    should take together. If more wait, they are split into several batches, so that the first frames can be sent while
    the others are made. 0: they are never split.
    """

    def __init__(self, explorers: Explorers, wake: Callable[[], None], *, target_ms: float = 0.0):
        self.explorers = explorers
        self.lost: list[str] | None = None  # walks that could not be stored at the end; None: the end was not reached
        explorers.in_background = self.write_in_background
        self._wake, self._giving = wake, threading.Lock()
        self._target_ms, self._each_ms = target_ms, 0.0  # each: the recent average duration of one step
        self._outcomes: deque[tuple[Callable, Any]] = deque()
        self._changed = threading.Condition()
        self._steps: deque[StepJob] = deque()
        self._turns = Turns()
        self._tasks: deque[Task] = deque()
        self._is_stopping = self._is_abandoned = False
        self._stepped_at, self._rested_at, self._may_prepare = 0.0, 0.0, False
        self._strands = Strands()
        self._thread = threading.Thread(target=self._run, name="roam-stepper", daemon=True)

    def start(self) -> None:
        self._strands.start()
        self._thread.start()

    def step(self, *jobs: StepJob) -> None:
        """Take these steps; those that share the engine are taken together."""
        for job in jobs:
            if job.strand != ENGINE:
                self._strands.submit(job.strand, Task(partial(self._step, [job]), _log_failure))
        with self._changed:
            for job in jobs:
                if job.strand == ENGINE:
                    self._steps.append(job)
                    self._turns.asks(self._turn_of(job), time.monotonic())
            self._changed.notify()

    def submit(self, strand: str, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run work in a strand; `collect` calls `then` with its value, or with the exception."""
        self.chain([(strand, lambda _: work())], then)

    def chain(self, links: Sequence[tuple[str, Callable[[Any], Any]]], then: Callable[[Any], None]) -> None:
        """Run work in several strands one after the other. links: (strand, work); each work gets the value of the
        one before. `collect` calls `then` with the last value, or with the exception that ended it early."""

        def run(number: int, value: Any) -> None:
            if number == len(links) or isinstance(value, Exception):
                self._give(then, value)
                return
            strand, work = links[number]
            self._put(strand, Task(lambda: work(value), lambda next_value: run(number + 1, next_value)))

        run(0, None)

    def collect(self) -> None:
        """Call the `then` of every outcome so far, on the calling thread."""
        while self._outcomes:
            then, value = self._outcomes.popleft()
            try:
                then(value)
            except Exception:  # the results of other walks must still be handled
                log.exception("an outcome could not be dealt with")

    def stop(self, *, timeout_s: float = 20.0) -> bool:
        """Finish what has begun, save every walk, and end the threads; returns False if something does not end."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join(timeout_s)
        self._is_abandoned = self._thread.is_alive()
        return not self._is_abandoned

    def _put(self, strand: str, task: Task) -> None:
        if strand != ENGINE:
            self._strands.submit(strand, task)
            return
        with self._changed:
            self._tasks.append(task)
            self._changed.notify()

    def write_in_background(self, awake: Awake, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do work of the disk while steps go on; then call `then` with its value in the walk's strand."""
        strand = awake.meta.session if awake.meta.is_alone else ENGINE
        noted = lambda value: self._put(strand, Task(lambda: then(value), _log_failure))  # noqa: E731
        self._strands.submit(DISK, Task(work, noted))

    def _run(self) -> None:
        while True:
            steps, task = self._next()
            if steps:
                turn, began = self._turn_of(steps[0]), time.monotonic()
                self._step(steps)
                self._stepped_at, self._may_prepare = time.monotonic(), True
                with self._changed:
                    self._turns.took(turn, began, self._stepped_at)
            elif task:
                self._advance(task)
            elif self._is_stopping:
                break
            else:
                self._prepare()
        for task in self._tasks:
            task.give_up()
        self._strands.stop()
        if not self._is_abandoned:  # otherwise the folder may belong to another server by now
            self.lost = self.explorers.close()

    def _next(self) -> tuple[list[StepJob], Task | None]:
        """Wait for work; returns all steps that wait, or a task whose turn it is. Neither means: it is the end, or
        there is time to prepare the next step."""
        with self._changed:
            while not self._is_stopping:
                now = time.monotonic()
                rest_s = self._rested_at - now if self._steps or now - self._stepped_at < WALKING_S else 0.0
                # even before steps: otherwise walkers who never pause would make it wait for ever
                if self._tasks and rest_s <= 0:
                    self._turns.goes_on(now)
                    return [], self._tasks.popleft()
                wait_s = [rest_s] if self._tasks else []
                if self._steps:
                    due, turn_s = self._due(now)
                    if due:
                        return due, None
                    wait_s.append(turn_s)
                elif self._may_prepare and not self._tasks:
                    break
                self._changed.wait(min(wait_s, default=None))
        return [], None

    def _due(self, now: float) -> tuple[list[StepJob], float]:
        """The steps that are taken next, out of those that wait: all that gain by being taken together, or that of one
        walk. Or none, and how long to wait at most for a walk that has used less time."""
        waiting = [(self._turn_of(job), job) for job in self._steps]
        walk, wait_s = self._turns.next((turn for turn, _ in waiting), now)
        due = [job for turn, job in waiting if turn == walk]
        self._steps = deque(job for turn, job in waiting if turn != walk)
        return due, wait_s

    def _turn_of(self, job: StepJob) -> str:
        """Who has the turn when this step is taken: its walk, or all together (no walk has an empty name)."""
        return "" if self.explorers.gains_together(job.controls.session) else job.controls.session

    def _prepare(self) -> None:
        """Prepare the next dream while nobody waits. Work that comes meanwhile waits for one network pass at most."""
        has_work = lambda: bool(self._steps or self._tasks or self._is_stopping)  # noqa: E731
        try:
            self._may_prepare = self.explorers.prepare(has_work)
        except Exception:  # if it fails again in the step, the driver is told then
            log.exception("a step could not be prepared")

    def _advance(self, task: Task) -> None:
        began = time.monotonic()
        if not task.advance():
            with self._changed:
                self._tasks.appendleft(task)
        now = time.monotonic()
        self._rested_at = now + min(REST * (now - began), MOST_REST_S)

    def _step(self, jobs: list[StepJob]) -> None:
        taken = [(job, job.controls.next()) for job in jobs]
        for job, command in taken:
            if command is None:
                self._give(job.then, None)
        taken = [(job, command) for job, command in taken if command]
        # walks whose engine does not batch step one by one, so that the first frame is sent while the second is made
        for group in self._batches(taken):
            steps = [
                Step(job.controls.session, c.action, 0 if c.is_held else c.seq, c.number, c.is_last) for job, c in group
            ]
            began = time.monotonic()
            for (job, command), stepped in zip(group, self._stepped(steps), strict=True):
                self._give(job.then, (command, stepped))
            each_ms = (time.monotonic() - began) * 1000 / len(group)
            self._each_ms += (each_ms - self._each_ms) * RECENT
        Task(lambda: self.explorers.after_steps([job.controls.session for job, _ in taken]), _log_failure).advance()

    def _stepped(self, steps: list[Step]) -> list[Stepped]:
        try:
            return self.explorers.step(steps)
        except Exception as error:  # the drivers are told; the thread must go on for the others
            log.exception("%d steps failed", len(steps))
            return [Stepped(error=error)] * len(steps)

    def _batches(self, taken: list) -> list[list]:
        batched = [t for t in taken if self.explorers.is_batched(t[0].controls.session)]
        single = [[t] for t in taken if not self.explorers.is_batched(t[0].controls.session)]
        return single + parted(batched, target_ms=self._target_ms, each_ms=self._each_ms)

    def deliver(self, then: Callable[[Any], None], value: Any) -> None:
        """Make `collect` call `then` with a value; may be called from any thread."""
        self._give(then, value)

    def _give(self, then: Callable, value: Any) -> None:
        with self._giving:
            self._outcomes.append((then, value))
            self._wake()


def parted(batch: list, *, target_ms: float, each_ms: float) -> list[list]:
    """A batch split into parts that take about target_ms each, if one step takes each_ms. It stays whole if either is
    0, and an empty batch has no parts."""
    size = max(1, int(target_ms / each_ms)) if target_ms and each_ms else len(batch)
    return [batch[start : start + size] for start in range(0, len(batch), size or 1)]


def _log_failure(value: Any) -> None:
    if isinstance(value, Exception):
        log.error("work in the background failed", exc_info=value)
