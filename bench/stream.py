"""`roam bench stream`: latency from a key to its frame over loopback, for 1, 4 and 16 walks; and the cost of the
protocol.

The server runs in a process of its own, as in real use. Each latency is compared with the world's own step, its lower
bound. Walks are closed loops: every walker presses the next key when it has its frame.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..viewer.client.client import Client
from ..viewer.client.remote_session import EXACT, RemoteSession
from ..viewer.ending import Ended, ending_on_signals
from ..viewer.opening.worlds import DreamWorlds, OpenRequest, SceneWorlds, Worlds
from ..viewer.play.progress import waiting
from ..viewer.server.server import Server
from ..viewer.wire.encoding import Look
from ..world.action import Action, parse_action
from ..world.frame import Frame, walk
from ..world.pose import Pose
from ..world.side_by_side.processes import deaf, end_with
from .machine import Machine, load_average
from .reports import keep_json

WIRE_GOAL_MS = 2.0  # p50 at 512x512, raw
KEYS = [parse_action(text) for text in ("move forward", "turn left", "move forward", "turn right", "strafe left")]
WARM_UP = 5


class Still:
    """An explorer whose frames are made beforehand, so that a step costs nothing and only the protocol remains."""

    def __init__(self, size: int):
        rng = np.random.default_rng(0)
        smooth = np.linspace(0, 200, size, dtype=np.float32)[None, :, None] + np.arange(3) * 20
        noise = rng.normal(0, 6, (8, size, size, 3))
        self._pixels = (smooth + noise).clip(0, 255).astype(np.uint8)
        self.frame = Frame(0, self._pixels[0], pose=Pose.at(0, 0, 1.5))

    def step(self, action: Action) -> Frame:
        index = self.frame.index + 1
        self.frame = Frame(index, self._pixels[index % 8], pose=self.frame.pose)
        return self.frame

    def rollout(self, actions):
        return walk(self, actions)

    def fork(self) -> Still:
        raise ValueError("a still world has no forks")

    def rewind(self, frames: int) -> Frame:
        raise ValueError("a still world cannot be rewound")

    def save(self, path) -> None:
        Path(path).write_text(str(len(self._pixels[0])))

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


class StillWorlds(Worlds):
    """Opens Still explorers of the size asked for."""

    models: tuple[str, ...] = ("still",)
    worlds: tuple[str, ...] = ("still",)

    def open(self, request: OpenRequest) -> Still:
        return Still(request.width or 512)

    def load(self, path: Path, *_changes: Path) -> Still:
        return Still(int(path.read_text()))


@dataclass(frozen=True)
class Row:
    """One measurement. Times in milliseconds, from the act to the frame's arrival; step_ms: the world's share, p50.

    dropped: frames that the server made and a walker did not get; overhead: key to frame less the step, p50.
    """

    world: str
    sessions: int
    encoding: str
    frames: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    step_ms: float
    overhead_ms: float
    frames_per_s: float
    dropped: int


class Served:
    """A server in a process of its own, for as long as the `with` lasts."""

    def __init__(self, world: str):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(world, theirs), daemon=True)

    def __enter__(self) -> str:
        with deaf():
            self._process.start()
        try:
            with waiting("a server starts"):
                if not self._pipe.poll(300):
                    raise TimeoutError("the server did not start within 300 s")
                return self._pipe.recv()
        except BaseException:
            self._process.terminate()
            raise

    def __exit__(self, kind: type[BaseException] | None, *_error) -> None:
        with contextlib.suppress(OSError):  # it has ended at the same signal
            self._pipe.send("stop")
        self._process.join(30 if kind is None else 1)
        self._process.terminate()


def _serve(world: str, pipe) -> None:
    end_with(os.getppid())
    with contextlib.suppress(Ended), ending_on_signals(), Server(_worlds(world)) as server:
        pipe.send(server.address)
        pipe.recv()


def _worlds(world: str) -> Worlds:
    if world == "still":
        return StillWorlds()
    if world == "truth":
        return SceneWorlds()
    from ..world.engine import Engine

    return DreamWorlds(Engine.from_checkpoint(None))


def check(address: str) -> None:
    """Before any time is taken: two walks on the wire and a local one show the same frames."""
    local = SceneWorlds().open(OpenRequest(seed=3)).rollout(KEYS)
    with Client(address, timeout_s=120) as client:
        for _ in range(2):
            remote = RemoteSession.open(client, model="scene", seed=3, look=EXACT).rollout(KEYS)
            assert [f.digest for f in remote] == [f.digest for f in local], "the wire changes frames; no times taken"


def measure(address: str, world: str, *, sessions: int, frames: int, look: Look, size: int = 0) -> Row:
    """Walk `frames` steps in each of so many sessions, each on a connection and a thread of its own."""
    walkers = [_Walker(address, seed, look, size) for seed in range(sessions)]
    began = time.perf_counter()
    threads = [threading.Thread(target=walker.walk, args=(frames,)) for walker in walkers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    latencies = sorted(ms for walker in walkers for ms in walker.latencies_ms)
    steps = [ms for walker in walkers for ms in walker.steps_ms]
    overheads = [ms for walker in walkers for ms in walker.overheads_ms]
    dropped = sum(walker.dropped for walker in walkers)
    for walker in walkers:
        walker.close()
    p50, p95, p99 = (latencies[min(len(latencies) - 1, int(len(latencies) * q))] for q in (0.5, 0.95, 0.99))
    return Row(
        world=world,
        sessions=sessions,
        encoding=look.encoding,
        frames=len(latencies),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        step_ms=statistics.median(steps),
        overhead_ms=statistics.median(overheads),
        frames_per_s=len(latencies) / seconds,
        dropped=dropped,
    )


class _Walker:
    def __init__(self, address: str, seed: int, look: Look, size: int):
        self.client = Client(address, timeout_s=120.0)
        self.session = self.client.open(seed=seed, look=look, size=(size, size))
        self.latencies_ms: list[float] = []
        self.steps_ms: list[float] = []
        self.overheads_ms: list[float] = []
        self.dropped = 0
        for number in range(WARM_UP):
            self.client.step(self.session, KEYS[number % len(KEYS)])

    def walk(self, frames: int) -> None:
        for number in range(frames):
            received = self.client.step(self.session, KEYS[number % len(KEYS)])
            latency_ms = received.latency_ms or 0.0
            self.latencies_ms.append(latency_ms)
            self.steps_ms.append(received.head.step_ms)
            self.overheads_ms.append(latency_ms - received.head.step_ms)
            self.dropped += received.head.skipped

    def close(self) -> None:
        self.client.end(self.session)
        self.client.close()


def bench(*, frames: int, sessions: tuple[int, ...], with_dream: bool) -> list[Row]:
    """All rows: the true scene, the embedded model where wanted, and the wire alone at 512x512."""
    rows = []
    for world in ("truth", *(("dream",) if with_dream else ())):
        with Served(world) as address:
            with waiting(f"{world}: the same frames on the wire as without it"):
                check(address)
            for count in sessions:
                with waiting(f"{world}, {count} walks"):
                    wanted = max(20, frames // count)
                    rows.append(measure(address, world, sessions=count, frames=wanted, look=Look()))
    with Served("still") as address:
        for encoding in ("raw", "jpeg"):
            with waiting(f"the wire alone, {encoding}"):
                rows.append(measure(address, "wire 512x512", sessions=1, frames=frames, look=Look(encoding), size=512))
    return rows


def show(rows: list[Row], machine: Machine) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Key to frame over loopback, milliseconds", caption=f"{machine}; load {load_average():.1f}")
    for name in (
        "world",
        "walks",
        "encoding",
        "frames",
        "p50",
        "p95",
        "p99",
        "step",
        "overhead",
        "frames/s",
        "dropped",
    ):
        table.add_column(name, justify="left" if name in ("world", "encoding") else "right")
    for row in rows:
        times = (row.p50_ms, row.p95_ms, row.p99_ms, row.step_ms, row.overhead_ms)
        table.add_row(
            row.world,
            str(row.sessions),
            row.encoding,
            str(row.frames),
            *(f"{t:.2f}" for t in times),
            f"{row.frames_per_s:.0f}",
            str(row.dropped),
        )
    Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=300, help="frames in all for each row")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--dream", action="store_true", help="measure the embedded model as well")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    wanted = parser.parse_args()
    machine = Machine.here()
    rows = bench(frames=wanted.frames, sessions=tuple(wanted.sessions), with_dream=wanted.dream)
    show(rows, machine)
    wire = next(row for row in rows if row.world == "wire 512x512" and row.encoding == "raw")
    verdict = {"wire_goal_ms": WIRE_GOAL_MS, "wire_p50_ms": wire.overhead_ms, "met": wire.overhead_ms <= WIRE_GOAL_MS}
    result = {"machine": machine.as_dict(), "load": load_average(), "rows": [asdict(row) for row in rows], **verdict}
    print(json.dumps(result))
    keep_json(wanted.out / f"stream-{machine.slug}.json", result)


if __name__ == "__main__":
    main()
