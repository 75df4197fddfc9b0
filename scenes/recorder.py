"""Writes rollouts of the ground-truth world to disk, on all cores, resumable; and reads them back.

A file holds a few rollouts as one safetensors archive: pixels (R, T, H, W, 3) uint8, depth (R, T, H, W) float16,
poses (R, T, 7) float64 (position, wxyz) and, as metadata, the scene numbers and the actions. Knows nothing of models.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..world.action import Action
from ..world.pose import Camera, Motion, Pose
from ..world.records import known_pose_of, motion_of, motion_row
from .paths import keyframe_walk, poses_of, random_walk
from .render import render
from .scene import SceneError
from .splits import make_scene, scene_seed

PER_FILE = 8
FORMAT = "1"
WALKS = {"steps": 17, "keyframes": 18}  # what a walk adds to its scene's seed


@dataclass(frozen=True)
class Recording:
    """R rollouts of T frames: pixels (R, T, H, W, 3) uint8, depth (R, T, H, W) float16 metres, poses R lists of T,
    actions R lists of T - 1 as commanded (where a wall was in the way, the pose says what became of it)."""

    split: str
    numbers: tuple[int, ...]
    pixels: np.ndarray
    depth: np.ndarray
    poses: list[list[Pose]]
    actions: list[list[Action]]


def record_rollout(split: str, number: int, frames: int, camera: Camera, walk: str = "steps"):
    """One random walk through one scene: pixels, depth, poses and actions, the same for the same arguments. walk:
    "steps" as a person takes them, or "keyframes", from some place, each of which shows much that is new."""
    scene = make_scene(split, number)
    rng = np.random.default_rng([scene_seed(split, number), WALKS[walk]])
    start = scene.spawn_pose
    if walk == "keyframes":
        start = poses_of(scene, start, random_walk(scene, rng, int(rng.integers(0, 12)), start=start, plain=True))[-1]
        start = start.moved(Motion(yaw_deg=rng.uniform(-180, 180)))
        actions = keyframe_walk(scene, rng, frames - 1, start=start)
    else:
        actions = random_walk(scene, rng, frames - 1, start=start)
    poses = poses_of(scene, start, actions)
    views = [render(scene, pose, camera) for pose in poses]
    pixels = np.stack([view.pixels for view in views])
    return pixels, np.stack([view.depth for view in views]).astype(np.float16), poses, actions


def record(folder: str | Path, split: str, rollouts: int, *, frames: int = 24, camera: Camera | None = None,
           first: int = 0, walk: str = "steps", workers: int | None = None, progress=None) -> list[Path]:  # fmt: skip
    """Record `rollouts` scenes of a split into `folder`; files that are there already are kept. Returns all files.
    walk: see record_rollout.

    progress: called with (files done, files wanted) after each.
    """
    folder, camera = Path(folder), camera or Camera()
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (
            folder / f"{split}-{number:06d}.safetensors",
            split,
            number,
            min(PER_FILE, first + rollouts - number),
            frames,
            camera,
            walk,
        )
        for number in range(first, first + rollouts, PER_FILE)
    ]
    missing = [job for job in jobs if not job[0].exists()]
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        for done, future in enumerate(as_completed([pool.submit(_write, *job) for job in missing]), 1):
            future.result()
            if progress:
                progress(len(jobs) - len(missing) + done, len(jobs))
    return [job[0] for job in jobs]


def load_recording(path: str | Path) -> Recording:
    """Read one file that `record` wrote. Raises SceneError for a torn or foreign one."""
    try:
        with safe_open(path, "np") as file:
            meta = file.metadata() or {}
            if meta.get("format") != FORMAT:
                raise SceneError(
                    f"{path} is no recording of format {FORMAT}; write it anew with `roam train --stage record`"
                )
            texts = json.loads(meta["actions"])
            motions = json.loads(meta["motions"])
            poses = file.get_tensor("poses")
            return Recording(
                meta["split"],
                tuple(json.loads(meta["numbers"])),
                file.get_tensor("pixels"),
                file.get_tensor("depth"),
                [[known_pose_of(row) for row in walk.tolist()] for walk in poses],
                [
                    [Action(text, motion_of(motion)) for text, motion in zip(*walk, strict=True)]
                    for walk in zip(texts, motions, strict=True)
                ],
            )
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        if isinstance(error, SceneError):
            raise
        raise SceneError(f"{path} is no readable recording ({error}); delete it and record again") from error


def _write(path: Path, split: str, number: int, rollouts: int, frames: int, camera: Camera, walk: str) -> None:
    numbers = range(number, number + rollouts)
    pixels, depth, poses, actions = zip(*(record_rollout(split, n, frames, camera, walk) for n in numbers), strict=True)
    motions = [[motion_row(action.known_motion) for action in walk] for walk in actions]
    meta = {
        "format": FORMAT,
        "split": split,
        "numbers": json.dumps(list(numbers)),
        "actions": json.dumps([[a.text for a in walk] for walk in actions]),
        "motions": json.dumps(motions),
    }
    arrays = {
        "pixels": np.stack(pixels),
        "depth": np.stack(depth),
        "poses": np.array([[(*p.position, *p.wxyz) for p in walk] for walk in poses]),
    }
    partial = path.with_suffix(".partial")
    save_file(arrays, partial, metadata=meta)
    partial.replace(path)  # a file under its own name is whole
