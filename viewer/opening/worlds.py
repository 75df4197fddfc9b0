"""What a server can open: the Worlds protocol, the true scenes and the dreams. With start.py, the only file of
`viewer` that knows the engine and the scenes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...world.frame import Explorer
from ...world.pose import Camera

if TYPE_CHECKING:
    from ...world.options import DreamOptions, OfficialOptions
    from ...world.session import SessionEngine

EXPLORE = "explore"  # the world name in messages of a model that reads words


class WorldsError(ValueError):
    """Worlds that cannot be served as asked for."""


@dataclass(frozen=True)
class OpenRequest:
    """A client's request; empty texts and zero sizes mean the world's own. image (H, W, 3) uint8 or None."""

    model: str = ""
    world: str = ""
    seed: int = 0
    text: str = ""
    image: np.ndarray | None = None
    width: int = 0
    height: int = 0


class Worlds(Protocol):
    """Opens explorers for a server: subclass it. A ValueError refuses a request, and its message goes to the client.

    Called from the engine's thread only. Explorers that share an engine (world/frame.py, Batched) are stepped together
    when their steps coincide. models, worlds: the names that may be asked for. fov_deg: the frames' angle across, 0 if
    unknown. reads_words: whether words without a motion still mean something ("open the door"); without it, a server
    refuses such words.
    """

    models: tuple[str, ...]
    worlds: tuple[str, ...]
    fov_deg: float = 0.0
    reads_words: bool = False

    @property
    def num_free(self) -> int:
        """Pages of the engine's cache that are free for walks; -1 if there is no cache."""
        return -1

    @abstractmethod
    def open(self, request: OpenRequest) -> Explorer:
        """A new explorer at its first frame."""

    def prepare(self, request: OpenRequest) -> Callable[[], Explorer]:
        """Do the part of an opening that any thread may do; returns a function that does the rest on the engine's
        thread."""
        return lambda: self.open(request)

    def is_alone(self, what: OpenRequest | Path) -> bool:
        """Whether an explorer, by its request or by a file that `save` wrote, shares nothing with others: then
        everything may be done with it on any thread, in order."""
        return False

    @abstractmethod
    def load(self, path: Path, *changes: Path) -> Explorer:
        """Continue from what that explorer's `save` wrote; changes: what its `save_changes` wrote after it, for
        explorers that have that (store.py)."""


class SceneWorlds(Worlds):
    """True scenes: rooms and outdoors, any seed. Needs no weights; scenes are made when first asked for."""

    models: tuple[str, ...] = ("scene",)
    worlds: tuple[str, ...] = ("rooms", "outdoors")
    fov_deg = Camera().fov_deg

    def __init__(self, *, size: int = 128, largest: int = 1024):
        self.size, self.largest = size, largest

    def is_alone(self, what: OpenRequest | Path) -> bool:
        return True

    def prepare(self, request: OpenRequest) -> Callable[[], Explorer]:
        explorer = self.open(request)
        return lambda: explorer

    def open(self, request: OpenRequest) -> Explorer:
        from ...scenes.explorer import SceneSession  # numba: slow to import, and not needed to speak the protocol
        from ...scenes.splits import make_scene

        check(request, self)
        if request.text or request.image is not None:
            raise ValueError("a true scene is made from its seed; it reads no text and no image")
        if max(request.width, request.height) > self.largest:
            raise ValueError(f"{request.width}x{request.height}; this server draws at most {self.largest} a side")
        scene = make_scene("test", request.seed, request.world or None)
        return SceneSession(scene, camera=Camera(request.width or self.size, request.height or self.size))

    def load(self, path: Path, *_changes: Path) -> Explorer:
        from ...scenes.explorer import load_scene_session

        return load_scene_session(path)


class DreamWorlds(Worlds):
    """Dreams on one engine, begun from a true scene's first frame, from an image or, if the model reads them, from
    words; and the true scenes.

    engine: its sessions step together when their steps coincide (world/session.py). solid: whether seen surfaces stop
    the walker.
    """

    worlds: tuple[str, ...] = SceneWorlds.worlds
    fov_deg = SceneWorlds.fov_deg

    def __init__(self, engine: SessionEngine, *, scenes: SceneWorlds | None = None, solid: bool = True):
        self.engine, self.scenes, self.solid = engine, scenes or SceneWorlds(), solid
        self.models: tuple[str, ...] = (EXPLORE if engine.reads_words else "dream", "scene")
        self.reads_words = engine.reads_words

    @property
    def num_free(self) -> int:
        cache = self.engine.cache
        return cache.pool.num_free + max(0, cache.max_pages - cache.pool.num_pages)

    def is_alone(self, what: OpenRequest | Path) -> bool:
        return what.model == "scene" if isinstance(what, OpenRequest) else _is_scene(what)

    def open(self, request: OpenRequest) -> Explorer:
        return self.prepare(request)()

    def prepare(self, request: OpenRequest) -> Callable[[], Explorer]:
        check(request, self)
        if request.model == "scene":
            return self.scenes.prepare(request)
        if request.width or request.height:
            side = self.engine.frame_side
            if (request.width or side, request.height or side) != (side, side):
                raise ValueError(f"{request.width}x{request.height}; dreams have {side}x{side}: leave the size out")
        reads_words = self.engine.reads_words
        if request.text and not reads_words:
            raise ValueError("this model begins with a scene or an image; it reads no text at the start")
        if request.image is not None:
            if reads_words:
                return lambda: self.engine.session(
                    request.image, words=request.text, seed=request.seed, solid=self.solid
                )
            image = self._fitted(request.image)
            return lambda: self.engine.session(image, seed=request.seed, solid=self.solid, photograph=True)
        if request.text:
            return lambda: self.engine.session(words=request.text, seed=request.seed)
        side = self.engine.frame_side
        first = self.scenes.open(replace(request, model="", width=side, height=side)).frame
        return lambda: self.engine.session(first, seed=request.seed, solid=self.solid)

    def load(self, path: Path, *changes: Path) -> Explorer:
        return self.scenes.load(path) if _is_scene(path) else self.engine.load_session(path, *changes)

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        """The middle square of (H, W, 3), at the size of the model's frames."""
        from PIL import Image, ImageOps

        side = self.engine.frame_side
        return np.array(ImageOps.fit(Image.fromarray(image), (side, side)))


def open_worlds(
    model: str | Path | None = None,
    *,
    is_truth: bool = False,
    solid: bool = True,
    dreams: DreamOptions | None = None,
    official: OfficialOptions | None = None,
    say: Callable[[str], None] | None = None,
    device: str | None = None,
) -> Worlds:
    """The worlds of `roam serve`: dreams of the model in that folder (or the embedded one), or true scenes alone.
    solid: as in DreamWorlds; dreams: how unseen places are dreamt, if that was given; official: what an official
    folder needs in addition; say: gets the plan of its memory; device: "cuda" or "cpu", or None for what there is.
    Raises WorldsError."""
    if is_truth:
        if dreams and dreams.given:
            raise WorldsError("a true scene is not dreamt: leave out --steps, --temperature or --truth")
        if device:
            raise WorldsError("a true scene is drawn on the CPU: leave out --truth or --device")
        if model or (official and official.given):
            raise WorldsError("true scenes need no model: leave out --truth, or --model and what is said of it")
        return SceneWorlds()
    from ...world.opening import open_engine

    return DreamWorlds(open_engine(model, device=device, dreams=dreams, official=official, say=say), solid=solid)


def _is_scene(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b'"roam": "scene session"' in file.read(64)


def check(request: OpenRequest, worlds: Worlds) -> None:
    """Raise ValueError for a model or a world that does not exist."""
    if request.model not in ("", *worlds.models):
        raise ValueError(f"unknown model {request.model!r}; this server has: {', '.join(worlds.models)}")
    if request.world not in ("", *worlds.worlds):
        raise ValueError(f"unknown world {request.world!r}; this server has: {', '.join(worlds.worlds)}")
