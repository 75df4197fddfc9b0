"""How a model takes part: subclass WorldModel, or name one of ours. Two methods, and whatever the model understands.

    class Mine(WorldModel):
        def reset(self, context):      # true frames, actions, poses: look at them
            ...
        def step(self, command):       # command.text, command.action.motion or command.pose: dream one frame
            return Answer(pixels)      # (H, W, 3) uint8, the size of the frames given

`roam bench consistency run --model my_package.my_module:Mine` asks it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....world.action import Action
from ....world.pose import Camera, Pose
from ..questions.episode import Command
from ..questions.truth import Truth


@dataclass(frozen=True)
class Context:
    """What a model is shown: n true frames (n, H, W, 3) uint8, the n - 1 actions between them, the n poses, the camera
    and a seed for whatever the model draws at random."""

    frames: np.ndarray
    actions: tuple[Action, ...]
    poses: tuple[Pose, ...]
    camera: Camera
    seed: int


@dataclass(frozen=True)
class Answer:
    """One dreamt frame: pixels (H, W, 3) uint8, and depth (H, W) float32 metres if the model has it."""

    pixels: np.ndarray
    depth: np.ndarray | None = None


class WorldModel:
    """The one class to fill in. needs_truth: only baselines, which `take` the truth before `reset`, may set it."""

    needs_truth = False

    def reset(self, context: Context) -> None:
        """Forget everything, then look at the true frames of one episode."""
        raise NotImplementedError

    def step(self, command: Command) -> Answer:
        """Dream the frame that the command leads to."""
        raise NotImplementedError

    def take(self, truth: Truth) -> None:
        """Baselines only: the truth of the episode that `reset` is about to begin."""

    @property
    def about(self) -> dict:
        """What the report says of the model: "weights" names them; "cache_bytes_per_frame" if known."""
        return {}

    def close(self) -> None:
        """Free its resources."""


class ShuffledActions(WorldModel):
    """Any model, with shuffled actions: shows how much the action matters."""

    def __init__(self, model: WorldModel):
        self.model = model
        self.needs_truth = model.needs_truth

    def reset(self, context: Context) -> None:
        from ..questions.tasks import SINGLES, act

        self._rng = np.random.default_rng([context.seed, 5])
        self._others = [act(motion) for motion in SINGLES]
        self._pose = context.poses[-1]
        self.model.reset(context)

    def step(self, command: Command) -> Answer:
        others = [action for action in self._others if action.motion != command.action.motion]
        action = others[int(self._rng.integers(len(others)))]
        self._pose = self._pose.moved(action.known_motion)
        return self.model.step(Command(action, self._pose))

    def take(self, truth: Truth) -> None:
        self.model.take(truth)

    @property
    def about(self) -> dict:
        return self.model.about | {"actions": "shuffled"}

    def close(self) -> None:
        self.model.close()
