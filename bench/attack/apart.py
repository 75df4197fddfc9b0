"""Runs an attack in another process, so that the attacker's work does not delay the walkers' clocks."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...world.side_by_side.processes import Workers


@dataclass(frozen=True)
class Done:
    """The result of work in another process, and when it ran, on the clock that all processes of a machine share."""

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
