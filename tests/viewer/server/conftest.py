"""Shared by the server's tests: a server of tiny worlds, a client of it, and a bare socket that speaks to it."""

from __future__ import annotations

import threading

import msgpack
import pytest
import zmq
from roam.viewer.client.client import Client
from roam.viewer.server.registry import Limits
from roam.viewer.server.server import Server
from roam.viewer.wire import protocol as p

from ..browser import BROWSER, Browser
from .doubles import TinyWorlds, until


class Wire:
    """A DEALER that sends anything and reads messages, as a client in another language might do."""

    def __init__(self, address: str, **options):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        for name, value in options.items():
            setattr(self.socket, name, value)
        self.socket.connect(address)

    def send(self, message: p.Message, payload: bytes = b"") -> None:
        self.socket.send_multipart(p.pack(message, payload))

    def raw(self, *parts: bytes) -> None:
        self.socket.send_multipart(parts)

    def read(self, *, timeout_s: float = 60.0) -> p.Message | None:
        """The next message, or None when none comes in that time."""
        if not self.socket.poll(timeout_s * 1000):
            return None
        self.payload = b""
        message, self.payload = p.unpack(self.socket.recv_multipart(), p.SERVER_MESSAGES)
        return message

    def read_until(self, kind: type[p.Message], *, timeout_s: float = 60.0) -> p.Message:
        for _ in range(20000):
            message = self.read(timeout_s=timeout_s)
            assert message is not None, f"no {kind.TYPE} came"
            if isinstance(message, kind):
                return message
        raise AssertionError(f"20000 messages and no {kind.TYPE}")

    def greet(self) -> p.Welcome:
        self.send(p.Hello(versions=(1,), client="wire"))
        return self.read_until(p.Welcome)

    def open(self, **wanted) -> p.Opened:
        self.greet()
        self.send(p.Open(seq=1, **wanted))
        return self.read_until(p.Opened)

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def worlds() -> TinyWorlds:
    return TinyWorlds()


@pytest.fixture
def server(worlds, limits, tmp_path):
    with Server(worlds, folder=tmp_path / "walks", limits=limits) as server:
        yield server


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


@pytest.fixture
def wire_to():
    """Makes bare sockets to any server, and closes them at the end."""
    made: list[Wire] = []

    def make(server: Server, **options) -> Wire:
        made.append(Wire(server.address, **options))
        return made[-1]

    yield make
    for wire in made:
        wire.close()


@pytest.fixture
def wires(server, wire_to):
    """Makes bare sockets to the server, and closes them at the end."""
    return lambda **options: wire_to(server, **options)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A browser for all pages of a file of tests."""
    if BROWSER is None:
        pytest.skip("no Chromium here; apt-get install chromium, or make test-engines")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """Fails a test that leaves a thread of ours running; threads that ran before the test do not count."""
    before = threading.enumerate()
    yield
    begun = lambda: [thread for thread in threading.enumerate() if thread not in before]  # noqa: E731
    until(lambda: not any(thread.name.startswith("roam-") for thread in begun()))


@pytest.fixture
def header():
    """Packs any map as a header."""
    return lambda **values: msgpack.packb(values)
