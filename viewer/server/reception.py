"""Reads clients' messages: in order, no faster than allowed, and each client's only over its own connection. The
subclass's `_handle` does what a message asks for: a server's Handlers, or a cluster's front.

Runs on the thread that owns the socket.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import Counter

from ..wire import protocol as p
from .metrics import Metrics
from .refusals import code_of, reason_of, seq_of, session_of
from .registry import Client, Limits
from .socket import Received, ServerSocket

log = logging.getLogger(__name__)


class Reception(ABC):
    """Unpacks messages and passes them to `_handle`; failures are answered with an error of the protocol."""

    def __init__(self, wire: ServerSocket, limits: Limits, metrics: Metrics):
        self._wire, self._limits, self._metrics = wire, limits, metrics
        self._refusals: Counter[int] = Counter()  # by connection, for those that have not said hello

    @abstractmethod
    def _handle(self, client_id: bytes, message: p.Message, payload: bytes | memoryview) -> None:
        """Do what a message asks. Whatever this raises is told to the client."""

    def receive(self, received: Received) -> None:
        """Handle a message, or answer it with an error; messages that come too fast wait for `catch_up`."""
        client = self._wire.clients.get(received.client)
        if client and client.number != received.number:  # a routing id is no proof of identity
            self._wire.drop(client.id, "its routing id came over another connection")
            client = None
        if client is None:
            self._meet(received)
            return
        client.seen_at = time.monotonic()
        client.put_off(received.parts)
        self._read_on(client)
        if len(client.backlog) > self._limits.max_backlog or client.backlog_bytes > self._limits.max_backlog_bytes:
            self._refuse_haste(client)

    def catch_up(self) -> bool:
        """Handle messages that came too fast, as many as are allowed by now; returns whether some still wait."""
        for client in [client for client in self._wire.clients.values() if client.backlog]:
            self._read_on(client)
        return any(client.backlog for client in self._wire.clients.values())

    def refuse(self, client_id: bytes, message: p.Message | None, error: Exception) -> None:
        """Tell a client why its message was not done: by an error, or by a receipt if an act's words were bad."""
        self._metrics.errors += 1
        code, seq, session, reason = code_of(error), seq_of(message, error), session_of(message), reason_of(error)
        log.debug("refused a %s with %s: %s", message.TYPE if message else "message", code, reason)
        if isinstance(message, p.Act | p.Dream) and code in ("bad_action", "queue_full"):
            self._wire.send(client_id, p.Receipt(session=session, seq=seq, status="refused", reason=reason))
        else:
            self._wire.send(client_id, p.Error(seq=seq, code=code, message=reason, session=session))

    def _meet(self, received: Received) -> None:
        """Handle a message from a connection that has not said hello; after max_refusals of them, cut it."""
        self._do(received.client, received.parts)
        client = self._wire.clients.get(received.client)
        if client:
            client.guest, client.number = received.guest, received.number
            self._refusals.pop(received.connection, None)
            self._wire.watch.heard(received.connection, is_guest=True)
            return
        self._refusals[received.connection] += 1
        if self._refusals[received.connection] >= self._limits.max_refusals:
            del self._refusals[received.connection]
            self._wire.watch.cut(received.connection, "it goes on without hello")
        if len(self._refusals) > 10_000:
            self._refusals.clear()

    def _read_on(self, client: Client) -> None:
        while client.backlog and client.may_speak(self._limits.messages_per_s):
            self._do(client.id, client.take_up())

    def _do(self, client_id: bytes, parts: list[bytes]) -> None:
        message = None
        try:
            message, payload = p.unpack(parts, p.CLIENT_MESSAGES)
            self._handle(client_id, message, payload)
        # ProtocolError, ActionError and related errors, and anything else that one message may cause
        except Exception as error:
            self.refuse(client_id, message, error)

    def _refuse_haste(self, client: Client) -> None:
        self._metrics.refused += 1
        text = f"more than {self._limits.messages_per_s:.0f} messages a second for too long; say hello and begin again"
        self._wire.drop(client.id, "it spoke too fast for too long", last=p.Error(code="rate", message=text))
