"""A front's connections to its workers: one for each pair of client and worker. To a worker every client of the cluster
looks like an ordinary client, with its own seqs, credits and limits.

Reads only those parts of a message that a front must know.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgpack
import zmq

from ..server.socket import ServerSocket
from ..wire import protocol as p
from ..wire.security import KeyPair, unlock
from .routes import FIRST_INTERNAL_SEQ
from .worker import About

MAX_SOCKETS = 32768
LOOKS = p.Look | p.Surfaces  # of which a worker itself allows only a few at a time
MAX_READS = 64  # messages of one connection before the others are read


@dataclass
class WorkerConnection:
    """One client's connection to one worker. outbox: messages that its pipe could not take yet. pending: requests
    without an answer, by seq, with their payloads."""

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
        """The worker's messages that have arrived: for each the header, and all parts unchanged."""
        for _ in range(MAX_READS):
            try:
                parts = self.socket.recv_multipart(zmq.DONTWAIT)
            except (zmq.Again, zmq.ZMQError):
                return
            yield msgpack.unpackb(parts[0], use_list=False), parts


class WorkerConnections:
    """All connections, by client and worker. wire: its `wait` is to end when a worker has sent something."""

    def __init__(self, wire: ServerSocket, keys: KeyPair):
        self._wire, self._keys = wire, keys
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
        self._connections: dict[tuple[bytes, str], WorkerConnection] = {}
        self._by_socket: dict[zmq.Socket, WorkerConnection] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def get_or_connect(
        self, client: bytes, worker: About, *, name: str = "", versions: tuple[int, ...] = p.VERSIONS
    ) -> WorkerConnection:
        """The connection of a client to a worker. If there is none, it is opened and says hello."""
        connection = self._connections.get((client, worker.name))
        if connection is None:
            socket = self._context.socket(zmq.DEALER)
            socket.setsockopt(zmq.LINGER, 200)
            socket.setsockopt(zmq.MAXMSGSIZE, p.MAX_PAYLOAD)
            unlock(socket, server_key=worker.key, pair=self._keys)
            socket.connect(worker.address)
            connection = self._connections[client, worker.name] = self._by_socket[socket] = WorkerConnection(
                client, worker.name, socket
            )
            self._wire.listen(socket)
            connection.send(p.Hello(versions=versions, client=name))
        return connection

    def of_socket(self, socket: zmq.Socket) -> WorkerConnection | None:
        return self._by_socket.get(socket)

    def of_worker(self, worker: str) -> list[WorkerConnection]:
        return [connection for connection in self._connections.values() if connection.worker == worker]

    def of_client(self, client: bytes) -> list[WorkerConnection]:
        return [connection for connection in self._connections.values() if connection.client == client]

    def num_jobs(self, client: bytes) -> int:
        """How many requests of a client's own, looks left out, the workers have not answered yet."""
        return sum(
            seq < FIRST_INTERNAL_SEQ and not isinstance(message, LOOKS)
            for connection in self.of_client(client)
            for seq, (message, _) in connection.pending.items()
        )

    def has_asked(self, client: bytes, seq: int, workers: Iterable[str]) -> bool:
        """Whether one of these workers has not answered yet a client's request of that number."""
        there = (self._connections.get((client, worker)) for worker in workers)
        return any(connection is not None and seq in connection.pending for connection in there)

    def empty_outboxes(self) -> bool:
        """Send what the pipes take now; returns whether something must still wait."""
        waiting = [connection for connection in self._connections.values() if connection.outbox]
        for connection in waiting:
            connection.empty_outbox()
        return any(connection.outbox for connection in waiting)

    def disconnect(self, connection: WorkerConnection, *, linger_ms: int = 0) -> None:
        """Close a connection. linger_ms: how long messages that have not left yet may still be sent."""
        self._connections.pop((connection.client, connection.worker), None)
        self._by_socket.pop(connection.socket, None)
        with contextlib.suppress(KeyError):
            self._wire.unlisten(connection.socket)
        connection.socket.close(linger=linger_ms)

    def disconnect_client(self, client: bytes) -> None:
        """A client is gone: send a goodbye to every worker that knows it."""
        for connection in self.of_client(client):
            connection.send(p.Goodbye())
            self.disconnect(connection, linger_ms=200)

    def close(self) -> None:
        for connection in list(self._connections.values()):
            self.disconnect(connection)
        self._context.destroy(linger=0)
