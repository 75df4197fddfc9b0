"""An example for a model behind Gymnasium's interface: `reset(seed=..., options=...)` and five values from `step`.

Subclass, say how your environment wants its actions, and name the class: --model my_module:MyEnvironment. Nothing of
gymnasium is imported here; whatever has the two methods will do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....world.records import motion_row
from ..questions.episode import Command
from .adapters import Answer, Context, WorldModel


class EnvironmentModel(WorldModel):
    """Asks an environment. Fill in `make` and `action_of`; `pixels_of` if the observation is no plain picture.

    The true frames go to the environment in `reset`'s options: "frames" (n, H, W, 3) uint8, and "actions", what
    `action_of` gives for each of the n - 1 steps between them.
    """

    def __init__(self):
        self.env = self.make()

    def make(self) -> Any:
        """The environment."""
        raise NotImplementedError

    def action_of(self, command: Command) -> Any:
        """What the environment calls a command; by default forward and right in metres, yaw and pitch in degrees."""
        return np.array(motion_row(command.action.known_motion), np.float32)

    def pixels_of(self, observation: Any) -> np.ndarray:
        return np.asarray(observation["pixels"] if isinstance(observation, dict) else observation)

    def reset(self, context: Context) -> None:
        commands = [Command(action, pose) for action, pose in zip(context.actions, context.poses[1:], strict=True)]
        shown = {"frames": context.frames, "actions": [self.action_of(command) for command in commands]}
        self.env.reset(seed=context.seed, options=shown)

    def step(self, command: Command) -> Answer:
        observation, _reward, _terminated, _truncated, info = self.env.step(self.action_of(command))
        return Answer(self.pixels_of(observation), info.get("depth"))

    def close(self) -> None:
        self.env.close()
