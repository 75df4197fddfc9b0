"""`roam bench imagine`: what does a walker see where nothing has been seen? Three to four minutes on two cores.

One true frame, then half a turn on the spot; the last six of twelve frames show only unseen places, the first four show
where they meet seen ones. The other rows are the truth, the truth through the tokenizer, and the rows that must lose.
Then a stroll from the same frame (stroll.py). Two sheets show the pictures, because no number replaces looking at them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ...world.checkpoint import load_checkpoint
from ...world.engine import Engine
from ...world.side_by_side.processes import Workers
from ..machine import Machine
from ..reports import keep_json, keep_picture, keep_text
from . import stroll
from .measures import (
    FLOOR,
    PSNR_CAP,
    Traits,
    joined,
    kid,
    kid_of_halves,
    measure,
    persistence,
    reprojection,
    traits,
    whole,
)
from .rows import SEEDED, WITHOUT_MODEL, Pictures, dreamt, through_tokenizer, truth
from .walks import BORDERS, SCORED, TURNS, Outing, half_turn, turn

CEILING, MODEL, UNTRAINED = "truth through tokenizer", "model", "untrained weights"
PAINTED = "model, surfaces not continued"
LASTING = 4  # scenes in which the model turns on through a full circle
APART = 2  # frames between two views whose depths are compared
SHOWN = (3, 6, 9, 12)  # frames on the sheet
DRAWN = 12  # scenes on the sheet
# goals for the dream: lowest and highest
GOALS: dict[str, tuple[float | None, float | None]] = {
    "sharpness": (0.75, 1.25),
    "things": (0.6, 1.5),
    "structure": (0.7, 1.3),
    "pieces": (0.7, 1.3),
    "doubt": (0.7, 1.3),
    "auc": (None, 0.80),
    "diversity": (0.5, None),
    "seam": (None, 1.5),
    "fit": (None, 1.5),
    "persistence": (40.0, None),
}
COLUMNS = {
    "sharpness": "sharpness",
    "detail": "Laplacian",
    "things": "things",
    "structure": "structure",
    "pieces": "pieces",
    "doubt": "doubt",
    "auc": "AUC",
    "kid": "KID",
    "diversity": "diversity",
    "seam": "seam",
    "fit": "fit",
    "persistence": "persistence, dB",
    "reprojection": "depth",
}
STROLL_GOALS = {name: GOALS[name] for name in stroll.MEASURED if name in GOALS} | {"back": (30.0, None)}
STROLL_COLUMNS = {name: COLUMNS[name] for name in stroll.MEASURED} | {"back": "on the way back, dB", "metres": "metres"}


@dataclass
class Answers:
    """What one row showed: its traits by walk and seed, and how its depths disagree."""

    traits: list[Traits]
    misfits: list[float]
    lasting: list[float]

    @staticmethod
    def none() -> Answers:
        return Answers([], [], [])

    def add(self, outing: Outing, pictures: Pictures, seed: int) -> None:
        chosen = [*BORDERS, *SCORED]
        pixels, unseen = pictures.pixels[chosen], outing.unseen[chosen]
        self.traits.append(traits(pixels, unseen, chosen, scene=outing.number, seed=seed))
        if pictures.depth is not None:
            self.misfits += misfits(outing, pictures.depth)


def misfits(outing: Outing, depth: np.ndarray) -> list[float]:
    """The disagreement of depth (n + 1, H, W) between views APART frames from each other, where nothing was seen."""
    found = []
    for index in SCORED[APART:]:
        a, b = index - APART, index
        value = reprojection(depth[a], outing.poses[a], depth[b], outing.poses[b], outing.unseen[b])
        found += [] if value is None else [value]
    return found


@dataclass(frozen=True)
class Visit:
    """The results of one scene: every row's answers, a block of the sheet, the model's seconds per step; strolls."""

    rows: dict[str, Answers]
    block: np.ndarray
    seconds: float
    strolls: dict[str, stroll.Stroll]


def visit(engine: Engine, number: int, *, split: str, seeds: int, others: dict[str, Engine] | None = None) -> Visit:
    """Let every row show what is behind the first view of a scene; others: engines of rows besides the model's."""
    outing = half_turn(number, split=split)
    others = others or {}
    names = ("truth", CEILING, MODEL, *others, *WITHOUT_MODEL)
    rows = {name: Answers.none() for name in names}
    rows["truth"].add(outing, truth(outing, 0), 0)
    rows[CEILING].add(outing, through_tokenizer(engine, outing), 0)
    dreams, steps = [], []
    for seed in range(1, seeds + 1):
        is_long = seed == 1 and number < LASTING
        before = time.perf_counter()
        dream, later = dreamt(engine, outing, seed, more=_on(outing) if is_long else ())
        steps.append((time.perf_counter() - before) / (TURNS + len(later)))
        dreams.append(dream)
        rows[MODEL].add(outing, dream, seed)
        if is_long:
            again = np.stack([frame.pixels for frame in later[-len(SCORED) :]])
            rows[MODEL].lasting.append(persistence(dream.pixels[list(SCORED)], again))
        for name, other in others.items():
            rows[name].add(outing, dreamt(other, outing, seed)[0], seed)
    for name, row in WITHOUT_MODEL.items():
        for seed in range(1, (seeds if name in SEEDED else 1) + 1):
            rows[name].add(outing, row(outing, seed), seed)
    strolls = stroll.strolls(engine, number, split=split)
    return Visit(rows, _block(outing, dreams), float(np.median(steps)), strolls)


def report_of(visits: Sequence[Visit], *, seeds: int) -> dict:
    """The measures of all rows over all scenes visited, and the goals."""
    rows = {name: Answers.none() for name in visits[0].rows}
    for one in visits:
        for name, answers in one.rows.items():
            rows[name].traits.extend(answers.traits)
            rows[name].misfits.extend(answers.misfits)
            rows[name].lasting.extend(answers.lasting)
    report = summary(rows, seeds=seeds)
    report["step_ms"] = 1e3 * float(np.median([one.seconds for one in visits]))
    report["goals"] = goals(report["rows"][MODEL])
    strolls = stroll.report_of([one.strolls for one in visits])
    report["stroll"] = {"rows": strolls, "goals": goals(strolls[MODEL], STROLL_GOALS)}
    return report


def summary(rows: dict[str, Answers], *, seeds: int) -> dict:
    """Every measure of every row. A row that no seed changes shows the same place with every seed: no diversity."""
    true = joined(rows["truth"].traits)
    misfit = float(np.mean(rows["truth"].misfits)) if rows["truth"].misfits else None
    table: dict[str, dict[str, Any]] = {}
    for name, answers in rows.items():
        ours = joined(answers.traits)
        table[name] = {**measure(ours, true)}
        table[name]["kid_interval"] = list(kid(whole(ours), whole(true))[1:])
        table[name]["persistence"] = float(np.mean(answers.lasting)) if answers.lasting else None
        own = float(np.mean(answers.misfits)) if answers.misfits else None
        table[name]["reprojection"] = None if own is None or misfit is None else _over(own, misfit)
        if name == "truth":  # there is one truth: other true scenes are what diversity is measured by
            table[name] |= {"diversity": 1.0, "persistence": PSNR_CAP}
        elif table[name]["diversity"] is None and seeds > 1:
            table[name]["diversity"] = 0.0
    return {"rows": table, "kid_of_halves": kid_of_halves(true)}


def goals(row: dict[str, float | None], wanted: dict = GOALS) -> dict[str, dict]:
    """Each goal with what was measured and whether it is met."""
    found = {}
    for name, (low, high) in wanted.items():
        value = row.get(name)
        met = value is not None and (low is None or value >= low) and (high is None or value <= high)
        found[name] = {"measured": value, "wanted": _wanted(low, high), "met": bool(met)}
    return found


def markdown(report: dict) -> str:
    """The report as the tables that people read."""
    here = report["machine"]
    where = f"{here['cpu']}, {here['cores']} cores, {here['gpu'] or 'no GPU'}"
    halves = _said(report["kid_of_halves"], 3)
    lines = [
        f"{report['scenes']} {report['split']} scenes, {report['seeds']} seeds; {where}; weights {report['weights']}; "
        f"a step took {report['step_ms']:.0f} ms. KID between two halves of the truth: {halves}.",
        "",
        "| never seen before, over the truth's | " + " | ".join(COLUMNS.values()) + " |",
        "|" + " --- |" * (len(COLUMNS) + 1),
    ]
    for name, row in report["rows"].items():
        lines.append(f"| {name} | " + " | ".join(_cell(column, row) for column in COLUMNS) + " |")
    walks, columns = report["stroll"], STROLL_COLUMNS
    lines += ["", f"| a stroll of {stroll.STEPS} steps, over the truth's | " + " | ".join(columns.values()) + " |"]
    lines.append("|" + " --- |" * (len(columns) + 1))
    for name, row in walks["rows"].items():
        lines.append(f"| {name} | " + " | ".join(_cell(column, row) for column in columns) + " |")
    lines += ["", "| goal | measured | wanted | met |", "| --- | --- | --- | --- |"]
    for name, goal in _all_goals(report).items():
        met = "yes" if goal["met"] else "no"
        lines.append(f"| {name} | {_said(goal['measured'])} | {goal['wanted']} | {met} |")
    return "\n".join(lines) + "\n"


def _all_goals(report: dict) -> dict[str, dict]:
    """The goals of half a turn and of a stroll, by what they are called."""
    turned = {COLUMNS[name]: goal for name, goal in report["goals"].items()}
    return turned | {f"stroll: {STROLL_COLUMNS[name]}": goal for name, goal in report["stroll"]["goals"].items()}


def print_report(report: dict, console) -> None:
    from rich.table import Table

    table = Table(title=f"Where nothing was seen: {report['scenes']} {report['split']} scenes, {report['seeds']} seeds")
    for heading in ("", *COLUMNS.values()):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in report["rows"].items():
        table.add_row(name, *(_cell(column, row).split(" [")[0] for column in COLUMNS))
    console.print(table)
    console.print(
        f"KID between two halves of the truth: {_said(report['kid_of_halves'], 3)}; "
        f"a step took {report['step_ms']:.0f} ms; {report['seconds']:.0f} s in all"
    )
    table = Table(title=f"A stroll of {stroll.STEPS} steps")
    for heading in ("", *STROLL_COLUMNS.values()):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in report["stroll"]["rows"].items():
        table.add_row(name, *(_cell(column, row) for column in STROLL_COLUMNS))
    console.print(table)
    table = Table(title="Goals")
    for heading in ("", "measured", "wanted", "met"):
        table.add_column(heading)
    for name, goal in _all_goals(report).items():
        table.add_row(name, _said(goal["measured"]), goal["wanted"], "yes" if goal["met"] else "no")
    console.print(table)


def main(
    model: Path | None = None,
    *,
    split: str = "test",
    scenes: int = 12,
    seeds: int = 2,
    processes: int = 2,
    out: Path = Path("roam-out/imagine"),
    is_with_untrained: bool = True,
) -> dict:
    """Run, print and keep: what `roam bench imagine` does."""
    from rich.console import Console

    from ...viewer.commands.bars import Bars

    console = Console()
    console.width = max(console.width, 140)
    console.print(str(Machine.here()))
    started, visits = time.perf_counter(), []
    with Bars(console=console, transient=True) as bar:
        task = bar.add_task("imagining", total=scenes)
        for one in _visits(model, scenes, processes, split=split, seeds=seeds, is_with_untrained=is_with_untrained):
            visits.append(one)
            bar.update(task, completed=len(visits))
    checkpoint = load_checkpoint(model)
    report = {
        "bench": "imagine",
        "machine": Machine.here().as_dict(),
        "weights": checkpoint.digest,
        "dida": asdict(checkpoint.dida),
        "split": split,
        "scenes": scenes,
        "seeds": seeds,
        "seconds": time.perf_counter() - started,
        **report_of(visits, seeds=seeds),
    }
    keep_json(out / f"imagine-{split}.json", report)
    keep_text(out / f"imagine-{split}.md", markdown(report))
    sheet = sheet_of([one.block for one in visits[:DRAWN]])
    keep_picture(out / f"imagine-{split}.png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    walks = stroll.sheet_of([one.strolls for one in visits[:DRAWN]])
    keep_picture(out / f"strolls-{split}.jpg", walks, [cv2.IMWRITE_JPEG_QUALITY, 88])
    print_report(report, console)
    console.print(f"tables, figures and the sheets: {out}")
    print(json.dumps({"bench": "imagine", "split": split, **{k: g["measured"] for k, g in _all_goals(report).items()}}))
    return report


def _visits(model: Path | None, scenes: int, processes: int, *, is_with_untrained: bool, **how) -> Iterator[Visit]:
    """Every scene in its order, in this process or in several, each with engines of its own."""
    if processes < 2:
        _open(model, is_with_untrained)
        yield from (_visited(number, **how) for number in range(scenes))
        return
    opened = (model, is_with_untrained)
    with Workers(processes, get_context("spawn"), _open, opened) as pool:
        for coming in [pool.submit(_visited, number, **how) for number in range(scenes)]:
            yield coming.result()


_ENGINES: dict[str, Engine] = {}  # the model's and those of other rows, of this process


def _open(model: Path | None, is_with_untrained: bool) -> None:
    from ..consistency.models.embedded import untrained

    cv2.setNumThreads(1)
    engine = Engine.from_checkpoint(model, device="cpu")
    torch.set_num_threads(1)
    _ENGINES.clear()
    _ENGINES[MODEL] = engine
    if is_with_untrained:
        dida = replace(engine.dida, dream_continues=False)
        _ENGINES[PAINTED] = Engine(replace(engine.checkpoint, dida=dida))
        _ENGINES[UNTRAINED] = Engine(untrained(engine.checkpoint))


def _visited(number: int, **how) -> Visit:
    others = {name: engine for name, engine in _ENGINES.items() if name != MODEL}
    return visit(_ENGINES[MODEL], number, others=others, **how)


def _on(outing: Outing) -> list:
    """The turns that continue round the circle, until what was dreamt has been looked at again."""
    side = 1 if outing.actions[0].known_motion.yaw_deg > 0 else -1
    return [turn(side)] * (2 * TURNS)


def _over(value: float, true: float) -> float:
    """The dream's disagreement of depth over the truth's, both at least FLOOR."""
    return max(value, FLOOR) / max(float(true), FLOOR)


def _block(outing: Outing, dreams: Sequence[Pictures]) -> np.ndarray:
    """Truth above the dreams: the frame that was shown, then some that follow."""
    rows: list[np.ndarray] = []
    for pixels in (outing.pixels, *(dream.pixels for dream in dreams[:2])):
        first = pixels[0] if not rows else np.full_like(pixels[0], 255)
        tiles = [
            np.pad(tile, ((1, 1), (1, 1), (0, 0)), constant_values=255) for tile in (first, *(pixels[k] for k in SHOWN))
        ]
        rows.append(np.concatenate(tiles, 1))
    return np.concatenate(rows, 0)


def sheet_of(blocks: Sequence[np.ndarray], columns: int = 3) -> np.ndarray:
    """The blocks side by side, (H, W, 3) uint8."""
    gap, height, width = 8, blocks[0].shape[0], blocks[0].shape[1]
    rows = -(-len(blocks) // columns)
    out = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for k, block in enumerate(blocks):
        y, x = k // columns * (height + gap), k % columns * (width + gap)
        out[y : y + height, x : x + width] = block
    return out


def _cell(name: str, row: dict) -> str:
    text = _said(row.get(name), 3 if name == "kid" else 2)
    low, high = row.get("kid_interval", (None, None))
    return f"{text} [{low:.3f}, {high:.3f}]" if name == "kid" and low is not None else text


def _said(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _wanted(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}"
