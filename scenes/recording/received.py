"""Frames that a game sends of itself, appended to a folder of recordings.

A rollout is cut into pieces of the folder's length; each is written as a file as soon as it is complete, so that no
complete piece is ever lost. Pictures of any size are fitted to the camera: their middle is cut out, at the camera's
angle, so the result is again a pinhole camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ...world.action import Action
from ...world.pose import Camera, Pose, focal_length
from ..recorder import note_of, write_rollouts
from ..scene import SceneError
from .manifest import Manifest, begun, write_manifest
from .walked import Walked

FRAMES = 24  # of a piece
MAX_OPEN = 8  # rollouts that one sender may have begun and not ended


@dataclass(frozen=True)
class Sender:
    """name: of the game, by which its folder goes; about and licence: what the manifest says of it."""

    name: str
    about: str = "frames that a game sent of itself"
    licence: str = "that of the game's authors"


@dataclass(frozen=True)
class SentFrame:
    """One frame of a game: pixels (H, W, 3) uint8; fov_deg, how wide it sees; depth (H, W) float32 metres along the
    view's axis or None; pose or None; action, what led to it, None for a rollout's first."""

    pixels: np.ndarray
    fov_deg: float
    depth: np.ndarray | None
    pose: Pose | None
    action: Action | None


class ReceivedFolder:
    """The recordings of one game. Raises SceneError where the folder holds another's."""

    def __init__(self, folder: str | Path, sender: Sender, *, camera: Camera | None = None, frames: int = FRAMES):
        self.folder, self.camera, self.frames = Path(folder), camera or Camera(), frames
        self.folder.mkdir(parents=True, exist_ok=True)
        self._manifest: Manifest = begun(self.folder, sender, self.camera, frames, "steps")
        self._open: dict[tuple[str, int], list[SentFrame]] = {}
        self._worlds: dict[tuple[str, int], tuple[str, str]] = {}

    @property
    def num_walks(self) -> int:
        """Pieces that are stored in files."""
        return sum(note.rollouts for note in self._manifest.files.values())

    @property
    def num_bytes(self) -> int:
        return sum((self.folder / name).stat().st_size for name in self._manifest.files)

    def held_of(self, sender: str) -> int:
        """Frames of a sender in pieces that are not complete yet."""
        return sum(len(held) for (name, _), held in self._open.items() if name == sender)

    def add(self, sender: str, rollout: int, split: str, world: str, frame: SentFrame) -> int:
        """Append a frame to its sender's rollout; returns the number of pieces in files. Raises SceneError for a
        frame that does not match those before it, for a world of another split, and if a file cannot be written:
        then that piece is lost, and what is in files stays."""
        key = (sender, rollout)
        if key not in self._open:
            if sum(name == sender for name, _ in self._open) >= MAX_OPEN:
                raise SceneError(f"{MAX_OPEN} rollouts are open already: end one first")
            self._check_world(split, world)
        elif self._worlds[key] != (split, world):
            raise SceneError(
                f"rollout {rollout} is of {' '.join(self._worlds[key])}: begin another for {split} {world}"
            )
        held = self._open.get(key, [])
        fitted = self._fitted(frame)
        if held and (misses := _unlike(held[0], fitted)):
            raise SceneError(f"this frame has {misses}, unlike the rollout's first")
        if held and fitted.action is None:
            raise SceneError("this frame does not say what led to it")
        held.append(fitted)
        self._open[key], self._worlds[key] = held, (split, world)
        if len(held) == self.frames:
            self._open[key] = []
            self._write(split, world, held)
        return self.num_walks

    def end(self, sender: str, rollout: int | None = None) -> int:
        """End a sender's rollout, or all of them; returns how many frames were left over, too few for a piece."""
        ended = [key for key in self._open if key[0] == sender and rollout in (None, key[1])]
        left = 0
        for key in ended:
            left += len(self._open.pop(key))
            del self._worlds[key]
        return left

    def _check_world(self, split: str, world: str) -> None:
        for other, worlds in self._manifest.splits.items():
            if other != split and world in worlds:
                raise SceneError(f"{world} is in the split {other} already: a world belongs to one")

    def _fitted(self, frame: SentFrame) -> SentFrame:
        """The frame fitted to the folder's camera."""
        H, W = frame.pixels.shape[:2]
        focal = focal_length(W, frame.fov_deg)
        sides = (self.camera.width, self.camera.height)
        wide, high = (round(focal * side / self.camera.focal) for side in sides)
        if wide > W + 1 or high > H + 1:
            raise SceneError(
                f"a picture of {W}x{H} that is {frame.fov_deg:.0f} degrees wide shows too little: wanted are "
                f"{self.camera.fov_deg:.0f} degrees, and as many of its height"
            )
        wide, high = min(wide, W), min(high, H)
        left, top = (W - wide) // 2, (H - high) // 2
        cut = lambda plane: plane[top : top + high, left : left + wide]  # noqa: E731
        pixels = cv2.resize(cut(frame.pixels), sides, interpolation=cv2.INTER_AREA)
        depth = None
        if frame.depth is not None:
            depth = cv2.resize(cut(frame.depth), sides, interpolation=cv2.INTER_NEAREST).astype(np.float16)
        return SentFrame(pixels, self.camera.fov_deg, depth, frame.pose, frame.action)

    def _write(self, split: str, world: str, sent: list[SentFrame]) -> None:
        number = 1 + max((int(Path(name).stem.rpartition("-")[2]) for name in self._manifest.files), default=-1)
        path = self.folder / f"{split}-{number:06d}.safetensors"
        depth = [frame.depth for frame in sent if frame.depth is not None]
        poses = [frame.pose for frame in sent if frame.pose is not None]
        walk = Walked(
            world,
            np.stack([frame.pixels for frame in sent]),
            np.stack(depth) if depth else None,
            poses or None,
            [frame.action for frame in sent[1:] if frame.action is not None],
        )
        write_rollouts(path, split, range(number, number + 1), [walk])
        self._manifest = self._manifest.with_file(path.name, note_of(path))
        write_manifest(self.folder, self._manifest)


def _unlike(first: SentFrame, frame: SentFrame) -> str:
    """What a frame has and the rollout's first has not, or the reverse; "" if they have the same."""
    for name in ("depth", "pose"):
        if (getattr(first, name) is None) != (getattr(frame, name) is None):
            return f"no {name}" if getattr(frame, name) is None else f"a {name}"
    return ""
