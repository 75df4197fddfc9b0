"""Connects a program to a server, or says in one sentence why it cannot. Knows no window and no Start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import zmq

from ..wire.security import KeyPair, SecurityError, read_key
from ..wire.security import check_address as check_server
from .client import Client

KNOCK_S = 6.0  # seconds until the server's welcome
# seconds of silence after which the connection counts as lost; a server that compiles its first step is silent
_PATIENCE_S = 6.0
_ANSWER_S = 30.0  # seconds until an answer, once it has said welcome: opening a walk may compile first


class ViewError(ValueError):
    """A server that cannot be reached; the message says what to check."""


@dataclass(frozen=True)
class Address:
    """Where a server is. server_key, keys (a folder), name (of the client's own key): needed if the server asks for
    keys."""

    address: str
    server_key: str = ""
    keys: Path | None = None
    name: str = "viewer"


def connect(to: Address) -> Client:
    """A client of the server there. Raises ViewError if none answers."""
    check_address(to.address)
    pair: KeyPair | None = read_key(to.keys, to.name) if to.keys else None
    if to.server_key and not pair:
        raise ViewError("a server with keys wants yours as well: give their folder with --keys")
    try:
        client = Client(to.address, server_key=to.server_key, keys=pair, timeout_s=KNOCK_S, patience_s=_PATIENCE_S)
    except TimeoutError as error:
        keys = "do the server's key and yours match its list" if pair else "does it want keys (--keys, --server-key)"
        raise ViewError(f"no server answers at {to.address}; does one run there, and {keys}?") from error
    except zmq.ZMQError as error:
        raise ViewError(f"cannot connect to {to.address}: {error.strerror}") from error
    client.timeout_s = _ANSWER_S
    return client


def check_address(address: str) -> None:
    """Raise ViewError if the address cannot be a server's."""
    try:
        check_server(address)
    except SecurityError as error:
        raise ViewError(str(error)) from error
