"""The description of a folder of recordings, manifest.json: source, licence, camera, splits, and every file's hash.

A world belongs to one split; a folder in which one would be in two is refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ...world.files import parse_json, read_bytes, write_text_whole
from ...world.pose import Camera
from ..scene import SceneError

NAME = "manifest.json"
FORMAT = "1"


@dataclass(frozen=True)
class FileNote:
    """What is in a file: its split, how many rollouts, the worlds walked through, whether depth and poses are there,
    and the SHA-256 of its bytes."""

    split: str
    rollouts: int
    worlds: tuple[str, ...]
    has_depth: bool
    has_poses: bool
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """source, about, licence: where frames are from, and under which terms; camera: width, height and degrees across;
    frames: of a rollout; walk: "steps" or "keyframes"; files: by name."""

    source: str
    about: str
    licence: str
    camera: tuple[int, int, float]
    frames: int
    walk: str = "steps"
    files: dict[str, FileNote] = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        """The worlds of each split, sorted."""
        held: dict[str, set[str]] = {}
        for note in self.files.values():
            held.setdefault(note.split, set()).update(note.worlds)
        return {split: tuple(sorted(worlds)) for split, worlds in held.items()}

    def with_file(self, name: str, note: FileNote) -> Manifest:
        """The manifest with one more file. Raises SceneError for a world that is in another split already."""
        for split, worlds in self.splits.items():
            if split != note.split and (both := set(worlds) & set(note.worlds)):
                raise SceneError(f"{both.pop()} would be in the splits {split} and {note.split}: name another folder")
        return replace(self, files=self.files | {name: note})


def read_manifest(folder: str | Path) -> Manifest | None:
    """The manifest of a folder, or None where it has none. Raises SceneError for one that cannot be read."""
    path = Path(folder) / NAME
    if not path.exists():
        return None
    try:
        held = parse_json(read_bytes(path))
        if held.pop("roam") != "recordings" or held.pop("format") != FORMAT:
            raise SceneError(f"{path} is no manifest of format {FORMAT}")
        held.pop("splits")
        notes = held.pop("files").items()
        files = {name: FileNote(**{**note, "worlds": tuple(note["worlds"])}) for name, note in notes}
        return Manifest(**{**held, "camera": tuple(held["camera"])}, files=files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, SceneError):
            raise
        raise SceneError(f"{path} is no readable manifest ({error}); delete it: recording writes it anew") from error


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write it, completely or not at all."""
    path = Path(folder) / NAME
    held = {"roam": "recordings", "format": FORMAT, **asdict(manifest)}
    held["splits"] = manifest.splits
    write_text_whole(path, json.dumps(held, indent=1))


def begun(folder: str | Path, source, camera: Camera, frames: int, walk: str) -> Manifest:
    """The manifest to continue: the folder's, or a new one. Raises SceneError if the folder holds something else
    than is to be recorded."""
    wanted = Manifest(
        source.name, source.about, source.licence, (camera.width, camera.height, camera.fov_deg), frames, walk
    )
    before = read_manifest(folder)
    if before is None:
        return wanted
    for what in ("source", "camera", "frames", "walk"):
        if getattr(before, what) != getattr(wanted, what):
            raise SceneError(
                f"{folder} holds recordings whose {what} is {getattr(before, what)}, not "
                f"{getattr(wanted, what)}: name another folder"
            )
    return before
