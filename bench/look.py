"""`roam bench look`: how fast a dream is looked at from any pose, alone, during its own steps, and over the network.

A head that turns and sways looks from about the walker's position. Each time is given on the clock and as processor
time, because other work on the machine lengthens only the first. Before any time is measured, a look from the walker's
own pose must equal the frame.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..scenes.explorer import SceneSession
from ..scenes.splits import make_scene
from ..viewer.client.client import Client
from ..viewer.opening.worlds import DreamWorlds
from ..viewer.play.progress import waiting
from ..viewer.server.server import Server
from ..viewer.wire.encoding import Look
from ..viewer.wire.protocol import pack
from ..world.action import parse_action
from ..world.engine import Engine
from ..world.pose import Camera, Motion, Pose
from ..world.session import Session
from ..world.sight import Gaze
from .machine import Machine

GOAL_PER_S, GOAL_P95_MS, GOAL_SIDE = 72.0, 14.0, 256  # two eyes, beside a dream, on two AVX2 cores
SIDES = (128, 256, 512)
IPD_M, FOV_DEG = 0.063, 90.0
WALK = [parse_action(text) for text in ("move forward", "turn left", "move forward", "turn right", "turn right")]
WARM_UP = 10


@dataclass(frozen=True)
class Row:
    """Looks of one size."""

    side: int  # pixels a side of an eye's picture
    eyes: int
    beside: str  # "": alone; "steps": while the dream walks; "wire": of a served dream
    looks: int
    p50_ms: float
    p95_ms: float
    core_ms: float  # processor time of a look, p50; 0 during other work, from which it cannot be separated
    per_s: float  # looks a second, one after the other or as they came due
    unknown: float  # share of the pictures
    wire_bytes: int = 0  # of an answer; 0 without a network


@dataclass(frozen=True)
class Cost:
    """What looks cost the dream: its steps a second alone, and with two eyes looking 72 times a second."""

    steps_per_s_alone: float
    steps_per_s_beside: float

    @property
    def share(self) -> float:
        return 1 - self.steps_per_s_beside / self.steps_per_s_alone if self.steps_per_s_alone else 0.0


def head(pose: Pose, number: int) -> Pose:
    """Where a head is that turns 25 degrees to both sides, nods and sways, in steps of a 72nd of a second."""
    t = number / GOAL_PER_S
    swayed = pose.moved(Motion(right=0.1 * math.sin(2 * t), forward=0.05 * math.sin(3 * t)))
    return swayed.moved(Motion(yaw_deg=25 * math.sin(1.5 * t), pitch_deg=8 * math.sin(2.5 * t)))


def gazes(session: Session, side: int, eyes: int) -> Iterator[Gaze]:
    camera, ipd_m = Camera(side, side, FOV_DEG), IPD_M if eyes == 2 else 0.0
    number = 0
    while True:
        pose = session.frame.pose
        assert pose is not None, "a dream knows where it is"
        yield Gaze(head(pose, number), camera, ipd_m)
        number += 1


def walked(engine: Engine, steps: int) -> Session:
    """A dream of a test scene that has gone so many steps."""
    session = engine.session(SceneSession(make_scene("test", 7)).frame, seed=1)
    for number in range(steps):
        session.step(WALK[number % len(WALK)])
    return session


def check(session: Session) -> None:
    frame = session.frame
    assert frame.pose is not None, "a dream knows where it is"
    seen = session.look(frame.pose)
    assert (seen.pixels == frame.pixels).all(), "a look from the walker's own pose is not the frame; no times taken"


def measure(session: Session, *, side: int, eyes: int, looks: int, beside: str = "", hertz: float = 0.0) -> Row:
    """Look so many times; with `hertz`, when each is due, otherwise immediately one after the other."""
    coming = gazes(session, side, eyes)
    for _ in range(WARM_UP):
        session.outlook().look(next(coming))
    wall, core, unknown = [], [], []
    began = time.perf_counter()
    for number in range(looks):
        if hertz:
            time.sleep(max(0.0, began + number / hertz - time.perf_counter()))
        gaze, start, core_start = next(coming), time.perf_counter(), time.process_time()
        seen = session.outlook().look(gaze)
        wall.append(1000 * (time.perf_counter() - start))
        core.append(0.0 if beside else 1000 * (time.process_time() - core_start))  # alone the process does nothing else
        unknown.append(seen.unknown.mean())
    seconds = time.perf_counter() - began
    p50, p95 = np.percentile(wall, [50, 95])
    return Row(
        side,
        eyes,
        beside,
        looks,
        float(p50),
        float(p95),
        float(np.median(core)),
        looks / seconds,
        float(np.mean(unknown)),
    )


class Walking:
    """Steps a dream on a thread of its own for as long as the `with` lasts, as fast as it goes."""

    def __init__(self, session: Session):
        self._session, self._is_over, self.steps, self.seconds = session, threading.Event(), 0, 0.0
        self._thread = threading.Thread(target=self._walk, daemon=True)

    def __enter__(self) -> Walking:
        self._began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_error) -> None:
        self._is_over.set()
        self._thread.join()
        self.seconds = time.perf_counter() - self._began

    @property
    def per_s(self) -> float:
        return self.steps / self.seconds

    def _walk(self) -> None:
        while not self._is_over.is_set():
            self._session.step(WALK[self.steps % len(WALK)])
            self.steps += 1


def beside_steps(session: Session, *, seconds: float) -> tuple[list[Row], Cost]:
    """Looks while a dream walks: as many as possible, and as many as a headset needs; and what they cost the walk."""
    fork = session.fork()
    with Walking(fork) as alone:
        time.sleep(seconds)
    fork.close()
    rows, costs = [], []
    for hertz in (0.0, GOAL_PER_S):
        fork = session.fork()
        with Walking(fork) as walking:
            looks = int(seconds * GOAL_PER_S)
            beside = "steps, paced" if hertz else "steps"
            rows.append(measure(fork, side=GOAL_SIDE, eyes=2, looks=looks, beside=beside, hertz=hertz))
        costs.append(Cost(alone.per_s, walking.per_s))
        fork.close()
    return rows, costs[-1]


@dataclass(frozen=True)
class Relief:
    """Bytes on the wire of a frame that a client draws as a relief, p50 of so many: its JPEG, its depth, and its
    header."""

    frames: int
    jpeg_bytes: int
    depth_bytes: int
    head_bytes: int


def reliefs(engine: Engine, *, frames: int = 40) -> Relief:
    """A walk as the page at /xr asks for it: JPEG of quality 90, depth in millimetres."""
    heads = []
    with Server(DreamWorlds(engine)) as server, Client(server.address, timeout_s=300) as client:
        walk = client.open(seed=7, look=Look(encoding="jpeg", quality=90, depth="u16mm"))
        client.next_frame(walk)
        for number in range(frames):
            heads.append(client.step(walk, WALK[number % len(WALK)]).head)
    sizes = [(head.pixel_bytes, head.depth_bytes, len(pack(head)[0])) for head in heads]
    return Relief(frames, *(int(size) for size in np.median(sizes, axis=0)))


def over_the_wire(engine: Engine, *, looks: int) -> list[Row]:
    """Looks of a served dream over loopback, raw and as JPEG, with depth and mask: from the request to the picture."""
    rows = []
    with Server(DreamWorlds(engine)) as server, Client(server.address, timeout_s=300) as client:
        walk = client.open(seed=7)
        for number in range(10):
            client.step(walk, WALK[number % len(WALK)])
        pose = client.next_frame(walk, at=10).frame.pose or Pose.at(0, 0, 1.5)
        camera = Camera(GOAL_SIDE, GOAL_SIDE, FOV_DEG)
        for encoding in ("raw", "jpeg"):
            wall, sizes, unknown = [], [], []
            began = time.perf_counter()
            for number in range(WARM_UP + looks):
                start = time.perf_counter()
                gaze = Gaze(head(pose, number), camera, IPD_M)
                _, answer = client.sight(walk, gaze, encoding=encoding)
                wall.append(1000 * (time.perf_counter() - start))
                sizes.append(answer.pixel_bytes + answer.depth_bytes + answer.mask_bytes)
                unknown.append(answer.unknown)
            p50, p95 = np.percentile(wall[WARM_UP:], [50, 95])
            per_s = len(wall) / (time.perf_counter() - began)
            rows.append(
                Row(
                    GOAL_SIDE,
                    2,
                    f"wire, {encoding}",
                    looks,
                    float(p50),
                    float(p95),
                    0.0,
                    per_s,
                    float(np.mean(unknown)),
                    int(np.median(sizes)),
                )
            )
    return rows


def show(rows: list[Row], cost: Cost, machine: Machine) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Looks into a dream, milliseconds", caption=f"{machine}; load {load_now():.1f}")
    for name in ("pixels", "eyes", "beside", "looks", "p50", "p95", "of a core", "looks/s", "unknown", "bytes"):
        table.add_column(name, justify="left" if name == "beside" else "right")
    for row in rows:
        core = f"{row.core_ms:.2f}" if row.core_ms else "-"
        table.add_row(
            str(row.side),
            str(row.eyes),
            row.beside or "nothing",
            str(row.looks),
            f"{row.p50_ms:.2f}",
            f"{row.p95_ms:.2f}",
            core,
            f"{row.per_s:.0f}",
            f"{100 * row.unknown:.1f} %",
            str(row.wire_bytes or "-"),
        )
    Console(width=110).print(table)
    alone, beside = cost.steps_per_s_alone, cost.steps_per_s_beside
    print(f"the dream beside {GOAL_PER_S:.0f} looks a second: {beside:.1f} steps/s, {alone:.1f} alone")


def load_now() -> float:
    """How many processes wanted a core over the last minute; above the number of cores, the times include other
    work."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _timed(text: str, work: Callable[[], list[Row]]) -> list[Row]:
    with waiting(text):
        return work()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--looks", type=int, default=200, help="looks for each row")
    parser.add_argument("--steps", type=int, default=40, help="steps of the walk that is looked at")
    parser.add_argument("--seconds", type=float, default=5.0, help="of walking beside the looks")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    wanted = parser.parse_args()
    machine, engine = Machine.here(), Engine.from_checkpoint()
    with waiting(f"a dream walks {wanted.steps} steps"):
        session = walked(engine, wanted.steps)
    check(session)
    rows = []
    for side in SIDES:
        for eyes in (1, 2):
            with waiting(f"{side} pixels, {eyes}"):
                rows.append(measure(session, side=side, eyes=eyes, looks=wanted.looks))
    with waiting("beside a dream that walks"):
        beside, cost = beside_steps(session, seconds=wanted.seconds)
    rows += beside
    rows += _timed("over the wire", lambda: over_the_wire(engine, looks=wanted.looks))
    relief = reliefs(engine)
    show(rows, cost, machine)
    parts = f"{relief.jpeg_bytes} bytes of JPEG, {relief.depth_bytes} of depth, {relief.head_bytes} of header"
    print(f"a frame of relief: {parts}")
    free, paced = beside
    verdict = {
        "goal": f"{GOAL_PER_S:.0f} looks/s of two eyes at {GOAL_SIDE} beside a dream, p95 under {GOAL_P95_MS} ms",
        "per_s": free.per_s,
        "p95_ms": paced.p95_ms,
        "met": free.per_s >= GOAL_PER_S and paced.p95_ms < GOAL_P95_MS,
    }
    result = {
        "machine": machine.as_dict(),
        "load": load_now(),
        "views": len(session.memory),
        "rows": [asdict(row) for row in rows],
        "cost": asdict(cost),
        "relief": asdict(relief),
        **verdict,
    }
    print(json.dumps(result))
    wanted.out.mkdir(parents=True, exist_ok=True)
    (wanted.out / f"look-{machine.slug}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
