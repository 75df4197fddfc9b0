"""Each kernel against what torch offers for the same work: `python -m roam.bench.kernels`.

Every case first checks our result against the float32 reference, then times each way of doing it. A time stands beside
its floor: the larger of bytes over bandwidth and operations over throughput, both measured on this machine by a plain
copy and a plain product. Prints a table and one line of JSON, and writes bench/results/kernels-<machine>.json. On a
CPU it takes the embedded model's sizes, and leaves out torch.compile unless asked: that costs half a minute a case.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ...kernels.device import has_half_dots
from ...viewer.play.progress import counted, waiting
from ..machine import RESULTS
from ..reports import keep_json
from .case import LARGE, SMALL, Bench
from .cases import CASES
from .measure import Machine, Measure, look_at, measure

# Above this load other work shares the cores, and a median says more about it than about us.
_IDLE_LOAD = 0.5


def show(machine: Machine, measures: list[Measure], console: Console) -> None:
    table = Table("op", "shape", "way", "ms", "spread", "GB/s", "TFLOP/s", "of floor", "peak MB")
    last = None
    for m in measures:
        same = (m.op, m.shape) == last
        last = (m.op, m.shape)
        table.add_row(
            "" if same else m.op,
            "" if same else m.shape,
            m.way,
            f"{m.median_ms:.3f}",
            f"{m.spread_ms:.3f}",
            f"{m.gb_s:.1f}",
            f"{m.tflop_s:.3f}",
            f"{m.share_of_floor:.0%}",
            "-" if m.peak_mb is None else f"{m.peak_mb:.1f}",
        )
    console.print(
        f"{machine.name}, torch {machine.torch}, {machine.threads} threads, kernels: {machine.backend}; copies at "
        f"{machine.bandwidth_gb_s:.0f} GB/s, products at {machine.throughput_tflop_s:.2f} TFLOP/s"
    )
    if machine.device == "cpu":
        console.print("No GPU: the sizes are the embedded model's, and 'ours' are the torch references.")
    if machine.device == "cpu" and machine.load > _IDLE_LOAD:
        console.print(f"Load {machine.load:.1f}: something else runs here, so every time is an upper bound.")
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="roam.bench.kernels", description=__doc__.splitlines()[0])
    parser.add_argument("--ops", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=None, help="time spent on each way of each case")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None, help="also torch.compile")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device)
    cuda = device.type == "cuda"
    seconds = chosen.seconds or (1.0 if cuda else 0.3)
    compiles = cuda if chosen.compile is None else chosen.compile
    half = torch.empty(0, dtype=torch.bfloat16, device=device)
    small = replace(SMALL, dtype=torch.bfloat16 if has_half_dots(half) else torch.float32)  # as the engine runs it
    bench = Bench(device, LARGE if cuda else small, compiles, seconds)
    with torch.no_grad():
        with waiting("looking at this machine"):
            machine = look_at(device, bench.sizes)
        ops = counted(chosen.ops, "operations", len(chosen.ops))
        measures = [m for op in ops for case in CASES[op](bench) for m in measure(case, bench, machine)]
    show(machine, measures, Console())
    report = dict(machine=asdict(machine), measures=[asdict(m) for m in measures])
    print(json.dumps(report))
    slug = "-".join("".join(c if c.isalnum() else " " for c in machine.name.lower()).split())
    keep_json(chosen.results / f"kernels-{slug}.json", report)


if __name__ == "__main__":
    main()
