"""Walkers who press keys like people, and the walks without a cluster that theirs are compared with."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ...viewer.client.client import Client
from ...viewer.client.remote_session import EXACT
from ...viewer.opening.worlds import DreamWorlds, OpenRequest, SceneWorlds, Worlds
from ...world.action import Action, parse_action
from ...world.frame import Retracing
from .running import Cluster

KEYS = [parse_action(text) for text in ("turn left 15 degrees", "turn right 15 degrees", "move forward", "move back")]


IN_A_ROW, RATE_S, PAUSE_S = (2, 8), 1 / 15, (0.3, 1.2)


STEP_S = 120.0  # seconds that a step may take


_local: dict[str, Worlds] = {}


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


def check(cluster: Cluster, world: str) -> None:
    """Raises AssertionError where a cluster changes frames."""
    with walkers_on(cluster, 1) as walkers:
        walker = walkers[0]
        for action in KEYS:
            walker.digest = walker.client.step(walker.session, action).head.digest
            walker.done.append(action)
        assert walker.digest == alone(world, walker), "a cluster changes frames; no times taken"
        walker.client.end(walker.session)


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
    from ...world.engine import Engine

    return DreamWorlds(Engine.from_checkpoint(None))
