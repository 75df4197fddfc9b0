"""A Gymnasium environment with a picture as an Explorer. Words become its actions by a table; depth and pose are shown
if the environment gives them: in `info` under "depth" and "pose", in a dict of observations, or as Miniworld does.

Only the walker's own view can be drawn, so going back means to start again and repeat the actions.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ...world.action import Action
from ...world.files import parse_json, read_bytes, sum_of, write_text_whole
from ...world.frame import Frame, Rollout, walk
from ...world.pose import Camera, Pose
from ...world.records import action_of, action_row
from ..place import FAR
from ..scene import SceneError
from .words import Table, derived, read_table

PREFIX = "gym:"
PIP = "pip install 'roam-worlds[gym]'"
MARK = "env session"
FORMAT = 1


@dataclass(frozen=True)
class EnvSpec:
    """Which environment: `id` of the registry, or module:callable; seed of its reset; words: its table, None for the
    derived one."""

    id: str
    seed: int = 0
    words: Table | None = None


class EnvSession:
    """Walks through one episode of an environment. Frames are the middle square of its pictures, at the camera's size.

    Raises SceneError for an environment that does not exist, gives no picture, fails or has ended; what was walked
    before stays as it was.
    """

    def __init__(self, spec: EnvSpec, *, camera: Camera | None = None):
        self.spec, self.camera = spec, camera or Camera()
        self._env = make_env(spec.id, self.camera)
        self.words = spec.words or self._derived()
        self._actions: list[Action] = []
        self._is_closed = False
        self._begin()

    @property
    def frame(self) -> Frame:
        return self._frame

    @property
    def actions(self) -> tuple[Action, ...]:
        """What was done so far, in order."""
        return tuple(self._actions)

    @property
    def has_ended(self) -> bool:
        """Whether the environment has ended its episode."""
        return self._ended

    def step(self, action: Action) -> Frame:
        """Do what the action says, as often as its amount requires, and show the result."""
        if self._is_closed:
            raise RuntimeError("this environment is closed; open another")
        word, count = self.words.find(action)
        for _ in range(count):
            self._frame = self._do(word.value)
        self._frame = Frame(len(self._actions) + 1, self._frame.pixels, depth=self._frame.depth, pose=self._frame.pose)
        self._actions.append(action)
        return self._frame

    def rollout(self, actions: Iterable[Action]) -> Rollout:
        return walk(self, actions)

    def fork(self) -> EnvSession:
        twin = EnvSession(EnvSpec(self.spec.id, self.spec.seed, self.words), camera=self.camera)
        for action in self._actions:
            twin.step(action)
        return twin

    def rewind(self, frames: int) -> Frame:
        if not 0 <= frames <= len(self._actions):
            raise ValueError(f"cannot rewind {frames} frames; {len(self._actions)} have been walked")
        if frames:
            kept = self._actions[: len(self._actions) - frames]
            self._actions = []
            self._begin()
            for action in kept:
                self.step(action)
        return self._frame

    def save(self, path: str | Path) -> None:
        """Write environment, seed, words and actions: they rebuild the walk if the environment behaves the same
        again."""
        state = {
            "roam": MARK,
            "format": FORMAT,
            "id": self.spec.id,
            "seed": self.spec.seed,
            "camera": [self.camera.width, self.camera.height, self.camera.fov_deg],
            "words": self.words.as_list(),
            "actions": [action_row(action) for action in self._actions],
            "digest": self._frame.digest,
        }
        write_text_whole(path, json.dumps(state | {"sum": sum_of(state)}, indent=1))

    def close(self) -> None:
        if not self._is_closed:
            with contextlib.suppress(Exception):  # a foreign environment may do anything at its end
                self._env.close()
        self._is_closed = True

    def _derived(self) -> Table:
        try:
            return derived(self._env)
        except SceneError as error:
            raise SceneError(f"{self.spec.id}: {error}") from error

    def _begin(self) -> None:
        self._ended, self._shape = False, None
        result = self._asked(lambda: self._env.reset(seed=self.spec.seed), lambda: self._env.reset())
        observation, info = result if isinstance(result, tuple) else (result, {})
        self._frame = self._seen(observation, info)

    def _do(self, value) -> Frame:
        if self._ended:
            raise SceneError(
                f"{self.spec.id} has ended this episode after {len(self._actions)} steps: go back, or on "
                "to the next world"
            )
        observation, _reward, ended, *rest = self._asked(lambda: self._env.step(value))
        self._ended = bool(ended or (len(rest) == 2 and rest[0]))  # old environments return four values
        return self._seen(observation, rest[-1])

    def _asked(self, ask, otherwise=None):
        """An environment's answer; whatever it raises becomes one sentence."""
        try:
            return ask()
        except TypeError as error:
            if otherwise is not None:
                return self._asked(otherwise)
            raise self._failed(error) from error
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> SceneError:
        return SceneError(
            f"{self.spec.id} failed after {len(self._actions)} steps: {type(error).__name__}: {error}; "
            "what was walked before stays"
        )

    def _seen(self, observation, info: dict) -> Frame:
        own, camera = self._env.unwrapped, self.camera
        if hasattr(own, "agent") and hasattr(own, "render_depth"):
            pixels, depth, pose = self._asked(lambda: _miniworld(own, camera))
        else:
            held = observation if isinstance(observation, dict) else {}
            pixels = self._picture(observation, held)
            depth, pose = info.get("depth", held.get("depth")), _pose(info.get("pose", held.get("pose")))
        if self._shape not in (None, pixels.shape):
            raise SceneError(
                f"{self.spec.id} shows {pixels.shape[1]}x{pixels.shape[0]} after {self._shape[1]}x"
                f"{self._shape[0]}: wanted pictures of one size"
            )
        self._shape = pixels.shape
        shown = None if depth is None else fitted(np.asarray(depth, np.float32), camera, cv2.INTER_NEAREST)
        return Frame(len(self._actions), fitted(pixels, camera, cv2.INTER_AREA), depth=shown, pose=pose)

    def _picture(self, observation, held: dict) -> np.ndarray:
        """The picture: what is rendered, else an observation that is one."""
        candidates = [
            lambda: self._env.render(),
            lambda: observation,
            *((lambda key=key: held.get(key)) for key in ("rgb", "image", "pixels")),
        ]
        for candidate in candidates:
            try:
                shown = np.asarray(candidate())
            except Exception:
                continue
            if shown.dtype == np.uint8 and shown.ndim == 3 and shown.shape[2] == 3 and min(shown.shape[:2]) > 3:
                return shown
        raise SceneError(f"{self.spec.id} gives no picture; wanted rgb, (H, W, 3) uint8, rendered or observed")


def make_env(name: str, camera: Camera):
    """The environment of a name: one of Gymnasium's registry ("miniworld:MiniWorld-Hallway-v0"), or module:callable.
    Raises SceneError if it cannot be made."""
    try:
        import gymnasium
    except ImportError as error:
        raise SceneError(f"environments need Gymnasium ({error}): {PIP}") from error
    sizes = {}
    if "miniworld" in name.lower():
        _without_a_display()
        name = name if ":" in name else f"miniworld:{name}"  # whose import registers them
        sizes = {"obs_width": camera.width, "obs_height": camera.height}
    try:
        return gymnasium.make(name, render_mode="rgb_array", disable_env_checker=True, **sizes)
    except gymnasium.error.Error as error:
        module, _, attribute = name.rpartition(":")
        with contextlib.suppress(ImportError, AttributeError):
            if module:
                return _Plain(getattr(importlib.import_module(module), attribute)())
        raise SceneError(f"no environment '{name}': {error}".replace("\n", " ")) from error
    except Exception as error:
        raise SceneError(f"'{name}' cannot be made: {type(error).__name__}: {error}") from error


class _Plain:
    """An environment outside the registry, with the same interface."""

    def __init__(self, env):
        self.unwrapped, self.action_space = env, env.action_space
        self.reset, self.step, self.render = env.reset, env.step, getattr(env, "render", lambda: None)

    def close(self) -> None:
        getattr(self.unwrapped, "close", lambda: None)()


def load_env_session(path: str | Path) -> EnvSession:
    """Continue from what `EnvSession.save` wrote. Raises SceneError for an incomplete file, and if the environment
    does not come to the same picture again."""
    try:
        state = parse_json(read_bytes(path))
        if state["roam"] != MARK or state["format"] != FORMAT:
            raise SceneError(f"{path} is no environment session of format {FORMAT}")
        if state.pop("sum", None) not in (None, sum_of(state)):  # the first saves had none
            raise SceneError(f"{path} is not what was saved: its disk has erred, or it was changed; nothing was loaded")
        spec = EnvSpec(state["id"], int(state["seed"]), Table.from_list(state["words"]))
        camera, actions = Camera(*state["camera"]), [action_of(row) for row in state["actions"]]
        digest = state["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, SceneError):
            raise
        raise SceneError(f"{path} is no readable environment session ({error}); wanted what saving wrote") from error
    session = EnvSession(spec, camera=camera)
    for action in actions:
        session.step(action)
    if session.frame.digest != digest:
        session.close()
        raise SceneError(
            f"{spec.id} does not come to the same picture again from seed {spec.seed}: its walks cannot be gone on with"
        )
    return session


def open_env(name: str, seed: int = 0, *, words: str | Path | None = None, camera: Camera | None = None) -> EnvSession:
    """The environment of a name, "gym:ID"; words: a file with its table."""
    table = None if words is None else read_table(words)
    return EnvSession(EnvSpec(name.removeprefix(PREFIX), seed, table), camera=camera)


def fitted(picture: np.ndarray, camera: Camera, how: int) -> np.ndarray:
    """The middle of a picture (H, W, ...) with the camera's sides, at the camera's size."""
    height, width = picture.shape[:2]
    scale = min(height / camera.height, width / camera.width)
    tall, wide = round(camera.height * scale), round(camera.width * scale)
    top, left = (height - tall) // 2, (width - wide) // 2
    part = np.ascontiguousarray(picture[top : top + tall, left : left + wide])
    return cv2.resize(part, (camera.width, camera.height), interpolation=how)


def _pose(told) -> Pose | None:
    """A pose told as x, y, z in metres, then yaw and, maybe, pitch in degrees."""
    return None if told is None else Pose.at(*map(float, told))


def _miniworld(own, camera: Camera) -> tuple[np.ndarray, np.ndarray, Pose]:
    """Picture, depth in metres and pose of Miniworld, whose y axis is up, through a camera of our own width of view."""
    own.agent.cam_fov_y = float(np.degrees(2 * np.arctan(camera.height / 2 / camera.focal)))
    pixels, depth = own.render_obs(), own.render_depth(own.obs_fb)[..., 0]
    x, y, z = map(float, own.agent.cam_pos)
    pose = Pose.at(x, -z, y, np.degrees(own.agent.dir), float(own.agent.cam_pitch))
    return pixels, np.minimum(depth, FAR), pose


def _without_a_display() -> None:
    """Miniworld draws with pyglet, which must be told before its first import that there may be no display."""
    with contextlib.suppress(ImportError):
        import pyglet

        pyglet.options["headless"] = True
