"""A complete client of Roam's protocol 1 with nothing but a socket: ZMTP 3.1, a small msgpack, a walk.

    python walk.py 127.0.0.1 5555 "move forward" "turn left 30 degrees" -o walk.ppm

Written again in another language, this is a plug-in; docs/protocol.md has the messages and their golden bytes.
"""

import argparse
import socket
import struct

LENGTHS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}
NUMBERS = dict(zip(range(0xCA, 0xD4), (">f", ">d", ">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q"), strict=True))


def pack(v) -> bytes:
    """An integer, text, list or map as msgpack, in one of the format's long forms, which every reader accepts."""
    if isinstance(v, int):
        return b"\xd3" + struct.pack(">q", v)
    if isinstance(v, str):
        return b"\xda" + struct.pack(">H", len(v.encode())) + v.encode()
    if isinstance(v, dict):
        return b"\xde" + struct.pack(">H", len(v)) + b"".join(pack(key) + pack(value) for key, value in v.items())
    return b"\xdc" + struct.pack(">H", len(v)) + b"".join(map(pack, v))


def unpack(b: bytes, i: int = 0):
    """The msgpack value that begins at b[i], and the index after its end."""
    t, i = b[i], i + 1
    if t < 0x80 or t >= 0xE0:
        return t - 256 * (t >= 0xE0), i
    if t in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[t], i
    form = NUMBERS.get(t) or LENGTHS.get(t)
    n = t & (31 if 0xA0 <= t < 0xC0 else 15)
    if form:
        n, i = struct.unpack_from(form, b, i)[0], i + struct.calcsize(form)
    if t in NUMBERS:
        return n, i
    if 0xA0 <= t < 0xC0 or 0xD9 <= t <= 0xDB:
        return b[i : i + n].decode(), i + n
    is_map, items = t < 0x90 or t >= 0xDE, []
    for _ in range(2 * n if is_map else n):
        item, i = unpack(b, i)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if is_map else items), i


class Walker:
    """A ZeroMQ DEALER on a plain socket that has said hello."""

    def __init__(self, host: str, port: int):
        self.socket = socket.create_connection((host, port), timeout=30)
        self.socket.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32))
        self._exactly(64)
        self._frame(4, b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER")
        self.send(type="hello", versions=[1], client="plain socket")
        self.read("welcome")

    def send(self, **message) -> None:
        self._frame(0, pack(message))

    def read(self, *kinds: str) -> tuple[dict, bytes]:
        """The next message of these types, its header and its payload; an error ends the program."""
        while True:
            parts = [self._part()]
            while parts[-1][0] & 1:  # more to come
                parts.append(self._part())
            body = parts[0][1]
            if parts[0][0] & 4:  # a command: a PING is answered with its context
                self._frame(4, b"\x04PONG" + body[7:]) if body[:5] == b"\x04PING" else None
                continue
            header = unpack(body)[0]
            if header["type"] == "error" or header.get("status") == "refused":
                raise SystemExit(f"refused: {header.get('message') or header.get('reason')}")
            if header["type"] in kinds:
                return header, parts[-1][1]

    def _frame(self, flags: int, body: bytes) -> None:
        self.socket.sendall(bytes([flags | 2]) + struct.pack(">Q", len(body)) + body)

    def _part(self) -> tuple[int, bytes]:
        flags = self._exactly(1)[0]
        return flags, self._exactly(struct.unpack(">Q", self._exactly(8))[0] if flags & 2 else self._exactly(1)[0])

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            some = self.socket.recv(count - len(data))
            if not some:
                raise SystemExit("the server hung up; does it want keys?")
            data += some
        return bytes(data)


def walk(walker: Walker, words: list[str], seed: int) -> tuple[dict, bytes]:
    """Open a world and do what every sentence says; returns the header and the raw pixels of the last frame."""
    walker.send(type="open", seq=1, seed=seed, credits=1)
    session = walker.read("opened")[0]["session"]
    head, pixels = walker.read("frame")
    for seq, text in enumerate(words, start=2):
        walker.send(type="act", seq=seq, session=session, mode="once", text=text)
        last = None  # a sentence may take several frames: the receipt names the last of them
        while head["index"] != last:
            walker.send(type="credit", session=session)
            message, payload = walker.read("frame", "receipt")
            if message["type"] == "receipt":
                last = message["frame"]
                message, payload = walker.read("frame")
            head, pixels = message, payload
    return head, pixels


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("words", nargs="*", help="what to do, for instance 'move forward'")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", help="write the last frame as a PPM image")
    wanted = parser.parse_args()
    try:
        head, pixels = walk(Walker(wanted.host, wanted.port), wanted.words, wanted.seed)
    except OSError as error:
        raise SystemExit(f"no server answers at {wanted.host}:{wanted.port}: {error}") from error
    print(head["index"], head["digest"])
    if wanted.out:
        with open(wanted.out, "wb") as file:
            file.write(b"P6 %d %d 255\n" % (head["width"], head["height"]) + pixels)
