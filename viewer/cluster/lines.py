"""A front's connections to its workers: one for each client and each worker that it walks on, so that to a worker every
client is a client of its own, with seqs, credits and limits of its own.

Reads no more of a message than a front has to know.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgpack
import zmq

from ..server.socket import ServerSocket
from ..wire import protocol as p
from ..wire.security import KeyPair, unlock
from .worker import About

MAX_SOCKETS = 32768
MAX_READS = 64  # messages of one line before others get their turn


@dataclass
class WorkerLine:
    """One client's connection to one worker. outbox: what its pipe could not take yet. pending: requests that have no
    answer yet, by seq, with their payloads."""

    client: bytes
    worker: str
    socket: zmq.Socket
    outbox: deque[list] = field(default_factory=deque)
    pending: dict[int, tuple[p.Message, bytes]] = field(default_factory=dict)

    def send(self, message: p.Message, payload: bytes | memoryview = b"") -> None:
        if isinstance(message, p.Request):
            self.pending[message.seq] = (message, bytes(payload))
        self.outbox.append(p.pack(message, payload))
        self.empty_outbox()

    def empty_outbox(self) -> None:
        while self.outbox:
            try:
                self.socket.send_multipart(self.outbox[0], zmq.DONTWAIT)
            except zmq.Again:
                return
            self.outbox.popleft()

    def messages(self) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
        """What the worker has said: the header, and all parts as they came."""
        for _ in range(MAX_READS):
            try:
                parts = self.socket.recv_multipart(zmq.DONTWAIT)
            except (zmq.Again, zmq.ZMQError):
                return
            yield msgpack.unpackb(parts[0], use_list=False), parts


class WorkerLines:
    """Every line, by client and worker. wire: whose `wait` is to end when there is something to read."""

    def __init__(self, wire: ServerSocket, keys: KeyPair):
        self._wire, self._keys = wire, keys
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
        self._lines: dict[tuple[bytes, str], WorkerLine] = {}
        self._by_socket: dict[zmq.Socket, WorkerLine] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def of(self, client: bytes, worker: About, *, name: str = "", versions: tuple[int, ...] = p.VERSIONS) -> WorkerLine:
        """The line of a client to a worker; it is laid, and hello said on it, where there is none."""
        line = self._lines.get((client, worker.name))
        if line is None:
            socket = self._context.socket(zmq.DEALER)
            socket.setsockopt(zmq.LINGER, 200)
            socket.setsockopt(zmq.MAXMSGSIZE, p.MAX_PAYLOAD)
            unlock(socket, server_key=worker.key, pair=self._keys)
            socket.connect(worker.address)
            line = self._lines[client, worker.name] = self._by_socket[socket] = WorkerLine(client, worker.name, socket)
            self._wire.listen(socket)
            line.send(p.Hello(versions=versions, client=name))
        return line

    def there(self, client: bytes, worker: str) -> WorkerLine | None:
        return self._lines.get((client, worker))

    def with_socket(self, socket: zmq.Socket) -> WorkerLine | None:
        return self._by_socket.get(socket)

    def to(self, worker: str) -> list[WorkerLine]:
        return [line for line in self._lines.values() if line.worker == worker]

    def all_of(self, client: bytes) -> list[WorkerLine]:
        return [line for line in self._lines.values() if line.client == client]

    def empty_outboxes(self) -> bool:
        """Send what may be sent; whether something must still wait."""
        waiting = [line for line in self._lines.values() if line.outbox]
        for line in waiting:
            line.empty_outbox()
        return any(line.outbox for line in waiting)

    def cut(self, line: WorkerLine, *, linger_ms: int = 0) -> None:
        """Take a line away; linger_ms: for what was sent and has not left yet."""
        self._lines.pop((line.client, line.worker), None)
        self._by_socket.pop(line.socket, None)
        with contextlib.suppress(KeyError):
            self._wire.unlisten(line.socket)
        line.socket.close(linger=linger_ms)

    def hang_up(self, client: bytes) -> None:
        """A client is gone: say so to every worker that knows it."""
        for line in self.all_of(client):
            line.send(p.Goodbye())
            self.cut(line, linger_ms=200)

    def close(self) -> None:
        for line in list(self._lines.values()):
            self.cut(line)
        self._context.destroy(linger=0)
