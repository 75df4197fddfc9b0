"""The results of an attack: figures with goals, as a table for people and as stored JSON."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..reports import keep_json

if TYPE_CHECKING:  # machine.py imports torch, which every attacker's process would wait for
    from ..machine import Machine

CAPTION = "processes share the machine: ratios are within one run, quiet before and after beside attacked"


@dataclass(frozen=True)
class Finding:
    """One figure: what it measures, its value and goal in `unit`, whether the goal is met; more: further
    observations, only for the file."""

    kind: str
    value: float
    goal: str
    unit: str
    is_met: bool
    more: dict

    @staticmethod
    def at_most(kind: str, value: float, goal: float, unit: str, **more) -> Finding:
        return Finding(kind, round(value, 3), f"<= {goal:g}", unit, value <= goal, more)

    @staticmethod
    def at_least(kind: str, value: float, goal: float, unit: str, **more) -> Finding:
        return Finding(kind, round(value, 3), f">= {goal:g}", unit, value >= goal, more)


def show(parts: dict[str, list[Finding]], machine: Machine) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Under load and attack", caption=f"{machine}; load {load():.1f}; {CAPTION}")
    for name in ("tried", "figure", "value", "goal", "unit", "met"):
        table.add_column(name, justify="right" if name == "value" else "left")
    for part, f in ((part, finding) for part, findings in parts.items() for finding in findings):
        table.add_row(part, f.kind, f"{f.value:.2f}", f.goal, f.unit, "yes" if f.is_met else "NO")
    Console(width=120).print(table)


def keep(measured: dict[str, list[Finding]], machine: Machine, folder: Path) -> Path:
    """Store these parts together with others that were measured on this machine before."""
    path = folder / f"attack-{machine.slug}.json"
    parts = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.exists() else {}
    for part, findings in measured.items():
        rows = [asdict(finding) for finding in findings]
        parts[part] = {"at": time.strftime("%Y-%m-%d %H:%M"), "load": round(load(), 1), "findings": rows}
    whole = {"machine": machine.as_dict(), "note": CAPTION, "parts": parts}
    return keep_json(path, whole)


def load() -> float:
    """How many processes wanted a core over the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
