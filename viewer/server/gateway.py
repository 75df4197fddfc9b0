"""The gateway for browsers and headsets: serves the web page, and passes messages between WebSocket and ZeroMQ.

A binary WebSocket message is the header's length (4 bytes, little endian), the header, and the payload. Each page gets
a ZeroMQ DEALER of its own. The gateway splits and joins the parts of messages, and says goodbye for a page that was
closed; everything else, such as credits, limits and refusals, is up to the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import zmq

from ..wire.protocol import MAX_HEADER, MAX_PART, MAX_PAYLOAD, Goodbye, pack
from ..wire.security import KeyPair, check_address, check_bind, is_local, reachable, unlock

log = logging.getLogger(__name__)

WEB = Path(__file__).parents[1] / "web"
POLICY = "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src blob:; connect-src 'self'"
PAGES = {"/": (WEB / "index.html", "'unsafe-inline'"), "/xr": (WEB / "xr.html", "'self'")}  # by the end of a path
_GOODBYE_S = 0.2  # how long a goodbye may take to be sent
SCRIPTS = {f"/xr/{file.name}": file for file in (WEB / "xr").glob("*.js")}


class GatewayError(ValueError):
    """A gateway that cannot be started; the message says what to do."""


class Gateway:
    """Serves the page at `url`, the page for headsets at xr below it, and the WebSocket of both at ws, on its own
    thread. Port 0 takes a free port.

    server: the address of the walks' server; server_key, keys: needed if that server has keys. Only this machine may
    connect, and only from our own pages, unless is_open; then everybody walks with the gateway's key. allow_origins:
    other origins that pages may have ("https://example.org"), for a proxy in front that changes the header Host.
    """

    def __init__(
        self,
        server: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        server_key: str = "",
        keys: KeyPair | None = None,
        is_open: bool = False,
        allow_origins: Sequence[str] = (),
    ):
        check_address(server)
        check_bind(f"tcp://{_bracketed(host)}:{port}", has_keys=False, is_open=is_open)
        if not 0 <= port <= 65535:
            raise GatewayError(f"port {port} for the page; wanted 0 to 65535")
        for origin in allow_origins:
            if not origin.startswith(("http://", "https://")) or not _host_of(origin):
                raise GatewayError(f"'{origin}' is no origin; wanted for instance https://example.org")
        self._allowed = {_host_of(origin) for origin in allow_origins}
        self._server, self._server_key = reachable(server), server_key
        self._keys, self._is_open = keys, is_open
        self._host, self._port = host, port
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="roam-gateway", daemon=True)

    @property
    def url(self) -> str:
        return f"http://{_bracketed(self._host)}:{self._port}/"

    def start(self) -> Gateway:
        """Bind and serve; raises what binding raised."""
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure
        return self

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join()

    def __enter__(self) -> Gateway:
        return self.start()

    def __exit__(self, *_error) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            # not the default loop of Windows, which cannot wait for ZeroMQ
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except OSError as error:
            reason = error.strerror or str(error)
            self._failure = GatewayError(f"the page cannot be at {self.url} ({reason}); name another host or port")
        except Exception as error:  # raised to the caller of `start`
            self._failure = error
        self._ready.set()

    async def _serve(self) -> None:
        try:
            from websockets.asyncio.server import serve
        except ImportError as error:
            raise GatewayError("the gateway needs websockets: pip install 'roam-worlds[serve]'") from error
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._context = zmq.Context()
        answer = serve(
            self._bridge,
            self._host,
            self._port,
            process_request=self._answer,
            max_size=MAX_PART + MAX_HEADER + 4,
            compression=None,
            close_timeout=1,
        )
        try:
            async with answer as listening:
                self._port = listening.sockets[0].getsockname()[1]
                self._ready.set()
                await self._ending.wait()
        finally:
            self._context.destroy(linger=0)

    def _answer(self, connection, request):
        """The answer to an HTTP request: a page or a script; None, which means go on, for our WebSocket; a refusal for
        everything else. Behind a proxy the path may have a prefix."""
        path, _, query = request.path.partition("?")
        host = request.headers.get("Host", "")
        if not self._is_open and not is_local(f"tcp://{host}") and host.lower() not in self._allowed:
            # a foreign name that was made to point here, or a proxy that passes its own name on
            text = f"this gateway is for this machine only; --allow-origin https://{host} lets others in by that name\n"
            return connection.respond(http.HTTPStatus.FORBIDDEN, text)
        if path.endswith("/why"):  # a page cannot see why its WebSocket was refused
            origin = parse_qs(query).get("origin", [""])[0][:200]
            return connection.respond(http.HTTPStatus.OK, self._refusal(origin, request.headers) + "\n")
        if path.endswith("/ws"):
            refusal = self._refusal(request.headers.get("Origin"), request.headers)
            return connection.respond(http.HTTPStatus.FORBIDDEN, refusal + "\n") if refusal else None
        return _file(connection, path)

    def _refusal(self, origin: str | None, headers) -> str:
        """Why a page of that origin may not walk here, or "" if it may."""
        if origin is None:  # no browser
            return ""
        came = _host_of(origin)
        # no page can set these itself; a page of this machine may come through a proxy on it
        ours = {headers.get("Host", "").lower(), headers.get("X-Forwarded-Host", "").lower(), *self._allowed}
        if came and (came in ours or (not self._is_open and is_local(f"tcp://{came}"))):
            return ""
        came = origin[:200] or "nowhere"
        return f"pages of {came} may not walk here; start the gateway with --allow-origin {came}"

    async def _bridge(self, page) -> None:
        """Carry messages both ways until either side ends."""
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 200)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_PAYLOAD)
        if self._keys:
            unlock(socket, server_key=self._server_key, pair=self._keys)
        socket.connect(self._server)
        line = _PageSocket(self._loop, socket)
        ways = [asyncio.create_task(_inward(page, line)), asyncio.create_task(_outward(page, line))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            with contextlib.suppress(TimeoutError):  # no server is there, so nobody needs the goodbye
                await asyncio.wait_for(line.send(pack(Goodbye(reason="the page was closed"))), _GOODBYE_S)
            line.close()


class _PageSocket:
    """A page's ZeroMQ socket in an event loop, by watching its file descriptor. (zmq.asyncio does not work with every
    event loop.)"""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: zmq.Socket):
        self._loop, self._socket, self._fd = loop, socket, int(socket.getsockopt(zmq.FD))
        self._may_read, self._may_write = asyncio.Event(), asyncio.Event()
        loop.add_reader(self._fd, self._look)

    async def receive(self) -> list[bytes]:
        return await self._when(self._may_read, lambda: self._socket.recv_multipart(zmq.DONTWAIT))

    async def send(self, parts: Sequence[bytes | memoryview]) -> None:
        await self._when(self._may_write, lambda: self._socket.send_multipart(parts, zmq.DONTWAIT))

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        self._socket.close()

    async def _when(self, may: asyncio.Event, act):
        while True:
            may.clear()
            try:
                done = act()
            except zmq.Again:
                self._look()
                await may.wait()
                continue
            self._look()  # the descriptor signals changes only, and the reads above may have consumed one
            return done

    def _look(self) -> None:
        events = int(self._socket.getsockopt(zmq.EVENTS))
        if events & zmq.POLLIN:
            self._may_read.set()
        if events & zmq.POLLOUT:
            self._may_write.set()


async def _inward(page, line: _PageSocket) -> None:
    async for message in page:
        parts = split(message)
        if parts is None:
            await page.close(1003, "wanted: 4 bytes of header length, the header, the payload")
            return
        await line.send(parts)


async def _outward(page, line: _PageSocket) -> None:
    from websockets.exceptions import ConnectionClosed

    with contextlib.suppress(ConnectionClosed):
        while True:
            await page.send(join(await line.receive()))


def _file(connection, path: str):
    """The page or script at a path. Only the end of the path counts, because a proxy may put a prefix before it."""
    for end, (page, scripts) in PAGES.items():
        # its scripts are looked for beside /xr, as if it were one file
        if path.endswith(end) and not path.endswith("/xr/"):
            policy = {"Content-Security-Policy": POLICY.format(scripts)}
            return _text(connection, page, "text/html", policy)
    for end, script in SCRIPTS.items():
        if path.endswith(end):
            return _text(connection, script, "text/javascript", {"Cache-Control": "no-cache"})
    return connection.respond(http.HTTPStatus.NOT_FOUND, "see / and /xr\n")


def _text(connection, file: Path, kind: str, headers: dict[str, str]):
    response = connection.respond(http.HTTPStatus.OK, file.read_text(encoding="utf-8"))
    del response.headers["Content-Type"]
    for name, value in {"Content-Type": f"{kind}; charset=utf-8", **headers}.items():
        response.headers[name] = value
    return response


def _host_of(origin: str) -> str:
    """The host and port of an origin; "" if it is not one."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # half a bracket, impossible letters
        return ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def join(parts: Sequence[bytes | memoryview]) -> bytes:
    """A message's parts as one binary WebSocket message."""
    return b"".join([len(parts[0]).to_bytes(4, "little"), *parts])


def split(message: bytes | str) -> list[bytes] | None:
    """The parts of a binary WebSocket message; None if it is not one of ours."""
    if isinstance(message, str) or len(message) < 4:
        return None
    end = 4 + int.from_bytes(message[:4], "little")
    if not 4 < end <= min(len(message), MAX_HEADER + 4):
        return None
    return [message[4:end], message[end:]] if end < len(message) else [message[4:end]]
