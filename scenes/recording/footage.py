"""Other people's footage: a folder of videos, each with a .jsonl file of the same name that says what was done when.

A line is one JSON object: "t" in seconds or "frame", when it begins; "words", what was done, or "motion", what it moves
by until the next line: [forward, right] in metres and [yaw, pitch] in degrees, in one list of four; or both. "pose",
optional: x, y, z in metres, yaw and pitch in degrees, at that time. Lines are in order; each holds until the next.
splits.json, if there is one, names the videos of each split; otherwise a video's contents decide its split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ...world.action import Action, say
from ...world.files import TextError, parse_json, read_text, sha256
from ...world.pose import Camera, Motion, Pose
from ..scene import SceneError
from .walked import SourceOptions, Walked

PREFIX = "footage:"
VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".gif")
FITS = ("crop", "letterbox")
_SHARES = (("train", 7), ("dev", 1), ("test", 2))  # of ten
_SAME_TIME, _SAME_PICTURE = 1e-9, 1e-6  # seconds by which times of lines, and of pictures, may be rounded
_FIELDS = {"t", "frame", "words", "motion", "pose"}
_LINE_END = re.compile("\r\n?|\n")
_MOST_BYTES = 64 << 20  # of the actions of one video


@dataclass(frozen=True)
class Line:
    """One line of a sidecar file: its start in seconds, its action, and the camera's pose."""

    t: float
    words: str | None
    motion: Motion | None
    pose: Pose | None


@dataclass(frozen=True)
class Clip:
    """A video and its sidecar file: its length in seconds, frames a second, width and height."""

    path: Path
    lines: tuple[Line, ...]
    seconds: float
    fps: float
    size: tuple[int, int]

    def action(self, begin: float, end: float) -> Action | None:
        """What was done from one time to another; None if no line says."""
        held = [k for k, line in enumerate(self.lines) if line.t < end - _SAME_TIME]
        if not held:
            return None
        first = max((k for k in held if self.lines[k].t <= begin + _SAME_TIME), default=0)
        moved, words = None, None
        for k in range(first, held[-1] + 1):
            line, until = self.lines[k], self.lines[k + 1].t if k + 1 < len(self.lines) else self.seconds
            share = max(0.0, min(end, until) - max(begin, line.t)) / max(until - line.t, _SAME_TIME)
            if line.motion is not None:
                moved = (moved or Motion()) + line.motion.scaled(share)
            words = line.words or words
        if moved is not None:
            rounded = Motion(*(round(amount, 3) for amount in vars(moved).values()))
            return Action(words or say(rounded), rounded)
        return None if words is None else Action(words)

    def pose(self, t: float, within: float) -> Pose | None:
        """The camera's pose at a time, by the nearest line that gives one."""
        told = [line for line in self.lines if line.pose is not None and abs(line.t - t) <= within]
        return min(told, key=lambda line: abs(line.t - t)).pose if told else None


def videos(folder: str | Path) -> list[Path]:
    """The videos of a folder, in order of their names. Raises SceneError where there are none."""
    folder = Path(folder)
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [path for path in paths if path.suffix.lower() in VIDEOS and path.is_file()]
    if not found:
        raise SceneError(f"no videos in {folder}; wanted files that end in {', '.join(VIDEOS)}")
    return found


def read_clip(path: Path) -> Clip:
    """A video with its sidecar. Raises SceneError for a video that cannot be read, or has no sidecar or a wrong one."""
    seconds, fps, size = _measured(path)
    sidecar = path.with_suffix(".jsonl")
    if not sidecar.exists():
        raise SceneError(f"{path.name} has no actions: wanted {sidecar.name} beside it, one JSON object a line")
    return Clip(path, _lines(sidecar, fps), seconds, fps, size)


def frames_at(clip: Clip, times: Sequence[float], camera: Camera, fit: str) -> np.ndarray:
    """The frames (N, H, W, 3) uint8 on show at ascending times."""
    import av

    out: list[np.ndarray] = []
    with av.open(str(clip.path)) as held:
        stream = held.streams.video[0]
        tick = float(stream.time_base or 1)
        held.seek(max(0, int((times[0] - 1.0) / tick)) + (stream.start_time or 0), stream=stream)
        begin, shown = (stream.start_time or 0) * tick, None
        for frame in held.decode(stream):
            now = (frame.pts or 0) * tick - begin
            while len(out) < len(times) and shown is not None and times[len(out)] < now - _SAME_PICTURE:
                out.append(_fitted(shown, camera, fit))
            if len(out) == len(times):
                break
            shown = frame
        while len(out) < len(times) and shown is not None:
            out.append(_fitted(shown, camera, fit))
    return np.stack(out)


class FootageSource:
    """Footage as rollouts: every video is cut into pieces of so many steps, one after the other, where its sidecar
    says what was done."""

    licence = "that of the footage's owner"

    def __init__(self, name: str, options: SourceOptions):
        if options.fit not in FITS:
            raise SceneError(f"unknown fit '{options.fit}'; known: {', '.join(FITS)}")
        self.name, self.options = name, options
        self.about = f"videos, one frame every {options.step_s:g} s, {options.fit}"
        self._folder = Path(name.removeprefix(PREFIX))

    def check(self, split: str, frames: int) -> int | None:
        count = len(self._cuts(split, frames))
        if not count:
            raise SceneError(
                f"{self._folder} has no {frames} frames in a row with actions in the split '{split}': "
                "`roam data check` says what is there"
            )
        return count

    def rollouts(self, split: str, numbers: range, frames: int, camera: Camera, walk: str) -> Iterator[Walked]:
        step, cuts = self.options.step_s, self._cuts(split, frames)
        for clip, first in (cuts[number] for number in numbers):
            times = [(first + k) * step for k in range(frames)]
            poses = [clip.pose(t, step / 2) for t in times]
            known = [pose for pose in poses if pose is not None]
            actions = [action for t in times[:-1] if (action := clip.action(t, t + step)) is not None]
            pixels = frames_at(clip, times, camera, self.options.fit)
            yield Walked(f"footage:{clip.path.name}", pixels, None, known if len(known) == frames else None, actions)

    def _cuts(self, split: str, frames: int) -> list[tuple[Clip, int]]:
        """The pieces of a split's videos: the clip, and the step that a piece begins with."""
        return [
            (clip, first)
            for path in splits_of(self._folder)[split]
            for clip in [read_clip(path)]
            for first in pieces(clip, frames, self.options.step_s)
        ]


def pieces(clip: Clip, frames: int, step: float) -> list[int]:
    """Where pieces of so many frames begin, each of whose steps has an action; they do not overlap."""
    total, begins, at = int(clip.seconds / step - _SAME_PICTURE) + 1, [], 0
    has_action = [clip.action(k * step, (k + 1) * step) is not None for k in range(total)]
    while at + frames <= total:
        gap = next((k for k in range(at + frames - 2, at - 1, -1) if not has_action[k]), None)
        if gap is None:
            begins.append(at)
            at += frames
        else:
            at = gap + 1
    return begins


def splits_of(folder: str | Path) -> dict[str, list[Path]]:
    """The videos of each split: as splits.json lists them, {"train": ["a.mp4"], ...}, or by what is in them. Raises
    SceneError for a list that names a video twice, or one that is not there."""
    found, path = videos(folder), Path(folder) / "splits.json"
    held: dict[str, list[Path]] = {split: [] for split, _ in _SHARES}
    if not path.exists():
        for video in found:
            held[_split_of(video)].append(video)
        return held
    try:
        told = {split: list(map(str, names)) for split, names in parse_json(read_text(path)).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SceneError(f"{path} is no list of splits ({error})") from error
    names = [name for listed in told.values() for name in listed]
    if set(told) - set(held) or len(set(names)) < len(names) or set(names) - {video.name for video in found}:
        raise SceneError(f"{path}: wanted train, dev and test, each with videos that are there, and none twice")
    return held | {split: [Path(folder) / name for name in listed] for split, listed in told.items()}


@lru_cache(maxsize=256)
def _split_of(video: Path) -> str:
    number = int(sha256(video)[:8], 16) % sum(share for _, share in _SHARES)
    for split, share in _SHARES:
        if number < share:
            return split
        number -= share
    raise AssertionError(number)


def _measured(path: Path) -> tuple[float, float, tuple[int, int]]:
    import av

    try:
        with av.open(str(path)) as held:
            stream = held.streams.video[0]
            fps = float(stream.average_rate or 0)
            length = (stream.duration or 0) * float(stream.time_base or 1) or float(held.duration or 0) / 1e6
            return length, fps, (stream.width, stream.height)
    except (OSError, IndexError, ValueError) as error:  # PyAV's own errors are among them
        raise SceneError(f"{path.name} is no video that can be read: {error}") from error


def _lines(path: Path, fps: float) -> tuple[Line, ...]:
    lines: list[Line] = []
    try:
        # not splitlines, which also parts lines within words
        texts = _LINE_END.split(read_text(path, most=_MOST_BYTES))
    except (OSError, TextError) as error:
        raise SceneError(f"cannot read {path.name}: {error}") from error
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            lines.append(_line(parse_json(text), fps))
        except (ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise SceneError(f"{path.name}, line {number}: {error}") from error
        if len(lines) > 1 and lines[-1].t <= lines[-2].t:
            raise SceneError(
                f"{path.name}, line {number}: {lines[-1].t:g} s after {lines[-2].t:g} s; wanted lines in order"
            )
    if not lines:
        raise SceneError(f"{path.name} holds no actions")
    return tuple(lines)


def _line(told: dict, fps: float) -> Line:
    if unknown := set(told) - _FIELDS:
        raise ValueError(f"unknown '{unknown.pop()}'; known: {', '.join(sorted(_FIELDS))}")
    if ("t" in told) == ("frame" in told):
        raise ValueError("wanted 't' in seconds or 'frame', one of the two")
    if "words" not in told and "motion" not in told and "pose" not in told:
        raise ValueError("wanted 'words', 'motion' or 'pose'")
    t = float(told["t"]) if "t" in told else int(told["frame"]) / fps
    motion = Motion(*map(float, told["motion"])) if "motion" in told else None
    pose = Pose.at(*map(float, told["pose"])) if "pose" in told else None
    return Line(t, str(told["words"]) if "words" in told else None, motion, pose)


def _fitted(frame, camera: Camera, fit: str) -> np.ndarray:
    picture = frame.to_ndarray(format="rgb24")
    scales = camera.height / picture.shape[0], camera.width / picture.shape[1]
    scale = max(scales) if fit == "crop" else min(scales)
    tall, wide = max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale))
    small = cv2.resize(picture, (wide, tall), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if fit == "crop":
        top, left = (tall - camera.height) // 2, (wide - camera.width) // 2
        return small[top : top + camera.height, left : left + camera.width]
    top, left = (camera.height - tall) // 2, (camera.width - wide) // 2
    around = (top, camera.height - tall - top), (left, camera.width - wide - left), (0, 0)
    return np.pad(small, around)
