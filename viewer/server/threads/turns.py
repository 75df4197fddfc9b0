"""Whose step is next on an engine, so that walks share its time and not the number of their steps. Knows no thread,
no clock and no session; times are in seconds.

This is start-time fair queueing (Goyal, Vin and Cheng, 1996): each walk has a tag, the time it has used, and the one
with the earliest tag goes first. A walk that was idle begins at the virtual time, so it has saved up nothing. That
alone does not do for a walker that waits for each frame before its next step: between the two the engine is free, and
another's step would begin, which may take long. So the engine waits a moment for whoever has used less and will
probably come in time, as disk schedulers do for a reader (Iyer and Druschel, 2001), and this moment counts as used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

WALKING_S = 0.5  # somebody counts as walking for this long after a step
SHORT_S = 0.001  # not worth waiting for


@dataclass
class _Walk:
    """tag: time used; ended: when its last step did; pause_s: from there to the next request, as it was the last time;
    is_waiting: whether it has asked for a step that has not been taken."""

    tag: float
    ended: float = 0.0
    pause_s: float = 0.0
    is_waiting: bool = False

    def comes_in_s(self, now: float) -> float:
        return max(0.0, self.ended + self.pause_s - now)


class Turns:
    """The turns of the walks that step."""

    def __init__(self):
        self._virtual_s = 0.0
        self._walks: dict[str, _Walk] = {}
        self._waited_for: tuple[_Walk, float] | None = None  # a walk, and since when

    def asks(self, name: str, now: float) -> None:
        """Note that a walk asks for a step."""
        walk = self._walks.get(name)
        if walk is not None and not walk.is_waiting:
            walk.is_waiting, walk.pause_s = True, now - walk.ended

    def next(self, waiting: Iterable[str], now: float) -> tuple[str | None, float]:
        """The walk whose step is next, out of those that have asked, and 0; or None and how long to wait, at most, for
        one that has used less. waiting: at least one walk; of equals the first goes."""
        self.goes_on(now)
        asking = list(waiting)
        first = min(asking, key=self._tag)
        others = [(self._left_s(name, first, now), name) for name in self._walks if name not in asking]
        left_s, other = max(others, default=(0.0, ""))
        if left_s < SHORT_S:
            return first, 0.0
        self._waited_for = self._walks[other], now
        return None, left_s

    def goes_on(self, now: float) -> None:
        """Note that nobody is waited for any more, because the engine has something else to do."""
        if self._waited_for:
            walk, since = self._waited_for
            walk.tag, self._waited_for = max(walk.tag, self._virtual_s) + now - since, None

    def took(self, name: str, began: float, ended: float) -> None:
        """Note a step of a walk."""
        start = self._tag(name)
        self._virtual_s = max(self._virtual_s, start)
        pause_s = self._walks[name].pause_s if name in self._walks else 0.0
        self._walks[name] = _Walk(start + ended - began, ended, pause_s)
        for other, walk in list(self._walks.items()):
            if walk.tag <= self._virtual_s and ended - walk.ended > WALKING_S:  # as if it had never walked
                del self._walks[other]

    def _tag(self, name: str) -> float:
        walk = self._walks.get(name)
        return max(self._virtual_s, walk.tag) if walk else self._virtual_s

    def _left_s(self, name: str, first: str, now: float) -> float:
        """How long a walk that has not asked is worth waiting for, before the step of another one."""
        walk = self._walks[name]
        left_s = min(self._tag(first) - self._tag(name), walk.ended + WALKING_S - now)
        return left_s if walk.comes_in_s(now) <= left_s else 0.0
