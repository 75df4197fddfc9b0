"""The stepping thread: runs a Host's work apart from the socket and hands the outcomes back.

The thread that owns the socket submits, and collects outcomes when woken. Steps that wait at the same time go together.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .controls import Command, Controls
from .host import Host, Stepped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Work for the stepping thread, and what the socket's thread does with the value or the exception it gave."""

    work: Callable[[], Any]
    then: Callable[[Any], None]


@dataclass(frozen=True)
class StepJob:
    """One step of a session. The command is asked for when the step begins, so that the newest held keys count."""

    controls: Controls
    then: Callable[[tuple[Command, Stepped] | None], None]


class Stepper:
    """Runs jobs in order on its own thread. wake is called from there after each outcome; it must not block."""

    def __init__(self, host: Host, wake: Callable[[], None]):
        self.host = host
        self._wake = wake
        self._jobs: queue.SimpleQueue = queue.SimpleQueue()
        self._outcomes: deque[tuple[Callable, Any]] = deque()
        self._thread = threading.Thread(target=self._run, name="roam-stepper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, *jobs: Job | StepJob) -> None:
        """Have these done in order; steps submitted together begin together."""
        self._jobs.put(jobs)

    def collect(self) -> None:
        """Run the `then` of every outcome that is there, on the calling thread."""
        while self._outcomes:
            then, value = self._outcomes.popleft()
            then(value)

    def stop(self) -> None:
        """Finish what was submitted, save every walk, and end the thread."""
        self._jobs.put((None,))
        self._thread.join()

    def _run(self) -> None:
        while True:
            jobs = self._waiting()
            for is_step, run in itertools.groupby(jobs, lambda job: isinstance(job, StepJob)):
                if is_step:
                    self._step(list(run))
                else:
                    for job in run:
                        if job is None:
                            self.host.close()
                            return
                        self._do(job)

    def _waiting(self) -> list:
        jobs = [*self._jobs.get()]
        while True:
            try:
                jobs += self._jobs.get_nowait()
            except queue.Empty:
                return jobs

    def _do(self, job: Job) -> None:
        try:
            value = job.work()
        except Exception as error:  # a world may raise anything; the client that asked gets it as a typed error
            value = error
        self._give(job.then, value)

    def _step(self, jobs: list[StepJob]) -> None:
        taken = [(job, job.controls.next()) for job in jobs]
        for job, command in taken:
            if command is None:
                self._give(job.then, None)
        taken = [(job, command) for job, command in taken if command]
        # each alone unless engines batch: the first frame leaves while the second is being made
        for group in self._batches(taken):
            steps = [(job.controls.session, c.action, 0 if c.is_held or not c.is_last else c.seq) for job, c in group]
            for (job, command), stepped in zip(group, self.host.step(steps), strict=True):
                self._give(job.then, (command, stepped))
        self._do(Job(lambda: self.host.after_steps([job.controls.session for job, _ in taken]), _log_failure))

    def _batches(self, taken: list) -> list[list]:
        batched = [t for t in taken if self.host.is_batched(t[0].controls.session)]
        single = [[t] for t in taken if not self.host.is_batched(t[0].controls.session)]
        return single + ([batched] if batched else [])

    def _give(self, then: Callable, value: Any) -> None:
        self._outcomes.append((then, value))
        self._wake()


def _log_failure(value: Any) -> None:
    if isinstance(value, Exception):
        log.error("a snapshot failed: %s", value)
