"""What a walk starts from, and how that becomes an Explorer: a true scene, a dream of one, an image, words, or a save.

Here viewers meet the engine and the scenes; both are imported when first wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..world.frame import Explorer, Frame
from ..world.pose import Camera, Motion, Pose
from .pictures import PictureError, read_picture

if TYPE_CHECKING:
    from ..scenes.scene import Scene
    from ..world.engine import Engine

_READ_SIDE = 2048  # a photograph is no sharper in a frame
_SCENE_SAVE_MARK = b'"roam": "scene session"'


class StartError(ValueError):
    """A start that cannot be made: an image that cannot be read, parts that contradict each other."""


@dataclass(frozen=True)
class Start:
    """Where a walk begins: test scene `seed` (of `family`, or the families in turn), truly shown or dreamed on.

    image: a file whose picture is the dream's first frame; load: a save to go on from, of either kind of world; text:
    what the world is, in words, for models that read them: beside an image, or alone. ghost: walk through what is solid
    in a dream.
    """

    seed: int = 0
    truth: bool = False
    family: str | None = None
    image: str | None = None
    load: str | None = None
    text: str | None = None
    ghost: bool = False

    def __post_init__(self):
        if self.text and (self.truth or self.load):
            raise StartError("words begin a dream; leave out --truth and --load")
        if self.image and self.truth:
            raise StartError("an image is dreamed on, and --truth shows a scene as it is: leave out one of the two")
        if self.ghost and self.truth:
            raise StartError("true scenes are solid for everyone: leave out --ghost or --truth")
        if self.image and self.load:
            raise StartError("a walk goes on from a save or begins with an image: leave out one of the two")

    def at_seed(self, seed: int) -> Start:
        """The same kind of world at another seed."""
        return replace(self, seed=seed, image=None, load=None, text=None)

    def as_dict(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_dict(values: dict) -> Start:
        """The start that `as_dict` told of. Raises StartError for anything else."""
        kinds = {"seed": int, "truth": bool, "family": str, "image": str, "load": str, "text": str, "ghost": bool}
        values = {"text": None, "ghost": not values.get("truth"), **values}  # as it was before logs said
        if set(values) != {f.name for f in fields(Start)}:
            raise StartError(f"a start with the fields {', '.join(values) or 'none'}; wanted {', '.join(kinds)}")
        for name, kind in kinds.items():
            if not (isinstance(values[name], kind) or (values[name] is None and kind is str)):
                raise StartError(f"a start whose '{name}' is {values[name]!r}; wanted {kind.__name__}")
        return Start(**values)

    def __str__(self) -> str:
        if self.load or self.image:
            return Path(self.load or self.image).name
        if self.text:
            return f"dream, {self.text[:40]}"
        return f"{'truth' if self.truth else 'dream'}, {self.family or 'scene'} {self.seed}"


@dataclass(frozen=True)
class Place:
    """An opened start: the explorer, where a motion leads from a pose as far as that is known, and whether free words
    are directions there, one frame each."""

    start: Start
    explorer: Explorer
    walked: Callable[[Pose, Motion], Pose]
    reads_words: bool = False
    scene: Scene | None = None  # the truth that is shown or dreamed of, where there is one


class Opener:
    """Opens starts; weights are read once, when the first dream is opened.

    model: a folder of weights, or None for the embedded ones; engine: one that has read them already; official: for an
    official folder, what Engine.from_checkpoint takes besides.
    """

    def __init__(self, model: str | Path | None = None, *, engine: Engine | None = None, **official):
        self.model = model
        self._engine, self._official = engine, official

    def open(self, start: Start) -> Place:
        """The place of a start. Raises a ValueError (SceneError, CheckpointError, ...) that says what is wrong."""
        if start.load:
            return self._loaded(start)
        if start.image or start.text:
            return self._told(start)
        from ..scenes.explorer import SceneSession
        from ..scenes.splits import make_scene

        scene = make_scene("test", start.seed, start.family)
        if start.truth:
            return Place(start, SceneSession(scene), scene.walked, scene=scene)
        side = self.engine.frame_side
        explorer = self.engine.session(
            SceneSession(scene, camera=Camera(side, side)).frame, seed=start.seed, solid=not start.ghost
        )
        return Place(start, explorer, _least(scene.walked, explorer.walked), self.engine.reads_words, scene)

    @property
    def engine(self) -> Engine:
        """The model behind the dreams."""
        if self._engine is None:
            from ..world.engine import Engine

            self._engine = Engine.from_checkpoint(self.model, device=None, **self._official)
        return self._engine

    def _told(self, start: Start) -> Place:
        """A dream that begins with an image or with words."""
        reads_words = self.engine.reads_words
        if start.text and not reads_words:
            raise StartError("this model begins with a scene or an image; it reads no words at the start")
        first = None
        if start.image:
            first = first_frame(start.image, Camera(*[self.engine.frame_side] * 2), is_whole=reads_words)
        words = {"words": start.text} if start.text else {}
        explorer = self.engine.session(first, seed=start.seed, solid=not start.ghost, **words)
        return Place(start, explorer, explorer.walked, reads_words)

    def _loaded(self, start: Start) -> Place:
        if start.truth or _is_scene_save(start.load):
            from ..scenes.explorer import load_scene_session

            session = load_scene_session(start.load)
            known, scene = replace(start, truth=True, family=session.scene.family), session.scene
            return Place(known, session, scene.walked, scene=scene)
        explorer = self.engine.load_session(start.load)
        explorer.is_solid = explorer.is_solid and not start.ghost
        return Place(start, explorer, explorer.walked, self.engine.reads_words)


def _least(*ways: Callable[[Pose, Motion], Pose]) -> Callable[[Pose, Motion], Pose]:
    """Where a motion leads if each way may stop it."""
    return lambda pose, motion: min((way(pose, motion) for way in ways), key=pose.distance_to)


def first_frame(path: str | Path, camera: Camera | None = None, *, is_whole: bool = False) -> Frame:
    """An image file as the first frame of a dream, at eye height: its middle, fitted to a camera, or all of it."""
    from PIL import Image, ImageOps

    from ..scenes.scene import EYE_HEIGHT

    try:
        picture = Image.fromarray(read_picture(path, within=None if is_whole else _READ_SIDE))
    except PictureError as error:
        raise StartError(str(error)) from error
    camera = camera or Camera()
    fitted = picture if is_whole else ImageOps.fit(picture, (camera.width, camera.height), Image.Resampling.LANCZOS)
    return Frame(0, np.array(fitted, np.uint8), pose=Pose.at(0, 0, EYE_HEIGHT))


def _is_scene_save(path: str | Path) -> bool:
    try:
        with open(path, "rb") as file:
            return _SCENE_SAVE_MARK in file.read(64)
    except OSError as error:
        raise StartError(f"cannot read the save {path}: {error.strerror}") from error
