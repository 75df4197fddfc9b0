"""Shared by the plugins' tests: a server of true scenes, the same walks without a server, and a server of fog."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.viewer.opening.worlds import SceneWorlds, Worlds
from roam.viewer.server.server import Server
from roam.world.action import parse_action
from roam.world.frame import Frame

cv2.setNumThreads(1)  # tests share the machine


class Fog:
    """An explorer of four by eight grey pixels, with the depth that it is given and without a pose."""

    def __init__(self, depth: np.ndarray | None):
        self.depth, self.index = depth, 0

    @property
    def frame(self) -> Frame:
        return Frame(self.index, np.full((4, 8, 3), 99, np.uint8), depth=self.depth)

    def step(self, action) -> Frame:
        self.index += 1
        return self.frame

    def fork(self) -> Fog:
        twin = Fog(self.depth)
        twin.index = self.index
        return twin

    def save(self, path) -> None:
        Path(path).touch()

    def close(self) -> None:
        pass


class FogWorlds(Worlds):
    """Opens fogs: "thick" without depth, "thin" with infinite or missing depth."""

    models, worlds = ("fog",), ("thick", "thin")

    def open(self, request) -> Fog:
        thin = np.where(np.eye(4, 8, dtype=bool), np.nan, np.inf).astype(np.float32)
        return Fog(thin if request.world == "thin" else None)

    def load(self, path: Path) -> Fog:
        return Fog(None)


@pytest.fixture(scope="session")
def truth():
    """Walks a test scene without a server: called with actions, it returns the last frame."""

    def walk(seed: int, *texts: str, family: str | None = None):
        scene = SceneSession(make_scene("test", seed, family))
        for text in texts:
            for part in parse_action(text).split():
                scene.step(part)
        return scene.frame

    # compiled here, because the server's first step would otherwise take longer than clients wait
    walk(6, "move forward")
    return walk


@pytest.fixture
def server(tmp_path, truth):
    with Server(SceneWorlds(), folder=tmp_path / "walks") as server:
        yield server


@pytest.fixture
def fogs(tmp_path):
    with Server(FogWorlds(), folder=tmp_path / "fogs") as server:
        yield server
