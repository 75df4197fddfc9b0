"""Clients that come and go for minutes: the server's memory, minute by minute."""

from __future__ import annotations

import random
import time

import numpy as np

from ...viewer.client.client import Client
from ...viewer.wire.encoding import Look
from .findings import Finding
from .served import Served
from .walkers import KEYS

GROWTH_MB = 1.0  # a minute, after the first
STEPS = 20  # of each visit, in the middle
LOOK_S = 2.0


def measure(*, clients: int, minutes: float) -> list[Finding]:
    """So many at a time: one leaves in the middle and another comes, some without a goodbye."""
    rng, visits = random.Random(5), 0
    present: list[tuple[Client, str]] = []
    times: list[float] = []
    memory: list[float] = []
    with Served() as served:
        began = time.monotonic()
        while (now := time.monotonic() - began) < minutes * 60:
            if len(present) < clients:
                present.append(_come(served.address, rng.randrange(20)))
                visits += 1
            _walk_a_little(rng, present)
            if not times or now - times[-1] >= LOOK_S:
                times.append(now)
                memory.append(served.memory_mb)
        for client, _ in present:
            client.close()
    late = [(t, mb) for t, mb in zip(times, memory, strict=True) if t > min(60.0, minutes * 30)]
    seconds, megabytes = (np.array(column) for column in zip(*late, strict=True))
    growth = 60 * float(np.polyfit(seconds, megabytes, 1)[0])
    kind = f"{clients} clients for {minutes:g} minutes: memory's growth a minute after the first"
    return [Finding.at_most(kind, growth, GROWTH_MB, "MB", visits=visits, each_minute_mb=_minutes(times, memory))]


def _come(address: str, seed: int) -> tuple[Client, str]:
    client = Client(address, timeout_s=120.0)
    return client, client.open(seed=seed, look=Look("jpeg"))


def _walk_a_little(rng: random.Random, present: list[tuple[Client, str]]) -> None:
    client, session = rng.choice(present)
    client.step(session, rng.choice(KEYS))
    if rng.random() < 1 / (STEPS * 2):
        present.remove((client, session))
        if rng.random() < 0.5:
            client.end(session)
        client.close()


def _minutes(times: list[float], memory: list[float]) -> list[float]:
    """What was in memory at the end of each minute."""
    ends = {int(t // 60): mb for t, mb in zip(times, memory, strict=True)}
    return [round(mb, 1) for mb in ends.values()]
