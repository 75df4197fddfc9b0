"""The parts of a cluster's times: steps of one engine for one and for many walkers, and the ways that a frame may
take from a worker to the front. Each has the clock's time, which other programs lengthen, and the processor's."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import zmq

from ...viewer.cluster.ray_fleet import RayFleet, Recipe
from ...viewer.play.progress import waiting
from ...world.action import parse_action

if TYPE_CHECKING:
    from ...world.engine import Engine
    from ...world.session import Session

TURNS = [parse_action(text) for text in ("turn left 15 degrees", "turn right 15 degrees")]
WARM_UP, STEPS, SENDS = 4, 12, 60
FRAMES = {"128x128": 128 * 128 * 3, "512x512": 512 * 512 * 3}


@dataclass(frozen=True)
class Part:
    """One measurement, medians: milliseconds of the clock and of the processor, for one frame."""

    what: str
    how: str
    walkers: int
    clock_ms: float
    processor_ms: float


def engine_parts(counts: tuple[int, ...] = (1, 4, 16)) -> list[Part]:
    """Covered steps of the embedded model: walkers in turn, and side by side."""
    from ...viewer.opening.worlds import OpenRequest, SceneWorlds
    from ...world.engine import Engine
    from ...world.side_by_side import SideBySide

    engine, parts = Engine.from_checkpoint(None), []
    first = SceneWorlds(size=engine.frame_side)
    with waiting("the first dreams"):
        walks = [engine.session(first.open(OpenRequest(seed=seed)).frame, seed=seed) for seed in range(max(counts))]
        for number in range(WARM_UP):
            engine.step_many(walks, [TURNS[number % 2]] * len(walks))
            engine.settle(walks)
    for count in counts:
        for how, threads in (("in turn", 1), ("side by side", None)):
            engine.side_by_side = SideBySide(threads)
            step = partial(_step, engine, walks[:count])
            with waiting(f"steps of {count}, {how}"):
                clock, processor = _timed(step)
            parts.append(Part("a covered step", how, count, clock / count, processor / count))
    return parts


def path_parts() -> list[Part]:
    """A frame's bytes from an actor to this process: by Ray's object store, and by a socket with keys."""
    fleet = RayFleet(Recipe(place="", front_key=""), most=1)
    fleet.begin(lambda name: None)
    import ray

    sender: Any = ray.remote(Sender).options(max_concurrency=2).remote()
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        address, key = ray.get(sender.address.remote())
        socket.curve_serverkey = key
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.connect(address)

        def by_socket(num_bytes: int) -> None:
            socket.send(str(num_bytes).encode())
            assert len(socket.recv()) == num_bytes

        def by_store(num_bytes: int) -> None:
            assert len(ray.get(sender.frame.remote(num_bytes))) == num_bytes

        parts = []
        for name, size in FRAMES.items():
            for how, way in (("object store", by_store), ("socket with keys", by_socket)):
                with waiting(f"{name} by {how}"):
                    clock, processor = _timed(partial(_send, way, size), SENDS)
                parts.append(Part(f"asked for, sent: {name}", how, 1, clock, processor))
        return parts
    finally:
        context.destroy(linger=0)
        fleet.end(workers_stay=False)


class Sender:
    """An actor that gives so many bytes, either way."""

    def __init__(self) -> None:
        import threading

        public, secret = zmq.curve_keypair()
        self._socket = zmq.Context().socket(zmq.ROUTER)
        self._socket.curve_server, self._socket.curve_publickey, self._socket.curve_secretkey = True, public, secret
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self._told = f"tcp://127.0.0.1:{port}", public
        threading.Thread(target=self._serve, daemon=True).start()

    def address(self) -> tuple[str, bytes]:
        return self._told

    def frame(self, num_bytes: int) -> bytes:
        return os.urandom(16) * (num_bytes // 16)

    def _serve(self) -> None:
        while True:
            client, asked = self._socket.recv_multipart()
            self._socket.send_multipart([client, self.frame(int(asked))])


def _step(engine: Engine, walks: list[Session], number: int) -> None:
    engine.step_many(walks, [TURNS[number % 2]] * len(walks))


def _send(way: Callable[[int], None], num_bytes: int, _number: int) -> None:
    way(num_bytes)


def _timed(work: Callable[[int], object], times: int = STEPS) -> tuple[float, float]:
    """Median milliseconds of the clock and of this process's processors."""
    clock, processor = [], []
    for number in range(times + WARM_UP):
        began, spent = time.perf_counter(), time.process_time()
        work(number)
        clock.append((time.perf_counter() - began) * 1000)
        processor.append((time.process_time() - spent) * 1000)
    return statistics.median(clock[WARM_UP:]), statistics.median(processor[WARM_UP:])
