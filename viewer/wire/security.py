"""Who may connect: CURVE key pairs, the list of admitted keys, and which addresses may be bound without keys.

A key folder holds server.key_secret (and server.key, which clients need), own key pairs as NAME.key_secret, and
allowed/NAME.key for every admitted client. Knows no message.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from ...world.files import readable, write_text_whole

KEY_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
ALLOWED = "allowed"  # the folder of admitted clients in a folder of keys
MAX_IPC = 100  # bytes of the path of a Unix socket that every system takes
KEY = re.compile(r"[0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{40}\Z")  # the letters of Z85


class SecurityError(ValueError):
    """An address or a key that cannot be used; the message says what can."""


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair in Z85: `public` may be told to anyone, `secret` to nobody."""

    public: str
    secret: str


def make_key(folder: str | Path, name: str) -> KeyPair:
    """Make NAME.key and NAME.key_secret (readable by its owner only); refuses to overwrite one. Raises SecurityError,
    also where they cannot be written; then, and after a signal, no half of a pair stays."""
    folder = _ready(folder, name)
    if (folder / f"{name}.key_secret").exists():
        raise SecurityError(f"{folder / name}.key_secret exists; remove it yourself if it is to be replaced")
    try:
        _, secret = zmq.auth.create_certificates(folder, name)
        Path(secret).chmod(0o600)
    except BaseException as error:
        for half in (f"{name}.key_secret", f"{name}.key"):
            (folder / half).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise SecurityError(f"cannot write a key pair into {folder}: {error.strerror}") from error
    return read_key(folder, name)


def read_key(folder: str | Path, name: str) -> KeyPair:
    """The pair that `make_key` wrote. Raises SecurityError where there is none, or one whose halves do not belong to
    each other."""
    path = Path(folder) / f"{name}.key_secret"
    try:
        public, secret = _held(path)
    except (OSError, ValueError) as error:
        raise SecurityError(f"no key pair at {path}; make one with: roam keys make {name}") from error
    if not KEY.match(secret) or _half_of(secret) != public:
        raise SecurityError(f"{path} is damaged; bring back a copy of it, or remove it and make another pair")
    return KeyPair(public, secret)


def _half_of(secret: str) -> str | None:
    """The public half of a pair, or None where five of the letters say more than four bytes can."""
    try:
        return zmq.curve_public(secret.encode()).decode()
    except zmq.ZMQError:
        return None


def list_keys(folder: str | Path) -> dict[str, str]:
    """The admitted clients: name to public key. Raises SecurityError for a folder that is none or cannot be read, and
    for a file of the list that holds no key."""
    try:
        has_list = ALLOWED in os.listdir(folder)
        paths = [path for path in (Path(folder) / ALLOWED).iterdir() if path.suffix == ".key"] if has_list else []
    except OSError as error:
        raise SecurityError(
            f"no folder of keys at {error.filename}: {error.strerror}; `roam keys make server --folder DIR` makes one"
        ) from error
    return {path.stem: _public_of(path) for path in sorted(paths)}


def _public_of(path: Path) -> str:
    try:
        public, _ = _held(path)
    except (OSError, ValueError) as error:
        raise SecurityError(f"{path} holds no public key; remove it, or add the client anew") from error
    if not KEY.match(public):
        raise SecurityError(f"{path} holds a damaged public key; remove it, or add the client anew")
    return public


def _held(path: Path) -> tuple[str, str]:
    """The public and the secret key of a file, "" for what it does not hold. Raises ValueError or OSError."""
    try:
        public, secret = zmq.auth.load_certificate(readable(path))
        return public.decode("ascii"), (secret or b"").decode("ascii")
    except IndexError as error:  # half a line
        raise ValueError(str(error)) from error


def add_key(folder: str | Path, name: str, public: str) -> None:
    """Admit a client by its public key; a server reads the list when it starts."""
    if not KEY.match(public):
        raise SecurityError(f"'{public[:50]}' is no public key; wanted the 40 characters that `roam keys make` printed")
    allowed = _ready(folder, name) / ALLOWED
    allowed.mkdir(exist_ok=True, mode=0o700)
    text = f'# let in by `roam keys add {name}`\ncurve\n    public-key = "{public}"\n'
    write_text_whole(allowed / f"{name}.key", text)


def check_bind(address: str, *, has_keys: bool, is_open: bool = False) -> None:
    """Refuse an address that others can reach, unless clients need keys or it is meant to be open to all (is_open)."""
    check_address(address)
    if has_keys or is_open or is_local(address):
        return
    raise SecurityError(
        f"{address} can be reached from other machines; give a folder of keys (roam keys), "
        "bind 127.0.0.1, or say --open if anyone may walk here"
    )


def check_address(address: str) -> None:
    """Raise SecurityError if it cannot be the address of a server."""
    try:
        parts = urlsplit(address)
    except ValueError as error:  # half a bracket, impossible letters
        raise SecurityError(_no_address(address)) from error
    if parts.scheme == "ipc" and address.removeprefix("ipc://"):
        if len(address.removeprefix("ipc://").encode()) > MAX_IPC:
            raise SecurityError(f"'{address[:60]}...' is too long for an ipc address; at most {MAX_IPC} bytes of path")
        return
    try:
        is_tcp = parts.scheme == "tcp" and bool(parts.hostname) and parts.port is not None
    except ValueError:  # a port that is not a number, or does not exist
        is_tcp = False
    if not is_tcp or parts.path or parts.query:
        raise SecurityError(_no_address(address))


def _no_address(address: str) -> str:
    return f"'{address[:100]}' is no address of a server; wanted for instance tcp://127.0.0.1:5555"


def reachable(address: str) -> str:
    """The address at which a client on this machine reaches a server that was bound to that one."""
    everywhere = {"tcp://0.0.0.0:": "tcp://127.0.0.1:", "tcp://*:": "tcp://127.0.0.1:", "tcp://[::]:": "tcp://[::1]:"}
    for bound, here in everywhere.items():
        if address.startswith(bound):
            return here + address.removeprefix(bound)
    return address


def is_local(address: str) -> bool:
    """Whether only this machine can reach the address; False if it is not an address."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if parts.scheme in ("ipc", "inproc"):
        return True
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def guard(socket: zmq.Socket, folder: str | Path) -> ThreadAuthenticator:
    """Let only the clients listed in the folder connect to this server socket; stop() the result at the end."""
    allowed = Path(folder) / ALLOWED
    if not list_keys(folder):
        raise SecurityError(f"{allowed} lets nobody in; add a client with: roam keys add NAME PUBLIC_KEY")
    pair = read_key(folder, "server")
    authenticator = ThreadAuthenticator(socket.context)
    authenticator.start()
    authenticator.configure_curve(domain="*", location=allowed)
    socket.curve_publickey, socket.curve_secretkey = pair.public.encode(), pair.secret.encode()
    socket.curve_server = True
    return authenticator


def unlock(socket: zmq.Socket, *, server_key: str, pair: KeyPair) -> None:
    """Make a client socket speak to a guarded server."""
    if not KEY.match(server_key):
        raise SecurityError(f"'{server_key[:50]}' is no public key; wanted the server's, 40 characters")
    socket.curve_serverkey = server_key.encode()
    socket.curve_publickey, socket.curve_secretkey = pair.public.encode(), pair.secret.encode()


def _ready(folder: str | Path, name: str) -> Path:
    if not KEY_NAME.match(name):
        raise SecurityError(f"'{name}' is no name for a key; wanted letters, digits, '_' and '-'")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (FileExistsError, NotADirectoryError) as error:
        raise SecurityError(f"{error.filename} is or leads through a file; name a folder for the keys") from error
    return folder
