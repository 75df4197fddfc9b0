"""The benchmark of a server under attack: its nonsense includes every message type, every answer that is due is
counted, and what a neighbour costs is measured against the same steps without it."""

from __future__ import annotations

import random

import msgpack
import numpy as np
import pytest
from roam.bench.attack import malformed, nonsense
from roam.bench.attack.neighbours import same_steps
from roam.bench.attack.walkers import Seen
from roam.viewer.server.gateway import Gateway
from roam.viewer.server.server import Server
from roam.viewer.wire import protocol as p

from ...viewer.server.doubles import TinyWorlds


@pytest.mark.parametrize("kind", p.CLIENT_MESSAGES.values(), ids=lambda kind: kind.TYPE)
def test_what_is_misfilled_or_damaged_was_a_good_message(kind):
    header = {"v": 1, "type": kind.TYPE, **nonsense.filled(kind)}
    assert isinstance(p.unpack([msgpack.packb(header)], p.CLIENT_MESSAGES)[0], kind)


def test_messages_that_are_none_are_of_every_kind():
    rng, said = random.Random(1), set()
    for _ in range(3000):
        try:
            p.unpack(nonsense.parts(rng), p.CLIENT_MESSAGES)
        except p.ProtocolError as error:
            said.add(error.code)
    assert "malformed" in said


def test_every_message_of_a_flood_that_an_answer_is_owed_to_has_one():
    with Server(TinyWorlds()) as server, Gateway(server.address) as gateway:
        for flood, target in ((malformed.zmtp_flood, server.address), (malformed.websocket_flood, gateway.url)):
            tally = flood(target, 60, 3)
            assert (tally.sent, tally.answered) == (60, tally.owed)
            assert tally.owed >= 20


def walked(spacings: list[float], start: float = 100.0) -> list[Seen]:
    """Frames of a walk, with these seconds between them."""
    times = start + np.cumsum([0.0, *spacings])
    return [Seen(at, 0.0, k) for k, at in enumerate(times)]


@pytest.mark.parametrize("slower", [1.0, 2.0, 5.0])
def test_a_neighbours_cost_is_told_by_thesame_steps(slower):
    """Whatever a single step costs: a walk through places that are slow to render was once reported as one that was
    held up."""
    costs = [0.05, 0.05, 0.3, 0.05, 0.4, 0.1, 0.5, 0.05, 0.05, 0.6, 0.05, 0.3]
    beside, alone = walked([slower * cost for cost in costs[:9]]), walked(costs, start=900.0)
    during_s, quiet_s, steps = same_steps(beside, alone, beside[2].at, beside[8].at)
    assert during_s / quiet_s == pytest.approx(slower) and steps == 6


def test_who_gets_no_frames_is_no_quick_walker():
    alone = walked([0.05] * 40, start=900.0)
    during_s, quiet_s, _ = same_steps(walked([0.05, 0.05]), alone, 100.2, 110.2)
    assert quiet_s / during_s < 0.01
    during_s, quiet_s, _ = same_steps(walked([0.05] * 6), alone, 100.0, 110.0)
    assert quiet_s / during_s < 0.05
