"""The interface through which a front starts, calls and ends workers, and learns when one has died.

Ray is one implementation (ray_fleet.py); tests use processes and threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .worker import About


class FleetError(ValueError):
    """Workers that cannot be started; the message says why."""


class WorkerLostError(ConnectionError):
    """A worker died during a call."""


class Fleet(Protocol):
    """Workers by name. All methods may block, and are called on any thread."""

    def begin(self, on_death: Callable[[str], None]) -> list[About]:
        """Find the workers that are running already. on_death: called, from any thread, with the name of each worker
        that dies."""

    def start(self) -> About:
        """Start a worker; returns when it is ready. Raises FleetError."""

    def ask(self, name: str, method: str, *arguments: Any) -> Any:
        """Call a method of a worker (Worker.call). Raises WorkerLostError if it has died, and TimeoutError if it gives
        no answer."""

    def kill(self, name: str) -> None:
        """End a worker at once, whatever it is doing; afterwards no process of it is left that might write to the
        shared place. Does nothing if it is gone."""

    def stop(self, name: str) -> None:
        """End a worker in an orderly way."""

    def end(self, *, workers_stay: bool) -> None:
        """Leave the fleet. workers_stay: its workers go on, if they can without this process."""
