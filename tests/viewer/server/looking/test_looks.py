"""Looks over the wire: from any pose, by anyone who may see the walk, at the same time as its steps, which never
wait for them."""

import threading

import numpy as np
import pytest
from roam.viewer.client.client import Client
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.client.walk_state import ServerError
from roam.viewer.server.registry import Limits
from roam.viewer.server.server import Server
from roam.viewer.wire import protocol as p
from roam.viewer.wire.encoding import decode_pieces, decode_sight, encode_pieces
from roam.world.action import Action
from roam.world.pose import Camera, Motion, Pose
from roam.world.sight import Gaze, Looking

from ..doubles import Gate, SeenTiny, SeenWorlds, TinyWorlds

AHEAD = Action("move forward", Motion(forward=0.3))


@pytest.fixture
def worlds():
    SeenTiny.gate = Gate()
    return SeenWorlds()


@pytest.fixture
def driven(wires):
    """A bare socket that drives a walk, and the walk's id."""
    wire = wires()
    opened = wire.open()
    wire.read_until(p.FrameHead)
    return wire, opened.session


def test_a_look_is_answered_with_pixels_depth_and_mask_and_takes_no_credit(driven):
    wire, session = driven
    pose = (7.0, 0.0, 1.5, 0.5, -0.5, 0.5, -0.5)
    wire.send(p.Look(seq=2, session=session, pose=pose, ipd_m=0.0625, width=12, height=9, depth="f32", mask=True))
    head = wire.read_until(p.SightHead)
    assert (head.seq, head.index, head.eyes, head.width, head.height) == (2, 0, 2, 12, 9)
    assert head.pose == pose and head.fov_deg == 70.0 and head.unknown == pytest.approx(3 / 24)
    sight = decode_sight(head, wire.payload)
    assert sight.pixels.shape == (9, 24, 3) and (sight.pixels[..., 1] == 7).all() and (sight.depth == 2.5).all()
    assert sight.unknown[:, :3].all() and not sight.unknown[:, 3:].any()


def test_what_a_look_leaves_out_is_the_walks_own(driven):
    wire, session = driven
    wire.send(p.Act(seq=2, session=session, mode="once", text="move forward", motion=(0.3, 0, 0, 0)))
    wire.send(p.Credit(session=session))
    wire.read_until(p.FrameHead)
    wire.send(p.Look(seq=3, session=session))
    head = wire.read_until(p.SightHead)
    assert (head.width, head.height, head.fov_deg, head.eyes, head.index) == (8, 16, 70.0, 1, 1)
    assert head.pose[0] == 1.0 and (head.depth_bytes, head.mask_bytes) == (0, 0) and head.pixel_bytes == 8 * 16 * 3


def test_a_jpeg_is_of_both_eyes_side_by_side_and_depth_may_be_millimetres(driven):
    wire, session = driven
    wire.send(p.Look(seq=2, session=session, ipd_m=0.06, encoding="jpeg", depth="u16mm", mask=True))
    head = wire.read_until(p.SightHead)
    sight = decode_sight(head, wire.payload)
    assert sight.pixels.shape == (16, 16, 3) and head.depth_bytes == 16 * 16 * 2 and (sight.depth == 2.5).all()


def test_steps_never_wait_for_a_look(client):
    session = client.open()
    SeenTiny.gate.shut()
    asked = []
    thread = threading.Thread(target=lambda: asked.append(client.look(session, Gaze(Pose.at(1, 2, 3)))))
    thread.start()
    assert SeenTiny.gate.reached.wait(60)
    for index in (1, 2, 3):
        assert client.step(session, AHEAD).frame.index == index
    SeenTiny.gate.open()
    thread.join(60)
    assert asked[0].index == 0  # it looked at the state of that time


def test_looks_change_nothing(client):
    plain, looked = client.open(seed=4), client.open(seed=4)
    digests = []
    for session in (plain, looked):
        for _ in range(3):
            if session is looked:
                client.look(session, Gaze(Pose.at(3, 2, 1)))
            digests.append(client.step(session, AHEAD).head.digest)
    assert digests[:3] == digests[3:]


def test_whoever_watches_may_look_and_nobody_else(driven, wires):
    _, session = driven
    other = wires()
    other.greet()
    other.send(p.Look(seq=1, session=session))
    assert other.read_until(p.Error).code == "not_yours"
    other.send(p.Watch(seq=2, session=session))
    other.read_until(p.Opened)
    other.send(p.Look(seq=3, session=session))
    assert other.read_until(p.SightHead).seq == 3


def test_surfaces_come_once_and_those_that_are_gone_are_told(client):
    session = client.open()
    assert client.surfaces(session)[0] == []
    for _ in range(4):
        client.step(session, AHEAD)
    pieces, head = client.surfaces(session)
    assert [piece.number for piece in pieces] == [4, 3, 2] and (head.index, head.left, head.gone) == (4, 0, ())
    made = SeenTiny(0, (AHEAD,) * 4).outlook()
    for piece in pieces:
        same = made.piece(piece.number)
        for name in ("points", "colours", "triangles"):
            assert np.array_equal(getattr(piece, name), getattr(same, name))
    client.step(session, AHEAD)
    pieces, head = client.surfaces(session, known=(2, 3, 4))
    assert [piece.number for piece in pieces] == [5] and head.gone == (2,)


def test_an_answer_is_bounded_and_says_what_is_left(client):
    session = client.open()
    for _ in range(4):
        client.step(session, AHEAD)
    pieces, head = client.surfaces(session, most=30)  # of 16, 12 and 8 points
    assert [piece.number for piece in pieces] == [4, 3] and head.left == 1
    pieces, head = client.surfaces(session, known=(4, 3), most=1)
    assert [piece.number for piece in pieces] == [2] and head.left == 0


def test_points_come_without_triangles_and_with_y_up_where_that_is_wanted(driven):
    wire, session = driven
    wire.send(p.Act(seq=2, session=session, mode="once", text="move forward", motion=(0.3, 0, 0, 0)))
    wire.send(p.Credit(session=session))
    wire.read_until(p.FrameHead)
    wire.send(p.Surfaces(seq=3, session=session, kind="points", axes="y-up"))
    head = wire.read_until(p.PiecesHead)
    assert (head.numbers, head.points, head.triangles) == ((1,), (4,), (0,)) and len(wire.payload) == 4 * 16
    x, y, z = np.frombuffer(wire.payload[12:24], "<f4")
    assert (x, y, z) == (3 / 8, 5 / 8, -4 / 8)


def test_a_remote_session_has_the_pieces_of_a_local_one(client):
    walk, local = RemoteSession.open(client, seed=3), SeenTiny(3, (AHEAD,) * 2)
    for _ in range(2):
        walk.step(AHEAD)
    remote = walk.outlook()
    assert sorted(remote.pieces()) == list(local.outlook().pieces())
    assert np.array_equal(remote.piece(2).points, local.outlook().piece(2).points)
    assert np.array_equal(remote.piece(2, stride=2).points, local.outlook().piece(2, stride=2).points)


@pytest.mark.parametrize("axes", ["z-up", "y-up"])
def test_pieces_are_the_same_after_the_way_there_and_back_in_any_axes(axes):
    outlook = SeenTiny(3, (AHEAD,)).outlook()
    pieces = [outlook.piece(number) for number in outlook.pieces()]
    encoded = encode_pieces(pieces, kind="mesh", axes=axes)
    head = p.PiecesHead(seq=1, session="a" * 16, index=1, **encoded.fields)
    for ours, theirs in zip(decode_pieces(head, encoded.payload), pieces, strict=True):
        assert ours.number == theirs.number and np.array_equal(ours.points, theirs.points)
        assert np.array_equal(ours.colours, theirs.colours) and np.array_equal(ours.triangles, theirs.triangles)


def test_a_world_that_cannot_be_looked_at_says_so(wire_to, tmp_path):
    with Server(TinyWorlds(), folder=tmp_path / "others") as server:
        wire = wire_to(server)
        session = wire.open().session
        wire.send(p.Look(seq=2, session=session))
        refused = wire.read_until(p.Error)
    assert (refused.code, refused.seq) == ("bad_request", 2) and "where its walker stands" in refused.message


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"pose": (0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0)}, "quaternion"),
        ({"width": 3}, "at least"),
        ({"fov_deg": 2.0}, "at least"),
        ({"pose": (0.0,) * 7}, "quaternion"),
    ],
)
def test_a_look_that_cannot_be_is_refused_with_its_seq(driven, values, says):
    wire, session = driven
    wire.send(p.Look(seq=9, session=session, **values))
    refused = wire.read_until(p.Error)
    assert (refused.code, refused.seq) == ("bad_request", 9) and says in refused.message


def test_who_asks_for_more_looks_than_are_drawn_is_told(driven):
    wire, session = driven
    SeenTiny.gate.shut()
    most = Limits().max_looks
    for seq in range(2, most + 4):
        wire.send(p.Look(seq=seq, session=session))
    refused = [wire.read_until(p.Error) for _ in range(2)]
    assert [(error.code, error.seq) for error in refused] == [("limit", most + 2), ("limit", most + 3)]
    SeenTiny.gate.open()
    assert [wire.read_until(p.SightHead).seq for _ in range(most)] == list(range(2, most + 2))


def test_a_parked_walk_is_brought_back_to_be_looked_at(tmp_path, worlds, wire_to):
    with Server(worlds, folder=tmp_path / "w", limits=Limits(park_s=0.0)) as server:
        wire = wire_to(server)
        session = wire.open().session
        for seq in range(2, 12):
            wire.send(p.Look(seq=seq, session=session))
            assert wire.read_until(p.SightHead).seq == seq
        wire.send(p.Stats(seq=99))
        told = wire.read_until(p.Statistics)
        assert told.sessions + told.parked == 1


def test_a_client_of_version_1_is_served_as_before(wires, server):
    wire = wires()
    wire.send(p.Hello(versions=(1,)))
    assert wire.read_until(p.Welcome).version == 1
    wire.send(p.Open(seq=1))
    wire.read_until(p.Opened)
    assert wire.read_until(p.FrameHead).index == 0
    with Client(server.address) as client:
        assert client.welcome.version == 3


def test_a_client_says_in_words_that_an_old_server_has_no_looks(client):
    session = client.open()
    client.welcome = p.Welcome(version=1)
    with pytest.raises(ServerError, match="protocol 1, which has no looks"):
        client.look(session, Gaze(Pose.at(0, 0, 0)))


def test_a_remote_session_is_looked_at_like_a_local_one(client):
    walk = RemoteSession.open(client, seed=3)
    walk.step(AHEAD)
    assert isinstance(walk, Looking) and walk.outlook().pose == Pose.at(1, 0, 1.5)
    sight = walk.look(Pose.at(5, 0, 0), camera=Camera(10, 12, 90), ipd_m=0.06)
    local = SeenTiny(3, (AHEAD,)).look(Pose.at(5, 0, 0), camera=Camera(10, 12, 90), ipd_m=0.06)
    assert sight.gaze == local.gaze and sight.index == local.index
    for name in ("pixels", "depth", "unknown"):
        assert (getattr(sight, name) == getattr(local, name)).all()
    assert np.array_equal(walk.outlook().look(sight.gaze).pixels, sight.pixels)
