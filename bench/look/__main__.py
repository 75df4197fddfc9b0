"""`roam bench look`: how fast a dream is looked at from any pose, alone, during its own steps, and over the network.

A head that turns and sways looks from about the walker's position. Each time is given on the clock and as processor
time, because other work on the machine lengthens only the first. Before any time is measured, a look from the walker's
own pose must equal the frame.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ...viewer.play.progress import waiting
from ...world.engine import Engine
from ..machine import Machine, load_average
from ..reports import keep_json
from .looks import GOAL_P95_MS, GOAL_PER_S, GOAL_SIDE, SIDES, Cost, Row, beside_steps, check, measure, walked
from .served import over_the_wire, reliefs


def show(rows: list[Row], cost: Cost, machine: Machine) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Looks into a dream, milliseconds", caption=f"{machine}; load {load_average():.1f}")
    for name in ("pixels", "eyes", "beside", "looks", "p50", "p95", "of a core", "looks/s", "unknown", "bytes"):
        table.add_column(name, justify="left" if name == "beside" else "right")
    for row in rows:
        core = f"{row.core_ms:.2f}" if row.core_ms else "-"
        table.add_row(
            str(row.side),
            str(row.eyes),
            row.beside or "nothing",
            str(row.looks),
            f"{row.p50_ms:.2f}",
            f"{row.p95_ms:.2f}",
            core,
            f"{row.per_s:.0f}",
            f"{100 * row.unknown:.1f} %",
            str(row.wire_bytes or "-"),
        )
    Console(width=110).print(table)
    alone, beside = cost.steps_per_s_alone, cost.steps_per_s_beside
    print(f"the dream beside {GOAL_PER_S:.0f} looks a second: {beside:.1f} steps/s, {alone:.1f} alone")


def _timed(text: str, work: Callable[[], list[Row]]) -> list[Row]:
    with waiting(text):
        return work()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--looks", type=int, default=200, help="looks for each row")
    parser.add_argument("--steps", type=int, default=40, help="steps of the walk that is looked at")
    parser.add_argument("--seconds", type=float, default=5.0, help="of walking beside the looks")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    wanted = parser.parse_args()
    machine = Machine.here()
    with waiting("opening a dream"):
        engine = Engine.from_checkpoint()
    with waiting(f"a dream walks {wanted.steps} steps"):
        session = walked(engine, wanted.steps)
    check(session)
    rows = []
    for side in SIDES:
        for eyes in (1, 2):
            with waiting(f"{side} pixels, {eyes}"):
                rows.append(measure(session, side=side, eyes=eyes, looks=wanted.looks))
    with waiting("beside a dream that walks"):
        beside, cost = beside_steps(session, seconds=wanted.seconds)
    rows += beside
    rows += _timed("over the wire", lambda: over_the_wire(engine, looks=wanted.looks))
    relief = reliefs(engine)
    show(rows, cost, machine)
    parts = f"{relief.jpeg_bytes} bytes of JPEG, {relief.depth_bytes} of depth, {relief.head_bytes} of header"
    print(f"a frame of relief: {parts}")
    free, paced = beside
    verdict = {
        "goal": f"{GOAL_PER_S:.0f} looks/s of two eyes at {GOAL_SIDE} beside a dream, p95 under {GOAL_P95_MS} ms",
        "per_s": free.per_s,
        "p95_ms": paced.p95_ms,
        "met": free.per_s >= GOAL_PER_S and paced.p95_ms < GOAL_P95_MS,
    }
    result = {
        "machine": machine.as_dict(),
        "load": load_average(),
        "views": len(session.memory),
        "rows": [asdict(row) for row in rows],
        "cost": asdict(cost),
        "relief": asdict(relief),
        **verdict,
    }
    print(json.dumps(result))
    keep_json(wanted.out / f"look-{machine.slug}.json", result)


if __name__ == "__main__":
    main()
