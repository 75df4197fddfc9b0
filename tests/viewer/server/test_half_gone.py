"""A connection that is half open, as behind a router that forgot it: it is not closed, and carries nothing in one or
both directions."""

import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import zmq
from roam.viewer.client.client import Client
from roam.viewer.client.remote_session import RemoteSession
from roam.world.action import parse_action

from .doubles import Tiny

FORWARD, LEFT = parse_action("move forward"), parse_action("turn left")


class Relay:
    """Passes the bytes of connections on to a port and back. swallow: from now on the connections that are open
    carry nothing towards "server" or "client"; later ones carry all."""

    def __init__(self, port: int):
        self._port, self.lines = port, []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self, *ways: str) -> None:
        for lost, _ in self.lines:
            lost.update(ways)

    def close(self) -> None:
        for line in (self._listening, *(end for _, ends in self.lines for end in ends)):
            line.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far, lost = socket.create_connection(("127.0.0.1", self._port)), set()
                self.lines.append((lost, (near, far)))
                for source, sink, way in ((near, far, "server"), (far, near, "client")):
                    threading.Thread(target=self._pass_on, args=(source, sink, way, lost), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, way: str, lost: set[str]) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if way not in lost:
                    sink.sendall(data)
            if way not in lost:
                sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def relay(server):
    relay = Relay(urlsplit(server.address).port)
    yield relay
    relay.close()


@pytest.mark.parametrize("ways", [("client",), ("server",), ("client", "server")])
def test_a_client_whose_line_is_half_gone_comes_anew_and_its_walk_goes_on(relay, ways):
    with Client(relay.address, patience_s=3.0, timeout_s=120.0) as client:
        walk = RemoteSession.open(client, seed=5)
        walk.step(FORWARD)
        relay.swallow(*ways)
        assert walk.step(LEFT).digest == Tiny(5).rollout([FORWARD, LEFT]).frames[-1].digest
        assert walk.step(FORWARD).digest == Tiny(5).rollout([FORWARD, LEFT, FORWARD]).frames[-1].digest
    assert len(relay.lines) == 2  # one that is lost is counted once


def test_a_walk_is_taken_up_from_a_line_that_the_server_still_holds_to_be_there(relay, server):
    """Somebody closes the lid of a laptop and opens another one: the old connection is silent, and nothing has told
    the server."""
    with Client(relay.address, timeout_s=120.0) as lid, Client(server.address) as other:
        walk = RemoteSession.open(lid, seed=5)
        walk.step(FORWARD)
        relay.swallow("client", "server")
        again = RemoteSession.resume(other, lid.token(walk.id))
        assert again.step(LEFT).digest == Tiny(5).rollout([FORWARD, LEFT]).frames[-1].digest


def test_a_server_stops_though_a_connection_does_not_end(server, monkeypatch, caplog):
    """libzmq waits without an end for a socket that it cannot close; whoever stops a server must not."""
    stuck, destroy = threading.Event(), zmq.Context.destroy

    def waits(context, linger=None):
        stuck.wait(30)
        destroy(context, linger=0)

    monkeypatch.setattr("roam.viewer.server.socket.CLOSING_S", 0.1)
    monkeypatch.setattr(zmq.Context, "destroy", waits)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 10 and "does not end" in caplog.text
    stuck.set()
