"""`roam bench attack`: a server under load and attack, as figures with goals.

The server runs in a process of its own, as in real use, and attackers in others. Every ratio is taken within one run: a
walker's figures during the attack over its own before and after. Ends with an error if a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..machine import Machine
from . import crowd, endurance, killed, malformed, neighbours
from .findings import Finding, keep, show

RESULTS = Path(__file__).parents[1] / "results"


def parts(wanted: argparse.Namespace) -> dict[str, Callable[[], list[Finding]]]:
    """The measurements by name, in the order in which they are made."""
    return {
        "malformed": partial(malformed.measure, wanted.messages),
        "neighbours-truth": partial(neighbours.measure, seconds=wanted.seconds, is_truth=True),
        "neighbours-dream": partial(neighbours.measure, seconds=wanted.seconds, is_truth=False),
        "kill-truth": partial(killed.measure, walkers=wanted.walkers, frames=60, is_truth=True),
        "kill-dream": partial(killed.measure, walkers=wanted.walkers, frames=40, is_truth=False),
        "crowd": partial(crowd.measure, clients=8, minutes=wanted.minutes),
        "long-truth": partial(endurance.measure, frames=wanted.frames, is_truth=True),
        "long-dream": partial(endurance.measure, frames=wanted.frames, is_truth=False),
    }


def main() -> None:
    wanted = _arguments()
    known = parts(wanted)
    unknown = [name for name in wanted.only if name not in known]
    if unknown:
        sys.exit(f"roam bench attack: unknown part '{unknown[0]}'; known: {', '.join(known)}")
    machine, measured = Machine.here(), {}
    for name in wanted.only or known:
        print(f"{name} ...", file=sys.stderr, flush=True)
        measured[name] = known[name]()
        path = keep({name: measured[name]}, machine, wanted.out)  # stored, whatever happens in the next part
    show(measured, machine)
    print(f"kept in {path}")
    missed = sum(not finding.is_met for findings in measured.values() for finding in findings)
    if missed:
        sys.exit(f"{missed} figures miss their goals")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="roam bench attack", description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="malformed, neighbours-truth and so on")
    parser.add_argument("--messages", type=int, default=10_000, help="malformed ones, of either level")
    parser.add_argument("--seconds", type=float, default=10.0, help="each way of troubling a neighbour, and quiet")
    parser.add_argument("--walkers", type=int, default=4, help="walking when the server is killed")
    parser.add_argument("--minutes", type=float, default=10.0, help="of clients coming and going")
    parser.add_argument("--frames", type=int, default=3000, help="of a long walk")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
