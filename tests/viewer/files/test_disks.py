"""A disk that takes no more at any byte: whatever is written, what had its name before stays whole, and nothing else is
left."""

import contextlib
import signal
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from roam.scenes.explorer import SceneSession
from roam.scenes.recording.manifest import Manifest, write_manifest
from roam.scenes.rooms import make_rooms
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.commands import export
from roam.viewer.files.outputs import OutputError, write_whole
from roam.viewer.play.map3d import write_points
from roam.viewer.wire.security import SecurityError, add_key, make_key
from roam.world.saves import snapshot

from ..server.doubles import SeenTiny

resource = pytest.importorskip("resource", reason="limits of POSIX")
KINDS = (
    "a scene",
    "a walk through a scene",
    "a walk through a dream",
    "the place of a walk on a server",
    "a picture",
    "a map",
)
NAME = "n" * 244 + ".roam"


@contextlib.contextmanager
def room_for(num_bytes: int):
    """No file may have more bytes for as long as the `with` lasts."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)


@pytest.fixture(scope="module")
def writers():
    """What is written under a path, each by the product's own ways."""
    scene, manifest = make_rooms(3), Manifest("here", "rooms", "CC0", (8, 6, 80), 2)
    client = SimpleNamespace(save=lambda session, name: None, token=lambda session: "ab" * 16)
    remote = SimpleNamespace(client=client, id="ab")
    return {
        "a scene": scene.save,
        "a walk through a scene": SceneSession(scene).save,
        "the place of a walk on a server": partial(RemoteSession.save, remote),
        "a walk through a dream": lambda path: snapshot.write_whole({"a": torch.zeros(99)}, path, {}),
        "a folder's manifest": lambda path: write_manifest(path.parent, manifest),
        "a picture": lambda path: write_whole(path, bytes(3000)),
        "a map": lambda path: write_points(path, np.zeros((99, 3), np.float32), np.ones((99, 3), np.float32)),
    }


@pytest.mark.parametrize("num_bytes", [0, 1, 20, 60])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((kind, name) for name in ("a.roam", NAME) for kind in KINDS),
        ("a folder's manifest", "manifest.json"),
    ],
)
def test_what_was_there_stays_and_nothing_else_is_left(tmp_path, writers, kind, num_bytes, name):
    path = tmp_path / name
    path.write_bytes(b"before")
    with room_for(num_bytes), pytest.raises((OSError, OutputError)):
        writers[kind](path)
    assert [file.name for file in tmp_path.iterdir()] == [name] and path.read_bytes() == b"before"
    writers[kind](path)
    assert [file.name for file in tmp_path.iterdir()] == [name] and path.stat().st_size > 60


def test_a_panorama_whose_distances_find_no_room_leaves_the_picture_that_was_there(tmp_path, monkeypatch):
    """A new picture once stood beside the distances of an old one."""
    walk = SimpleNamespace(open=lambda start: SimpleNamespace(explorer=SeenTiny(1)))
    monkeypatch.setattr(export, "Opener", lambda *_, **__: walk)
    order = export.ExportOrder(tmp_path / "walk.roam", tmp_path / "view.png", height=128, overwrite=True)
    picture, distances = export.export(order)
    assert picture.stat().st_size < distances.stat().st_size, "so that the second one finds no room"
    num_bytes = distances.stat().st_size - 1
    picture.write_bytes(b"old")
    distances.write_bytes(b"older")
    with room_for(num_bytes), pytest.raises(OutputError, match=distances.name):
        export.export(order)
    assert sorted(path.name for path in tmp_path.iterdir()) == [distances.name, picture.name]
    assert (picture.read_bytes(), distances.read_bytes()) == (b"old", b"older")


@pytest.mark.parametrize("num_bytes", [0, 10, 60])
def test_a_client_is_let_in_whole_or_not_at_all(tmp_path, num_bytes):
    public = make_key(tmp_path, "server").public
    with room_for(num_bytes), pytest.raises(OSError):
        add_key(tmp_path, "ann", public)
    assert not list((tmp_path / "allowed").iterdir())
    with room_for(num_bytes), pytest.raises(SecurityError):
        make_key(tmp_path, "ben")
    assert not list(tmp_path.glob("ben*"))
