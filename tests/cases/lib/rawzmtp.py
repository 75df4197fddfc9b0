"""The first bytes of ZMTP 3.1 over a plain socket, for scripts that send what no library would send."""

import socket
import struct

LONG, COMMAND, MORE = 2, 4, 1


def frame(body: bytes, *, more: bool = False, command: bool = False) -> bytes:
    flags = (MORE if more else 0) | (COMMAND if command else 0)
    if len(body) > 255:
        return bytes([flags | LONG]) + struct.pack(">Q", len(body)) + body
    return bytes([flags, len(body)]) + body


def greet(port: int) -> socket.socket:
    """A connection that has sent a DEALER's greeting, but no hello."""
    line = socket.create_connection(("127.0.0.1", port), timeout=30)
    line.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32))
    got = b""
    while len(got) < 64:
        got += line.recv(64 - len(got))
    line.sendall(frame(b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER", command=True))
    return line


def sent_until_cut(line: socket.socket, data: bytes, most: int) -> int:
    """Send the same bytes up to `most` times; returns how often they could be sent before the other side closed the
    connection."""
    for count in range(most):
        try:
            line.sendall(data)
        except OSError:
            return count
    return most
