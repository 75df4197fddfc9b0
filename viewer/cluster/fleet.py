"""What a front needs of whoever runs the workers: to start, ask and end them, and to be told when one has died.

Ray is one such fleet (ray_fleet.py); tests have processes and threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .worker import About


class FleetError(ValueError):
    """Workers that cannot be had; the message says why."""


class WorkerLostError(ConnectionError):
    """A worker died while something was asked of it."""


class Fleet(Protocol):
    """Workers by name. All methods may block, and are called on any thread."""

    def begin(self, on_death: Callable[[str], None]) -> list[About]:
        """Find the workers that run already. on_death: told, from any thread, the name of each worker that has died."""

    def start(self) -> About:
        """Start a worker; returns when it serves. Raises FleetError."""

    def ask(self, name: str, method: str, *arguments: Any) -> Any:
        """Have a worker do something (Worker.plain). Raises WorkerLostError where it has died."""

    def kill(self, name: str) -> None:
        """End a worker at once, whatever it is doing; none is left behind that might write to the shared place."""

    def stop(self, name: str) -> None:
        """End a worker in good order."""

    def end(self, *, workers_stay: bool) -> None:
        """Leave the fleet. workers_stay: its workers go on, if they can without this process."""
