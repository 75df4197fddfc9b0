"""The files of a run: one JSON line an episode and model, the frames beside them, and what the run was asked for.

DIR/manifest.json     version, form, tasks, modes, seeds, models, the digest of every episode asked
DIR/results.jsonl     one EpisodeResult a row; a line that was cut off by a crash is ignored and asked again
DIR/frames/*.npz      the answers of the first scenes, lossless, so that they can be scored again
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ...world.files import parse_json
from ..reports import keep_arrays, keep_json
from . import VERSION
from .metrics.definitions import METRICS, Measured
from .models.adapters import Answer
from .questions.episode import BenchError


@dataclass(frozen=True)
class EpisodeResult:
    """The result of one model on one episode; `error` is set, and there are no values, where the model failed."""

    model: str
    key: str
    task: str
    variant: str
    mode: str
    scene: int
    seed: int
    gap: int | None
    episode: str
    scored: tuple[int, ...]
    values: dict[str, Measured] = field(default_factory=dict)
    extra: dict = field(default_factory=dict)
    frames: str = ""
    error: str = ""

    def ranked(self, name: str) -> float | None:
        """A metric with every failure at its worst; a model that raised has only failures; None if it did not apply."""
        if self.error:
            return METRICS[name].worst
        return self.values[name].ranked if name in self.values else None

    def as_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False, default=float)

    @staticmethod
    def from_json(text: str) -> EpisodeResult:
        parts = parse_json(text)
        parts["values"] = {
            name: Measured(**{**v, "per_frame": tuple(v["per_frame"])}) for name, v in parts["values"].items()
        }
        return EpisodeResult(**{**parts, "scored": tuple(parts["scored"])})


@dataclass(frozen=True)
class Manifest:
    """What a run was asked for, and where and when."""

    form: str
    tasks: tuple[str, ...]
    modes: tuple[str, ...]
    seeds: tuple[int, ...]
    models: tuple[str, ...]
    asked: dict[str, str]  # the digest of every episode, by its key
    about: dict[str, dict] = field(default_factory=dict)  # each model's description of itself
    machine: str = ""
    date: str = ""
    note: str = ""  # who ran it, or why
    version: int = VERSION
    split: str = "test"
    world: str = ""

    @property
    def digest(self) -> str:
        """16 hex digits over all that was asked: runs of equal digests can be compared."""
        return hashlib.sha256(json.dumps([self.version, sorted(self.asked.items())]).encode()).hexdigest()[:16]


def read_manifest(folder: str | Path) -> Manifest:
    """Raises BenchError for a folder that no run has written."""
    path = Path(folder) / "manifest.json"
    try:
        parts = parse_json(path.read_bytes())
        for name in ("tasks", "modes", "seeds", "models"):
            parts[name] = tuple(parts[name])
        return Manifest(**parts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"{path} is no manifest of a run ({error}); name a folder that `bench consistency run` wrote"
        ) from error


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    keep_json(Path(folder) / "manifest.json", asdict(manifest))


def read_lines(folder: str | Path) -> list[EpisodeResult]:
    """Every whole line of a run; where one was asked again, the last counts."""
    path = Path(folder) / "results.jsonl"
    lines = {}
    for line in _whole_lines(path) if path.exists() else ():
        lines[line.model, line.key] = line
    return list(lines.values())


def _whole_lines(path: Path) -> Iterator[EpisodeResult]:
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            yield EpisodeResult.from_json(text)
        except (ValueError, KeyError, TypeError):
            continue  # cut off by a crash: asked again


def append_lines(folder: str | Path, lines: Sequence[EpisodeResult]) -> None:
    path = Path(folder) / "results.jsonl"
    is_cut = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with open(path, "a", encoding="utf-8") as file:
        file.write("\n" * is_cut + "".join(line.as_json() + "\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())


def frames_path(folder: str | Path, model: str, key: str) -> Path:
    return Path(folder) / "frames" / (hashlib.sha256(f"{model} {key}".encode()).hexdigest()[:20] + ".npz")


def save_frames(folder: str | Path, model: str, key: str, answers: Sequence[Answer]) -> None:
    """Write an episode's answers without loss; depth in half precision."""
    arrays: dict[str, Any] = {"pixels": np.stack([answer.pixels for answer in answers])}
    depths = [answer.depth for answer in answers if answer.depth is not None]
    if len(depths) == len(answers):
        arrays["depth"] = np.stack(depths).astype(np.float16)
    keep_arrays(frames_path(folder, model, key), **arrays)


def load_frames(folder: str | Path, model: str, key: str) -> list[Answer] | None:
    """The answers that were kept, or None."""
    path = frames_path(folder, model, key)
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as data:
        pixels = data["pixels"]
        depth = data["depth"].astype(np.float32) if "depth" in data.files else [None] * len(pixels)
    return [Answer(p, d) for p, d in zip(pixels, depth, strict=True)]


def machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
