"""`compare A B`: paired differences of two models on the same scenes, paths and seeds; Holm over all tasks tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..metrics.definitions import METRICS
from ..questions.episode import BenchError
from ..results import EpisodeResult, read_lines
from .stats import Interval, bootstrap, by_scene, holm, sign_flip


@dataclass(frozen=True)
class Comparison:
    """One metric of one task in one mode, of A and of B."""

    task: str
    mode: str
    metric: str
    difference: Interval  # B minus A, over scenes
    pairs: int  # episodes that both have
    p: float | None
    p_holm: float | None  # p after Holm's adjustment
    is_better: bool | None  # whether B's mean is the better one; None for a tie
    before: float  # mean of A
    after: float  # mean of B


def compare(
    a: str, b: str, *, metrics: Sequence[str] = ("haarpsi", "psnr", "action_strict", "registered")
) -> list[Comparison]:
    """Compare "FOLDER" or "FOLDER#MODEL" with another. Failures count as the metric's worst on either side."""
    if unknown := [name for name in metrics if name not in METRICS]:
        raise BenchError(f"unknown metrics {unknown}; known: {', '.join(METRICS)}")
    ours, theirs = lines_of(a), lines_of(b)
    keys = sorted(set(ours) & set(theirs))
    if not keys:
        raise BenchError(f"{a} and {b} share no episode; run both on the same form, tasks and seeds")
    if different := [key for key in keys if ours[key].episode != theirs[key].episode]:
        raise BenchError(f"{a} and {b} ask different questions under {different[0]}; they are of different versions")
    found = []
    for task, mode in dict.fromkeys((ours[key].task, ours[key].mode) for key in keys):
        for name in metrics:
            pairs = [
                (ours[key].scene, ours[key].ranked(name), theirs[key].ranked(name))
                for key in keys
                if (ours[key].task, ours[key].mode) == (task, mode) and _arises(ours[key], theirs[key], name)
            ]
            if pairs:
                scenes, a_values, b_values = zip(*pairs, strict=True)
                ends = [list(by_scene(scenes, values).values()) for values in (a_values, b_values)]
                means = [after - before for before, after in zip(*ends, strict=True)]
                difference = bootstrap(means)
                assert difference is not None, "there are pairs"
                row = (task, mode, name, difference, len(pairs), sign_flip(means))
                before, after = (sum(end) / len(end) for end in ends)
                found.append((row, (before, after)))
    adjusted = holm([row[-1] for row, _ in found])
    return [
        Comparison(*row, p_holm, _is_better(row[2], row[3].mean), *ends)
        for (row, ends), p_holm in zip(found, adjusted, strict=True)
    ]


def lines_of(spec: str) -> dict[str, EpisodeResult]:
    """One model's lines by key: of the folder's only model, or of the one named after #."""
    folder, _, model = spec.partition("#")
    lines = read_lines(Path(folder))
    models = sorted({line.model for line in lines})
    if (model and model not in models) or (not model and len(models) != 1):
        raise BenchError(f"'{spec}' holds the models {', '.join(models) or 'none'}; name one: {folder}#MODEL")
    return {line.key: line for line in lines if not model or line.model == model}


def as_markdown(rows: Sequence[Comparison]) -> str:
    """The comparison as a table."""
    text = [
        "| task | mode | metric | A | B | B - A | 95 % | scenes | pairs | p | p (Holm) | better |",
        "|" + "---|" * 12,
    ]
    for r in rows:
        d = r.difference
        spread = "-" if d.low is None else f"{d.low:+.3f} to {d.high:+.3f}"
        better = {True: "B", False: "A", None: "tie"}[r.is_better]
        p, p_holm = ("-" if p is None else f"{p:.4f}" for p in (r.p, r.p_holm))
        ends = (f"{r.before:.3f}", f"{r.after:.3f}")
        cells = (r.task, r.mode, r.metric, *ends, f"{d.mean:+.3f}", spread, d.scenes, r.pairs, p, p_holm, better)
        text.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(text) + "\n"


def _arises(a: EpisodeResult, b: EpisodeResult, name: str) -> bool:
    """Whether a metric can be paired: both have it, or one has it and the other failed altogether."""
    return a.ranked(name) is not None and b.ranked(name) is not None and not (a.error and b.error)


def _is_better(name: str, difference: float) -> bool | None:
    if METRICS[name].better == "one" or abs(difference) < 1e-12:
        return None
    return (difference > 0) == (METRICS[name].better == "high")
