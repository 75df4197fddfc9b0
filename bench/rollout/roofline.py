"""Draws the roofline of every machine that has results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..reports import keep_figure


def draw(files: list[Path], target: Path) -> None:
    """The roofline of every machine that there are results of: operations a second over operations a byte."""
    from matplotlib.figure import Figure

    reports = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    figure = Figure(figsize=(7, 4.4 * len(reports)), layout="constrained")
    for axis, report in zip(np.atleast_1d(figure.subplots(len(reports))), reports, strict=True):
        bandwidth, machine = report["peaks"]["bandwidth_gb_s"], report["machine"]
        reach = np.logspace(-1, 4, 200)
        for number, (precision, peak) in enumerate(report["peaks"]["tflop_s"].items()):
            colour = f"C{number}"
            roof = np.minimum(peak, bandwidth * reach / 1e3)
            axis.plot(reach, roof, color=colour, label=f"{precision}, measured peak")
            for decoder, marker in (("dida", "o"), ("token by token", "x")):
                rows = [r for r in report["rows"] if (r["precision"], r["decoder"]) == (precision, decoder)]
                axis.plot(
                    [1e3 * r["teraflop"] / r["gigabytes"] for r in rows],
                    [1e3 * r["teraflop"] / r["frame_ms"] for r in rows],
                    marker,
                    color=colour,
                    mfc="none",
                    label=f"{precision}, {decoder}",
                )
        axis.set(
            xscale="log",
            yscale="log",
            xlabel="operations a byte",
            ylabel="TFLOP/s",
            title=f"{machine['gpu'] or machine['cpu']}: whole frames",
        )
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize=8)
    keep_figure(target, figure)
