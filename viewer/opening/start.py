"""What a walk starts from, and how that becomes an Explorer: a true scene, a dream of one, an image, words, or a save.

The only file of `viewer` besides worlds.py that knows the engine and the scenes; both are imported when first needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...world.files import readable
from ...world.frame import Explorer, Frame, Solid
from ...world.options import DreamOptions, OfficialOptions
from ...world.pictures.reading import PictureError, read_picture
from ...world.pose import Camera, Motion, Pose, focal_length
from ..files.pictures import degrees_across

if TYPE_CHECKING:
    from ...scenes.scene import Scene
    from ...world.session import SessionEngine

_LEAST_SHOWN = 0.2  # share of a frame's side that a photograph must fill
_READ_SIDE = 2048  # more pixels than this give no sharper frame
_SCENE_SAVE_MARK = b'"roam": "scene session"'


class StartError(ValueError):
    """A start that is impossible: an image that cannot be read, options that contradict each other."""


@dataclass(frozen=True)
class Start:
    """Where a walk begins: in a test scene unless image, load, text or world say otherwise."""

    seed: int = 0  # number of the test scene
    truth: bool = False  # show the true scene itself, instead of dreaming from its first frame
    family: str | None = None  # of the scene; None: the families take turns
    image: str | None = None  # a file whose picture is the dream's first frame
    load: str | None = None  # a save to continue from, of a true world or of a dream
    text: str | None = None  # what the world is, for models that read words; with an image, or alone
    ghost: bool = False  # walk through solid surfaces in a dream
    dream_seed: int | None = None  # seed of the dream; None: `seed`
    fov_deg: float | None = None  # angle across of the image in degrees; None: as its file says
    world: str | None = None  # a world that others made, by name ("doom:E1M1"), instead of a scene

    def __post_init__(self):
        if self.world and (self.image or self.load or self.text or self.family):
            raise StartError(f"{self.world} is a world to begin in: leave out --image, --load, --text and --family")
        if self.text and (self.truth or self.load):
            raise StartError("words begin a dream; leave out --truth and --load")
        if self.image and self.truth:
            raise StartError("an image is dreamed on, and --truth shows a scene as it is: leave out one of the two")
        if self.ghost and self.truth:
            raise StartError("true scenes are solid for everyone: leave out --ghost or --truth")
        if self.image and self.load:
            raise StartError("a walk goes on from a save or begins with an image: leave out one of the two")
        if self.dream_seed is not None and (self.truth or self.load):
            raise StartError("a true scene has no dream, and a save goes on with its own: leave out --dream-seed")
        if self.fov_deg is not None and not self.image:
            raise StartError("--fov says how much an image shows: give --image, or leave it out")
        if self.fov_deg is not None and not 1 <= self.fov_deg <= 170:
            raise StartError(f"a field of view of {self.fov_deg:g} degrees; wanted 1 to 170")

    @property
    def session_seed(self) -> int:
        """The seed of the dream."""
        return self.seed if self.dream_seed is None else self.dream_seed

    def at_seed(self, seed: int) -> Start:
        """The same kind of world at another seed; for worlds with names, the next one."""
        if self.world:
            from ...scenes.worlds import following

            return replace(self, seed=seed, world=following(self.world), dream_seed=None)
        return replace(self, seed=seed, image=None, load=None, text=None, dream_seed=None, fov_deg=None)

    def as_dict(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_dict(values: dict) -> Start:
        """The start that `as_dict` wrote. Raises StartError for anything else."""
        kinds = {
            "seed": int,
            "truth": bool,
            "family": str,
            "image": str,
            "load": str,
            "text": str,
            "ghost": bool,
            "dream_seed": int,
            "fov_deg": float,
            "world": str,
        }
        # the default before logs recorded it
        values = {
            "text": None,
            "ghost": not values.get("truth"),
            "dream_seed": None,
            "fov_deg": None,
            "world": None,
            **values,
        }
        if set(values) != {f.name for f in fields(Start)}:
            raise StartError(f"a start with the fields {', '.join(values) or 'none'}; wanted {', '.join(kinds)}")
        for name, kind in kinds.items():
            value, may_be_none = values[name], kind is not bool and name != "seed"
            is_kind = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
            if not (is_kind or (value is None and may_be_none)):
                raise StartError(f"a start whose '{name}' is {values[name]!r}; wanted {kind.__name__}")
        return Start(**values)

    def __str__(self) -> str:
        if file := self.load or self.image:
            return Path(file).name
        if self.text:
            return f"dream, {self.text[:40]}"
        if self.world:
            return f"{'truth' if self.truth else 'dream'}, {self.world}"
        return f"{'truth' if self.truth else 'dream'}, {self.family or 'scene'} {self.seed}"


@dataclass(frozen=True)
class Place:
    """An opened start."""

    start: Start
    explorer: Explorer
    walked: Callable[[Pose, Motion], Pose]  # the pose that a motion leads to, as far as that is known
    reads_words: bool = False  # whether any words are directions here, one frame each
    scene: Scene | None = None  # the true place that is shown or dreamt of, if there is one
    note: str = ""  # a sentence for the walker


class Opener:
    """Opens starts; weights are read once, when the first dream is opened.

    model: a folder of weights, or None for the embedded ones; engine: one that has read them already; official: what an
    official folder needs in addition; say: gets the plan of its memory. dreams: how unseen places are dreamt, if that
    was given.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        engine: SessionEngine | None = None,
        dreams: DreamOptions | None = None,
        official: OfficialOptions | None = None,
        say: Callable[[str], None] | None = None,
    ):
        self.model, self.dreams = model, dreams or DreamOptions()
        self._engine, self._official, self._say = engine, official, say

    def open(self, start: Start) -> Place:
        """Open a start. Raises a ValueError (SceneError, CheckpointError, ...) that says what is wrong."""
        if start.load:
            return self._loaded(start, start.load)
        if start.image or start.text:
            return self._told(start)
        if not start.truth:
            self._check_dreams(start)
        from ...scenes.explorer import SceneSession
        from ...scenes.splits import make_scene

        if start.world:
            return self._named(start, start.world)
        scene = make_scene("test", start.seed, start.family)
        if start.truth:
            return Place(start, SceneSession(scene), scene.walked, scene=scene)
        side = self.engine.frame_side
        explorer = self.engine.session(
            SceneSession(scene, camera=Camera(side, side)).frame, seed=start.session_seed, solid=not start.ghost
        )
        return Place(start, explorer, _shorter(scene.walked, explorer.walked), self.engine.reads_words, scene)

    def _named(self, start: Start, world: str) -> Place:
        """A world that others made, or a dream that begins with the view at its entrance."""
        from ...scenes.opening import open_explorer

        if start.truth:
            true = open_explorer(world, start.seed)
            if isinstance(true, Solid):
                return Place(start, true, true.walked)
            return Place(start, true, Pose.moved, reads_words=True, note=_note(true.frame))
        side = self.engine.frame_side
        true = open_explorer(world, start.seed, Camera(side, side))
        explorer = self.engine.session(true.frame, seed=start.session_seed, solid=not start.ghost)
        true.close()
        reads_words = self.engine.reads_words or true.frame.pose is None
        return Place(start, explorer, explorer.walked, reads_words, note=_note(true.frame))

    @property
    def engine(self) -> SessionEngine:
        """The model behind the dreams."""
        if self._engine is None:
            from ...world.opening import open_engine

            self._engine = open_engine(self.model, dreams=self.dreams, official=self._official, say=self._say)
        return self._engine

    def _check_dreams(self, start: Start) -> None:
        """Raise StartError for a seed of dreams where the seed has no effect."""
        if start.dream_seed is not None and not (self.engine.dreams_anew or self.engine.reads_words):
            raise StartError("this model has no painter and shows what it is surest of: leave out --dream-seed")

    def _told(self, start: Start) -> Place:
        """A dream that begins with an image or with words."""
        if start.image:
            _picture(start.image)  # one that cannot be read is refused before weights are read
        self._check_dreams(start)
        reads_words = self.engine.reads_words
        if start.text and not reads_words:
            raise StartError("this model begins with a scene or an image; it reads no words at the start")
        first = None
        if start.image and reads_words:
            if start.fov_deg is not None:
                raise StartError("this model takes an image whole, whatever it shows: leave out --fov")
            first = first_frame(start.image, is_whole=True)
        elif start.image:
            return self._photographed(start, start.image)
        explorer = self.engine.session(first, words=start.text or "", seed=start.session_seed, solid=not start.ghost)
        return Place(start, explorer, explorer.walked, reads_words)

    def _photographed(self, start: Start, image: str) -> Place:
        """A dream that begins with a photograph; the part of the first frame outside it is dreamt first."""
        camera, fov_deg = Camera(*[self.engine.frame_side] * 2), start.fov_deg or degrees_across(image)
        if fov_deg is None:
            first, seen = first_frame(image, camera), None
        else:
            first, seen = photograph(image, camera, fov_deg)
        if seen is not None and not seen.all() and not self.engine.dreams_anew:
            if start.fov_deg is not None:
                raise StartError(
                    f"{Path(image).name} shows less than the {camera.fov_deg:g} degrees of a frame, and this "
                    "model has no painter to dream the rest: leave out --fov, and its middle fills the frame"
                )
            first, seen = first_frame(image, camera), None
        seen = None if seen is None or seen.all() else seen
        explorer = self.engine.session(
            first, seed=start.session_seed, solid=not start.ghost, seen=seen, photograph=True
        )
        return Place(start, explorer, explorer.walked)

    def _loaded(self, start: Start, save: str) -> Place:
        if _is_scene_save(save) or (start.truth and not _is_env_save(save)):
            from ...scenes.explorer import load_scene_session
            from ...scenes.scene import Scene

            session = load_scene_session(save)
            scene = session.scene if isinstance(session.scene, Scene) else None
            known = replace(start, truth=True, family=scene.family if scene else None)
            return Place(known, session, session.walked, scene=scene)
        if _is_env_save(save):
            from ...scenes.env.session import load_env_session

            true = load_env_session(save)
            return Place(replace(start, truth=True), true, Pose.moved, reads_words=True, note=_note(true.frame))
        explorer = self.engine.load_session(save)
        explorer.is_solid = explorer.is_solid and not start.ghost
        return Place(start, explorer, explorer.walked, self.engine.reads_words)


def _note(frame: Frame) -> str:
    """What a walker is told of a world without poses; "" for all others."""
    return "" if frame.pose else "this world does not say where one is: a dream of it has no memory of places"


def _shorter(*ways: Callable[[Pose, Motion], Pose]) -> Callable[[Pose, Motion], Pose]:
    """Where a motion leads when both a scene and a dream may stop it: no farther than either allows."""
    return lambda pose, motion: min((way(pose, motion) for way in ways), key=pose.distance_to)


def _picture(path: str | Path, *, is_whole: bool = False) -> np.ndarray:
    """An image file's pixels (H, W, 3) uint8, no larger than a frame needs unless it is_whole. Raises StartError."""
    try:
        return read_picture(path, within=None if is_whole else _READ_SIDE)
    except PictureError as error:
        raise StartError(str(error)) from error


def first_frame(path: str | Path, camera: Camera | None = None, *, is_whole: bool = False) -> Frame:
    """An image file as the first frame of a dream, at eye height: its middle square, assumed to have the camera's
    angle, or all of it."""
    from PIL import Image, ImageOps

    from ...scenes.scene import EYE_HEIGHT

    picture = Image.fromarray(_picture(path, is_whole=is_whole))
    camera = camera or Camera()
    fitted = picture if is_whole else ImageOps.fit(picture, (camera.width, camera.height), Image.Resampling.LANCZOS)
    return Frame(0, np.array(fitted, np.uint8), pose=Pose.at(0, 0, EYE_HEIGHT))


def photograph(path: str | Path, camera: Camera, fov_deg: float) -> tuple[Frame, np.ndarray]:
    """A photograph that covers fov_deg from side to side as the first frame of a dream: at its true scale in the
    middle of what the camera sees, cut where it covers more. Returns the frame and where (H, W) bool the photograph
    is in it; the rest has the colours of its edge. Raises StartError for one that fills hardly anything of a frame."""
    from PIL import Image

    from ...scenes.scene import EYE_HEIGHT

    picture = Image.fromarray(_picture(path))
    # frame pixels per photograph pixel
    scale = camera.focal / focal_length(picture.width, fov_deg)
    sides, spans = [], []
    for whole, shown in ((picture.width, camera.width), (picture.height, camera.height)):
        low = max(0, round(shown / 2 - whole / 2 * scale))
        sides.append((low, shown - low))
        spans.append([min(max((edge - shown / 2) / scale + whole / 2, 0), whole) for edge in (low, shown - low)])
    (left, right), (top, bottom) = sides
    if min(right - left, bottom - top) < camera.width * _LEAST_SHOWN:
        raise StartError(
            f"{Path(path).name} shows {fov_deg:.0f} degrees from side to side, and a frame {camera.fov_deg:g}: too "
            "little to begin with. Say with --fov what it is taken for"
        )
    box = (spans[0][0], spans[1][0], spans[0][1], spans[1][1])
    fitted = np.array(picture.resize((right - left, bottom - top), Image.Resampling.LANCZOS, box=box), np.uint8)
    seen = np.zeros((camera.height, camera.width), bool)
    seen[top:bottom, left:right] = True
    around = ((top, camera.height - bottom), (left, camera.width - right), (0, 0))
    return Frame(0, np.pad(fitted, around, mode="edge"), pose=Pose.at(0, 0, EYE_HEIGHT)), seen


def _is_scene_save(path: str | Path) -> bool:
    return _SCENE_SAVE_MARK in _head(path)


def _is_env_save(path: str | Path) -> bool:
    return b'"roam": "env session"' in _head(path)


def _head(path: str | Path) -> bytes:
    """The first bytes of a save, which say what kind it is."""
    try:
        with readable(path).open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise StartError(f"cannot read the save {path}: {error.strerror}") from error
