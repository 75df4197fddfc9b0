"""The message `dream`: an act like typed words, which is receipted, saved and done once, and which no look waits
for."""

import pytest
from roam.viewer.client.client import Client
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.client.walk_state import ServerError
from roam.viewer.server.server import Server
from roam.viewer.wire import protocol as p
from roam.world.action import Action, ActionError, dream_at
from roam.world.pose import Motion, Pose
from roam.world.records import pose_row
from roam.world.sight import Gaze

from ..doubles import DreamtTiny, DreamtWorlds, Gate, SeenTiny, TinyWorlds, killed

AHEAD = Action("move forward", Motion(forward=0.3))
THERE = Pose.at(4, 3, 2, yaw_deg=120)
ROW = tuple(pose_row(THERE))


@pytest.fixture
def worlds():
    DreamtTiny.dreaming, SeenTiny.gate = Gate(), Gate()
    return DreamtWorlds()


def test_a_dream_becomes_the_next_frame_and_takes_a_credit(wires):
    wire = wires()
    session = wire.open(credits=1).session
    wire.read_until(p.FrameHead)
    wire.send(p.Dream(seq=2, session=session, pose=ROW, clock=7.5))
    wire.send(p.Credit(session=session))
    receipt = wire.read_until(p.Receipt)
    frame = wire.read_until(p.FrameHead)
    assert (receipt.seq, receipt.status, receipt.frame) == (2, "applied", 1)
    assert (frame.index, frame.seq, frame.clock) == (1, 2, 7.5) and frame.action.startswith(
        "dream what is seen from 4.00"
    )


def test_looks_and_their_answers_do_not_wait_for_a_dream(client):
    session = client.open()
    client.next_frame(session)
    DreamtTiny.dreaming.shut()
    seq = client.act(session, dream_at(THERE))
    assert DreamtTiny.dreaming.reached.wait(60)
    assert client.look(session, Gaze(THERE)).index == 0
    DreamtTiny.dreaming.open()
    assert client.receipt(session, seq).frame == 1
    assert client.look(session, Gaze(THERE)).index == 1


def test_a_remote_session_dreams_as_a_local_one_does(client):
    walk, local = RemoteSession.open(client, seed=3), DreamtTiny(3)
    walk.step(AHEAD)
    local.step(AHEAD)
    assert walk.dream_at(THERE).digest == local.step(dream_at(THERE)).digest
    assert client.dream_at(walk.id, THERE).frame.index == 3


def test_a_killed_server_dreams_there_again_and_nothing_twice(worlds, wire_to, tmp_path):
    with killed(worlds, folder=tmp_path / "w") as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=5)
        walk.step(AHEAD)
        digest, token = walk.dream_at(THERE).digest, client.token(walk.id)
    with Server(worlds, folder=tmp_path / "w") as server:
        wire = wire_to(server)
        wire.greet()
        wire.send(p.Resume(seq=1, token=token))
        opened = wire.read_until(p.Opened)
        assert wire.read_until(p.FrameHead).digest == digest
        wire.send(p.Dream(seq=opened.last, session=opened.session, pose=ROW))
        assert wire.read_until(p.Receipt).status == "applied"
        wire.send(p.Look(seq=opened.last + 1, session=opened.session))
        assert wire.read_until(p.SightHead).index == 2


def test_a_world_that_dreams_nothing_elsewhere_refuses_in_a_receipt(wire_to, tmp_path):
    with Server(TinyWorlds(), folder=tmp_path / "w") as server, Client(server.address) as client:
        session = client.open()
        client.next_frame(session)
        with pytest.raises(ActionError, match="means nothing here"):
            client.receipt(session, client.act(session, dream_at(THERE)))
        assert client.step(session, AHEAD).frame.index == 1


def test_a_pose_that_is_none_is_refused_with_its_seq_and_one_of_a_stranger_too(wires):
    wire, other = wires(), wires()
    session = wire.open().session
    wire.send(p.Dream(seq=2, session=session, pose=(0.0,) * 7))
    refused = wire.read_until(p.Error)
    assert (refused.code, refused.seq) == ("bad_request", 2) and "quaternion" in refused.message
    other.greet()
    other.send(p.Dream(seq=9, session=session, pose=ROW))
    refused = other.read_until(p.Error)
    assert (refused.code, refused.seq) == ("not_yours", 9)


def test_a_client_says_in_words_that_an_old_server_dreams_nothing_elsewhere(client):
    session = client.open()
    client.welcome = p.Welcome(version=2)
    with pytest.raises(ServerError, match="protocol 2, which dreams nothing from elsewhere"):
        client.dream_at(session, THERE)
    assert client.step(session, AHEAD).frame.index == 1


def test_clients_of_versions_1_and_2_are_served_as_before(wires):
    for version in (1, 2):
        wire = wires()
        wire.send(p.Hello(versions=(version,)))
        assert wire.read_until(p.Welcome).version == version
        wire.send(p.Open(seq=1))
        wire.read_until(p.Opened)
        assert wire.read_until(p.FrameHead).index == 0
