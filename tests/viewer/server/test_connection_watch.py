"""What a server is protected from before the hello: endless messages, silent connections, too many connections, and
clients that never say hello."""

import socket
import struct
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
import zmq
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.server.connection_watch import ConnectionWatch, Patience
from roam.viewer.server.metrics import Metrics
from roam.viewer.server.registry import Client, Limits
from roam.viewer.server.socket import ServerSocket
from roam.viewer.wire import protocol as p
from roam.world.action import parse_action

from .doubles import gauge, until

FORWARD = parse_action("move forward")
needs_counts = pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the system does not say what came in")


def frame(body: bytes, *, more: bool = False, command: bool = False) -> bytes:
    return bytes([2 | more | command << 2]) + struct.pack(">Q", len(body)) + body


class Raw:
    """A plain socket that speaks ZMTP as a DEALER."""

    def __init__(self, server):
        host, port = server.address.removeprefix("tcp://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.socket.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32))
        seen = b""
        while len(seen) < 64:
            some = self.socket.recv(64 - len(seen))
            if not some:
                raise ConnectionError("cut before it could greet")
            seen += some
        self.socket.sendall(frame(b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER", command=True))

    def is_cut(self, within_s: float = 60.0) -> bool:
        self.socket.settimeout(within_s)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except TimeoutError:
            return False
        except OSError:
            return True

    def flood(self, data: bytes, count: int) -> int:
        """How many of these messages could be sent."""
        for sent in range(count):
            try:
                self.socket.sendall(data)
            except OSError:
                return sent
        return count


@needs_counts
@pytest.mark.parametrize("part", [frame(bytes(1 << 18), more=True), frame(b"", more=True) * 3000])
def test_a_message_that_never_ends_cuts_its_connection_and_no_other(server, client, part):
    walk = RemoteSession.open(client)
    raw = Raw(server)
    raw.flood(part, 400)
    assert raw.is_cut()
    until(lambda: server.metrics.cut == 1)
    assert walk.step(FORWARD).index == 1


class TestWhileItsServerIsBusy:
    @pytest.fixture
    def router(self):
        context = zmq.Context()
        router = context.socket(zmq.ROUTER)
        router.bind("tcp://127.0.0.1:*")
        yield router
        context.destroy(linger=0)

    @pytest.fixture
    def watch(self, router):
        watch = ConnectionWatch(router, Patience(hello_s=0.3, unread_bytes=20 * 2**20), Metrics())
        yield watch
        watch.close()

    @pytest.fixture
    def raw(self, router, watch):
        """A connection that the watch already knows when the server becomes busy."""
        raw = Raw(SimpleNamespace(address=router.getsockopt_string(zmq.LAST_ENDPOINT)))
        assert watch.monitor.poll(10_000)
        watch.take_events()
        return raw

    @needs_counts
    def test_whole_messages_that_wait_cut_nobody(self, router, watch, raw):
        raw.socket.sendall(frame(b"hello") + frame(b"open", more=True) + frame(bytes(p.MAX_PART)))
        assert not raw.is_cut(1.0)
        assert router.poll(10_000)
        assert [len(router.recv_multipart()[1]) for _ in range(2)] == [5, 4]

    @needs_counts
    def test_more_than_it_may_leave_unread_is_cut_all_the_same(self, watch, raw):
        raw.flood(frame(bytes(1 << 20)), 200)
        assert raw.is_cut()

    def test_who_is_silent_is_cut_once_all_was_read(self, watch, raw):
        assert not raw.is_cut(1.0)
        watch.all_read()
        assert raw.is_cut()


def test_a_client_whose_message_waits_to_be_read_is_not_forgotten_for_silence(wire_to):
    forgotten = []
    server = ServerSocket(
        "tcp://127.0.0.1:*", None, limits=Limits(patience_s=0.2), metrics=Metrics(), on_drop=forgotten.append
    )
    try:
        assert server.receive() is None
        wire_to(server, routing_id=b"ann").send(p.Ping())
        server.clients[b"ann"] = Client(b"ann", seen_at=time.monotonic())
        time.sleep(0.4)  # as long as one slow message may keep the server
        server.drop_silent()
        assert forgotten == []
        until(server.receive)
        assert server.receive() is None
        server.clients[b"ann"].seen_at = time.monotonic() - 0.4
        server.drop_silent()
        assert forgotten == [b"ann"]
    finally:
        server.close()


@needs_counts
def test_a_guest_may_send_a_large_picture_but_no_endless_message(server, client):
    raw = Raw(server)
    raw.socket.sendall(frame(p.pack(p.Hello(versions=(1,)))[0]))
    raw.socket.sendall(frame(p.pack(p.Open(seq=1))[0], more=True) + frame(bytes(p.MAX_PART)))
    until(lambda: server.metrics.messages == 2)
    assert server.metrics.cut == 0
    assert raw.flood(frame(bytes(1 << 20), more=True), 100) < 100 or raw.is_cut()
    assert RemoteSession.open(client).step(FORWARD).index == 1


def test_a_message_of_thousands_of_parts_is_refused_and_its_connection_cut(server, client):
    raw = Raw(server)
    raw.socket.sendall(frame(p.pack(p.Hello(versions=(1,)))[0]))
    raw.socket.sendall(frame(b"", more=True) * 3000 + frame(b""))
    assert raw.is_cut()
    assert RemoteSession.open(client).step(FORWARD).index == 1


def test_whoever_takes_the_routing_id_of_one_who_is_gone_does_not_get_its_walk(server, wires):
    walker, thief = wires(routing_id=b"walker"), None
    session = walker.open(credits=4).session
    walker.close()
    for _ in range(100):  # until the server's socket has released the id
        time.sleep(0.05)
        thief = wires(routing_id=b"walker")
        thief.send(p.Act(seq=2, session=session, mode="once", text="move forward"))
        answer = thief.read(timeout_s=0.5)
        if answer is not None:
            break
        thief.close()
    assert isinstance(answer, p.Error) and answer.code == "hello_first"
    thief.greet()
    thief.send(p.Act(seq=3, session=session, mode="once", text="move forward"))
    assert thief.read_until(p.Error).code == "not_yours"


class TestWithLittlePatience:
    @pytest.fixture
    def limits(self):
        return Limits(hello_s=1.0)

    def test_a_connection_that_says_nothing_is_closed(self, server, client):
        host, port = server.address.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as silent, suppress(ConnectionResetError):
            while silent.recv(65536):  # what ZeroMQ greets with
                pass
        assert client.stats().clients == 1


class TestWithSmallLimits:
    @pytest.fixture
    def limits(self):
        return Limits(hello_s=600.0, max_clients=4, max_strangers=3, max_refusals=200)

    def test_connections_beyond_the_limit_are_closed_at_once(self, server, client):
        raws = []
        for _ in range(24):
            with suppress(OSError):  # cut before it could greet
                raws.append(Raw(server))
        until(lambda: server.metrics.cut >= 18)
        assert gauge(server, "connections") == 7
        assert RemoteSession.open(client).step(FORWARD).index == 1

    def test_who_goes_on_without_hello_is_cut(self, server, client):
        raw = Raw(server)
        raw.flood(frame(p.pack(p.Stats(seq=1))[0]), 500)
        assert raw.is_cut()
        assert RemoteSession.open(client).step(FORWARD).index == 1


def test_connections_of_which_nobody_takes_note_hold_up_neither_others_nor_the_end():
    """As while a server stops and waits for a step: ZeroMQ's thread once waited for room for what it tells of them,
    with everybody's messages, and the end waited for it."""
    wire = ServerSocket("tcp://127.0.0.1:*", None, limits=Limits(), metrics=Metrics(), on_drop=lambda client: None)
    host, port = wire.address.removeprefix("tcp://").split(":")
    for _ in range(1500):  # two thousand events are more than a pipe of ZeroMQ's holds
        socket.create_connection((host, int(port)), timeout=30).close()
    ending = threading.Thread(target=wire.close, daemon=True)
    ending.start()
    ending.join(60)
    assert not ending.is_alive()
