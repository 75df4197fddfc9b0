"""Views between frames: what memory shows on the way to the end of the current step, or of the held key's next step.

Makes no step and no dream: what is unknown there is filled in from its surroundings until the frame comes, and the
window marks such a view. Knows no window.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ...world.frame import Frame
from ...world.pose import Motion, Pose
from ...world.sight import Gaze, LookError, Looking
from .player import Player

RATE_PER_S = 60.0  # views a second at most
DUTY = 0.5  # share of the time for looks, because the model works on the same cores


@dataclass(frozen=True)
class _Way:
    """The way from the current frame to the end of a motion, begun at a time of the monotonic clock."""

    frame: Frame
    motion: Motion
    target: Pose
    since_s: float

    def pose(self, share: float) -> Pose:
        here = self.frame.pose
        assert here is not None, "a way begins at a pose"
        x, y, z = (a + share * (b - a) for a, b in zip(here.position, self.target.position, strict=True))
        turned = (self.target.yaw_deg - here.yaw_deg + 180) % 360 - 180
        pitched = self.target.pitch_deg - here.pitch_deg
        return Pose.at(x, y, z, here.yaw_deg + share * turned, here.pitch_deg + share * pitched)


class Between:
    """Makes the views between two frames of a player's walk. is_on: whether it is switched on."""

    def __init__(self, *, is_on: bool = True):
        self.is_on = is_on
        self._way: _Way | None = None
        self._next_s = 0.0

    @property
    def is_leading(self) -> bool:
        """Whether there are views to show until the next frame."""
        return self._way is not None

    @property
    def wait_s(self) -> float:
        """How long until the next view is due."""
        return max(0.0, self._next_s - time.monotonic())

    def view(self, player: Player, step_s: float) -> np.ndarray | None:
        """The view of this moment, pixels (H, W, 3) uint8, if one is due; a step takes `step_s` or as long as the
        last one. None if the walker does not move, the switch is off, or the world can only show its frames."""
        way = self._way = self._found(player)
        now = time.monotonic()
        if way is None or now < self._next_s:
            return None
        seconds = max(step_s, player.step_ms / 1000)
        pixels = self._looked(player, way.pose(min(1.0, (now - way.since_s) / seconds)))
        took_s = time.monotonic() - now
        self._next_s = now + max(1 / RATE_PER_S, took_s / DUTY)
        return pixels

    def _found(self, player: Player) -> _Way | None:
        motion, frame = player.leads, player.frame
        if not self.is_on or motion is None or motion.is_still or frame.pose is None or player.connection:
            return None
        if not isinstance(player.branch.explorer, Looking):
            return None
        if self._way and self._way.frame is frame and self._way.motion == motion:
            return self._way
        return _Way(frame, motion, player.place.walked(frame.pose, motion), time.monotonic())

    def _looked(self, player: Player, pose: Pose) -> np.ndarray | None:
        explorer = player.branch.explorer
        assert isinstance(explorer, Looking), "as _found has it"
        try:
            outlook = explorer.outlook()
            return outlook.look(Gaze(pose, outlook.camera)).pixels
        except LookError:  # frames that are too large for looks, or have no depth
            self.is_on = False
            return None
