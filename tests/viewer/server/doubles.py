"""A tiny world for the server's tests, whose pictures of eight by six pixels are a hash of all that was done; and
its Worlds."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from unittest.mock import patch

import numpy as np
from roam.viewer.opening.worlds import OpenRequest, Worlds
from roam.viewer.server.explorers import Explorers
from roam.viewer.server.server import Server
from roam.world.action import Action, ActionError
from roam.world.frame import Frame, walk
from roam.world.pose import Camera, Motion, Pose
from roam.world.sight import Gaze, LookError, Piece, Sight


def gauge(server: Server, name: str) -> int:
    """The value that a server's metrics have for something now."""
    return next(int(line.split()[1]) for line in server.metrics_text().splitlines() if line.startswith(f"roam_{name} "))


def until(is_so, *, timeout_s: float = 60.0):
    """Wait for a state that stays; returns what `is_so` does then."""
    end = time.monotonic() + timeout_s
    while not (value := is_so()):
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.01)
    return value


class Tiny:
    """An explorer whose frames depend on its seed and on every action. It understands motions and "open the door"."""

    def __init__(
        self, seed: int, actions: tuple[Action, ...] = (), *, pause_s: float = 0.0, side: tuple[int, int] = (6, 8)
    ):
        self.seed, self.actions, self.pause_s, self.side = seed, list(actions), pause_s, side
        self.is_closed = False

    @property
    def frame(self) -> Frame:
        done = repr((self.seed, [(a.text, a.motion) for a in self.actions]))
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(done.encode()).digest()[:8], "little"))
        pixels = rng.integers(0, 256, (*self.side, 3), np.uint8)
        tokens = rng.integers(0, 99, (2, 3), np.int32)
        depth = rng.random(self.side, np.float32) * 50
        return Frame(len(self.actions), pixels, tokens, depth, Pose.at(len(self.actions), 0, 1.5))

    def step(self, action: Action) -> Frame:
        assert not self.is_closed
        if action.motion is None and action.text != "open the door":
            raise ActionError(f"'{action.text}' means nothing here")
        if action.text == "wait 13":
            raise RuntimeError("this world has a bad day")
        time.sleep(self.pause_s)
        self.actions.append(action)
        return self.frame

    def rollout(self, actions):
        return walk(self, actions)

    def fork(self) -> Tiny:
        return type(self)(self.seed, tuple(self.actions), pause_s=self.pause_s, side=self.side)

    def rewind(self, frames: int) -> Frame:
        if not 0 <= frames <= len(self.actions):
            raise ValueError(f"cannot rewind {frames} frames; {len(self.actions)} have been walked")
        del self.actions[len(self.actions) - frames :]
        return self.frame

    def save(self, path) -> None:
        rows = [[a.text, *(astuple(a.motion) if a.motion else ())] for a in self.actions]
        Path(path).write_text(json.dumps([self.seed, self.pause_s, self.side, rows]))

    def close(self) -> None:
        self.is_closed = True


class TinyWorlds(Worlds):
    """Opens Tiny explorers and remembers them. Opening seed 666 fails."""

    models = ("tiny",)
    worlds = ("meadow",)
    reads_words = True
    fov_deg = 70.0

    def __init__(self, *, pause_s: float = 0.0, side: tuple[int, int] = (6, 8)):
        self.pause_s, self.side = pause_s, side
        self.opened: list[OpenRequest] = []

    def open(self, request: OpenRequest) -> Tiny:
        if request.seed == 666:
            raise ValueError("no world has that seed")
        self.opened.append(request)
        return Tiny(request.seed, pause_s=self.pause_s, side=self.side)

    def load(self, path: Path) -> Tiny:
        seed, pause_s, side, rows = json.loads(path.read_text())
        actions = tuple(Action(text, Motion(*motion) if motion else None) for text, *motion in rows)
        return Tiny(seed, actions, pause_s=pause_s, side=tuple(side))


@contextmanager
def killed(worlds: Worlds, **options):
    """A server that ends as if it were killed: acts since the last snapshot of a walk are in its log alone."""
    with patch.object(Explorers, "close", return_value=[]), Server(worlds, **options) as server:
        yield server


class Gate:
    """A point where a step or a settling waits until the test lets it go on; open at first. reached: a step has
    arrived."""

    def __init__(self):
        self.reached = threading.Event()
        self._is_open = threading.Event()
        self._is_open.set()

    def shut(self) -> None:
        self.reached.clear()
        self._is_open.clear()

    def open(self) -> None:
        self._is_open.set()

    def __call__(self) -> None:
        self.reached.set()
        assert self._is_open.wait(60), "nobody opened the gate"


class TinyOutlook:
    """A view of a Tiny from elsewhere: its shades say which pose and frame, and the left is unknown. A look waits at
    the gate."""

    camera = Camera(8, 16, 70.0)

    def __init__(self, tiny: Tiny, gate: Gate):
        self.index, self.pose, self._gate = len(tiny.actions), tiny.frame.pose, gate

    def look(self, gaze: Gaze) -> Sight:
        self._gate()
        shape = (gaze.camera.height, gaze.camera.width * len(gaze.eyes))
        pixels = np.zeros((*shape, 3), np.uint8)
        pixels[..., 0], pixels[..., 1] = self.index, round(gaze.pose.position[0])
        depth = np.full(shape, 2.5, np.float32)
        return Sight(gaze, self.index, pixels, depth, np.broadcast_to(np.arange(shape[1]) < 3, shape))

    def pieces(self) -> tuple[int, ...]:
        return tuple(range(max(1, self.index - 2), self.index + 1))  # it remembers three at most

    def piece(self, number: int, *, stride: int = 1) -> Piece:
        if number not in self.pieces():
            raise LookError(f"no piece {number}")
        points = (np.arange(3 * 4 * number, dtype=np.float32) / 8).reshape(-1, 3)[::stride]
        return Piece(number, points, np.full((len(points), 3), number, np.uint8), np.uint32([[0, 1, 2]]))


class SeenTiny(Tiny):
    """A Tiny that supports looks from anywhere."""

    gate = Gate()

    def outlook(self) -> TinyOutlook:
        return TinyOutlook(self, self.gate)

    def look(self, pose: Pose, *, camera: Camera | None = None, ipd_m: float = 0.0) -> Sight:
        return self.outlook().look(Gaze(pose, camera or TinyOutlook.camera, ipd_m))


class DreamtTiny(SeenTiny):
    """A Tiny that supports dreams elsewhere; a dream waits at the gate."""

    dreaming = Gate()

    def step(self, action: Action) -> Frame:
        if action.at is None:
            return super().step(action)
        self.dreaming()
        self.actions.append(action)
        return self.frame


class DreamtWorlds(TinyWorlds):
    """Opens Tinies that support dreams elsewhere."""

    def open(self, request: OpenRequest) -> DreamtTiny:
        return DreamtTiny(request.seed)

    def load(self, path: Path) -> DreamtTiny:
        seed, _, _, rows = json.loads(path.read_text())
        return DreamtTiny(seed, tuple(Action(text, Motion(*motion) if motion else None) for text, *motion in rows))


class SeenWorlds(TinyWorlds):
    """Opens Tinies that support looks."""

    def open(self, request: OpenRequest) -> SeenTiny:
        return SeenTiny(request.seed)

    def load(self, path: Path) -> SeenTiny:
        seed, _, _, rows = json.loads(path.read_text())
        return SeenTiny(seed, tuple(Action(text, Motion(*motion) if motion else None) for text, *motion in rows))


class TinyEngine:
    """Steps many Tinies at once, and records how many each time and which were settled."""

    def __init__(self):
        self.gains_together = True
        self.batches: list[int] = []
        self.settled = 0
        self.stepping, self.settling = Gate(), Gate()

    def step_many(self, sessions, actions) -> list[Frame]:
        for action in actions:
            if action.motion is None:
                raise ActionError(f"'{action.text}' means nothing here")
        self.batches.append(len(sessions))
        self.stepping()
        for session, action in zip(sessions, actions, strict=True):
            session.actions.append(action)
        return [session.frame for session in sessions]

    def settle(self, sessions) -> None:
        self.settling()
        self.settled += len(sessions)


class TinyOnEngine(Tiny):
    """A Tiny that steps through an engine, as a dream does."""

    engine: TinyEngine

    def step(self, action: Action) -> Frame:
        return self.engine.step_many([self], [action])[0]


class EngineWorlds(TinyWorlds):
    """Opens Tinies that share one engine."""

    def __init__(self):
        super().__init__()
        self.engine = TinyEngine()

    def open(self, request: OpenRequest) -> TinyOnEngine:
        explorer = TinyOnEngine(request.seed)
        explorer.engine = self.engine
        return explorer
