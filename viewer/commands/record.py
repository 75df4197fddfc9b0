"""`roam record` and `roam replay FOLDER` in a terminal: record with a progress bar, and show what was recorded."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ..files.outputs import fresh
from ..play.video import VideoRecorder
from .bars import Bars

KEYFRAMES = 6  # frames of a walk by keyframes


@dataclass(frozen=True)
class RecordOrder:
    """What to record: rollouts of `frames` frames from a source's split, from number `first` on; keyframes: how many
    walks by keyframes in addition, into its subfolder `keyframes`; words: the table of an environment's words; fit
    and step_s: how footage becomes frames (SourceOptions)."""

    folder: Path
    source: str
    split: str
    rollouts: int
    frames: int
    first: int = 0
    keyframes: int = 0
    workers: int | None = None
    words: Path | None = None
    fit: str = "crop"
    step_s: float = 0.2


def record(order: RecordOrder) -> None:
    """Record what was asked for, continuing with what is there, and print how much and how fast."""
    from ...scenes.recorder import load_recording
    from ...scenes.recorder import record as run
    from ...scenes.recording.walked import SourceOptions

    options = SourceOptions(None if order.words is None else str(order.words), order.fit, order.step_s)
    parts = [(order.folder, order.rollouts, order.frames, "steps")]
    if order.keyframes:
        parts.append((order.folder / "keyframes", order.keyframes, KEYFRAMES, "keyframes"))
    for folder, rollouts, frames, walk in parts:
        began = time.perf_counter()
        with Bars(console=Console(stderr=True)) as bar:
            task = bar.add_task(f"recording {order.split}, {walk}", total=None)
            paths = run(
                folder,
                order.split,
                rollouts,
                frames=frames,
                first=order.first,
                walk=walk,
                source=order.source,
                workers=order.workers,
                options=options,
                progress=lambda done, wanted, task=task, bar=bar: bar.update(task, completed=done, total=wanted),
            )
        size = sum(path.stat().st_size for path in paths) / 1e6
        made = sum(len(load_recording(path).numbers) for path in paths)
        print(f"{made} rollouts in {len(paths)} files in {folder}, {size:.0f} MB, {time.perf_counter() - began:.1f} s")


def show_recorded(folder: Path, split: str, number: int, out: Path) -> None:
    """Write a recorded rollout as a video, and print its actions."""
    from ...scenes.recording.recorded import open_recorded

    session = open_recorded(folder, split, number)
    path = fresh(out, f"{split}-{number}", ".mp4")
    video = VideoRecorder(path)
    try:
        video.add(session.frame.pixels)
        for action in session.steps:
            video.add(session.step(action).pixels)
    except BaseException:
        video.discard()
        raise
    video.close()
    print(f"{len(session.steps) + 1} frames of {session.world}: " + "; ".join(action.text for action in session.steps))
    print(f"wrote {path}")
