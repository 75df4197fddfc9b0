"""Signals that end a walk between two of its steps, not within one: INT, TERM and HUP.

The first one asks the walk to end; a second one ends the program at once.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopping:
    """A context in which a signal only sets `number`; a second one ends the program at once."""

    def __init__(self):
        self.number = 0
        self._before: dict[int, Any] = {}  # the previous handlers, as signal returns them

    @property
    def is_asked(self) -> bool:
        return self.number != 0

    def leave(self) -> None:
        """End the program as the signal wanted, if there was one; called when everything is closed."""
        if self.number:
            raise SystemExit(128 + self.number)

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's &
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.number:
            raise SystemExit(128 + number)
        self.number = number
