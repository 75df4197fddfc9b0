"""kill -9 in the middle of four walks: how soon after the server is back they go on, and what of them is lost."""

from __future__ import annotations

import contextlib
import time

from .findings import Finding
from .served import Served
from .walkers import Walker

RESUMED_S, LOST_S = 2.0, 1.0


def measure(*, walkers: int, frames: int, is_truth: bool) -> list[Finding]:
    """Walk so many frames each, kill, begin again; the dream that ships, or true scenes."""
    with Served(is_truth=is_truth) as served, contextlib.ExitStack() as stack:
        walks = [Walker(served.address, seed=seed) for seed in range(walkers)]
        began = time.monotonic()
        for walk in walks:
            stack.enter_context(walk)
        for walk in walks:
            walk.wait_for(frames, within_s=3600)
        rate = min(walk.rate(began, time.monotonic()) for walk in walks)
        served.kill()
        time.sleep(0.5)  # what was on its way has come
        before = [len(walk.seen) for walk in walks]
        served.start()
        back = time.monotonic()
        for walk, count in zip(walks, before, strict=True):
            walk.wait_for(count + 1)
        resumed_s = [walk.seen[count].at - back for walk, count in zip(walks, before, strict=True)]
        pairs = [
            (walk.seen[count - 1].index, walk.seen[count].index) for walk, count in zip(walks, before, strict=True)
        ]
        lost = [last + 1 - following for last, following in pairs]
    world = "truth" if is_truth else "dream"
    return [
        Finding.at_most(f"{world}, {walkers} walks: the next frame after the server is back", max(resumed_s),
                        RESUMED_S, "s", each_s=resumed_s, frames=before),
        Finding.at_most(f"{world}, {walkers} walks: frames lost", max(lost) / max(rate, 1e-9), LOST_S, "s",
                        frames_lost=lost, frames_per_s=rate),
    ]  # fmt: skip
