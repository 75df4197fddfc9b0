"""What `roam serve`, `roam gateway` and `roam keys` do: servers in the foreground until a signal, keys in a folder."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ..files.outputs import OutputError, ready
from ..opening.worlds import Worlds
from ..play.progress import waiting
from ..server.gateway import Gateway
from ..server.metrics import MetricsPage
from ..server.registry import Limits
from ..server.server import Server
from ..server.socket import raise_file_limit
from ..wire.security import KeyPair, SecurityError, add_key, list_keys, make_key, read_key

ADDRESS = "tcp://127.0.0.1:5555"
KEYS = ".config/roam/keys"  # at home


def serve(
    worlds: Worlds,
    address: str = ADDRESS,
    *,
    folder: str | Path | None = None,
    keys: str | Path | None = None,
    is_open: bool = False,
    limits: Limits | None = None,
    metrics_port: int | None = None,
    page_port: int | None = None,
    allow_origins: Sequence[str] = (),
    record: str | Path | None = None,
) -> None:
    """Serve walks until SIGINT or SIGTERM; then save every one. folder: where walks are stored, by default in the
    user's home.

    metrics_port: for Prometheus; page_port: for the web page, for servers without keys, on the same host as the server;
    0 takes a free one. allow_origins: as in Gateway. record: a folder for recordings that games send.
    """
    if page_port is not None and keys:
        raise SecurityError("a server with keys needs a gateway with a key of its own: run `roam gateway` beside it")
    folder = folder or at_home(".local/share/roam/walks")
    if record:
        ready(record)  # rather than refuse a game its frames later
    raise_file_limit()
    with waiting("opening the walks that are kept"):
        server = Server(worlds, address, folder=folder, keys=keys, is_open=is_open, limits=limits, record=record)
    on_signals(server.request_stop)
    metrics = gateway = None
    try:
        if metrics_port is not None:
            metrics = MetricsPage(server.metrics_text, port=metrics_port)
        if page_port is not None:
            host = gateway_host(address, is_open=is_open)
            gateway = Gateway(
                server.address, host=host, port=page_port, is_open=is_open, allow_origins=allow_origins
            ).start()
    except BaseException:
        if metrics:
            metrics.close()
        server.close()
        raise
    print(f"serving on {server.address}", flush=True)
    if metrics:
        print(f"metrics at {metrics.url}", flush=True)
    if gateway:
        print(f"walk at {gateway.url}", flush=True)
    server.run()
    for close in (gateway and gateway.stop, metrics and metrics.close):
        if close:
            close()
    print(farewell(server.lost), flush=True)


def gateway_host(address: str, *, is_open: bool) -> str:
    """The address on which the page of a server listens: beyond this machine only if the server does."""
    host = urlsplit(address).hostname if is_open and address.startswith("tcp:") else None
    return host or "127.0.0.1"


def farewell(lost: list[str] | None) -> str:
    """The last line that is printed. lost: the walks that were not stored, or None if that is unknown."""
    if lost is None:
        return "a step did not end in time: the walks are kept as their logs have them, without what it would have made"
    if lost:
        return f"{len(lost)} walks could not be kept to their end; the log above says why. Every other walk is saved"
    return "every walk is saved"


def gateway(
    server: str = ADDRESS,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    server_key: str = "",
    keys: str | Path | None = None,
    name: str = "gateway",
    is_open: bool = False,
    allow_origins: Sequence[str] = (),
) -> None:
    """Serve the web page and its WebSocket until SIGINT or SIGTERM. keys, name: its own key pair, for servers with
    keys."""
    ending = threading.Event()
    on_signals(ending.set)
    pair: KeyPair | None = read_key(keys, name) if keys else None
    bridge = Gateway(
        server, host=host, port=port, server_key=server_key, keys=pair, is_open=is_open, allow_origins=allow_origins
    )
    with bridge as running:
        print(f"walk at {running.url}", flush=True)
        while not ending.wait(0.5):
            pass


def keys_make(name: str, *, folder: str | Path | None = None) -> None:
    """`roam keys make NAME`: a key pair; NAME is `server` for the server's own."""
    folder = folder or at_home(KEYS)
    pair = make_key(folder, name)
    print(f"{Path(folder) / name}.key_secret holds the secret; the public key is\n{pair.public}")


def keys_list(*, folder: str | Path | None = None) -> None:
    """`roam keys list`: whom the server lets in."""
    folder = folder or at_home(KEYS)
    admitted = list_keys(folder)
    for name, public in admitted.items():
        print(f"{public}  {name}")
    if not admitted and not any(Path(folder).glob("*.key_secret")):
        raise SecurityError(f"{folder} holds no keys; `roam keys make server --folder DIR` makes a folder of keys")
    if not admitted:
        print(f"{folder} lets nobody in yet; add a client with: roam keys add NAME PUBLIC_KEY", file=sys.stderr)


def keys_add(name: str, public: str, *, folder: str | Path | None = None) -> None:
    """`roam keys add NAME PUBLIC_KEY`: admit a client, from the server's next start on."""
    add_key(folder or at_home(KEYS), name, public)
    print(f"{name} is let in when the server starts next")


def at_home(folder: str) -> Path:
    """A folder in the user's home. Raises OutputError for a user without one, as in some containers."""
    try:
        return Path.home() / folder
    except RuntimeError as error:
        raise OutputError("this user has no home folder: name a folder with --folder") from error


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at the signals that end a program."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # closing a server's terminal ends it like Ctrl-C
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: stop())
