"""Notices within seconds that a worker's machine is gone: it was switched off or cut off, and closed no connection.

Each worker has one connection more, whose pings are answered by ZeroMQ's own thread: also while Python is busy, so that
a long step is not taken for a machine that is gone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import zmq
from zmq.utils.monitor import recv_monitor_message

from ..wire import protocol as p
from ..wire.security import KeyPair, unlock
from .worker import About

PING_S = 2.0  # a server closes connections that say nothing
HEARTBEATS = 4  # pings in the time after which silence ends the connection


@dataclass
class _Line:
    """A connection to one worker. down_since: when it was lost; None while it is there, and before it was there
    once."""

    socket: zmq.Socket
    monitor: zmq.Socket
    down_since: float | None = None
    pinged_at: float = field(default_factory=time.monotonic)


class Lifelines:
    """A connection to each worker. keys: the front's own pair; gone_s: after how long a machine that is silent, and
    cannot be reached anew, counts as gone."""

    def __init__(self, keys: KeyPair, *, gone_s: float):
        self._keys, self._gone_s = keys, gone_s
        self._context = zmq.Context()
        self._lines: dict[str, _Line] = {}

    def gone(self, workers: Mapping[str, About]) -> list[str]:
        """Those of these workers whose machine is gone. To be called a few times a second, with all workers."""
        for name in set(self._lines) - set(workers):
            _close(self._lines.pop(name))
        for name in set(workers) - set(self._lines):
            self._lines[name] = self._opened(workers[name])
        now = time.monotonic()
        for line in self._lines.values():
            _hear(line, now)
        # half of the time has passed when ZeroMQ gives the connection up
        lost = {name: line.down_since for name, line in self._lines.items() if line.down_since is not None}
        return [name for name, since in lost.items() if now - since > self._gone_s / 2]

    def close(self) -> None:
        for line in self._lines.values():
            _close(line)
        self._lines.clear()
        self._context.destroy(linger=0)

    def _opened(self, worker: About) -> _Line:
        socket, silent_ms = self._context.socket(zmq.DEALER), int(500 * self._gone_s)
        socket.setsockopt(zmq.HEARTBEAT_IVL, max(1, silent_ms // HEARTBEATS))
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, silent_ms)
        socket.setsockopt(zmq.RECONNECT_IVL, max(1, silent_ms // HEARTBEATS))
        unlock(socket, server_key=worker.key, pair=self._keys)
        # a process that hangs as a whole still accepts connections, by its system; but it answers no handshake
        monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        socket.connect(worker.address)
        return _Line(socket, monitor)


def _hear(line: _Line, now: float) -> None:
    """Read what has become of a connection, and keep it from being closed as silent."""
    while line.monitor.poll(0):
        event = recv_monitor_message(line.monitor)["event"]
        if event == zmq.EVENT_DISCONNECTED:
            line.down_since = line.down_since or now
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            line.down_since = None
            _send(line, p.Hello(versions=p.VERSIONS, client="lifeline"))
    if line.down_since is None and now - line.pinged_at > PING_S:
        line.pinged_at = now
        _send(line, p.Ping(clock=now))
    while line.socket.poll(0):
        line.socket.recv_multipart()


def _send(line: _Line, message: p.Message) -> None:
    try:
        line.socket.send_multipart(p.pack(message), zmq.DONTWAIT)
    except zmq.Again:  # the connection is just being lost
        return


def _close(line: _Line) -> None:
    line.socket.disable_monitor()
    line.monitor.close(linger=0)
    line.socket.close(linger=0)
