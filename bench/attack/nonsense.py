"""Malformed messages of many kinds, at the level of ZMTP and at that of WebSocket."""

from __future__ import annotations

import random
import struct
from dataclasses import MISSING, fields

import msgpack

from ...viewer.wire import protocol as p

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
JUNK = [None, -1, 2**64 - 1, "x" * 500, b"\xff", [1, [2]], {"a": 1}, 1e308, True, "act", "open", "hello", [], -0.5]
NEEDED = {  # the types and fields of messages, and valid values for them
    "seq": 7,
    "session": "0123456789abcdef",
    "token": "ab" * 16,
    "frames": 1,
    "name": "x",
    "versions": [1],
    "pose": [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
    "game": "x",
    "width": 64,
    "height": 64,
    "fov_deg": 90.0,
}
KEYS = ["type", "seq", "session", "text", "versions", "frames", "v", "name", "token", "motion", "clock", "credits"]


def parts(rng: random.Random) -> list[bytes]:
    """The parts of a message that no server can use or, if the damage did no harm, can."""
    kind = rng.randrange(5)
    if kind == 0:
        return [rng.randbytes(rng.randrange(200)) for _ in range(rng.randrange(1, 4))]
    if kind == 1:
        return [msgpack.packb({key: rng.choice(JUNK) for key in KEYS})]
    if kind == 2:
        return [_misfilled(rng)]
    good = bytearray(_good(rng))
    if kind == 3:
        good[rng.randrange(len(good))] = rng.randrange(256)
    else:
        del good[rng.randrange(1, len(good)) :]
    return [bytes(good)]


def _misfilled(rng: random.Random) -> bytes:
    """A known type with a value of the wrong kind in one of its fields."""
    while True:
        kind = rng.choice([c for c in p.CLIENT_MESSAGES.values() if c is not p.Goodbye])
        header = filled(kind)
        header[rng.choice(list(header))] = rng.choice(JUNK)
        packed = msgpack.packb({"v": 1, "type": kind.TYPE, **header})
        try:
            p.unpack([packed], p.CLIENT_MESSAGES)
        except p.ProtocolError:  # not every wrong value is wrong everywhere
            return packed


def _good(rng: random.Random) -> bytes:
    kinds: list[type[p.Message]] = [p.Act, p.Credit, p.Watch, p.Resume, p.Rewind, p.Save, p.Stats, p.Ping]
    kind = rng.choice(kinds)
    return msgpack.packb({"v": 1, "type": kind.TYPE, **filled(kind)})


def filled(kind: type[p.Message]) -> dict:
    """A valid header of that type, with all required fields."""
    return {f.name: NEEDED[f.name] if f.default is MISSING else f.default for f in fields(kind)}


def zmtp(rng: random.Random) -> bytes:
    """Bytes at the start of a connection that are not ZMTP, or stop being so."""
    long = struct.pack(">Q", rng.choice([2**63, 2**40, 9 * 2**20]))
    tails = [
        rng.randbytes(rng.randrange(1, 300)),
        b"\x02" + long,
        b"\x03" + long,
        b"\x04\x05READY",
        b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\xffDEALER",
        b"\x01\x00" * 50,
        b"\x08\x00\xff" * 9,
    ]
    heads = [b"", GREETING, GREETING[: rng.randrange(64)], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00"]
    return rng.choice(heads) + rng.choice(tails)


def websocket(rng: random.Random) -> bytes:
    """Bytes after the handshake of a WebSocket that are no frames, or no message of ours."""
    return rng.choice(
        [
            bytes([0x80 | rng.choice([3, 4, 7, 11, 15]), 0x80]) + bytes(4),  # an operation that does not exist
            bytes([0xF2, 0x80]) + bytes(4),  # reserved bits
            b"\x82\x05hello",  # not masked
            b"\x82\xff" + struct.pack(">Q", 2**62) + bytes(4),  # too long
            b"\x89\xfe" + struct.pack(">H", 200) + bytes(204),  # a ping of 200 bytes
            b"\x80\x80" + bytes(4),  # the end of a message that has not begun
            b"\x81\x82" + bytes(4) + b"\xff\xfe",  # text that is not UTF-8
            b"\x88\x81" + bytes(4) + b"\x01",  # a close frame of one byte
            b"\x81\x85" + bytes(4) + b"hello",  # text where bytes are wanted
            b"\x82\x84" + bytes(4) + b"\xff\xff\xff\xff",  # a header longer than its message
            b"\x82\x80" + bytes(4),  # nothing
            rng.randbytes(rng.randrange(1, 300)),
        ]
    )


def handshake(rng: random.Random, host: str) -> bytes:
    """A request that should become a WebSocket, and does not."""
    return rng.choice(
        [
            b"GET /ws HTTP/1.1\r\n\r\n",
            rng.randbytes(100) + b"\r\n\r\n",
            b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n",
            b"POST /ws HTTP/1.1\r\nHost: " + host.encode() + b"\r\nContent-Length: 99999999\r\n\r\n",
            b"GET /ws HTTP/1.1\r\nHost: " + host.encode() + b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            b"GET /../../etc/passwd HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n",
            b"GET /%00 HTTP/1.1\r\nHost: " + host.encode() + b"\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        ]
    )
