"""Times of whole frames and their lower bound, compared with token by token: `roam bench rollout`, or `python -m
roam.bench.rollout`.

A frame is its denoising steps, the noise between them and the commit pass, through the engine's own passes; on CUDA
also at the shape of Emu3.5 (34B) with random weights made on the device. Each time is compared with its lower bound,
the larger of bytes over bandwidth and operations over throughput, both measured here with a plain copy and a plain
product. Correctness is checked first. Prints tables and one line of JSON, writes bench/results/rollout-<machine>.json
and draws the roofline from all such files. `--against DIR` instead walks with another checkout and this one in turns.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ...viewer.play.progress import waiting
from ..machine import RESULTS, Machine
from ..reports import keep_json
from .against import against, show_against
from .check import WITHIN, check
from .floor import measure_peaks
from .frames import Row, rows_of
from .precision import PrecisionError, precision_errors
from .roofline import draw

TOKENS, STEPS = (256, 1024, 4096), (1, 2, 4, 8, 16)
PRECISIONS = {"cpu": ("float32", "bfloat16"), "cuda": ("bfloat16", "fp8")}


def show(rows: list[Row], errors: list[PrecisionError], console: Console) -> None:
    table = Table(
        "model",
        "way",
        "in",
        "tokens",
        "guided",
        "steps",
        "ms",
        "spread",
        "runs",
        "floor",
        "share",
        "frames/s",
        "MB",
        title="Whole frames: ms a frame, its floor in ms, MB that it allocates beyond what is there",
    )
    for r in rows:
        table.add_row(
            r.model,
            r.decoder,
            r.precision,
            f"{r.tokens}",
            "yes" if r.is_guided else "",
            f"{r.steps}",
            f"{r.frame_ms:.2f}",
            f"{r.spread_ms:.2f}",
            f"{r.runs}",
            f"{r.floor_ms:.2f}",
            f"{r.share_of_floor:.0%}",
            f"{1e3 / r.frame_ms:.2f}",
            "-" if r.peak_mb is None else f"{r.peak_mb:.0f}",
        )
    console.print(table)
    table = Table("embedded model in", "against", "hidden states off by", "tokens changed", "PSNR between, dB")
    for e in errors:
        table.add_row(e.precision, e.against, f"{e.hidden:.4f}", f"{e.tokens_changed:.1%}", f"{e.psnr_db:.1f}")
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="roam.bench.rollout", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shapes", nargs="+", choices=("embedded", "34B"), help="by default all that the device runs")
    parser.add_argument("--tokens", nargs="+", type=int, default=TOKENS, help="squares, of the 34B shape")
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    parser.add_argument("--guidance", nargs="+", type=float, default=(1.0, 3.0), help="1 is none")
    parser.add_argument("--precisions", nargs="+", choices=tuple(WITHIN))
    parser.add_argument("--seconds", type=float, default=2.0, help="time spent on each row, three runs at least")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--against", type=Path, help="another checkout: walk with its code and with this in turns")
    parser.add_argument("--draw", action="store_true", help="only draw the roofline from the results that are there")
    chosen = parser.parse_args(arguments)
    console = Console()
    if chosen.draw:
        return draw(sorted(chosen.results.glob("rollout-*.json")), chosen.results / "rollout.png")
    if chosen.against:
        return show_against(against(chosen.against), console)
    device = torch.device(chosen.device)
    shapes = chosen.shapes or (["embedded", "34B"] if device.type == "cuda" else ["embedded"])
    if "34B" in shapes and device.type != "cuda":
        parser.error("the 34B shape needs a CUDA device: its random weights are made there")
    precisions = tuple(chosen.precisions or PRECISIONS[device.type])
    with torch.inference_mode(), waiting("checking against the references"):
        checked = {precision: check(device, precision) for precision in precisions}
    console.print(f"{Machine.here()}; checked against the references: {checked}")
    with waiting("looking at this machine"):
        peaks = measure_peaks(device, precisions)
    console.print(f"copies at {peaks.bandwidth_gb_s:.0f} GB/s, products at {peaks.tflop_s} TFLOP/s")
    with waiting("measuring how precise these are"):
        errors = precision_errors(device)
    asked = rows_of(
        device,
        peaks,
        shapes=shapes,
        tokens=chosen.tokens,
        steps=chosen.steps,
        guidances=chosen.guidance,
        precisions=precisions,
        seconds=chosen.seconds,
    )
    with waiting("measuring whole frames"):
        rows = list(asked)
    show(rows, errors, console)
    report = {
        "bench": "rollout",
        "machine": Machine.here().as_dict(),
        "load": os.getloadavg()[0],
        "checked": checked,
        "peaks": asdict(peaks),
        "precision_errors": [asdict(error) for error in errors],
        "rows": [asdict(row) for row in rows],
    }
    print(json.dumps(report))
    keep_json(chosen.results / f"rollout-{Machine.here().slug}.json", report)
    draw(sorted(chosen.results.glob("rollout-*.json")), chosen.results / "rollout.png")


if __name__ == "__main__":
    main()
