"""`verify`: is a run complete, does it answer today's questions, and do its kept frames still give its numbers?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .. import VERSION
from ..metrics.definitions import Measured
from ..results import EpisodeResult, Manifest, read_lines, read_manifest
from ..run import episodes_of, expand, rescore, sized

TOLERANCE = 1e-6
OF_TIME = ("step_seconds",)  # cannot be measured again from frames
OF_DEPTH = ("depth_absrel", "depth_delta1")  # kept in half precision
DEPTH_TOLERANCE = 2e-3


@dataclass(frozen=True)
class Verdict:
    """What was found wrong with a run."""

    missing: list[tuple[str, str]] = field(default_factory=list)  # (model, key) that should have a line
    foreign: list[str] = field(default_factory=list)  # lines whose question is different today
    changed: list[str] = field(default_factory=list)  # lines whose frames or numbers do not agree with scoring again
    errors: list[str] = field(default_factory=list)  # lines of models that failed
    rescored: int = 0  # how many lines were scored again

    @property
    def is_sound(self) -> bool:
        return not (self.missing or self.foreign or self.changed or self.errors)

    def __str__(self) -> str:
        parts = [f"{self.rescored} lines scored again"]
        for name in ("missing", "foreign", "changed", "errors"):
            found = getattr(self, name)
            parts.append(f"{len(found)} {name}" + (f", the first: {found[0]}" if found else ""))
        return "; ".join(parts)


def verify(
    folder: str | Path, *, most: int | None = None, progress: Callable[[int, int, str], None] | None = None
) -> Verdict:
    """Check a run's completeness and questions, and score kept frames again: all, or an even sample of `most`."""
    manifest, lines = read_manifest(folder), read_lines(folder)
    questions = {e.key: e for e in questions_of(manifest)}
    have = {(line.model, line.key) for line in lines}
    missing = [(m, key) for m in expand(manifest.models) for key in manifest.asked if (m, key) not in have]
    foreign = [line.key for line in lines if line.key not in questions or questions[line.key].digest != line.episode]
    foreign += [f"version {manifest.version}, now {VERSION}"] if manifest.version != VERSION else []
    sound = [line for line in lines if not line.error and line.key not in foreign]
    step = max(1, len(sound) // most) if most else 1
    changed, rescored = [], 0
    for count, line in enumerate(sound[::step], 1):
        again = rescore(folder, questions[line.key], line.model)
        if again is not None:
            rescored += 1
            changed += [f"{line.model} {line.key}: {why}" for why in differences(line, again)]
        if progress:
            progress(count, len(sound[::step]), line.key)
    errors = [f"{line.model} {line.key}: {line.error.splitlines()[0]}" for line in lines if line.error]
    return Verdict(missing, foreign, changed, errors, rescored)


def questions_of(manifest: Manifest):
    """Today's episodes for what a manifest asked, whatever number of scenes it asked for."""
    scenes = 1 + max((int(key.split("/")[3].rpartition("-")[2]) for key in manifest.asked), default=0)
    episodes = episodes_of(
        manifest.tasks,
        manifest.modes,
        sized(manifest.form, scenes),
        manifest.seeds,
        split=manifest.split,
        world=manifest.world,
    )
    return [episode for episode in episodes if episode.key in manifest.asked]


def differences(line: EpisodeResult, again: EpisodeResult) -> list[str]:
    """The differences between a line and its frames."""
    found = ["frames have another digest"] if line.frames != again.frames else []
    for name in sorted((set(line.values) | set(again.values)) - set(OF_TIME)):
        a, b = line.values.get(name), again.values.get(name)
        if a is None or b is None or not _same(a, b, DEPTH_TOLERANCE if name in OF_DEPTH else TOLERANCE):
            found.append(f"{name} was {a and a.value}, is {b and b.value}")
    return found


def _same(a: Measured, b: Measured, tolerance: float) -> bool:
    if (a.value is None) != (b.value is None) or a.failed != b.failed:
        return False
    return a.value is None or b.value is None or abs(a.value - b.value) <= tolerance * max(1.0, abs(a.value))
