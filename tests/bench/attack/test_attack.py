"""The bench of a server under attack: its nonsense knows every message, and every answer that is owed is counted."""

from __future__ import annotations

import random

import msgpack
import pytest
from roam.bench.attack import malformed, nonsense
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
