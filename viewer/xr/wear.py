"""Shows a walk in a headset: each picture is what memory shows from the head's pose, at the headset's own rate.
Steps and dreams are made on another thread and follow the head. Knows no OpenXR: anything with `views` and `show` is
a headset."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...world.action import Action, ActionError, dream_at, say
from ...world.frame import Explorer, Frame
from ...world.pose import Motion, Pose
from ...world.sight import Gaze, LookError, Looking, Sight
from .body import Body, HeadView, motion_after

UNKNOWN = 0.1  # unknown share of a view that is worth a dream of its own
APART_M, APART_DEG = 0.1, 8.0  # farther than this from the last dream's pose, another may be asked for
SLIP_M = 0.03  # a walker who stops this far before its target has met a wall


class Worn(Protocol):
    """A headset that is worn. width: pixels across of an eye's picture."""

    width: int

    def views(self) -> Iterator[HeadView]: ...
    def show(self, view: HeadView, pixels: np.ndarray) -> None: ...


@dataclass
class Wearing:
    """What was shown: pictures of both eyes, in so many seconds; steps and dreams made meanwhile; unknown: the share
    of the newest picture that is not dreamt yet."""

    pictures: int = 0
    seconds: float = 0.0
    steps: int = 0
    dreams: int = 0
    unknown: float = 0.0

    @property
    def per_s(self) -> float:
        return self.pictures / self.seconds if self.seconds else 0.0


class Wearer:
    """Shows an explorer in a headset, and makes its walker follow the head. Raises LookError for a world that can
    only be seen from its walker's pose."""

    def __init__(self, explorer: Explorer, headset: Worn):
        if not isinstance(explorer, Looking):
            raise LookError("this world is seen from where its walker stands and from nowhere else: it cannot be worn")
        self.explorer, self.headset, self.told = explorer, headset, Wearing()
        self._look = explorer.outlook
        self._body: Body | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="roam-worn")
        self._step: Future[Frame] | None = None
        self._asked: tuple[Pose, Motion | None] | None = None  # where the walker was, and the motion that it was given
        self._cannot_dream = False
        self._dreamt: Pose | None = None  # pose of the last dream

    def run(self, *, pictures: int | None = None, stop: Callable[[], bool] = lambda: False) -> Wearing:
        """Show pictures until the headset ends the session, `stop` says so, or so many were shown."""
        began, told = time.monotonic(), self.told
        try:
            for view in self.headset.views():
                sight = self._seen(view)
                self.headset.show(view, sight.pixels)
                told.pictures, told.unknown = told.pictures + 1, float(sight.unknown.mean())
                self._follow(sight)
                if told.pictures == pictures or stop():
                    break
        finally:
            told.seconds = time.monotonic() - began
            self._worker.shutdown()
        return told

    def _seen(self, view: HeadView) -> Sight:
        outlook = self._look()
        if self._body is None:
            self._body = Body.standing(view.pose, outlook.pose)
        return outlook.look(Gaze(self._body.placed(view.pose), view.camera(self.headset.width), view.ipd_m))

    def _follow(self, sight: Sight) -> None:
        """Finish the current step, and begin another if the head is elsewhere or sees what is not dreamt."""
        if self._step is not None:
            if not self._step.done():
                return
            self._end()
        walker, head = self._look().pose, sight.gaze.pose
        motion = motion_after(walker, head)
        if motion is not None:
            self._begin(walker, Action(say(motion), motion))
        elif sight.unknown.mean() > UNKNOWN and self._may_dream(head):
            self._dreamt = head
            self._begin(walker, dream_at(head))

    def _may_dream(self, head: Pose) -> bool:
        """Whether a dream may be asked for: once per place, because what it cannot show it will not show the next
        time."""
        return not self._cannot_dream and (self._dreamt is None or _is_apart(self._dreamt, head))

    def _begin(self, walker: Pose, action: Action) -> None:
        self._asked = (walker, action.motion)
        self._step = self._worker.submit(self.explorer.step, action)

    def _end(self) -> None:
        assert self._step is not None and self._asked is not None and self._body is not None
        (before, motion), step = self._asked, self._step
        self._step = None
        try:
            frame = step.result()
        except ActionError:
            if motion is not None:
                raise
            self._cannot_dream = True  # unknown parts stay filled in from their surroundings
            return
        if motion is None:
            self.told.dreams += 1
            return
        self.told.steps += 1
        wanted, got = before.moved(motion), frame.pose
        short = [b - a for a, b in zip(wanted.position[:2], (got or wanted).position[:2], strict=True)]
        if math.hypot(*short) > SLIP_M:
            self._body = self._body.held_back((short[0], short[1]))


def _is_apart(one: Pose, other: Pose) -> bool:
    return one.distance_to(other) > APART_M or one.angle_to(other) > APART_DEG
