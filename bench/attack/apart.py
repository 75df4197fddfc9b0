"""Runs an attack in a process of its own, so that what it costs the attacker costs the walkers' clocks nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work`, a function of a module, returns for these arguments; what it raises is raised here."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result()
