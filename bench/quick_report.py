"""From what `roam bench quick` measured to goals, tables and pictures. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .reports import keep_figure, keep_picture

GOALS = {
    "one step over copy-last, dB": 4.0,
    "one step over warp alone, all pixels, dB": 0.5,
    "one step over warp alone, newly seen, dB": 2.0,
    "one step over warp alone with holes filled, all pixels, dB": 0.0,
    "one step over warp alone with holes filled, newly seen, dB": 0.0,
    "rollout over copy-last, worst step from the 4th, dB": 0.0,
    "rollout over repeated warp, worst step from the 4th, dB": 0.0,
    "rollout over repeated warp with holes filled, worst step from the 4th, dB": 0.0,
    "action gain with carried views, dB": 3.0,
    "action gain from noise, dB": 1.0,
    "tokenizer ceiling, dB": 26.0,
    "frames/s": 10.0,
    "DiDA times faster than token by token": 10.0,
    "DiDA less token by token, dB": -0.5,
}
AT_MOST = {"depth AbsRel": 0.15, "first frame, s": 5.0, "memory, MB": 1500.0}
MARKS = (1, 2, 4, 8, 12, 16)  # steps of a walk that the page shows


def goals(report: dict) -> dict[str, dict]:
    """Each goal with what was measured and whether it is met."""
    one, roll, cost = report["one_step"], report["rollout"], report["cost"]
    model, noise = one["model, carried views"], one["model, noise"]
    alone, filled = one["warp alone"], one["warp alone, holes filled"]
    behind = lambda row: min(m - r for m, r in zip(roll["model"][3:], roll[row][3:], strict=True))  # noqa: E731
    measured = {
        "one step over copy-last, dB": model["all"] - one["copy-last"]["all"],
        "one step over warp alone, all pixels, dB": model["all"] - alone["all"],
        "one step over warp alone, newly seen, dB": model["newly seen"] - alone["newly seen"],
        "one step over warp alone with holes filled, all pixels, dB": model["all"] - filled["all"],
        "one step over warp alone with holes filled, newly seen, dB": model["newly seen"] - filled["newly seen"],
        "rollout over copy-last, worst step from the 4th, dB": behind("copy-last"),
        "rollout over repeated warp, worst step from the 4th, dB": behind("repeated warp alone"),
        "rollout over repeated warp with holes filled, worst step from the 4th, dB": behind(
            "repeated warp alone, holes filled"
        ),
        "action gain with carried views, dB": model["all"] - one["model, carried views, wrong words"]["all"],
        "action gain from noise, dB": noise["all"] - one["model, noise, wrong words"]["all"],
        "tokenizer ceiling, dB": one["tokenizer ceiling"]["all"],
        "frames/s": 1e3 / cost["frame_ms_median"],
        "DiDA times faster than token by token": cost["token_by_token_decode_ms"] / cost["dida_decode_ms"],
        "DiDA less token by token, dB": cost["dida_psnr"] - cost["token_by_token_psnr"],
        "depth AbsRel": report["depth_abs_rel"],
    }
    measured |= {
        name: cost[key]
        for name, key in (("first frame, s", "first_frame_s"), ("memory, MB", "memory_mb"))
        if key in cost
    }
    return {
        name: {
            "measured": value,
            "goal": GOALS.get(name, AT_MOST.get(name)),
            "met": value > GOALS[name] if name in GOALS else value <= AT_MOST[name],
        }
        for name, value in measured.items()
    }


def markdown(report: dict) -> str:
    """The report as the tables that docs/figures.md shows."""
    here = report["machine"]
    where = f"{here['cpu']}, {here['cores']} cores, {here['gpu'] or 'no GPU'}"
    where += f"; Python {here['python']}, torch {here['torch']}"
    columns = ("all", "covered", "newly seen")
    head = [f"{report['scenes']} test scenes; {where}.", ""]
    steps = [(row, *(f"{values[c]:.2f}" for c in columns)) for row, values in report["one_step"].items()]
    walks = [(row, *(f"{curve[mark - 1]:.2f}" for mark in MARKS)) for row, curve in report["rollout"].items()]
    aims = [
        (name, f"{goal['measured']:.2f}", f"{_sign(name)} {goal['goal']:g}", "yes" if goal["met"] else "no")
        for name, goal in report["goals"].items()
    ]
    one = _table(("one step after 4 true frames, PSNR dB", "all pixels", *columns[1:]), steps)
    free = _table(("free rollout, PSNR dB at step", *map(str, MARKS)), walks)
    goals = _table(("goal", "measured", "wanted", "met"), aims)
    lines = [*head, *one, "", *free, "", *goals]
    return "\n".join(lines) + "\n"


def _sign(name: str) -> str:
    return "at most" if name in AT_MOST else "at least"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    cells = [heads, ("---",) * len(heads), *rows]
    return ["| " + " | ".join(row) + " |" for row in cells]


def draw_sheet(sheets: list, path: Path) -> None:
    """Truth above dream, every second step, one pair of rows a walk."""
    rows = []
    for truth, dream in sheets:
        for pictures in (truth, dream):
            rows.append(np.concatenate(pictures[::2], 1))
        rows.append(np.full((6, rows[-1].shape[1], 3), 255, np.uint8))
    keep_picture(path, np.concatenate(rows[:-1], 0))


def draw_curves(report: dict, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axis = figure.subplots()
    for row, curve in report["rollout"].items():
        axis.plot(range(1, len(curve) + 1), curve, marker=".", label=row)
    axis.set(xlabel="steps after the last true frame", ylabel="PSNR, dB", title=f"{report['scenes']} test scenes")
    axis.grid(alpha=0.3)
    axis.legend()
    keep_figure(path, figure)


def print_report(report: dict, console) -> None:
    """The report as tables for people."""
    from rich.table import Table

    table = Table(title=f"One step after true frames, PSNR in dB, {report['scenes']} test scenes")
    for heading in ("", "all pixels", "covered", "newly seen"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row, columns in report["one_step"].items():
        cells = [f"{columns.get(c, float('nan')):.2f}" for c in ("all", "covered", "newly seen")]
        table.add_row(row, f"{cells[0]} ± {report['one_step_error'][row]:.2f}", *cells[1:])
    console.print(table)
    table = Table(title="Free rollout after 4 true frames, PSNR in dB at step")
    marks = (1, 2, 4, 6, 8, 10, 12, 14, 16)
    for heading in ("", *map(str, marks)):
        table.add_column(heading, justify="left" if not heading else "right")
    for row, curve in report["rollout"].items():
        table.add_row(row, *(f"{curve[mark - 1]:.2f}" for mark in marks))
    console.print(table)
    table = Table(title="Goals")
    for heading in ("", "measured", "goal", "met"):
        table.add_column(heading)
    for name, goal in report["goals"].items():
        wanted, met = f"{_sign(name)} {goal['goal']:g}", "yes" if goal["met"] else "no"
        table.add_row(name, f"{goal['measured']:.2f}", wanted, met)
    console.print(table)
