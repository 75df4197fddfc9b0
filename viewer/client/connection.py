"""A client's connection: one thread that owns the socket, says hello, sends pings and reconnects.

Other threads only put messages into its queue. It does not interpret messages; that is client.py's task.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

import zmq

from ..wire import protocol as p

log = logging.getLogger(__name__)

PING_S = 0.5
GREETING_S = 1.0  # seconds to wait for the first welcome before reconnecting; twice as long each time after
MOST_GREETING_S = 8.0  # each attempt is one more client to a server that was only slow


class Connection:
    """A connection to a server, opened by `start`. The callbacks run on the connection's own thread.

    on_up(welcome): connected, for the first time or again; on_down(): the connection is lost and is being
    re-established; on_message(message, payload): any other message; on_refused(error): the server does not accept this
    client at all.
    """

    def __init__(
        self,
        address: str,
        *,
        name: str,
        patience_s: float,
        unlock: Callable[[zmq.Socket], None] | None = None,
        on_up: Callable[[p.Welcome], None],
        on_down: Callable[[], None],
        on_message: Callable[[p.Message, bytes], None],
        on_refused: Callable[[p.Error], None],
    ):
        self.address, self._name, self._patience_s, self._unlock = address, name, patience_s, unlock
        self._on_up, self._on_down, self._on_message, self._on_refused = on_up, on_down, on_message, on_refused
        self._queue: deque[list] = deque()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._context = zmq.Context()
        self._is_up, self._is_closing = False, False
        self._heard_at = self._pinged_at = self._greeted_at = time.monotonic()
        self._greeting_s = GREETING_S
        self._thread = threading.Thread(target=self._run, name="roam-line", daemon=True)

    def start(self) -> None:
        self._connect()  # here, so that a bad key or address is raised to the caller
        self._thread.start()

    def send(self, message: p.Message, payload: bytes = b"") -> None:
        """Send a message when connected; may be called from any thread."""
        self._queue.append(p.pack(message, payload))
        self._wake()

    def forget_queued(self) -> None:
        """Drop the messages that were not sent yet."""
        self._queue.clear()

    def close(self) -> None:
        """Send what is queued, then disconnect."""
        self._is_closing = True
        self._wake()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):  # full: it is awake already; closed: it has ended
            self._waker.send(b"\0")

    def _run(self) -> None:
        while not self._is_closing:
            self._turn()
        self._queue.append(p.pack(p.Goodbye()))
        self._send_queued()
        self._context.destroy(linger=200)
        self._woken.close()
        self._waker.close()

    def _turn(self) -> None:
        self._poller.poll(100)
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        self._send_queued()
        self._receive()
        now = time.monotonic()
        if self._is_up and now - self._pinged_at > PING_S:
            self._pinged_at = now
            self._queue.append(p.pack(p.Ping(clock=now)))
            self._send_queued()
        is_silent = now - self._heard_at > self._patience_s
        if is_silent if self._is_up else now - self._greeted_at > self._greeting_s:
            self._reconnect()

    def _connect(self) -> None:
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.MAXMSGSIZE, p.MAX_PAYLOAD)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 400)
        if self._unlock:
            self._unlock(self._socket)
        self._socket.connect(self.address)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._woken.fileno(), zmq.POLLIN)
        self._heard_at = self._greeted_at = time.monotonic()
        self._socket.send_multipart(p.pack(p.Hello(versions=p.VERSIONS, client=self._name)))

    def _reconnect(self) -> None:
        """Connect again with a new socket: messages in the old socket's pipe would reach the server before our
        hello."""
        if self._is_up:
            log.info("the connection to %s is lost; taking it up again", self.address)
            self._is_up, self._greeting_s = False, GREETING_S
            self._on_down()
        else:
            self._greeting_s = min(2 * self._greeting_s, MOST_GREETING_S)
        self._socket.close(linger=0)
        self._connect()

    def _send_queued(self) -> None:
        while self._is_up and self._queue:
            try:
                self._socket.send_multipart(self._queue[0], zmq.DONTWAIT, copy=True)
            except zmq.Again:
                return
            self._queue.popleft()

    def _receive(self) -> None:
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            self._heard_at = time.monotonic()
            try:
                message, payload = p.unpack([part.buffer for part in parts], p.SERVER_MESSAGES)
            except p.ProtocolError as error:  # a newer server may send messages that we do not know
                log.warning("a message from %s is passed over: %s", self.address, error)
                continue
            self._hear(message, payload)

    def _hear(self, message: p.Message, payload) -> None:
        if isinstance(message, p.Welcome):
            if not self._is_up:
                self._is_up = True
                self._on_up(message)
        elif isinstance(message, p.Error) and message.code == "hello_first":
            if self._is_up:
                self._reconnect()
        elif isinstance(message, p.Error) and not self._is_up:
            self._on_refused(message)
        elif isinstance(message, p.Goodbye):
            self._part(message)
        elif not isinstance(message, p.Pong):
            self._on_message(message, payload)

    def _part(self, goodbye: p.Goodbye) -> None:
        """The server has said goodbye: ignore everything else on this connection."""
        if self._is_up:
            self._on_message(goodbye, b"")
            self._reconnect()
