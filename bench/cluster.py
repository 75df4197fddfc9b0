"""`roam bench cluster`: many walkers over one and more workers, and the same while workers are killed.

The cluster runs in processes of its own, as in real use (`roam cluster up`). Walkers press keys like people: some in a
row, then a pause. Every frame is the answer to a typed key, so that each walk can be compared with an undisturbed one
of the same actions, digest by digest; this is done once before any time is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..viewer.client.client import Client
from ..viewer.client.remote_session import EXACT
from ..viewer.cluster.control import ask
from ..viewer.opening.worlds import DreamWorlds, OpenRequest, SceneWorlds, Worlds
from ..viewer.play.progress import waiting
from ..world.action import Action, parse_action
from ..world.frame import Retracing
from .cluster_parts import Part, engine_parts, path_parts
from .machine import Machine

KEYS = [parse_action(text) for text in ("turn left 15 degrees", "turn right 15 degrees", "move forward", "move back")]
IN_A_ROW, RATE_S, PAUSE_S = (2, 8), 1 / 15, (0.3, 1.2)
START_S, STEP_S = 600.0, 120.0
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


class Cluster:
    """`roam cluster up` in a folder of its own, for as long as the `with` lasts."""

    def __init__(self, world: str, workers: int, walkers: int):
        self._folder = tempfile.TemporaryDirectory(prefix="roam-bench-")
        self.folder = Path(self._folder.name)
        places = -(-walkers // workers) + 4
        command = [sys.executable, "-m", "roam.viewer.cli", "cluster", "up", "tcp://127.0.0.1:0"]
        command += ["--folder", str(self.folder), "--workers", str(workers), "--walks", str(max(places, walkers))]
        command += ["--each", "1000", *(["--truth"] if world == "truth" else [])]
        self._log = (self.folder / "log").open("w")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        self.address = self._read_address()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_error) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(120)
        self._log.close()
        self._folder.cleanup()

    def status(self) -> dict:
        return ask(self.folder, "status", timeout_s=60)

    def memory_mb(self) -> float:
        told = sum(row["memory_bytes"] for row in self.status()["workers"])
        return (told + _resident(self._process.pid)) / 2**20

    def processor_s(self) -> tuple[float, float]:
        """Processor seconds of the front, and of all workers together, so far."""
        workers = sum(_processor_s(row["pid"]) for row in self.status()["workers"])
        return _processor_s(self._process.pid), workers

    def kill_one(self, chance: random.Random) -> str | None:
        """kill -9 a worker that has walks; returns its name."""
        there = [row for row in self.status()["workers"] if row["driven"]]
        if not there:
            return None
        row = chance.choice(there)
        os.kill(row["pid"], signal.SIGKILL)
        return row["name"]

    def _read_address(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("serving on "):
                threading.Thread(target=self._process.stdout.read, daemon=True).start()
                return line.split()[-1]
        raise RuntimeError(f"the cluster did not start: {(self.folder / 'log').read_text()[-2000:]}")


@dataclass
class Walker:
    """Presses keys until told to stop. done: the actions that became frames; ms: from each key to its frame."""

    client: Client
    session: str
    seed: int
    done: list[Action] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)  # when each frame came
    remade: list[int] = field(default_factory=list)  # at each resumption: frames that were made again ...
    remade_s: list[float] = field(default_factory=list)  # ... and what making them had taken, pauses left out
    resumed: list[tuple[float, float, float]] = field(default_factory=list)  # ... and the last frame before, key, frame
    digest: str = ""
    failure: str = ""

    def walk(self, ending: threading.Event) -> None:
        chance, known = random.Random(self.seed), 0
        while not ending.is_set():
            for _ in range(chance.randint(*IN_A_ROW)):
                action, began = chance.choice(KEYS), time.monotonic()
                try:
                    received = self.client.step(self.session, action, timeout_s=STEP_S)
                except (ValueError, OSError) as error:
                    self.failure = f"{type(error).__name__}: {error}"
                    return
                self.at.append(time.monotonic())
                self.ms.append((self.at[-1] - began) * 1000)
                self.done.append(action)
                self.digest = received.head.digest
                times = self.client.resumptions(self.session)
                for told in times[known:]:
                    self.went_back_to(told.index)
                known = len(times)
                ending.wait(max(0.0, RATE_S - (self.at[-1] - began)))
            ending.wait(chance.uniform(*PAUSE_S))

    def went_back_to(self, index: int) -> None:
        """Note that the walk was resumed at that frame, and that the newest one came after."""
        again_ms = self.ms[index : len(self.done) - 1]
        self.remade.append(len(again_ms))
        self.remade_s.append(sum(max(RATE_S, ms / 1000) for ms in again_ms))
        came, before = self.at[-1], self.at[-2] if len(self.at) > 1 else 0.0
        self.resumed.append((before, came - self.ms[-1] / 1000, came))


@contextmanager
def walkers_on(cluster: Cluster, count: int) -> Iterator[list[Walker]]:
    """So many walkers, each on a connection of its own."""
    clients: list[Client] = []
    try:
        walkers = []
        for seed in range(count):
            clients.append(Client(cluster.address, timeout_s=STEP_S, patience_s=30.0))
            walkers.append(Walker(clients[-1], clients[-1].open(seed=seed, look=EXACT), seed))
        yield walkers
    finally:
        for client in clients:
            client.close()


def check(cluster: Cluster, world: str) -> None:
    """Raises AssertionError where a cluster changes frames."""
    with walkers_on(cluster, 1) as walkers:
        walker = walkers[0]
        for action in KEYS:
            walker.digest = walker.client.step(walker.session, action).head.digest
            walker.done.append(action)
        assert walker.digest == alone(world, walker), "a cluster changes frames; no times taken"
        walker.client.end(walker.session)


def walk_all(walkers: Sequence[Walker], seconds: float, between: threading.Event | None = None) -> float:
    """Let all walk for so long; returns the seconds that it took. between: set when they are to stop sooner."""
    ending = between or threading.Event()
    threads = [threading.Thread(target=walker.walk, args=(ending,)) for walker in walkers]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    ending.wait(seconds)
    ending.set()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


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
        world,
        workers,
        len(walkers),
        round(took, 1),
        len(ms),
        len(ms) / took,
        percentile(ms, 50),
        percentile(ms, 95),
        max(p95s) / max(1e-9, statistics.median(p95s)),
        slowest["step_p50_ms"],
        slowest["step_p95_ms"],
        1000 * spent_s[0] / len(ms),
        1000 * spent_s[1] / len(ms),
        memory_mb,
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
            world,
            workers,
            count,
            round(took, 1),
            len(kills),
            len(remade),
            sum(bool(walker.failure) for walker in walkers),
            percentile(remade, 95),
            percentile(remade_s, 95),
            percentile(sorted(silent), 50),
            percentile(sorted(silent), 95),
            sum(len(walker.done) for walker in walkers),
            same,
            len(compared),
        )


def silences(walker: Walker, kills: list[float]) -> list[float]:
    """Seconds for which a walk stood still whenever it was resumed: from the kill, or from the key where that came
    later, to its frame. Of several kills since the frame before, the first counts."""
    stood = []
    for before, pressed, came in walker.resumed:
        since = [kill for kill in kills if before < kill <= came]
        stood += [came - max(pressed, since[0])] if since else []
    return stood


_local: dict[str, Worlds] = {}


def alone(world: str, walker: Walker) -> str:
    """The digest of the last frame of an undisturbed walk of the same actions."""
    if world not in _local:
        _local[world] = SceneWorlds() if world == "truth" else _dreams()
    explorer = _local[world].open(OpenRequest(seed=walker.seed))
    step = explorer.retrace if isinstance(explorer, Retracing) else explorer.step
    for action in walker.done:
        step(action)
    digest = explorer.frame.digest
    explorer.close()
    return digest


def _dreams() -> Worlds:
    from ..world.engine import Engine

    return DreamWorlds(Engine.from_checkpoint(None))


def beside(before: list[dict], fresh: list[dict]) -> list[dict]:
    """Old figures of other things, followed by the new figures."""
    what = lambda row: [row.get(name) for name in ("what", "how", "world", "workers", "walkers")]  # noqa: E731
    known = [what(row) for row in fresh]
    return [*(row for row in before if what(row) not in known), *fresh]


def percentile(values: Sequence[float], percent: float) -> float:
    """Of sorted values; 0 of none."""
    return float(values[min(len(values) - 1, int(len(values) * percent / 100))]) if values else 0.0


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def show(rows: list[Row], chaoses: list[Chaos], parts: list[Part], machine: Machine) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=120)
    kinds: list[tuple[str, Sequence[Any]]] = [
        ("Walkers on a cluster", rows),
        ("Workers killed under them", chaoses),
        ("What it is made of", parts),
    ]
    for title, made in kinds:
        if not made:
            continue
        table = Table(title=title, caption=f"{machine}; load {os.getloadavg()[0]:.1f}")
        for name in asdict(made[0]):
            table.add_column(name.replace("_", " "), justify="right")
        for row in made:
            table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in asdict(row).values()))
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worlds", nargs="*", default=["truth", "dream"], choices=["truth", "dream"])
    parser.add_argument("--walkers", type=int, nargs="+", default=[1, 16, 100])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=30.0, help="for each row")
    parser.add_argument("--chaos", type=float, default=0.0, help="seconds of walking while workers are killed")
    parser.add_argument("--kill-every", type=float, default=30.0, help="seconds")
    parser.add_argument("--chaos-walkers", type=int, default=16)
    parser.add_argument("--compare", type=int, default=16, help="walks held against undisturbed ones")
    parser.add_argument("--parts", action="store_true", help="steps of one engine, and the ways that a frame may take")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    wanted = parser.parse_args()
    machine, rows, chaoses, parts = Machine.here(), [], [], []
    if wanted.parts:
        parts = [*engine_parts(), *path_parts()]
    for world in wanted.worlds:
        if wanted.chaos:
            chaoses.append(chaos(world, 2, wanted.chaos_walkers, wanted.chaos, wanted.kill_every, wanted.compare))
            continue
        for workers in wanted.workers:
            rows += measure(world, workers, wanted.walkers, wanted.seconds)
    show(rows, chaoses, parts, machine)
    path = wanted.out / f"cluster-{machine.slug}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    fresh: dict[str, Sequence[Any]] = {"rows": rows, "chaos": chaoses, "parts": parts}
    result = before | {"machine": machine.as_dict()}
    result |= {
        name: beside(before.get(name, []), [asdict(row) for row in made]) for name, made in fresh.items() if made
    }
    result |= {f"load_{name}": round(os.getloadavg()[0], 1) for name, made in fresh.items() if made}
    print(json.dumps(result))
    wanted.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    missed = [said for run in chaoses for said in run.missed]
    if missed:
        sys.exit("; ".join(missed))


if __name__ == "__main__":
    main()
