"""Steps of a player: typed commands, the current step, and the speed of those that are done."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from ...world.frame import Frame
from .script import Deed

RATE_WINDOW = 20  # steps over which frames/s is measured
PAUSE_S = 1.0  # a longer gap between steps is a rest, not a slow model


@dataclass
class Typed:
    """A typed command in progress: the steps still to do, and the frame of its first step."""

    text: str
    steps: deque[Deed]
    first_index: int | None = None


@dataclass
class UnderWay:
    """A step (or a repeated dream) that has begun, the typed command that it belongs to, and the frame to come."""

    action: Deed
    typed: Typed | None
    began: float
    frame: Future[Frame]


@dataclass
class Pace:
    """The speed of a walk, from when its newest steps began and ended. step_ms: duration of the newest."""

    step_ms: float = 0.0
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=RATE_WINDOW + 1))

    @property
    def frames_per_s(self) -> float:
        """Frames a second while walking; 0 before there is anything to measure."""
        seconds = self._times[-1] - self._times[0] if len(self._times) > 1 else 0.0
        return (len(self._times) - 1) / seconds if seconds > 0 else 0.0

    def stepped(self, began: float, ended: float) -> None:
        """Note a step; times in seconds."""
        self.step_ms = 1000 * (ended - began)
        if self._times and began - self._times[-1] > PAUSE_S:
            self._times.clear()
        if not self._times:
            self._times.append(began)
        self._times.append(ended)
