"""What a server can open. The Worlds protocol, and the true scenes behind it; here viewers and scenes meet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..world.frame import Explorer


@dataclass(frozen=True)
class OpenRequest:
    """What a client asked for; empty texts and zero sizes mean the world's own. image (H, W, 3) uint8 or None."""

    model: str = ""
    world: str = ""
    seed: int = 0
    text: str = ""
    image: np.ndarray | None = None
    width: int = 0
    height: int = 0


class Worlds(Protocol):
    """Opens explorers for a server. ValueError refuses a request, and its message goes to the client.

    Called from the stepping thread only. Explorers that share an `engine` with a `step_many(sessions, actions)` are
    stepped together when their steps coincide.
    """

    models: tuple[str, ...]
    worlds: tuple[str, ...]

    def open(self, request: OpenRequest) -> Explorer:
        """A new explorer at its first frame."""

    def load(self, path: Path) -> Explorer:
        """Go on from what that explorer's `save` wrote."""


class SceneWorlds:
    """True scenes: rooms and outdoors, any seed. Needs no weights; scenes are made when first asked for."""

    models = ("scene",)
    worlds = ("rooms", "outdoors")

    def __init__(self, *, size: int = 128, largest: int = 1024):
        self.size, self.largest = size, largest

    def open(self, request: OpenRequest) -> Explorer:
        from ..scenes.explorer import SceneSession  # numba: slow to import, and not needed to speak the protocol
        from ..scenes.splits import FAMILIES
        from ..world.pose import Camera

        self._check(request)
        scene = FAMILIES[request.world or self.worlds[0]](request.seed)
        return SceneSession(scene, camera=Camera(request.width or self.size, request.height or self.size))

    def load(self, path: Path) -> Explorer:
        from ..scenes.explorer import load_scene_session

        return load_scene_session(path)

    def _check(self, request: OpenRequest) -> None:
        if request.model not in ("", *self.models):
            raise ValueError(f"unknown model '{request.model}'; this server has: {', '.join(self.models)}")
        if request.world not in ("", *self.worlds):
            raise ValueError(f"unknown world '{request.world}'; this server has: {', '.join(self.worlds)}")
        if request.text or request.image is not None:
            raise ValueError("a true scene is made from its seed; it reads no text and no image")
        if max(request.width, request.height) > self.largest:
            raise ValueError(f"{request.width}x{request.height}; this server draws at most {self.largest} a side")
