"""`roam bench cluster`: many walkers over one and more workers, and the same while workers are killed.

The cluster runs in processes of its own, as in real use (`roam cluster up`). Walkers press keys like people: some in a
row, then a pause. Every frame is the answer to a typed key, so that each walk can be compared with an undisturbed one
of the same actions, digest by digest; this is done once before any time is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..machine import Machine
from ..reports import keep_json
from .measure import Chaos, Row, chaos, measure
from .parts import Part, engine_parts, path_parts


def beside(before: list[dict], fresh: list[dict]) -> list[dict]:
    """Old figures of other things, followed by the new figures."""
    what = lambda row: [row.get(name) for name in ("what", "how", "world", "workers", "walkers")]  # noqa: E731
    known = [what(row) for row in fresh]
    return [*(row for row in before if what(row) not in known), *fresh]


def show(rows: list[Row], chaoses: list[Chaos], parts: list[Part], machine: Machine) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=120)
    kinds: list[tuple[str, Sequence[Any]]] = [
        ("Walkers on a cluster", rows),
        ("Workers killed under them", chaoses),
        ("What it is made of", parts),
    ]
    for title, made in kinds:
        if not made:
            continue
        table = Table(title=title, caption=f"{machine}; load {os.getloadavg()[0]:.1f}")
        for name in asdict(made[0]):
            table.add_column(name.replace("_", " "), justify="right")
        for row in made:
            table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in asdict(row).values()))
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worlds", nargs="*", default=["truth", "dream"], choices=["truth", "dream"])
    parser.add_argument("--walkers", type=int, nargs="+", default=[1, 16, 100])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=30.0, help="for each row")
    parser.add_argument("--chaos", type=float, default=0.0, help="seconds of walking while workers are killed")
    parser.add_argument("--kill-every", type=float, default=30.0, help="seconds")
    parser.add_argument("--chaos-walkers", type=int, default=16)
    parser.add_argument("--compare", type=int, default=16, help="walks held against undisturbed ones")
    parser.add_argument("--parts", action="store_true", help="steps of one engine, and the ways that a frame may take")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    wanted = parser.parse_args()
    if wanted.worlds and find_spec("ray") is None:  # the cluster would say so in its log, long after
        sys.exit("roam bench cluster: a cluster needs Ray: pip install 'roam-worlds[cluster]'")
    machine, rows, chaoses, parts = Machine.here(), [], [], []
    if wanted.parts:
        parts = [*engine_parts(), *path_parts()]
    for world in wanted.worlds:
        if wanted.chaos:
            chaoses.append(chaos(world, 2, wanted.chaos_walkers, wanted.chaos, wanted.kill_every, wanted.compare))
            continue
        for workers in wanted.workers:
            rows += measure(world, workers, wanted.walkers, wanted.seconds)
    show(rows, chaoses, parts, machine)
    path = wanted.out / f"cluster-{machine.slug}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    fresh: dict[str, Sequence[Any]] = {"rows": rows, "chaos": chaoses, "parts": parts}
    result = before | {"machine": machine.as_dict()}
    result |= {
        name: beside(before.get(name, []), [asdict(row) for row in made]) for name, made in fresh.items() if made
    }
    result |= {f"load_{name}": round(os.getloadavg()[0], 1) for name, made in fresh.items() if made}
    print(json.dumps(result))
    keep_json(path, result)
    missed = [said for run in chaoses for said in run.missed]
    if missed:
        sys.exit("; ".join(missed))


if __name__ == "__main__":
    main()
