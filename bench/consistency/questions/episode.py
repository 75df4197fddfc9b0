"""One question to a model: true frames to look at, then actions for which it dreams frames. Plain data, nothing
rendered."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from ....world.action import Action
from ....world.pose import Pose

MODES = ("C", "F")
FREE_FRAMES = 4  # true frames that mode F begins with


class BenchError(ValueError):
    """A request to the benchmark that cannot be met; the message says what came and what was wanted."""


@dataclass(frozen=True)
class Command:
    """The model's next command, in three forms: words, motion, and the pose that the motion leads to.

    A model may use any of them; `pose` is what the simulator reaches, collisions resolved.
    """

    action: Action
    pose: Pose

    @property
    def text(self) -> str:
        return self.action.text


@dataclass(frozen=True)
class Episode:
    """A path through a scene of a split, and how much of it is shown."""

    task: str
    variant: str
    mode: str  # "C" or "F"
    number: int  # of the scene in its split
    seed: int  # of what the model draws at random
    actions: tuple[Action, ...]  # actions[i] leads from poses[i] to poses[i + 1]
    poses: tuple[Pose, ...]
    phases: tuple[str, ...]  # what each pose is for: "explore", "return", ...
    num_context: int  # so many frames are true and shown; the model makes the others
    scored: tuple[int, ...]  # numbers of the frames that are measured
    gap: int | None = None  # frames between leaving a view and coming back to it
    target: int | None = None  # instance id of the thing that T7 hides
    is_absent: bool = False  # the target was removed from the scene; the path is as if it were there
    split: str = "test"
    world: str = ""  # "" for our own scenes, else a source of levels

    def __post_init__(self):
        if len(self.poses) != len(self.actions) + 1 or len(self.phases) != len(self.poses):
            raise BenchError(
                f"{self.key}: {len(self.poses)} poses and {len(self.phases)} phases, {len(self.actions)} actions"
            )
        if not 1 <= self.num_context < len(self.poses) or not self.scored or min(self.scored) < self.num_context:
            raise BenchError(
                f"{self.key}: {self.num_context} true frames of {len(self.poses)}, scored {self.scored[:3]}"
            )

    @property
    def key(self) -> str:
        """Names the episode among all: the same key, the same question."""
        of = f"{self.world} {self.split}" if self.world else self.split
        return f"{self.task}/{self.variant}/{self.mode}/{of.replace('/', '|')}-{self.number}/{self.seed}"

    @property
    def commands(self) -> tuple[Command, ...]:
        """What the model is asked for, in order: frames num_context to the end."""
        first = self.num_context - 1
        return tuple(Command(a, p) for a, p in zip(self.actions[first:], self.poses[first + 1 :], strict=True))

    @property
    def digest(self) -> str:
        """16 hex digits over everything that is asked: actions, poses to a micrometre, and what is scored."""
        poses = [[round(x, 6) + 0.0 for x in (*p.position, *p.wxyz)] for p in self.poses]
        parts = [
            self.key,
            [a.text for a in self.actions],
            poses,
            self.num_context,
            self.scored,
            self.target,
            self.is_absent,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
