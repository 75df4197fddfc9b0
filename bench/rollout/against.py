"""Walks with the code of another checkout and of this one in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..machine import Machine

HERE = Path(__file__).resolve().parents[2]


def against(other: Path, *, rounds: int = 4, steps: int = 55) -> dict[str, list[float]]:
    """The embedded model's frames, everything included, by the code of another checkout and by this one in turns, each
    in a process of its own: median milliseconds a frame of each round. Raises ValueError for a folder without code."""
    for root in (HERE, other):
        if not (root / "world" / "engine.py").is_file():
            raise ValueError(f"{root} has no world/engine.py; name a checkout: git worktree add DIR COMMIT")
    times: dict[str, list[float]] = {"other": [], "this": []}
    with tempfile.TemporaryDirectory() as folder:
        places = {name: _under_our_name(root, Path(folder) / name) for name, root in (("other", other), ("this", HERE))}
        for _ in range(rounds):
            for name, found in times.items():
                found.append(_walked(places[name], steps))
    return times


def _under_our_name(root: Path, place: Path) -> Path:
    """Makes `place` a folder in which the checkout at `root` is the package roam; the timing program is ours in both
    cases."""
    package = place / "roam"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for part in ("world", "kernels", "scenes", "viewer"):
        (package / part).symlink_to((root / part).resolve())
    (package / "bench").symlink_to(HERE / "bench")
    return place


def _walked(place: Path, steps: int) -> float:
    """Milliseconds a frame by the package roam that lies in `place`, in a process of its own."""
    command = [sys.executable, "-m", "roam.bench.rollout.walk", str(HERE / "world" / "weights"), str(steps)]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd=place)
    return float(done.stdout.split()[0])


def show_against(times: dict[str, list[float]], console: Console) -> None:
    table = Table("code", "ms a frame, by round", "median", "frames/s")
    for name, found in times.items():
        median = statistics.median(found)
        table.add_row(name, " ".join(f"{ms:.1f}" for ms in found), f"{median:.1f}", f"{1e3 / median:.1f}")
    console.print(table)
    ratio = statistics.median(a / b for a, b in zip(times["other"], times["this"], strict=True))
    print(
        json.dumps(
            {
                "bench": "rollout against",
                "machine": Machine.here().as_dict(),
                "load": os.getloadavg()[0],
                "ms_a_frame": times,
                "times_faster": ratio,
            }
        )
    )
