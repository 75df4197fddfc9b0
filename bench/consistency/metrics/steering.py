"""Did the model follow the action? Recovered motion between frames against the commanded, by component."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from ....world.pose import Motion, Pose
from ....world.records import motion_row

STILL = Motion(forward=0.1, right=0.1, yaw_deg=5.0, pitch_deg=5.0)  # a component may be off by this much ...
SHARE = 0.4  # ... or by this share of what was commanded, whichever is more; half speed is too far off


def motion_between(before: Pose, after: Pose) -> Motion:
    """The motion that leads from one pose to the other, in the walker's frame of the first."""
    yaw = math.radians(before.yaw_deg)
    dx, dy = after.position[0] - before.position[0], after.position[1] - before.position[1]
    return Motion(
        dx * math.cos(yaw) + dy * math.sin(yaw),
        dx * math.sin(yaw) - dy * math.cos(yaw),
        (after.yaw_deg - before.yaw_deg + 180) % 360 - 180,
        after.pitch_deg - before.pitch_deg,
    )


def components_right(before: Pose | None, after: Pose | None, commanded: Motion) -> tuple[bool, bool, bool, bool]:
    """Which of forward, right, yaw and pitch were done as commanded. With an unknown pose none was."""
    if before is None or after is None:
        return (False,) * 4
    done = motion_between(before, after)
    return tuple(
        abs(getattr(done, name) - getattr(commanded, name))
        < max(getattr(STILL, name), SHARE * abs(getattr(commanded, name)))
        for name in ("forward", "right", "yaw_deg", "pitch_deg")
    )


def kind_of(motion: Motion) -> tuple[int, int, int, int]:
    """The class of an action: the signs of its components, all 0 for standing still."""
    forward, right, yaw, pitch = ((x > 0) - (x < 0) for x in motion_row(motion))
    return forward, right, yaw, pitch


def macro(kinds: Sequence[tuple], values: Sequence[float]) -> float | None:
    """The mean over kinds of action of the mean within each: standing still, which is easy and common, counts once."""
    by_kind = defaultdict(list)
    for kind, value in zip(kinds, values, strict=True):
        by_kind[kind].append(value)
    means = [sum(group) / len(group) for group in by_kind.values()]
    return sum(means) / len(means) if means else None
