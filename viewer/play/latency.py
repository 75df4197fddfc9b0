"""Latency from the key event to the picture that obeys it, both on this machine's clock."""

from __future__ import annotations

import time
from collections import deque

_KEPT = 100  # key presses that the percentiles are taken over


class KeyToFrame:
    """Follows one press at a time: `pressed`, `taken` by the step that obeys it, `shown` when that is on screen."""

    def __init__(self):
        self._pressed_s: float | None = None
        self._taken_s: float | None = None
        self._ms: deque[float] = deque(maxlen=_KEPT)

    def pressed(self) -> None:
        """A key went down. Of several before one step the first counts, because it has waited longest."""
        if self._pressed_s is None:
            self._pressed_s = time.monotonic()

    def taken(self) -> None:
        """A step begins that obeys what was pressed so far."""
        self._taken_s, self._pressed_s = self._pressed_s, None

    def forget(self) -> None:
        """The key press leads to no frame."""
        self._pressed_s = self._taken_s = None

    def shown(self) -> None:
        """The frame of the step that was taken last is on screen."""
        if self._taken_s is not None:
            self._ms.append(1000 * (time.monotonic() - self._taken_s))
            self._taken_s = None

    @property
    def num_measured(self) -> int:
        """How many presses the percentiles are taken over."""
        return len(self._ms)

    def percentile_ms(self, percent: float) -> float | None:
        """The time within which so many percent of the presses were shown, or None before the first."""
        if not self._ms:
            return None
        return sorted(self._ms)[min(len(self._ms) - 1, int(len(self._ms) * percent / 100))]
