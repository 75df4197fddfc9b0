"""Runs an attack in a process of its own, so that what it costs the attacker does not hold up the walkers' clocks."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...world.side_by_side.processes import Workers


@dataclass(frozen=True)
class Done:
    """What came of work that was done apart, and when it was, on the clock that all processes of a machine share."""

    value: Any
    began: float
    ended: float


def apart(work: Callable[..., Any], *arguments: Any) -> Done:
    """Run `work`, a function of a module, in another process; what it raises is raised here."""
    context = multiprocessing.get_context("spawn")
    with Workers(1, context) as pool:
        return pool.submit(_timed, work, *arguments).result()


def _timed(work: Callable[..., Any], *arguments: Any) -> Done:
    began = time.monotonic()
    value = work(*arguments)
    return Done(value, began, time.monotonic())
