"""Looks into a dream in this process: alone, and while the dream walks."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...scenes.explorer import SceneSession
from ...scenes.splits import make_scene
from ...world.action import parse_action
from ...world.engine import Engine
from ...world.pose import Camera, Motion, Pose
from ...world.session import Session
from ...world.sight import Gaze

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
        side=side,
        eyes=eyes,
        beside=beside,
        looks=looks,
        p50_ms=float(p50),
        p95_ms=float(p95),
        core_ms=float(np.median(core)),
        per_s=looks / seconds,
        unknown=float(np.mean(unknown)),
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
