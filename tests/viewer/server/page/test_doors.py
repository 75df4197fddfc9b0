"""Which connections the page's gateway accepts, and what it says where it cannot listen."""

import socket
import threading
import time
import urllib.request

import pytest
from roam.viewer.commands import serve
from roam.viewer.server.gateway import Gateway

pytest.importorskip("websockets.sync.client", reason="needs websockets: pip install 'roam-worlds[serve]'")


@pytest.fixture
def gateway(server):
    with Gateway(server.address) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("headers", "origin", "is_let_in"),
    [
        ({"Host": "127.0.0.1:8080"}, "http://127.0.0.1:9999", True),  # a proxy on this machine
        ({"Host": "127.0.0.1:8080"}, "https://walks.example", True),  # named
        ({"Host": "walks.example"}, "https://walks.example", True),
        ({"Host": "127.0.0.1:8080", "X-Forwarded-Host": "some.example"}, "https://some.example", True),
        ({"Host": "127.0.0.1:8080"}, "https://evil.example", False),
        ({"Host": "127.0.0.1:8080"}, "null", False),  # a sandboxed frame from any site
        ({"Host": "evil.example"}, "http://evil.example", False),
    ],
)
def test_pages_come_from_where_they_may(server, headers, origin, is_let_in):
    with Gateway(server.address, allow_origins=["https://walks.example"]) as gateway:
        host, port = gateway.url.removeprefix("http://").strip("/").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as line:
            lines = ["GET /some/path/ws HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
            lines += [f"Origin: {origin}", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
            lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""]
            line.sendall("\r\n".join(lines).encode())
            assert line.recv(100).split()[1] == (b"101" if is_let_in else b"403")


def test_a_page_that_was_refused_can_ask_why(gateway):
    why = urllib.request.urlopen(f"{gateway.url}why?origin=https://evil.example", timeout=30).read().decode()
    assert "--allow-origin https://evil.example" in why


@pytest.mark.parametrize(
    ("server", "options"), [("nonsense", {}), ("tcp://127.0.0.1", {}), ("tcp://127.0.0.1:5555", {"port": 99999})]
)
def test_a_gateway_that_cannot_be_says_so_in_a_sentence(server, options):
    with pytest.raises(ValueError, match="wanted"):
        Gateway(server, **options)


def test_a_page_s_port_that_is_taken_is_said_in_a_sentence(gateway):
    port = int(gateway.url.split(":")[2].strip("/"))
    with pytest.raises(ValueError, match="name another host or port"):
        Gateway("tcp://127.0.0.1:5555", port=port).start()


def test_the_command_serves_the_page_until_it_is_told_to_end(monkeypatch, capsys):
    ends = []
    monkeypatch.setattr(serve, "on_signals", ends.append)
    thread = threading.Thread(target=serve.gateway, args=("tcp://127.0.0.1:9",), kwargs={"port": 0})
    thread.start()
    said = ""
    while "walk at http://" not in said:
        assert thread.is_alive()
        said += capsys.readouterr().out
        time.sleep(0.01)
    page = urllib.request.urlopen(said.split()[-1], timeout=30).read()
    assert b"<h1>Roam</h1>" in page and thread.is_alive()
    ends[0]()
    thread.join(30)
    assert not thread.is_alive()
