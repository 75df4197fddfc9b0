"""Games that record themselves over the wire."""

import numpy as np
import pytest
from roam.scenes.recorder import load_recording
from roam.scenes.recording.received import FRAMES
from roam.viewer.client.client import Client, ServerError
from roam.viewer.server.registry import Limits
from roam.viewer.server.server import Server
from roam.viewer.wire import protocol as p
from roam.viewer.wire.fields import FieldError
from roam.world.action import parse_action
from roam.world.pose import Pose
from roam.world.training.data import load_walks

from .conftest import Wire
from .doubles import TinyWorlds

TURN = parse_action("turn left")
PICTURE = np.full((96, 96, 3), 50, np.uint8)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "games"


@pytest.fixture
def client(folder):
    with Server(TinyWorlds(), record=folder) as server, Client(server.address) as made:
        yield made


def send(client: Client, count: int, first: int = 0, **other) -> p.Recorded:
    for k in range(first, first + count):
        parts = dict(game="maze", world="level 1", depth=np.full((96, 96), 3.0), pose=Pose.at(0, k / 10, 1.5, 0))
        done = client.record(PICTURE + k, 90.0, TURN if k else None, **{**parts, **other})
    return done


def test_what_a_game_sends_can_be_learnt_from(client, folder):
    assert client.welcome.records
    assert send(client, FRAMES).walks == 1
    assert send(client, 3, FRAMES).left == 0
    done = send(client, 1, FRAMES + 3, last=True)
    assert (done.walks, done.left) == (1, 4)
    walks = load_walks(folder / "maze", "train")
    assert walks.pixels.shape == (1, FRAMES, 128, 128, 3) and walks.actions[0][0].text == TURN.text
    assert walks.poses[0][1].position[1] == pytest.approx(0.1) and np.median(walks.depth[0]) == 3


def test_what_cannot_be_recorded_is_refused_and_the_rest_stands(client, folder):
    send(client, 2)
    for other, says in (
        (dict(depth=None), "no depth"),
        (dict(world="level 2"), "begin another"),
        (dict(game=""), "names no game"),
    ):
        with pytest.raises(ServerError, match=says):
            send(client, 1, 2, **other)
    with pytest.raises(ServerError, match="what led to it"):
        client.record(PICTURE, 90.0, game="maze", world="level 1", depth=np.ones((96, 96)), pose=Pose.at(0, 0, 1.5, 0))
    assert send(client, FRAMES - 2, 2).walks == 1
    with pytest.raises(ServerError, match="belongs to one"):
        send(client, 1, split="test", rollout=1)
    assert load_recording(folder / "maze" / "train-000000.safetensors").split == "train"


def test_names_that_lead_elsewhere_are_no_names(client, folder):
    for name in ("..", "a/b", "/etc", ".", "con", "NUL.txt"):
        with pytest.raises((ServerError, FieldError)):
            send(client, 1, game=name)
    assert not folder.exists() or not list(folder.iterdir())


def test_bytes_that_are_not_what_the_header_says_are_refused(folder):
    good = dict(game="maze", width=4, height=4, fov_deg=90.0)
    with Server(TinyWorlds(), record=folder) as server:
        wire = Wire(server.address)
        wire.greet()
        for other, payload, says in (
            ({}, b"123", "3 bytes of raw pixels; wanted 48"),
            ({"depth": "f32"}, b"1" * 50, "depth alone has 64"),
            ({"encoding": "jpeg"}, b"1" * 50, "no JPEG, PNG or WEBP"),
            ({"depth": "f32"}, b"1" * 48 + np.full(16, np.nan, "<f4").tobytes(), "no number"),
        ):
            wire.send(p.Record(seq=5, **{**good, **other}), payload)
            error = wire.read_until(p.Error)
            assert error.seq == 5 and says in error.message
        wire.close()
    assert not folder.exists()


def test_a_sender_that_leaves_gives_up_what_was_not_whole(folder):
    with Server(TinyWorlds(), record=folder) as server:
        for _ in range(2):
            with Client(server.address) as client:
                send(client, FRAMES - 1)
        with Client(server.address) as client:
            assert send(client, 1).walks == 0


def test_without_a_folder_nothing_is_recorded_and_a_full_one_takes_no_more(folder):
    with Server(TinyWorlds()) as server, Client(server.address) as client:
        assert not client.welcome.records
        with pytest.raises(ServerError, match="--record FOLDER"):
            send(client, 1)
    limits = Limits(max_record_bytes=1000)
    with Server(TinyWorlds(), record=folder, limits=limits) as server, Client(server.address) as client:
        send(client, FRAMES)
        with pytest.raises(ServerError, match="move some away"):
            send(client, 1, FRAMES)
