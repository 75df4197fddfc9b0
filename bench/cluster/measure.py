"""Times of walkers on a cluster, and what happens to their walks while workers are killed."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ...viewer.play.progress import waiting
from .running import Cluster
from .walkers import Walker, alone, check, walk_all, walkers_on

# goals: p95 of the time until a walk continues, and of the seconds of walking that must be repeated
RESUMED_S, REMADE_S = 5.0, 1.0


@dataclass(frozen=True)
class Row:
    """Walkers on one cluster."""

    world: str
    workers: int
    walkers: int
    seconds: float
    frames: int
    frames_per_s: float  # of all walkers together
    p50_ms: float  # from a key to its frame
    p95_ms: float
    unfair: float  # the slowest walker's p95 over the median walker's
    step_p50_ms: float  # of that, the world's own step
    step_p95_ms: float
    front_ms: float  # processor time of the front per frame, which other programs hardly change
    worker_ms: float  # the same of the workers
    memory_mb: float  # of the front and all workers together


@dataclass(frozen=True)
class Chaos:
    """A run during which workers were killed."""

    world: str
    workers: int
    walkers: int
    seconds: float
    kills: int
    resumptions: int
    lost: int  # walks that could not continue
    remade_p95: float  # frames that a walk had shown already and that were made again, for each resumption
    remade_p95_s: float  # the same in seconds of walking, the time in which those frames were made at first
    silent_p50_s: float  # how long a walk stood still: from its worker's death, or a later key, to the frame
    silent_p95_s: float
    frames: int
    same: int  # walks whose last frame equals that of an undisturbed walk ...
    compared: int  # ... of so many that were compared

    @property
    def missed(self) -> list[str]:
        """The goals that were missed, as sentences."""
        goals = {
            f"{self.kills} workers were killed and {self.resumptions} walks resumed": self.kills and self.resumptions,
            f"{self.lost} of {self.walkers} walks were lost": not self.lost,
            f"{self.compared - self.same} of {self.compared} walks came out otherwise than undisturbed ones": (
                self.same == self.compared > 0
            ),
            f"{self.remade_p95_s:.2f} s of a walk had to be made again": self.remade_p95_s < REMADE_S,
            f"walks stood still for {self.silent_p95_s:.1f} s": self.silent_p95_s <= RESUMED_S,
        }
        return [said for said, is_met in goals.items() if not is_met]


def measure(world: str, workers: int, counts: Sequence[int], seconds: float) -> list[Row]:
    """A row for each number of walkers, on one cluster."""
    rows = []
    with waiting(f"{world}: a cluster of {workers} starts"):
        cluster = Cluster(world, workers, max(counts))
    with cluster:
        with waiting(f"{world}: the same frames on a cluster as without one"):
            check(cluster, world)
        for count in counts:
            with waiting(f"{world}, {workers} workers, {count} walkers"), walkers_on(cluster, count) as walkers:
                before = cluster.processor_s()
                took = walk_all(walkers, seconds)
                told, after = cluster.status(), cluster.processor_s()
                spent_s = after[0] - before[0], after[1] - before[1]
                assert not any(walker.failure for walker in walkers), [w.failure for w in walkers if w.failure]
                slowest = max(told["workers"], key=lambda row: row["step_p95_ms"])
                rows.append(_row(world, workers, walkers, took, slowest, spent_s, cluster.memory_mb()))
                for walker in walkers:
                    walker.client.end(walker.session)
    return rows


def _row(
    world: str,
    workers: int,
    walkers: list[Walker],
    took: float,
    slowest: dict,
    spent_s: tuple[float, float],
    memory_mb: float,
) -> Row:
    ms = sorted(ms for walker in walkers for ms in walker.ms)
    p95s = [percentile(sorted(walker.ms), 95) for walker in walkers if walker.ms]
    return Row(
        world=world,
        workers=workers,
        walkers=len(walkers),
        seconds=round(took, 1),
        frames=len(ms),
        frames_per_s=len(ms) / took,
        p50_ms=percentile(ms, 50),
        p95_ms=percentile(ms, 95),
        unfair=max(p95s) / max(1e-9, statistics.median(p95s)),
        step_p50_ms=slowest["step_p50_ms"],
        step_p95_ms=slowest["step_p95_ms"],
        front_ms=1000 * spent_s[0] / len(ms),
        worker_ms=1000 * spent_s[1] / len(ms),
        memory_mb=memory_mb,
    )


def chaos(world: str, workers: int, count: int, seconds: float, every_s: float, compare: int) -> Chaos:
    """Kill a worker every `every_s` seconds under so many walkers; then compare `compare` of them with local walks."""
    chance, kills, ending = random.Random(7), [], threading.Event()
    with waiting(f"{world}: a cluster of {workers} starts"):
        cluster = Cluster(world, workers, count)

    def killer() -> None:
        while not ending.wait(every_s):
            if cluster.kill_one(chance):
                kills.append(time.monotonic())

    with cluster, walkers_on(cluster, count) as walkers:
        with waiting(f"{world}, {count} walkers, a worker killed every {every_s:g} s"):
            thread = threading.Thread(target=killer)
            thread.start()
            took = walk_all(walkers, seconds, ending)
            thread.join()
        silent = [gap for walker in walkers for gap in silences(walker, kills)]
        remade = sorted(n for walker in walkers for n in walker.remade)
        remade_s = sorted(seconds for walker in walkers for seconds in walker.remade_s)
        with waiting("held against undisturbed walks"):
            compared = walkers[:compare]
            same = sum(walker.digest == alone(world, walker) for walker in compared)
        return Chaos(
            world=world,
            workers=workers,
            walkers=count,
            seconds=round(took, 1),
            kills=len(kills),
            resumptions=len(remade),
            lost=sum(bool(walker.failure) for walker in walkers),
            remade_p95=percentile(remade, 95),
            remade_p95_s=percentile(remade_s, 95),
            silent_p50_s=percentile(sorted(silent), 50),
            silent_p95_s=percentile(sorted(silent), 95),
            frames=sum(len(walker.done) for walker in walkers),
            same=same,
            compared=len(compared),
        )


def silences(walker: Walker, kills: list[float]) -> list[float]:
    """Seconds for which a walk stood still whenever it was resumed: from the kill, or from the key where that came
    later, to its frame. Of several kills since the frame before, the first counts."""
    stood = []
    for before, pressed, came in walker.resumed:
        since = [kill for kill in kills if before < kill <= came]
        stood += [came - max(pressed, since[0])] if since else []
    return stood


def percentile(values: Sequence[float], percent: float) -> float:
    """Of sorted values; 0 of none."""
    return float(values[min(len(values) - 1, int(len(values) * percent / 100))]) if values else 0.0
