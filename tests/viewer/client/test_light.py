"""A client needs pyzmq, msgpack and numpy and nothing else: no torch, no readers of pictures."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.viewer.opening.worlds import OpenRequest, SceneWorlds
from roam.viewer.server.server import Server
from roam.world.action import parse_action

ROOT = Path(__file__).parents[3]
ALONE = """
import sys

class Others:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        known = {"numpy", "zmq", "msgpack", "roam"} | set(sys.stdlib_module_names)
        if top not in known and not top.startswith("_"):
            raise ImportError(f"a client imports {name}")

sys.meta_path.insert(0, Others())
"""
WALK = """
from roam.viewer.client import RemoteSession
from roam.viewer.client.knock import Address, connect
from roam.viewer.files.models import glb_of
from roam.viewer.files.panorama import panorama
from roam.viewer.play.keymap import Keymap
from roam.viewer.xr.wear import Wearer
from roam.world.action import parse_action

with connect(Address(sys.argv[1])) as client:
    client.timeout_s = 120.0
    walk = RemoteSession.open(client, seed=3, size=(64, 64))
    frame = walk.step(parse_action("turn left 20 degrees"))
    seen = walk.look(frame.pose, ipd_m=0.06)
    assert (glb_of(list(walk.pieces().values()))[:4], seen.pixels.shape) == (b"glTF", (64, 128, 3))
    assert walk.dream_at(frame.pose).index == 2
    print(frame.digest)
assert "torch" not in sys.modules
"""


def test_a_client_walks_and_looks_with_nothing_but_what_it_needs(tmp_path):
    truth = SceneWorlds().open(OpenRequest(seed=3, width=64, height=64))
    wanted = truth.step(parse_action("turn left 20 degrees")).digest
    with Server(SceneWorlds(), folder=tmp_path) as server:
        done = subprocess.run(
            [sys.executable, "-c", ALONE + WALK, server.address], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [wanted]


def modules_of_the_client(monkeypatch) -> list[str]:
    told = {}
    monkeypatch.setattr("setuptools.setup", lambda **options: told.update(options))
    runpy.run_path(str(ROOT / "packaging" / "client" / "setup.py"))
    return told["py_modules"]


def test_the_clients_distribution_has_every_file_that_its_files_import(monkeypatch):
    there = modules_of_the_client(monkeypatch)
    for name in there:
        path = (ROOT / name.removeprefix("roam.").replace(".", "/")).with_suffix(".py")
        assert path.exists(), f"{name} is in roam-client and not in the tree"
        package = [*name.split(".")[1:-1]]
        for dots, target in re.findall(r"^from (\.+)([\w.]*) import", path.read_text(), re.MULTILINE):
            base = package[: len(package) - len(dots) + 1]
            wanted = ".".join(["roam", *base, *filter(None, [target])])
            assert wanted in there or f"{wanted}.__init__" in there, f"{name} imports {wanted}"


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_frames_are_read_without_opencv(encoding, monkeypatch):
    from roam.viewer.wire import encoding as wire
    from roam.viewer.wire import protocol as p

    frame = SceneSession(make_scene("test", 3)).step(parse_action("move forward"))
    done = wire.encode(frame, wire.Look(encoding, 95))
    monkeypatch.setitem(sys.modules, "cv2", None)
    read = wire.decode(p.FrameHead(session="ab", index=1, **done.fields), done.payload)
    assert abs(read.pixels.astype(int) - frame.pixels).mean() < (0.1 if encoding == "raw" else 4)
    monkeypatch.setitem(sys.modules, "PIL", None)
    if encoding == "jpeg":
        with pytest.raises(ImportError, match="pip install pillow, or ask for raw"):
            wire.decode(p.FrameHead(session="ab", index=1, **done.fields), done.payload)
