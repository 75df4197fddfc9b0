"""One long walk: the time of a step, and the server's memory, at its beginning and at its end."""

from __future__ import annotations

import statistics

from ...viewer.client.client import Client
from ...viewer.play.progress import counted
from ...viewer.wire.encoding import Look
from .findings import Finding
from .served import Served
from .walkers import KEYS

STEP_FACTOR = 1.25  # the last third's median step over the middle third's
GROWTH_MB = 8.0  # for a thousand frames, in the last two thirds
ROUTE = [action for action in KEYS for _ in range(5)]  # a walk and not a tremor: most of what it sees is new at first


def measure(*, frames: int, is_truth: bool) -> list[Finding]:
    """One walk of so many frames through a true scene, or the dream that ships."""
    world = "truth" if is_truth else "dream"
    steps, memory = [], []
    with Served(is_truth=is_truth) as served, Client(served.address, timeout_s=300.0) as client:
        session = client.open(seed=3, look=Look("jpeg"))
        for number in counted(range(frames), f"walking {world}", frames):
            steps.append(client.step(session, ROUTE[number % len(ROUTE)]).head.step_ms)
            if number % 50 == 0:
                memory.append(served.memory_mb)
        written_mb = served.written_mb
        client.end(session)
    third = max(1, frames // 3)
    middle, last = statistics.median(steps[third : 2 * third]), statistics.median(steps[-third:])
    growth = (statistics.mean(memory[-5:]) - memory[len(memory) // 3]) / max(frames * 2 / 3, 1) * 1000
    kind = f"{world}, {frames} frames"
    return [
        Finding.at_most(
            f"{kind}: the last third's step / the middle's",
            last / middle,
            STEP_FACTOR,
            "times",
            step_ms=[statistics.median(steps[:third]), middle, last],
        ),
        Finding.at_most(
            f"{kind}: memory's growth for 1000 frames",
            growth,
            GROWTH_MB,
            "MB",
            memory_mb=[round(mb, 1) for mb in memory],
            written_mb_a_frame=written_mb / frames,
        ),
    ]
