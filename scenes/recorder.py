"""Writes rollouts of true worlds to disk, on all cores, resumable; and reads them back.

A file holds a few rollouts as one safetensors archive: pixels (R, T, H, W, 3) uint8, depth (R, T, H, W) float16,
poses (R, T, 7) float64 (position, wxyz) and, as metadata, the numbers, the worlds and the actions. Depth and poses are
left out where the source has none. What is read is mapped from disk, not copied. Knows nothing of models.
"""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..world.action import Action
from ..world.files import let_read, sha256
from ..world.pose import Camera, Pose
from ..world.records import action_of, known_pose_of, motion_row, pose_row
from ..world.side_by_side.processes import Workers
from .recording.manifest import FileNote, begun, write_manifest
from .recording.sources import SCENES, open_source, record_rollout
from .recording.walked import PER_FILE, SourceOptions, Walked
from .scene import SceneError

FORMAT = "1"
PARTIAL = ".partial"  # what a file is called until it is whole


@dataclass(frozen=True)
class Recording:
    """R rollouts of T frames: pixels (R, T, H, W, 3) uint8, depth (R, T, H, W) float16 metres or None, poses R lists of
    T or None, actions R lists of T - 1 as commanded (where a wall was in the way, the pose says what became of it),
    worlds the R that were walked through."""

    split: str
    numbers: tuple[int, ...]
    pixels: np.ndarray
    depth: np.ndarray | None
    poses: list[list[Pose]] | None
    actions: list[list[Action]]
    worlds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A file to write and what goes into it."""

    path: Path
    source: str
    options: SourceOptions
    split: str
    numbers: range
    frames: int
    camera: Camera
    walk: str


def record(
    folder: str | Path,
    split: str,
    rollouts: int,
    *,
    frames: int = 24,
    camera: Camera | None = None,
    first: int = 0,
    walk: str = "steps",
    source: str = SCENES,
    options: SourceOptions | None = None,
    workers: int | None = None,
    progress=None,
) -> list[Path]:
    """Record `rollouts` walks of a split into `folder`; existing files are kept. Returns all files; a source that ends
    gives fewer.

    walk: "steps" like those of a person, or "keyframes", each of which shows much for the first time; source and
    options: see sources.open_source. progress: called with (files done, files wanted) after each. Raises SceneError if
    the folder holds other recordings, if the source has no world in that split, and if a file cannot be written; what
    has been recorded by then stays, and the same call continues.
    """
    folder, camera = Path(folder), camera or Camera()
    options = options or SourceOptions()
    opened = open_source(source, options)
    held = opened.check(split, frames)
    rollouts = rollouts if held is None else min(rollouts, max(0, held - first))
    folder.mkdir(parents=True, exist_ok=True)
    manifest = begun(folder, opened, camera, frames, walk)
    jobs = [
        Job(
            folder / f"{split}-{number:06d}.safetensors",
            source,
            options,
            split,
            range(number, min(number + PER_FILE, first + rollouts)),
            frames,
            camera,
            walk,
        )
        for number in range(first, first + rollouts, PER_FILE)
    ]
    for path in (job.path for job in jobs if job.path.exists() and job.path.name not in manifest.files):
        manifest = manifest.with_file(path.name, note_of(path))  # it was interrupted between the file and the manifest
    missing = [job for job in jobs if not job.path.exists()]
    try:
        with Workers(workers) as pool:
            for done, future in enumerate(as_completed([pool.submit(_write, job) for job in missing]), 1):
                path = future.result()
                manifest = manifest.with_file(path.name, note_of(path))
                write_manifest(folder, manifest)
                if progress:
                    progress(len(jobs) - len(missing) + done, len(jobs))
    finally:
        for job in missing:  # remove the partial file of a process that was ended while it wrote
            job.path.with_suffix(PARTIAL).unlink(missing_ok=True)
    write_manifest(folder, manifest)
    return [job.path for job in jobs]


def keyframe_walk_of(split: str, number: int, frames: int) -> Walked:
    """The walk by keyframes through the number-th scene of a split, as `record` would write it."""
    return record_rollout(split, number, frames, Camera(), "keyframes")


def note_of(path: Path) -> FileNote:
    """What the manifest says of a file."""
    held = load_recording(path)
    return FileNote(
        held.split,
        len(held.numbers),
        tuple(dict.fromkeys(held.worlds)),
        held.depth is not None,
        held.poses is not None,
        sha256(path),
    )


def load_recording(path: str | Path) -> Recording:
    """Read one file that `record` wrote; pixels and depth are mapped from disk, read-only. Raises SceneError for a torn
    or foreign one."""
    try:
        with safe_open(path, "np") as file:
            meta = file.metadata() or {}
            if meta.get("format") != FORMAT:
                raise SceneError(
                    f"{path} is no recording of format {FORMAT}; write it anew with `roam train --stage record`"
                )
            names = set(file.keys())
            poses = file.get_tensor("poses").tolist() if "poses" in names else None
        arrays = _mapped(Path(path))
        numbers = tuple(json.loads(meta["numbers"]))
        return Recording(
            meta["split"],
            numbers,
            arrays["pixels"],
            arrays.get("depth"),
            poses and [[known_pose_of(row) for row in walk] for walk in poses],
            [
                [action_of(row) for row in zip(*walk, strict=True)]
                for walk in zip(json.loads(meta["actions"]), json.loads(meta["motions"]), strict=True)
            ],
            tuple(json.loads(meta["worlds"])) if "worlds" in meta else tuple(map(str, numbers)),
        )
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        if isinstance(error, SceneError):
            raise
        raise SceneError(f"{path} is no readable recording ({error}); delete it and record again") from error


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """The large arrays of a safetensors file, mapped: eight bytes say how long its JSON header is, arrays follow."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    kinds = {"U8": np.uint8, "F16": np.float16}
    return {
        name: np.memmap(path, kinds[told["dtype"]], "r", 8 + size + told["data_offsets"][0], tuple(told["shape"]))
        for name, told in header.items()
        if name in ("pixels", "depth")
    }


def write_rollouts(path: Path, split: str, numbers: range, walks: list[Walked]) -> None:
    """Write rollouts of one length into a file, completely or not at all. Raises SceneError if it cannot be written."""
    motions = [[action.motion and motion_row(action.motion) for action in walk.actions] for walk in walks]
    meta = {
        "format": FORMAT,
        "split": split,
        "numbers": json.dumps(list(numbers)),
        "worlds": json.dumps([walk.world for walk in walks]),
        "actions": json.dumps([[a.text for a in walk.actions] for walk in walks]),
        "motions": json.dumps(motions),
    }
    arrays = {"pixels": np.stack([walk.pixels for walk in walks])}
    depths = [walk.depth for walk in walks if walk.depth is not None]
    poses = [[pose_row(pose) for pose in walk.poses] for walk in walks if walk.poses is not None]
    if len(depths) == len(walks):
        arrays["depth"] = np.stack(depths)
    if len(poses) == len(walks):
        arrays["poses"] = np.array(poses)
    partial = path.with_suffix(PARTIAL)
    try:
        save_file(arrays, partial, metadata=meta)
        let_read(partial)
        partial.replace(path)  # a file with its final name is complete
    except (OSError, SafetensorError) as error:
        raise SceneError(
            f"cannot write {path} ({error}); what was recorded before it stays: make room, and the same command goes on"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _write(job: Job) -> Path:
    source = open_source(job.source, job.options)
    walks = list(source.rollouts(job.split, job.numbers, job.frames, job.camera, job.walk))
    write_rollouts(job.path, job.split, job.numbers, walks)
    return job.path
