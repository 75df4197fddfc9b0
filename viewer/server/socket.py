"""The server's socket: who is connected, what comes in, and sending that never waits for a slow client.

While a client's pipe is full, answers to it wait in its outbox, in order, and frames for it are not sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.auth.thread import ThreadAuthenticator

from ..wire import protocol as p
from ..wire.security import guard
from .connection_watch import ConnectionWatch, Patience
from .metrics import Metrics
from .registry import Client, Limits

log = logging.getLogger(__name__)

MAX_PARTS = 1000  # parts of one message; more are not kept, but must be read from the connection
LINGER_MS, CLOSING_S = 300, 5.0  # how long what was sent last may still go out, and connections may take to close
QUEUED_MESSAGES = 64  # messages of one client within ZeroMQ; later ones wait at the sender


class AddressError(ValueError):
    """An address that cannot be bound; the message says why."""


@dataclass(frozen=True)
class Received:
    """A message as it came. client: routing id; connection: file descriptor, or -1; number: of the connection, see
    ConnectionWatch.number; guest: the sender for quotas, by key or by address."""

    client: bytes
    parts: list[bytes]
    connection: int = -1
    number: int = 0
    guest: str = ""


class ServerSocket:
    """A bound ROUTER socket. One thread uses it; only `wake` may be called by others, one at a time.

    on_drop: called with the routing id of every client that is gone.
    """

    def __init__(self, address: str, keys: str | Path | None, *, limits: Limits, metrics: Metrics, on_drop: Callable):
        self.clients: dict[bytes, Client] = {}
        self._limits, self._metrics, self._on_drop = limits, metrics, on_drop
        self._context = zmq.Context()
        self._waking, self._is_closed = threading.Lock(), False
        self._socket = self._context.socket(zmq.ROUTER)
        self._guard: ThreadAuthenticator | None = None
        self._watch: ConnectionWatch | None = None
        self._others: set[zmq.Socket] = set()
        try:
            self._bind(address, keys)
        except Exception:
            self.close()
            raise
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def watch(self) -> ConnectionWatch:
        """The watch over the TCP connections."""
        assert self._watch is not None, "a socket that stands is bound"
        return self._watch

    def wait(self, milliseconds: int) -> list[zmq.Socket]:
        """Wait until a message comes, another thread calls `wake`, or time is up; returns those of the sockets given to
        `listen` that have something to read."""
        ready = self._poller.poll(milliseconds)
        self.watch.take_events()
        with contextlib.suppress(zmq.Again):
            while True:
                self._woken.recv(zmq.DONTWAIT)
        return [socket for socket, _ in ready if socket in self._others]

    def listen(self, socket: zmq.Socket) -> None:
        """Make `wait` end also when there is something to read from that socket."""
        self._others.add(socket)
        self._poller.register(socket, zmq.POLLIN)

    def unlisten(self, socket: zmq.Socket) -> None:
        self._others.discard(socket)
        self._poller.unregister(socket)

    def wake(self) -> None:
        """End a `wait`; called from one other thread at a time."""
        with self._waking, contextlib.suppress(zmq.ZMQError):  # full: it will wake already
            if not self._is_closed:
                self._waker.send(b"", zmq.DONTWAIT)

    def receive(self) -> Received | None:
        """The next message, or None if none has come."""
        try:
            head = self._socket.recv(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            self.watch.all_read()
            return None
        parts, count, is_more = [], 0, head.more
        while is_more:
            part = self._socket.recv(zmq.DONTWAIT)
            count, is_more = count + 1, bool(self._socket.getsockopt(zmq.RCVMORE))
            if count <= 3:  # a message has two; with a third one it is refused by its number of parts
                parts.append(part)
        self._metrics.messages += 1
        self.watch.take_events()
        client, connection = head.bytes, _connection(head)
        received = Received(client, parts, connection, self.watch.number(connection), _guest(head))
        self.watch.heard(received.connection, is_guest=client in self.clients)
        if count > MAX_PARTS:
            self.watch.cut(received.connection, f"a message of {count} parts")
        return received

    @property
    def has_outbox(self) -> bool:
        return any(client.outbox for client in self.clients.values())

    def send(self, client_id: bytes, message: p.Message) -> None:
        """Send an answer, now or when the client's pipe has room. A client that leaves too many unread is dropped."""
        self.pass_on(client_id, p.pack(message))

    def pass_on(self, client_id: bytes, parts: list) -> None:
        """`send` for a message that is packed already."""
        client = self.clients.get(client_id)
        must_wait = client is not None and bool(client.outbox)
        is_sent = not must_wait and self._try(client_id, parts)
        if client and not is_sent:
            self._leave_lying(client, parts)

    def send_frame(self, client_id: bytes, head: p.FrameHead | p.SightHead, payload: bytes | memoryview) -> bool:
        """Send a frame or a sight if there is room for it now; returns whether it was sent."""
        client = self.clients.get(client_id)
        return client is not None and not client.outbox and self._try(client_id, p.pack(head, payload))

    def empty_outboxes(self) -> None:
        for client in list(self.clients.values()):
            while client.outbox and self._try(client.id, client.outbox[0]):
                client.outbox.popleft()

    def drop(self, client_id: bytes, reason: str, *, last: p.Message | None = None) -> None:
        """Forget a client, after sending `last` if its pipe has room. Its next message will be told to say hello."""
        client = self.clients.pop(client_id, None)
        if client:
            log.info("client %r dropped: %r", client.name, reason)  # quoted: a client's own words may have line ends
            self._on_drop(client_id)
            if last:
                self._try(client_id, p.pack(last))

    def drop_silent(self) -> None:
        """Forget clients that have said nothing for patience_s; what came since all was read last may be theirs."""
        for client in list(self.clients.values()):
            if self.watch.all_read_at - client.seen_at > self._limits.patience_s:
                self.drop(client.id, "it was silent for too long")

    def close(self) -> None:
        if self._watch:
            self._watch.close()
        if self._guard:
            self._guard.stop()
        with self._waking:
            self._is_closed = True  # whoever wakes it from now on finds no socket that is being closed
        # in another thread, for libzmq waits without an end for a connection that it cannot close
        ending = threading.Thread(target=self._context.destroy, kwargs={"linger": LINGER_MS}, daemon=True)
        ending.start()
        ending.join(LINGER_MS / 1000 + CLOSING_S)
        if ending.is_alive():
            log.warning("a connection does not end; it is left behind, and the server stops all the same")

    def _bind(self, address: str, keys: str | Path | None) -> None:
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # without it, frames for a full pipe are lost without a sign
        self._socket.setsockopt(zmq.MAXMSGSIZE, p.MAX_PART)
        self._socket.setsockopt(zmq.SNDHWM, 2 * p.MAX_CREDITS)
        self._socket.setsockopt(zmq.RCVHWM, QUEUED_MESSAGES)
        self._socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        self._socket.setsockopt(zmq.IPV6, "[" in address)
        self._guard = guard(self._socket, keys) if keys else None
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            raise AddressError(f"cannot serve on {address}: {error.strerror.lower()}; name another address") from error
        limits = self._limits
        self._watch = ConnectionWatch(
            self._socket,
            Patience(
                hello_s=limits.hello_s,
                max_connections=limits.max_clients + limits.max_strangers,
                max_from_one=limits.max_connections_each,
            ),
            self._metrics,
        )
        self._woken, self._waker = self._context.socket(zmq.PAIR), self._context.socket(zmq.PAIR)
        self._woken.bind("inproc://wake")
        self._waker.connect("inproc://wake")
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._woken, zmq.POLLIN)
        self._poller.register(self.watch.monitor, zmq.POLLIN)

    def _try(self, client_id: bytes, parts: list) -> bool:
        try:
            # only the routing id can find the pipe full; once it is accepted, the rest is too
            self._socket.send(client_id, zmq.DONTWAIT | zmq.SNDMORE)
            for part in parts[:-1]:
                self._socket.send(part, zmq.DONTWAIT | zmq.SNDMORE)
            self._socket.send(parts[-1], zmq.DONTWAIT, copy=len(parts) == 1)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self.drop(client_id, "its connection is gone")
        self._metrics.bytes_sent += sum(map(len, parts))
        return True

    def _leave_lying(self, client: Client, parts: list) -> None:
        client.outbox.append(parts)
        if len(client.outbox) > self._limits.max_outbox:
            self.drop(client.id, "it does not read its answers")


def _connection(head: zmq.Frame) -> int:
    try:
        return int(head.get("__fd"))
    except (zmq.ZMQError, ValueError, TypeError):
        return -1


def _guest(head: zmq.Frame) -> str:
    """The sender for quotas: a hash of the key if clients have keys, else of the address."""
    for name in ("User-Id", "Peer-Address"):
        with contextlib.suppress(zmq.ZMQError):
            if value := head.get(name):
                return hashlib.sha256(f"{name} {value}".encode()).hexdigest()[:16]
    return ""


def raise_file_limit() -> None:
    """Raise the limit of open files as far as the system allows: every connection takes one."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
