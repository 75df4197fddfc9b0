"""Unity's package without Unity: its core walks under mono, and its components compile against stubs of UnityEngine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from roam.viewer.client.client import Client
from roam.viewer.wire import protocol as p
from roam.world.pose import Camera, Pose

from ..viewer.wire.examples import EXAMPLES

FOLDER = Path(__file__).parents[2] / "plugins" / "unity"
TO_UNITY = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]])  # (x, y, z) becomes (x, z, y)

if not shutil.which("mcs") or not shutil.which("mono"):
    pytest.skip("wants mcs and mono; make test-engines installs them", allow_module_level=True)


def compile(target: Path, *sources: Path, links: tuple[Path, ...] = (), kind: str = "library") -> Path:
    command = [
        "mcs",
        "-warnaserror",
        "-nowarn:0649",
        f"-target:{kind}",
        f"-out:{target}",
        *(f"-r:{one}" for one in links),
    ]
    done = subprocess.run([*command, *map(str, sources)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="module")
def core(tmp_path_factory) -> Path:
    """The core alone, which must not depend on Unity."""
    return compile(tmp_path_factory.mktemp("unity") / "core.dll", *(FOLDER / "Runtime" / "Core").glob("*.cs"))


@pytest.fixture(scope="module")
def console(core) -> Path:
    return compile(core.with_name("roam.exe"), FOLDER / "Tests~" / "Program.cs", links=(core,), kind="exe")


def mono(console: Path, *arguments, said: str = "") -> subprocess.CompletedProcess:
    command = ["mono", str(console), *map(str, arguments)]
    return subprocess.run(command, input=said, capture_output=True, text=True, timeout=180)


def walked(console: Path, address: str, *words) -> subprocess.CompletedProcess:
    return mono(console, "walk", *address.removeprefix("tcp://").split(":"), 6, *words)


def test_the_components_compile_against_stubs(core):
    stubs = compile(core.with_name("UnityEngine.dll"), FOLDER / "Tests~" / "Stubs.cs")
    compile(core.with_name("components.dll"), *(FOLDER / "Runtime").glob("*.cs"), links=(core, stubs))


def test_the_golden_bytes_are_read_and_written_as_they_are(console):
    golden = [f"{one.TYPE} {bytes(p.pack(one)[0]).hex()}" for one in EXAMPLES]
    done = mono(console, "golden", said="\n".join(golden) + "\n")
    assert done.stdout.splitlines() == golden, done.stderr


def test_it_walks_to_the_frames_of_the_world_and_ends_its_walk(console, server, truth):
    words = ("turn left 30 degrees", "look up 20 degrees and move forward 1 metre")
    done = walked(console, server.address, *words)
    last = done.stdout.splitlines()[-1].split()
    frame = truth(6, *words)
    assert last[:2] == [str(frame.index), frame.digest], done.stderr
    assert_place(np.array(last[2:9], float), frame.pose)
    ahead, depth = np.array(last[9:12], float), frame.depth[64, 64]
    ray = 0.5 / Camera().focal  # the pixel's middle lies right of and below the picture's
    assert ahead == pytest.approx([ray * depth, -ray * depth, depth], rel=1e-3)
    assert 10000 < int(last[12]) < 2 * 127 * 127  # some edges are cut
    with Client(server.address) as client:
        assert client.stats().sessions == 0


def assert_place(place: np.ndarray, pose: Pose) -> None:
    x, y, z, w = place[3:]
    right = [1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)]
    ahead = [2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)]
    assert place[:3] == pytest.approx(TO_UNITY @ pose.position, abs=1e-3)
    assert right == pytest.approx(TO_UNITY @ pose.rotation[:, 0], abs=1e-3)
    assert ahead == pytest.approx(TO_UNITY @ pose.rotation[:, 2], abs=1e-3)


def test_what_cannot_be_done_is_told_in_a_sentence(console, server):
    assert "unknown verb 'jmp'" in walked(console, server.address, "jmp").stderr
    assert mono(console, "walk", "127.0.0.1", 1, 6).stderr == "no server answers at 127.0.0.1:1\n"
