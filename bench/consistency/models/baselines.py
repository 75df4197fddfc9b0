"""The rows of every table: the truth, the best without a model, and answers that must not be mistaken for a good
model's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ....world.pose import Pose
from ....world.spatial.view_memory import ViewMemory
from ....world.spatial.warp import View, warp
from ..questions.episode import Command
from ..questions.truth import Truth
from ..questions.worlds import see
from .adapters import Answer, Context, WorldModel


class TruthRow(WorldModel):
    """The scene itself: no model can be better."""

    needs_truth = True

    def take(self, truth: Truth) -> None:
        self.truth = truth

    def reset(self, context: Context) -> None:
        self._pose = context.poses[-1]

    def step(self, command: Command) -> Answer:
        view = self.truth.at(command.pose)
        return Answer(view.pixels, view.depth)


class HalfSpeed(TruthRow):
    """The true scene, but every step is half as long: reveals metrics that ignore the command."""

    def step(self, command: Command) -> Answer:
        self._pose = self.truth.scene.walked(self._pose, command.action.known_motion.scaled(0.5))
        view = self.truth.at(self._pose)
        return Answer(view.pixels, view.depth)


class OtherScene(TruthRow):
    """Another scene of the same family, walked as commanded: plausible, and the wrong world."""

    def reset(self, context: Context) -> None:
        self._scene = self.truth.stranger()

    def step(self, command: Command) -> Answer:
        view = see(self._scene, command.pose, self.truth.camera)
        return Answer(view.pixels, view.depth)


class DepthWarp(TruthRow):
    """The shown frames carried into the commanded pose by their TRUE depth, holes filled from their edges.

    Up to four views, chosen for what they add: an upper reference for explicit 3D memory that paints nothing new.
    """

    def reset(self, context: Context) -> None:
        memory = ViewMemory(context.camera, limit=len(context.frames) + 1)
        for index, (pixels, pose) in enumerate(zip(context.frames, context.poses, strict=True)):
            memory = memory.with_view(index, View(pixels, self.truth.at(pose).depth, pose))
        self._memory = memory

    def step(self, command: Command) -> Answer:
        views = self._memory.choose(command.pose, 4)
        return Answer(warp(views, command.pose, self.truth.camera).pixels)


class Retrieval(WorldModel):
    """The shown frame whose pose is nearest, a metre counting as 50 degrees: memory without synthesis."""

    def reset(self, context: Context) -> None:
        self._context = context

    def step(self, command: Command) -> Answer:
        distance = [_apart(pose, command.pose) for pose in self._context.poses]
        best = len(distance) - 1 - int(np.argmin(distance[::-1]))  # of equals, the latest
        return Answer(self._context.frames[best])


class CopyLast(WorldModel):
    """The last true frame for ever."""

    def reset(self, context: Context) -> None:
        self._frame = context.frames[-1]

    def step(self, command: Command) -> Answer:
        return Answer(self._frame)


class CopyFirst(CopyLast):
    """The first true frame for ever."""

    def reset(self, context: Context) -> None:
        self._frame = context.frames[0]


class MeanColour(CopyLast):
    """The mean colour of all that was shown: the floor of PSNR."""

    def reset(self, context: Context) -> None:
        colour = context.frames.mean((0, 1, 2)).round().astype(np.uint8)
        self._frame = np.broadcast_to(colour, context.frames.shape[1:]).copy()


def _apart(a: Pose, b: Pose) -> float:
    return a.distance_to(b) * 50 + a.angle_to(b)


BASELINES: dict[str, Callable[[], WorldModel]] = {
    "truth": TruthRow,
    "depth-warp": DepthWarp,
    "retrieval": Retrieval,
    "half-speed": HalfSpeed,
    "other-scene": OtherScene,
    "copy-last": CopyLast,
    "copy-first": CopyFirst,
    "mean-colour": MeanColour,
}
FROZEN = ("copy-last", "copy-first", "mean-colour")
