"""One long walk: processor time per frame and the server's memory, at its beginning and its end.

The processor time includes everything that a frame costs, also snapshots and commits, and other programs hardly change
it; the clock's time is recorded too.
"""

from __future__ import annotations

import statistics
from itertools import pairwise

from ...viewer.client.client import Client
from ...viewer.play.progress import counted
from ...viewer.wire.encoding import Look
from .findings import Finding
from .served import Served
from .walkers import KEYS

STEP_FACTOR = 1.25  # a frame of the last third over one of the middle third
GROWTH_MB = 8.0  # for a thousand frames, in the last two thirds
# a real walk, not small movements: most of what it sees is new at first
ROUTE = [action for action in KEYS for _ in range(5)]


def measure(*, frames: int, is_truth: bool) -> list[Finding]:
    """One walk of so many frames through a true scene, or the dream that ships."""
    world = "truth" if is_truth else "dream"
    steps, memory, cpu_s = [], [], []
    third = max(1, frames // 3)
    with Served(is_truth=is_truth) as served, Client(served.address, timeout_s=300.0) as client:
        session = client.open(seed=3, look=Look("jpeg"))
        for number in counted(range(frames), f"walking {world}", frames):
            if number % third == 0:
                cpu_s.append(served.cpu_s)
            steps.append(client.step(session, ROUTE[number % len(ROUTE)]).head.step_ms)
            if number % 50 == 0:
                memory.append(served.memory_mb)
        written_mb, cpu_s = served.written_mb, [*cpu_s[:3], served.cpu_s]
        client.end(session)
    counts = [third, third, frames - 2 * third]
    cpu_ms = [1000 * (b - a) / count for (a, b), count in zip(pairwise(cpu_s), counts, strict=True)]
    bounds = [0, third, 2 * third, frames]
    step_ms = [statistics.median(steps[a:b]) for a, b in pairwise(bounds)]
    growth = (statistics.mean(memory[-5:]) - memory[len(memory) // 3]) / max(frames * 2 / 3, 1) * 1000
    kind = f"{world}, {frames} frames"
    return [
        Finding.at_most(
            f"{kind}: the processor's time for a frame, the last third's / the middle's",
            cpu_ms[2] / cpu_ms[1],
            STEP_FACTOR,
            "times",
            processor_ms=cpu_ms,
            step_ms=step_ms,
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
