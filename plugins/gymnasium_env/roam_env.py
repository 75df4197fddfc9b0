"""Walks on a Roam server as a Gymnasium environment: commands in, pixels and depth out. Knows no model and no task.

env = gymnasium.make("roam_env:Roam-v0", address="tcp://127.0.0.1:5555")
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from roam.viewer.client.client import Client
from roam.viewer.client.knock import Address, connect
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.client.walk_state import ServerError
from roam.world.action import Action
from roam.world.frame import Frame

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    raise ImportError("the environment is one of Gymnasium's: pip install 'gymnasium>=1.0'") from error

COMMANDS = (
    "move forward",
    "move back",
    "strafe left",
    "strafe right",
    "turn left",
    "turn right",
    "look up",
    "look down",
    "wait",
)
FAR = 100.0  # metres; the largest depth, also that of the sky
SEEDS = 1_000_000  # worlds of a server; a larger seed, or none, draws one of them
STARTS = ("model", "world", "text", "image")

Observation = dict[str, np.ndarray]
Task = Callable[[Frame, Frame], tuple[float, bool]]


class RoamEnv(gymnasium.Env[Observation, int | str]):
    """A walk on a server; every episode is a walk of its own.

    Observations: "pixels" (H, W, 3) uint8 RGB and, where the world has it, "depth" (H, W) float32 metres along the
    camera's forward axis, at most FAR. Actions: the number of a command, or any sentence that the world understands.
    Info: "index" of the frame, "digest", equal for equal frames, and, where the world knows it, "pose" (7,) float64:
    x, y, z in metres, then the quaternion w, x, y, z from camera axes to world axes.

    model, world, size (width, height): as the server announces them, "" and zeros for its own. task(before, after)
    gives a step's reward and whether the episode ends; without it there is no reward and no end. keys, name,
    server_key: the folder of your keys, which of them to use, and the server's public key, if the server asks for keys.
    `walk` is the walk itself, for planning: `fork`, `rewind`, `save`, `step`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - so Gymnasium wants it

    def __init__(
        self,
        address: str = "tcp://127.0.0.1:5555",
        *,
        model: str = "",
        world: str = "",
        size: tuple[int, int] = (0, 0),
        commands: Sequence[str] = COMMANDS,
        task: Task | None = None,
        render_mode: str | None = None,
        server_key: str = "",
        keys: str | Path | None = None,
        name: str = "viewer",
    ):
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode '{render_mode}'; wanted 'rgb_array' or None")
        self.commands, self.task, self.render_mode = tuple(commands), task, render_mode
        self.action_space = spaces.Discrete(len(self.commands))
        self.walk: RemoteSession | None = None
        self._wanted = {"model": model, "world": world, "size": tuple(size)}
        self._client = connect(Address(address, server_key, Path(keys) if keys else None, name))
        try:
            self.observation_space = _space(_first_frame(self._client, self._wanted))
        except Exception:
            self._client.close()
            raise

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        """Begin a walk in the world of that seed, or of a seed that is drawn. The same seed begins the same walk.

        options: another beginning than the environment's own: "model", "world", "text" (words that a model reads) or
        "image" (the bytes of a JPEG or PNG file).
        """
        super().reset(seed=seed)
        wanted = self._wanted | _checked(options or {})
        self._leave()
        world = int(self.np_random.integers(SEEDS)) if seed is None or seed >= SEEDS else int(seed)
        self.walk = RemoteSession.open(self._client, seed=world, **wanted)
        return self._seen(self.walk.frame)

    def step(self, action: int | str) -> tuple[Observation, float, bool, bool, dict]:
        """Do a command, or a sentence, which may take several frames; the last of them is observed."""
        walk = self._walk()
        before = walk.frame
        after = walk.step(Action(self._words(action)))
        reward, is_over = self.task(before, after) if self.task else (0.0, False)
        observation, info = self._seen(after)
        return observation, float(reward), bool(is_over), False, info

    def render(self) -> np.ndarray | None:
        """The frame on show, (H, W, 3) uint8, in render_mode "rgb_array"; else None."""
        return self._walk().frame.pixels.copy() if self.render_mode else None

    def close(self) -> None:
        """End the walk on the server and disconnect."""
        self._leave()
        self._client.close()

    def _walk(self) -> RemoteSession:
        if self.walk is None:
            raise gymnasium.error.ResetNeeded("there is no walk yet; call reset() first")
        return self.walk

    def _words(self, action: int | str) -> str:
        if isinstance(action, str):
            return action
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r}; wanted 0 to {len(self.commands) - 1} or a sentence")
        return self.commands[int(action)]

    def _seen(self, frame: Frame) -> tuple[Observation, dict]:
        observation = _observation(frame)
        if observation not in self.observation_space:
            came, wanted = (
                ", ".join(f"{name} {of[name].shape}" for name in of)
                for of in (observation, self.observation_space.spaces)
            )
            raise ValueError(f"a frame with {came}; this environment began with {wanted}: make one for this world")
        info = {"index": frame.index, "digest": frame.digest}
        return observation, info | ({"pose": np.array([*frame.pose.position, *frame.pose.wxyz])} if frame.pose else {})

    def _leave(self) -> None:
        walk, self.walk = self.walk, None
        if walk and self._client.is_connected:
            with contextlib.suppress(ServerError, ConnectionError):  # the server may have lost the walk
                walk.close()


def _first_frame(client: Client, wanted: dict) -> Frame:
    walk = RemoteSession.open(client, **wanted)
    walk.close()
    return walk.frame


def _space(frame: Frame) -> spaces.Dict:
    seen = _observation(frame)
    known = {"pixels": spaces.Box(0, 255, seen["pixels"].shape, np.uint8)}
    if "depth" in seen:
        known["depth"] = spaces.Box(0.0, FAR, seen["depth"].shape, np.float32)
    return spaces.Dict(known)


def _observation(frame: Frame) -> Observation:
    seen = {"pixels": frame.pixels.copy()}
    if frame.depth is not None:
        seen["depth"] = np.nan_to_num(frame.depth, nan=FAR, posinf=FAR).clip(0.0, FAR).astype(np.float32)
    return seen


def _checked(options: dict) -> dict:
    unknown = [name for name in options if name not in STARTS]
    if unknown:
        raise ValueError(f"unknown option '{unknown[0]}'; known: {', '.join(STARTS)}")
    return options


gymnasium.register("Roam-v0", entry_point="roam_env:RoamEnv", max_episode_steps=300)
