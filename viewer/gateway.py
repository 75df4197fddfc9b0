"""The same messages for browsers and headsets: WebSocket to ZeroMQ, one DEALER a page, and the page itself.

One binary WebSocket message is the header's length as 4 bytes, little endian, the header, the payload. The gateway
splits and joins parts, says goodbye for a page that was closed, and knows no other message: credits, limits and
refusals are the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import threading
from pathlib import Path
from urllib.parse import urlsplit

import zmq
import zmq.asyncio

from .protocol import MAX_HEADER, MAX_IMAGE, MAX_PAYLOAD, Goodbye, pack
from .security import KeyPair, check_bind, is_local, unlock

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "web" / "index.html"
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob:; connect-src 'self'"


class GatewayError(ValueError):
    """A gateway that cannot be; the message says what mends it."""


class Gateway:
    """Serves the page at `url` and its WebSocket at /ws, on a thread of its own; port 0 takes a free one.

    server: the address of the walks' server; server_key and keys where it wants them. Only this machine may come, and
    only to pages of ours, unless is_open says that others may: then whoever comes walks with the gateway's own key.
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
    ):
        check_bind(f"tcp://{host}:{port}", has_keys=False, is_open=is_open)
        self._server, self._server_key, self._keys, self._is_open = server, server_key, keys, is_open
        self._host, self._port = host, port
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="roam-gateway", daemon=True)

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}/"

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
            asyncio.run(self._serve())
        except Exception as error:  # told to whoever called start
            self._failure = error
        self._ready.set()

    async def _serve(self) -> None:
        try:
            from websockets.asyncio.server import serve
        except ImportError as error:
            raise GatewayError("the gateway needs websockets: pip install 'roam-worlds[serve]'") from error
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._context = zmq.asyncio.Context()
        answer = serve(
            self._bridge, self._host, self._port, process_request=self._answer, max_size=MAX_IMAGE + MAX_HEADER + 4,
            compression=None, close_timeout=1,
        )  # fmt: skip
        try:
            async with answer as listening:
                self._port = listening.sockets[0].getsockname()[1]
                self._ready.set()
                await self._ending.wait()
        finally:
            self._context.destroy(linger=0)

    def _answer(self, connection, request):
        """The page for browsers, None (go on) for a WebSocket of ours, a refusal for everything else."""
        host = request.headers.get("Host", "")
        if not self._is_open and not is_local(f"tcp://{host}"):  # a foreign name that was made to point here
            return connection.respond(http.HTTPStatus.FORBIDDEN, "this gateway is for this machine only\n")
        if request.path == "/ws":
            origin = request.headers.get("Origin")
            if origin is None or urlsplit(origin).netloc == host:
                return None
            return connection.respond(http.HTTPStatus.FORBIDDEN, "another site's page may not walk here\n")
        if request.path.split("?")[0] != "/":
            return connection.respond(http.HTTPStatus.NOT_FOUND, "see /\n")
        response = connection.respond(http.HTTPStatus.OK, PAGE.read_text(encoding="utf-8"))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "text/html; charset=utf-8"
        response.headers["Content-Security-Policy"] = POLICY
        return response

    async def _bridge(self, page) -> None:
        """Carry messages both ways until either side ends."""
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 200)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_PAYLOAD)
        if self._keys:
            unlock(socket, server_key=self._server_key, pair=self._keys)
        socket.connect(self._server)
        ways = [asyncio.create_task(_inward(page, socket)), asyncio.create_task(_outward(page, socket))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            with contextlib.suppress(TimeoutError):  # a server that is not there need not be told
                await asyncio.wait_for(socket.send_multipart(pack(Goodbye(reason="the page was closed"))), 0.2)
            socket.close()


async def _inward(page, socket) -> None:
    async for message in page:
        parts = split(message)
        if parts is None:
            await page.close(1003, "wanted: 4 bytes of header length, the header, the payload")
            return
        await socket.send_multipart(parts)


async def _outward(page, socket) -> None:
    from websockets.exceptions import ConnectionClosed

    with contextlib.suppress(ConnectionClosed):
        while True:
            await page.send(join(await socket.recv_multipart()))


def join(parts: list[bytes]) -> bytes:
    """A message's parts as one binary WebSocket message."""
    return b"".join([len(parts[0]).to_bytes(4, "little"), *parts])


def split(message: bytes | str) -> list[bytes] | None:
    """The parts of one binary WebSocket message, or None where it is none."""
    if isinstance(message, str) or len(message) < 4:
        return None
    end = 4 + int.from_bytes(message[:4], "little")
    if not 4 < end <= min(len(message), MAX_HEADER + 4):
        return None
    return [message[4:end], message[end:]] if end < len(message) else [message[4:end]]
