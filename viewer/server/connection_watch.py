"""Watches the connections of a server's socket, and cuts those that ZeroMQ itself would keep for ever.

ZeroMQ delivers a message when all of its parts are there, and it may have any number of parts: a client that never ends
a message would fill the memory. So the bytes since the last whole message are counted, as the system reports them for
the connection (TCP_INFO, Linux only). Silent connections are cut after a while, and connections beyond the limits at
once. Knows nothing of what messages say.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import parse_monitor_message

from .metrics import Metrics

log = logging.getLogger(__name__)

LOOK_S = 0.05
GRACE_S = 0.2  # for ZeroMQ's own thread to deliver what the system has received
BYTES_RECEIVED = 128  # offset of the u64 tcpi_bytes_received in Linux's struct tcp_info


@dataclass(frozen=True)
class Patience:
    """When a connection is cut.

    stranger_bytes, guest_bytes: at more bytes of one unfinished message, before and after hello; unread_bytes: at more
    bytes since the last message that was read, even if they may be whole messages that a busy server has not come to;
    hello_s: after so long without hello; idle_s: after so long without any message; max_connections: at more
    connections in all; max_from_one: at more of them from one address, unless it is this machine's.
    """

    stranger_bytes: int = 256 * 1024
    guest_bytes: int = 13 * 2**20
    unread_bytes: int = 26 * 2**20
    hello_s: float = 10.0
    idle_s: float = 90.0
    max_connections: int = 320
    max_from_one: int = 64


@dataclass
class _Connection:
    peer: tuple
    heard_at: float
    seen_bytes: int = 0
    is_guest: bool = False
    has_spoken: bool = False  # a whole message has come since the last look
    over_at: float = math.inf  # since when more bytes wait than one message may have


class ConnectionWatch:
    """Watches the connections of a bound ROUTER. The ROUTER's thread calls `take_events`; a thread of its own looks at
    the connections every LOOK_S seconds."""

    def __init__(self, router: zmq.Socket, patience: Patience, metrics: Metrics):
        self._patience = patience
        self._connections: dict[int, _Connection] = {}
        self._numbers: dict[int, int] = {}
        self._metrics, self._num_accepted = metrics, 0
        self.all_read_at = -math.inf  # when no whole message waited last
        self.monitor = _events_of(router, zmq.EVENT_ACCEPTED | zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED)
        self._router, self._ending = router, threading.Event()
        self._thread = threading.Thread(target=self._run, name="roam-connection-watch", daemon=True)
        self._thread.start()

    @property
    def num_connections(self) -> int:
        return len(self._connections)

    def number(self, fd: int) -> int:
        """The number of the newest connection with that descriptor. Descriptors are reused; numbers are not."""
        return self._numbers.get(fd, 0)

    def take_events(self) -> None:
        """Note which connections have opened and closed. Called before a message is read, so its connection is
        known."""
        while self.monitor.poll(0):
            event = parse_monitor_message(self.monitor.recv_multipart())
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._enter(int(event["value"]))
            else:
                self._connections.pop(int(event["value"]), None)

    def all_read(self) -> None:
        """Note that no whole message waits: bytes that have come until now and are not read belong to unfinished
        messages."""
        self.all_read_at = time.monotonic()

    def heard(self, fd: int, *, is_guest: bool = False) -> None:
        """Note that a whole message has come over that connection; is_guest: from a client that has said hello."""
        connection = self._connections.get(fd)
        if connection:
            connection.heard_at, connection.is_guest, connection.has_spoken = time.monotonic(), is_guest, True

    def cut(self, fd: int, reason: str) -> None:
        """End a connection."""
        connection = self._connections.pop(fd, None)
        if connection:
            self._metrics.cut += 1
            log.info("a connection from %s is cut: %s", connection.peer[0] if connection.peer else "here", reason)
            with contextlib.suppress(OSError), _borrowed(fd, connection.peer) as borrowed:
                # reset instead of an orderly close, so that bytes that still arrive are not waited for
                borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                borrowed.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self._router.disable_monitor()
        self.monitor.close(linger=0)

    def _run(self) -> None:
        while not self._ending.wait(LOOK_S):
            try:
                self._look()
            except Exception:  # the watch must go on
                log.exception("the connections could not be looked after")

    def _enter(self, fd: int) -> None:
        self._num_accepted += 1
        self._numbers[fd] = self._num_accepted
        try:
            with _borrowed(fd) as borrowed:
                peer = borrowed.getpeername()
        except OSError:  # closed already, or not TCP
            return
        self._connections[fd] = _Connection(peer if isinstance(peer, tuple) else (), time.monotonic())
        counts = Counter(connection.peer[0] for connection in list(self._connections.values()) if connection.peer)
        if len(self._connections) > self._patience.max_connections:
            self.cut(fd, f"{len(self._connections)} connections are open")
        elif peer and not _is_here(peer) and counts[peer[0]] > self._patience.max_from_one:
            self.cut(fd, f"{counts[peer[0]]} connections from one address")

    def _look(self) -> None:
        now, patience = time.monotonic(), self._patience
        for fd, connection in list(self._connections.items()):
            most = patience.guest_bytes if connection.is_guest else patience.stranger_bytes
            # messages that came later may still wait to be read
            silent_s = min(now, self.all_read_at) - connection.heard_at
            if silent_s > (patience.idle_s if connection.is_guest else patience.hello_s):
                self.cut(fd, f"silent for {silent_s:.0f} s")
                continue
            try:
                with _borrowed(fd, connection.peer) as borrowed:
                    received = _bytes_received(borrowed)
            except OSError:
                continue
            if connection.has_spoken:  # bytes from here on belong to the next message
                connection.has_spoken, connection.seen_bytes, connection.over_at = False, received, math.inf
            came = received - connection.seen_bytes
            if came > most:
                connection.over_at = min(connection.over_at, now)
            if came > patience.unread_bytes or self.all_read_at > connection.over_at + GRACE_S:
                self.cut(fd, f"{came} bytes of a message that does not end")


def _events_of(router: zmq.Socket, events: int) -> zmq.Socket:
    """A socket from which those events of a socket's connections can be read. Any number of them may wait there: with
    pyzmq's own `get_monitor_socket` it would be two thousand, and then ZeroMQ's thread, which carries all messages,
    waits until some are read, for ever if nobody reads any more."""
    address = "inproc://connections"
    router.monitor(address, events)
    monitor = router.context.socket(zmq.PAIR)
    monitor.setsockopt(zmq.RCVHWM, 0)
    monitor.connect(address)
    return monitor


@contextlib.contextmanager
def _borrowed(fd: int, peer: tuple | None = None):
    """The socket behind one of ZeroMQ's descriptors. Raises OSError if the descriptor belongs to another connection
    by now."""
    copied = os.dup(fd)
    try:
        connection = socket.socket(fileno=copied)
    except OSError:  # it is a file by now
        os.close(copied)
        raise
    try:
        if peer and connection.getpeername() != peer:
            raise OSError("another connection")
        yield connection
    finally:
        connection.close()


def _bytes_received(connection: socket.socket) -> int:
    if not hasattr(socket, "TCP_INFO") or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_RECEIVED + 8)
    return struct.unpack_from("Q", info, BYTES_RECEIVED)[0] if len(info) >= BYTES_RECEIVED + 8 else 0


def _is_here(peer: tuple) -> bool:
    return peer[0].startswith("127.") or peer[0] in ("::1", "::ffff:127.0.0.1")
