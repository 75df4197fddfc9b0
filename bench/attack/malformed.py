"""Ten thousand malformed messages at the level of ZMTP, and at that of WebSocket, while a well-behaved client walks."""

from __future__ import annotations

import base64
import contextlib
import random
import socket
import time
from dataclasses import dataclass

import zmq

from ...viewer.server.gateway import join
from ...viewer.wire import protocol as p
from . import nonsense
from .apart import apart
from .findings import Finding
from .served import Served, port_of
from .walkers import Walker, percentile

QUIET_S = 8.0  # seconds of walking before, and as many after
SETTLED_MB = 8.0  # more than this in memory after than before is not back where it was
P95_FACTOR = 2.0
ANSWERED_S = 120.0


@dataclass(frozen=True)
class Tally:
    """How many messages were sent; to how many of them the server must answer, because their sender has said hello; and
    how many answers came to those."""

    sent: int
    owed: int
    answered: int


def measure(count: int) -> list[Finding]:
    """Both levels, `count` messages each."""
    findings = []
    for level, flood in (("ZMTP", zmtp_flood), ("WebSocket", websocket_flood)):
        with Served(has_page=True) as served:
            target = served.address if flood is zmtp_flood else served.page
            apart(
                flood, target, max(1, count // 10), 1
            )  # a first round, because memory allocated at first use is no leak
            findings += _beside_a_walk(level, served, lambda target=target, flood=flood: apart(flood, target, count, 2))
    return findings


def _beside_a_walk(level: str, served: Served, attack) -> list[Finding]:
    with Walker(served.address) as walker:
        walker.wait_for(30)
        times, before_mb = [time.monotonic()], served.memory_mb
        time.sleep(QUIET_S)
        times.append(time.monotonic())
        done = attack()
        times += [done.began, done.ended]
        time.sleep(QUIET_S)
        times.append(time.monotonic())
        after_mb = served.memory_mb if served.is_alive else float("nan")
    quiet = walker.latencies(*times[:2]) + walker.latencies(*times[3:])
    attacked, tally = walker.latencies(*times[2:4]), done.value
    p95s = {"quiet_p95_ms": percentile(quiet, 95), "attacked_p95_ms": percentile(attacked, 95)}
    medians = {"quiet_p50_ms": percentile(quiet, 50), "attacked_p50_ms": percentile(attacked, 50)}
    has_failed = not served.is_alive or walker.failure is not None
    return [
        Finding.at_most(
            f"{level}: crashes", int(has_failed), 0, "", messages=tally.sent, seconds=done.ended - done.began
        ),
        Finding.at_most(f"{level}: messages without an answer", tally.owed - tally.answered, 0, "", owed=tally.owed),
        Finding.at_most(
            f"{level}: a walker's p95, attacked / quiet",
            p95s["attacked_p95_ms"] / p95s["quiet_p95_ms"],
            P95_FACTOR,
            "times",
            **p95s,
            **medians,
        ),
        Finding.at_most(
            f"{level}: memory, after - before", after_mb - before_mb, SETTLED_MB, "MB", before_mb=before_mb
        ),
    ]


def zmtp_flood(address: str, count: int, seed: int) -> Tally:
    """Two in five from a stranger, two from a client that has said hello, and one in five as bytes that are not
    ZMTP."""
    rng, context = random.Random(seed), zmq.Context()
    stranger, guest = _dealer(context, address), _dealer(context, address)
    guest.send_multipart(p.pack(p.Hello(versions=(1,))))
    sent = answered = 0
    for number in range(count):
        if number % 5 == 4:
            _say(port_of(address), nonsense.zmtp(rng))
            continue
        (stranger, guest)[number % 2].send_multipart(nonsense.parts(rng))
        sent += number % 2
        _read(stranger)
        answered += _read(guest)
    end = time.monotonic() + ANSWERED_S
    while answered < sent + 1 and time.monotonic() < end:  # and the welcome
        answered += _read(guest)
        time.sleep(0.005)
    context.destroy(linger=0)
    return Tally(count, sent + 1, answered)


def websocket_flood(page: str, count: int, seed: int) -> Tally:
    """Two in three over pages that go on, one in three as connections that break the rules of HTTP or WebSocket."""
    from websockets.sync.client import connect

    rng, port = random.Random(seed), port_of(page)
    sent = answered = 0
    with connect(f"{page.replace('http', 'ws', 1)}ws", max_size=2**24) as line:
        line.send(join(p.pack(p.Hello(versions=(1,)))))
        line.recv()
        for number in range(count):
            if number % 3 == 2:
                _say_as_a_page(port, nonsense.websocket(rng)) if number % 2 else _say(
                    port, nonsense.handshake(rng, f"127.0.0.1:{port}")
                )
                continue
            line.send(_one_message(rng))
            sent += 1
            with contextlib.suppress(TimeoutError):
                while answered < sent:
                    line.recv(timeout=ANSWERED_S if sent - answered > 100 else 0)
                    answered += 1
        with contextlib.suppress(TimeoutError):
            while answered < sent:
                line.recv(timeout=ANSWERED_S)
                answered += 1
    return Tally(count, sent, answered)


def _one_message(rng: random.Random) -> bytes:
    """A binary message in the right frame, with a header that is none."""
    while True:
        parts = nonsense.parts(rng)
        if len(parts[0]) > 0 and len(parts) <= 2:
            return join(parts)


def _dealer(context: zmq.Context, address: str) -> zmq.Socket:
    dealer = context.socket(zmq.DEALER)
    dealer.linger, dealer.sndtimeo = 0, 120_000
    dealer.connect(address)
    return dealer


def _read(dealer: zmq.Socket) -> int:
    """How many answers there are just now."""
    count = 0
    while dealer.poll(0):
        dealer.recv_multipart()
        count += 1
    return count


def _say(port: int, data: bytes, *, patience_s: float = 0.2) -> None:
    """Send bytes over a connection of their own, and read what comes until it ends."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        line.settimeout(patience_s)
        while line.recv(65536):
            pass


def _say_as_a_page(port: int, data: bytes) -> None:
    key = base64.b64encode(bytes(16)).decode()
    head = f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    _say(port, f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode() + data)
