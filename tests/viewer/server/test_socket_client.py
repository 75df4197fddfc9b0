"""The client that uses only a socket walks like any other, and its msgpack is correct msgpack."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import msgpack
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from roam.world.action import parse_action

from .doubles import Tiny

FILE = Path(__file__).parents[3] / "plugins" / "python_socket" / "walk.py"
spec = spec_from_file_location("socket_walk", FILE)
plain = module_from_spec(spec)
spec.loader.exec_module(plain)


def run(server, *words: str) -> subprocess.CompletedProcess:
    host, port = server.address.removeprefix("tcp://").split(":")
    command = [sys.executable, "-I", "-S", str(FILE), host, port, *words]  # no site-packages: only the standard library
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_plain_socket_walks_to_the_frame_of_a_local_walk(server, tmp_path):
    out = tmp_path / "last.ppm"
    done = run(server, "move forward 1.5 metres", "turn left", "--seed", "9", "-o", str(out))
    steps = [part for text in ("move forward 1.5 metres", "turn left") for part in parse_action(text).split()]
    frame = Tiny(9).rollout(steps).frames[-1]
    assert done.stdout.split() == [str(frame.index), frame.digest], done.stderr
    pixels = np.frombuffer(out.read_bytes().split(b"255\n", 1)[1], np.uint8)
    assert pixels.tobytes() == frame.pixels.tobytes()


def test_a_plain_socket_is_told_why_it_is_refused(server):
    assert "unknown verb 'jmp'" in run(server, "jmp").stderr


values = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.text(max_size=400),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(max_size=9), inner, max_size=20),
    max_leaves=30,
)


@given(values)
def test_the_small_msgpack_says_what_msgpack_reads(value):
    assert msgpack.unpackb(plain.pack(value)) == value


@given(values | st.floats(allow_nan=False) | st.booleans() | st.none())
def test_the_small_msgpack_reads_what_msgpack_says(value):
    packed = msgpack.packb(value)
    assert plain.unpack(packed) == (value, len(packed))


def test_every_small_number_of_msgpack_is_read():
    for value in range(-33, 130):
        assert plain.unpack(msgpack.packb(value)) == (value, len(msgpack.packb(value)))
