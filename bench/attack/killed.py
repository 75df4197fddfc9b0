"""kill -9 during walks: how soon they continue after the server is back, and what is lost.

The time is also given in the server's own processor time, from when clients may connect to the last walk's next frame:
on an otherwise idle machine that is the wait.
"""

from __future__ import annotations

import contextlib
import time

from .findings import Finding
from .served import Served
from .walkers import Walker, percentile

RESUMED_S, LOST_S = 2.0, 1.0


def measure(*, walkers: int, frames: int, is_truth: bool) -> list[Finding]:
    """Walk so many frames each, kill, begin again; the dream that ships, or true scenes."""
    with Served(is_truth=is_truth) as served, contextlib.ExitStack() as stack:
        walks = [stack.enter_context(Walker(served.address, seed=seed)) for seed in range(walkers)]
        began = time.monotonic()
        for walk in walks:
            walk.wait_for(frames, within_s=3600)
        killed = time.monotonic()
        served.kill()
        time.sleep(0.5)  # messages in transit have arrived
        before = [len(walk.seen) for walk in walks]
        served.start()
        back, spent_s = time.monotonic(), served.cpu_s
        for walk, count in zip(walks, before, strict=True):
            walk.wait_for(count + 1)
        spent_s = served.cpu_s - spent_s
        pairs = [(walk.seen[count - 1], walk.seen[count]) for walk, count in zip(walks, before, strict=True)]
    rate = min(walk.rate(began, killed) for walk in walks)
    usual_s = percentile([seen.ms for walk in walks for seen in walk.seen[: min(before)]], 50) / 1000
    lost = [last.index + 1 - following.index for last, following in pairs]
    waits_s = [following.at - back for _, following in pairs]
    world = f"{'truth' if is_truth else 'dream'}, {walkers} walks"
    return [
        Finding.at_most(
            f"{world}: the server's processor time until all have their next frame",
            spent_s,
            RESUMED_S,
            "s",
            waits_s=waits_s,
            usual_frame_s=usual_s,
            waits_in_usual_frames=max(waits_s) / usual_s,
            frames=before,
        ),
        Finding.at_most(
            f"{world}: of each, frames lost",
            max(lost) / max(rate, 1e-9),
            LOST_S,
            "s",
            frames_lost=lost,
            frames_per_s=rate,
        ),
    ]
