"""The results of a run on rewards, on held-out scenes: every part before and after, what damaged pictures would
earn, and a strip of dreams to look at. Knows no measure and no model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...files import whole, write_text_whole
from .dreams import Group
from .spots import Spot
from .system import Judge, Rewards

DRAWS = 1000  # samples of the bootstrap over scenes
SHOWN, BESIDE = 8, 2  # spots of the strip, and dreams of each, before and after


@dataclass(frozen=True)
class Held:
    """A group at a held-out spot and its parts, (G,) each."""

    group: Group
    parts: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Change:
    """A part of the reward, or the whole: what it weighs, its mean for the truth itself, before and after, and the
    change's 95 % interval, by bootstrap over scenes."""

    name: str
    weight: float
    truth: float
    before: float
    after: float
    low: float
    high: float


@dataclass(frozen=True)
class Report:
    """changes: of every part, the whole first; spoilt: what the dreams after the run would earn if they were
    damaged, minus what they earn undamaged, by kind of damage: the whole, and each part; audit: measures that were
    not rewarded, before and after; strip: (H, W, 3) uint8."""

    scenes: int
    dreams: int
    changes: tuple[Change, ...]
    spoilt: Mapping[str, Mapping[str, float]]
    audit: Mapping[str, tuple[float, float]]
    strip: np.ndarray


def report_of(before: Sequence[Held], after: Sequence[Held], rewards: Rewards, judge: Judge) -> Report:
    """before and after: of the same spots, with the same seeds."""
    scenes = np.array([held.group.spot.scene for held in before])
    rows = [_values(held, rewards) for held in (before, after)]
    true = _mean([_with_total(rewards, rewards.of(h.group.spot, *_truth_of(h.group.spot))[1]) for h in before])
    changes = [
        Change(
            name,
            1.0 if name == "reward" else float(rewards.weights.get(name, 0.0)),
            true[name],
            float(rows[0][name].mean()),
            float(values.mean()),
            *_interval(values - rows[0][name], scenes),
        )
        for name, values in rows[1].items()
    ]
    spoilt = {name: _spoilt(after, rows[1], rewards, damage) for name, damage in judge.damages.items()}
    old, new = (judge.audit([(h.group.spot, h.group.pixels) for h in held]) for held in (before, after))
    audit = {name: (value, new[name]) for name, value in old.items()}
    dreams = sum(len(held.group.pixels) for held in after)
    return Report(len(np.unique(scenes)), dreams, tuple(changes), spoilt, audit, strip_of(before, after))


def _truth_of(spot: Spot) -> tuple[np.ndarray, np.ndarray]:
    return spot.pixels[None], spot.depth[None]


def _with_total(rewards: Rewards, parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {"reward": float(np.mean(rewards.total(parts)))} | {name: float(np.mean(x)) for name, x in parts.items()}


def _values(held: Sequence[Held], rewards: Rewards) -> dict[str, np.ndarray]:
    """The mean of every group, by part, the whole first."""
    rows = [_with_total(rewards, one.parts) for one in held]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _interval(change: np.ndarray, scenes: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean of (n,) changes, scenes drawn again."""
    rng, groups = np.random.default_rng(0), [change[scenes == scene] for scene in np.unique(scenes)]
    drawn = [
        np.concatenate([groups[k] for k in rng.integers(len(groups), size=len(groups))]).mean() for _ in range(DRAWS)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _spoilt(held: Sequence[Held], whole: Mapping[str, np.ndarray], rewards: Rewards, damage) -> dict[str, float]:
    rows = []
    for one in held:
        spot, group = one.group.spot, one.group
        pixels = np.stack([damage(spot, picture, number) for number, picture in enumerate(group.pixels)])
        rows.append(_with_total(rewards, rewards.of(spot, pixels, group.depth)[1]))
    return {name: value - float(whole[name].mean()) for name, value in _mean(rows).items()}


def strip_of(before: Sequence[Held], after: Sequence[Held]) -> np.ndarray:
    """One row per spot: what is known, the truth, dreams before, dreams after with the same seeds."""
    apart = max(1, len(before) // SHOWN)
    rows = []
    for old, new in list(zip(before, after, strict=True))[::apart][:SHOWN]:
        spot = old.group.spot
        known = np.where(spot.carried.covered[..., None], spot.carried.pixels, 255).astype(np.uint8)
        tiles = [known, spot.pixels, *old.group.pixels[:BESIDE], *new.group.pixels[:BESIDE]]
        rows.append(np.concatenate([np.pad(t, ((1, 1), (1, 1), (0, 0)), constant_values=255) for t in tiles], 1))
    return np.concatenate(rows)


def write_report(report: Report, folder: Path) -> None:
    """report.md for people, report.json for programs, strip.png for the eye."""
    write_text_whole(folder / "report.md", markdown(report))
    told = {"scenes": report.scenes, "dreams": report.dreams, "spoilt": report.spoilt, "audit": report.audit}
    told["changes"] = [asdict(change) for change in report.changes]
    write_text_whole(folder / "report.json", json.dumps(told, indent=1))
    with whole(folder / "strip.png") as partial:
        Image.fromarray(report.strip).save(partial, "png")


def markdown(report: Report) -> str:
    """The report as tables."""
    lines = [
        f"{report.scenes} held-out scenes, {report.dreams} dreams. The change has its 95 % interval, by scenes.",
        "",
        "| part | weight | truth | before | after | change |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for c in report.changes:
        weight = "" if c.name == "reward" else f"{c.weight:g}"
        change = f"{c.after - c.before:+.3f} [{c.low:+.3f}, {c.high:+.3f}]"
        lines.append(f"| {c.name} | {weight} | {c.truth:.3f} | {c.before:.3f} | {c.after:.3f} | {change} |")
    names = [c.name for c in report.changes]
    lines += [
        "",
        "What dreams of afterwards would earn if they were spoilt, less what they earn as they are:",
        "",
        "| | " + " | ".join(names) + " |",
        "|" + " --- |" * (len(names) + 1),
    ]
    for damage, values in report.spoilt.items():
        lines.append(f"| {damage} | " + " | ".join(f"{values[name]:+.3f}" for name in names) + " |")
    if report.audit:
        lines += ["", "What nobody was rewarded for, of all these dreams together:", ""]
        lines += ["| | " + " | ".join(report.audit) + " |", "|" + " --- |" * (len(report.audit) + 1)]
        for k, when in enumerate(("before", "after")):
            lines.append(f"| {when} | " + " | ".join(f"{values[k]:.3f}" for values in report.audit.values()) + " |")
    return "\n".join(lines) + "\n"
