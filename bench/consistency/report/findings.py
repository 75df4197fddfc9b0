"""The findings of a run, as sentences computed from its lines: where a model forgets, and after how many frames."""

from __future__ import annotations

from collections.abc import Sequence

from ..metrics.definitions import METRICS
from ..metrics.unseen import imagined
from ..models.baselines import BASELINES, FROZEN
from ..results import EpisodeResult
from .summary import Table, balanced, cell, curve_over_gaps, curve_over_time

REFERENCE = "depth-warp"
WEAK = 0.5  # share of right steps under which an action is called badly followed
ENOUGH = 0.5  # share of frames that must still be found for a walk to count as held


def findings(model: str, lines: Sequence[EpisodeResult], found: Sequence[Table]) -> list[str]:
    """Sentences about one model, the simplest first; only what the lines can show."""
    mine = [line for line in lines if line.model == model and not line.error]
    parts = (
        _unseen(mine),
        _gaps(mine, model),
        _walk(mine, model),
        _worst(model, found),
        _things(mine),
        _actions(mine),
        _less(model, lines),
        _seeds(mine),
    )
    return [sentence for part in parts for sentence in part]


def sanity(found: Sequence[Table]) -> list[str]:
    """Whether the tables rank known rows correctly: the truth first, no frozen row first."""
    with_truth = [table for table in found if "truth" in table.models]
    if not with_truth:
        return ["No row of the truth was asked for, so nothing here shows that the metrics rank it first."]
    first = [table.task for table in with_truth if _is_first(table, "truth")]
    frozen = [(table, name) for table in found for name in FROZEN if name in table.models]
    won = [f"{table.task} ({name})" for table, name in frozen if _is_first(table, name)]
    return [
        f"The truth comes first, or ties with the first, in {len(first)} of {len(with_truth)} tables; a frozen or "
        f"empty row comes first in {', '.join(won) or 'none'}."
    ]


def own_models(models: Sequence[str]) -> list[str]:
    """The models that a report is about: no baselines, no ceilings, nothing with a part taken away; all models if none
    is left."""
    own = [m for m in models if m not in BASELINES and "=" not in m and m.partition(":")[0] != "tokenizer"]
    return own or list(models)


def _is_first(table: Table, model: str) -> bool:
    best, ours = (table.cells[m].get("haarpsi") for m in (table.models[0], model))
    if best is None or ours is None or best.interval is None or ours.interval is None:
        return table.models[0] == model
    return table.models[0] == model or abs(best.interval.mean - ours.interval.mean) < 1e-9


def _unseen(mine: Sequence[EpisodeResult]) -> list[str]:
    """What a walker sees where nothing had been seen, in one sentence a mode."""
    said = []
    for mode in dict.fromkeys(line.mode for line in mine if line.task == "T11"):
        found = imagined([line for line in mine if line.mode == mode])
        sharp, things = found.get("unseen_sharpness"), found.get("unseen_things")
        if sharp is None or things is None:
            continue
        look = "sharp" if 0.75 <= sharp <= 1.25 else "soft" if sharp < 0.75 else "noisy"
        much = (
            "hardly any things"
            if things < 0.3
            else "few things"
            if things < 0.6
            else "things about"
            if things <= 1.5
            else "too many things"
        )
        apart = found.get("diversity")
        seeds = (
            ""
            if apart is None
            else ", the same with every seed"
            if apart < 0.05
            else (f", {apart:.2f} times as different with another seed as two true places are")
        )
        told = "too few scenes were asked for a classifier to be held against the truth"
        if "auc" in found:
            told = f"a classifier tells it from the truth with AUC {found['auc']:.2f}"
        said.append(
            f"Where nothing had been seen (T11, mode {mode}) a walker sees a {look} place with {much}{seeds}: "
            f"sharpness {sharp:.2f}, things {things:.2f}, walls and houses {found['unseen_structure']:.2f} of the "
            f"truth's; {told}."
        )
    return said


def _gaps(mine: Sequence[EpisodeResult], model: str) -> list[str]:
    points = [(gap, interval.mean) for gap, interval in curve_over_gaps(mine, model, "psnr")]
    if len(points) < 2:
        return []
    said = ", ".join(f"{mean:.1f} dB after {gap}" for gap, mean in points)
    half = max(mean for _, mean in points) - 3.0
    lost = next((gap for gap, mean in points if mean < half), None)
    end = f"it has lost 3 dB by {lost} frames" if lost else f"it has not lost 3 dB after {points[-1][0]} frames"
    return [f"Coming back after N frames of other views (T6), PSNR on what was seen: {said}: {end}."]


def _walk(mine: Sequence[EpisodeResult], model: str) -> list[str]:
    found = curve_over_time(mine, model, "registered")
    psnr = curve_over_time(mine, model, "psnr")
    if not found or not psnr:
        return []
    first = min(line.scored[0] for line in mine if line.task == "T9")
    lost = next((middle - first for middle, share, _ in found if share < ENOUGH), None)
    end = (
        f"under half of its frames can be found in the scene from about frame {max(lost, 0):.0f} of its own on"
        if lost is not None
        else "half of its frames or more can be found in the scene to the end"
    )
    return [
        f"On the long walk (T9) PSNR on what was seen goes from {psnr[0][1]:.1f} to {psnr[-1][1]:.1f} dB "
        f"over {psnr[-1][0] - psnr[0][0]:.0f} frames; {end}."
    ]


def _worst(model: str, found: Sequence[Table]) -> list[str]:
    behind = []
    for table in found:
        ours, theirs = (table.cells.get(row, {}).get("haarpsi") for row in (model, REFERENCE))
        if ours and theirs and ours.interval and theirs.interval:
            behind.append((ours.interval.mean - theirs.interval.mean, table, ours.interval.mean, theirs.interval.mean))
    worst = [row for row in sorted(behind, key=lambda row: row[0])[:3] if row[0] < -0.005]
    if not worst:
        return []
    said = ", ".join(f"{table.task} mode {table.mode} ({a:.2f} against {b:.2f})" for _, table, a, b in worst)
    return [f"Furthest behind {REFERENCE}, which carries the same frames by their true depth, in HaarPSI: {said}."]


def _things(mine: Sequence[EpisodeResult]) -> list[str]:
    t7 = [line for line in mine if line.task == "T7"]
    shown, false = (cell(t7, name).interval for name in ("presence", "false_object"))
    if shown is None:
        return []
    text = f"A thing that was hidden is there again in {shown.mean:.0%} of frames"
    return [text + (f"; one that never was is dreamt in {false.mean:.0%}." if false else ".")]


def _actions(mine: Sequence[EpisodeResult]) -> list[str]:
    grid: dict[str, list[float]] = {}
    for line in mine:
        share = line.ranked("action_strict")
        if line.task == "T8" and share is not None:
            grid.setdefault(line.variant, []).append(share)
    if not grid:
        return []
    weak = [name for name, values in grid.items() if sum(values) / len(values) < WEAK]
    text = "; ".join(weak) if weak else "none"
    return [f"Of {len(grid)} ways to say what to do (T8), those followed in less than half of the steps: {text}."]


def _less(model: str, lines: Sequence[EpisodeResult]) -> list[str]:
    """How much each part of the model contributes: the same questions without that part."""
    rows = [name for name in dict.fromkeys(line.model for line in lines) if name.startswith(f"{model}:")]
    whole = balanced([line for line in lines if line.model == model])
    said = []
    for name in rows:
        part = balanced([line for line in lines if line.model == name])
        pairs = [(key, part[key], whole[key]) for key in ("fidelity", "action") if None not in (part[key], whole[key])]
        if pairs:
            said.append(f"{name.partition(':')[2]} " + ", ".join(f"{key} {a:.2f}, not {b:.2f}" for key, a, b in pairs))
    return [f"With a part taken away: {'; '.join(said)}."] if said else []


def _seeds(mine: Sequence[EpisodeResult]) -> list[str]:
    by_path: dict[tuple, set[str]] = {}
    for line in mine:
        by_path.setdefault((line.task, line.variant, line.mode, line.scene), set()).add(line.frames)
    if len({line.seed for line in mine}) < 2:
        return []
    same = sum(len(digests) == 1 for digests in by_path.values())
    return [f"Other sampling seeds gave the very same frames on {same} of {len(by_path)} paths."]


assert REFERENCE in BASELINES and "haarpsi" in METRICS
