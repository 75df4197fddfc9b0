"""What a client can do with a walk, and that the result is the same as with a local world."""

import time

import numpy as np
import pytest
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.viewer.client.client import Client, ServerError
from roam.viewer.client.remote_session import RemoteSession, load_remote
from roam.viewer.opening.worlds import SceneWorlds
from roam.viewer.server.server import Server
from roam.viewer.wire import protocol as p
from roam.viewer.wire.encoding import Look
from roam.world.action import Action, ActionError, parse_action
from roam.world.frame import Explorer
from roam.world.pose import Camera, Motion

from .doubles import Tiny

WALK = [parse_action(text) for text in ("move forward", "turn left 7 degrees", "strafe right", "look up", "wait")] * 3


def test_a_remote_session_is_an_explorer(client):
    assert isinstance(RemoteSession.open(client), Explorer)


def test_a_remote_walk_has_the_digests_of_the_local_one(client):
    remote = RemoteSession.open(client, seed=5).rollout(WALK)
    local = Tiny(5).rollout(WALK)
    assert [frame.digest for frame in remote] == [frame.digest for frame in local]


def test_a_remote_walk_through_a_true_scene_has_the_digests_of_the_local_one(tmp_path):
    scene = SceneSession(make_scene("test", 5, "rooms"), camera=Camera(24, 24))
    local = scene.rollout(WALK)  # first, because compiling takes long where nothing has been compiled yet
    with Server(SceneWorlds(size=24), folder=tmp_path) as server, Client(server.address) as client:
        remote = RemoteSession.open(client, seed=5, world="rooms").rollout(WALK)
    assert [frame.digest for frame in remote] == [frame.digest for frame in local]


def test_a_frame_arrives_with_its_depth_tokens_and_pose(client):
    seen, true = RemoteSession.open(client, seed=5).frame, Tiny(5).frame
    np.testing.assert_array_equal(seen.depth, true.depth)
    np.testing.assert_array_equal(seen.tokens, true.tokens)
    assert seen.pose == true.pose


def test_depth_in_millimetres_is_within_half_a_millimetre(client):
    session = client.open(seed=5, look=Look(depth="u16mm"))
    seen = client.next_frame(session).frame
    assert np.abs(seen.depth - Tiny(5).frame.depth).max() <= 0.00051


def test_jpeg_frames_are_near_and_carry_the_digest_of_the_true_ones(worlds, client):
    worlds.side = (64, 64)
    received = client.next_frame(client.open(look=Look("jpeg", 95)))
    assert received.frame.pixels.shape == (64, 64, 3)
    assert received.head.digest == Tiny(0, side=(64, 64)).frame.digest


def test_a_fork_goes_its_own_way(client):
    trunk = RemoteSession.open(client)
    trunk.step(WALK[0])
    branch = trunk.fork()
    assert branch.frame.digest == trunk.frame.digest
    assert branch.step(WALK[1]).digest != trunk.step(WALK[2]).digest
    assert trunk.frame.digest == Tiny(0).rollout([WALK[0], WALK[2]]).frames[-1].digest


def test_rewinding_and_walking_again_gives_the_same_frames(client):
    session = RemoteSession.open(client)
    first = session.rollout(WALK)
    assert session.rewind(len(WALK) - 2).digest == first.frames[2].digest
    assert [f.digest for f in session.rollout(WALK[2:])] == [f.digest for f in first.frames[2:]]


def test_a_rewind_past_the_beginning_is_a_value_error(client):
    with pytest.raises(ValueError, match="cannot rewind 9"):
        RemoteSession.open(client).rewind(9)


def test_a_save_is_gone_on_from(client, tmp_path):
    session = RemoteSession.open(client, seed=3)
    session.rollout(WALK)
    session.save(tmp_path / "here.json")
    again = load_remote(client, tmp_path / "here.json")
    assert again.frame.digest == session.frame.digest
    assert again.step(WALK[0]).digest == session.step(WALK[0]).digest


def test_a_save_that_is_not_there_is_not_found(client):
    with pytest.raises(ServerError) as caught:
        client.load("nowhere")
    assert caught.value.code == "not_found"


def test_a_world_that_cannot_be_opened_says_why(client):
    with pytest.raises(ServerError, match="no world has that seed") as caught:
        client.open(seed=666)
    assert caught.value.code == "bad_request"


def test_a_server_says_how_far_across_its_frames_see(client):
    assert client.welcome.fov_deg == 70.0
    assert SceneWorlds.fov_deg == Camera().fov_deg


def test_a_client_that_has_hung_up_says_so_at_once(client):
    session = client.open()
    client.close()
    began = time.monotonic()
    for ask in (client.open, client.stats, lambda: client.fork(session)):
        with pytest.raises(ServerError, match="hung up"):
            ask()
    assert not client.is_connected and time.monotonic() - began < 1.0


def test_words_that_mean_nothing_raise_what_a_local_world_raises(client):
    session = RemoteSession.open(client)
    with pytest.raises(ActionError, match=r"means nothing here.*unknown verb 'jmp'"):
        session.step(Action("jmp"))
    assert session.step(WALK[0]).index == 1


def test_a_world_that_fails_refuses_the_step_and_walks_on(client):
    session = RemoteSession.open(client)
    with pytest.raises(ActionError, match="bad day"):
        session.step(Action("wait 13", Motion()))
    assert session.step(WALK[0]).index == 1


def test_free_words_reach_the_world_as_they_are(client):
    session = RemoteSession.open(client)
    assert session.step(Action("open the door")).digest == Tiny(0).step(Action("open the door")).digest


def test_a_long_sentence_is_split_and_receipted_with_its_last_frame(client):
    session = client.open(ahead=16)
    assert client.receipt(session, client.act(session, "move forward 3 metres")).frame == 10


def test_typed_words_are_all_done_in_order(client):
    session = client.open(ahead=1)
    seqs = [client.act(session, action) for action in WALK]
    frames = [client.next_frame(session) for _ in range(len(WALK) + 1)]
    assert [client.receipt(session, seq).frame for seq in seqs] == list(range(1, len(WALK) + 1))
    assert frames[-1].head.digest == Tiny(0).rollout(WALK).frames[-1].digest


def test_held_keys_walk_until_they_are_let_go(client):
    session = client.open()
    client.hold(session, "move forward")
    assert [client.next_frame(session).head.index for _ in range(5)] == [0, 1, 2, 3, 4]
    client.hold(session, "")
    client.stats()  # an answer to it shows that the server has read it; a step that had begun ends before a rewind
    index = client.rewind(session, 0).index
    client.latest(session)
    assert client.rewind(session, 0).index == index


def test_of_held_keys_the_last_counts_and_the_others_are_superseded(wires):
    wire = wires()
    opened = wire.open(credits=1)
    for seq, text in ((2, "move forward"), (3, "move back"), (4, "turn left")):
        wire.send(p.Act(seq=seq, session=opened.session, text=text))
    receipts = [wire.read_until(p.Receipt) for _ in range(2)]
    assert [(r.seq, r.status) for r in receipts] == [(2, "superseded"), (3, "superseded")]
    wire.send(p.Credit(session=opened.session))
    receipt = wire.read_until(p.Receipt)
    assert (receipt.seq, receipt.status, receipt.frame) == (4, "applied", 1)
    assert wire.read_until(p.FrameHead).action == "turn left"


def test_a_frame_echoes_the_clock_of_its_act(wires):
    wire = wires()
    opened = wire.open(credits=2)
    wire.send(p.Act(seq=2, session=opened.session, mode="once", text="wait", clock=12.75))
    heads = [wire.read_until(p.FrameHead) for _ in range(2)]
    assert [(head.seq, head.clock) for head in heads] == [(0, 0.0), (2, 12.75)]


def test_an_act_sent_twice_is_done_once_and_receipted_twice(wires):
    wire = wires()
    opened = wire.open(credits=9)
    act = p.Act(seq=2, session=opened.session, mode="once", text="move forward")
    wire.send(act)
    first = wire.read_until(p.Receipt)
    wire.send(act)
    assert wire.read_until(p.Receipt) == first
    wire.send(p.Act(seq=3, session=opened.session, mode="once", text="move forward"))
    assert wire.read_until(p.Receipt).frame == 2


def test_more_typed_steps_than_the_queue_holds_are_refused(wires):
    wire = wires()
    opened = wire.open(credits=0)
    wire.send(p.Act(seq=2, session=opened.session, mode="once", text="move forward 150 metres"))
    wire.send(p.Act(seq=3, session=opened.session, mode="once", text="move forward 10 metres"))
    receipt = wire.read_until(p.Receipt)
    assert (receipt.seq, receipt.status) == (3, "refused")
    assert "steps wait" in receipt.reason


def test_a_first_image_reaches_the_world(worlds, client):
    import cv2

    image = np.full((20, 30, 3), (10, 200, 30), np.uint8)
    client.open(image=cv2.imencode(".png", image)[1].tobytes())
    np.testing.assert_array_equal(worlds.opened[-1].image, image[:, :, ::-1])


def test_a_first_image_that_is_none_is_refused(client):
    with pytest.raises(ServerError, match="no JPEG"):
        client.open(image=b"GIF89a not today")


def test_spectators_see_the_walk_and_cannot_act(client, server):
    walk = RemoteSession.open(client)
    with Client(server.address) as other:
        other.watch(walk.id)
        assert other.next_frame(walk.id).head.digest == walk.frame.digest
        frame = walk.step(WALK[0])
        assert other.next_frame(walk.id).head.digest == frame.digest
        other.act(walk.id, "move forward")
        with pytest.raises(ServerError) as caught:
            other.next_frame(walk.id)
        assert caught.value.code == "not_yours"
    assert walk.step(WALK[1]).index == 2


def test_a_spectator_who_is_slow_gets_the_newest_frame_and_how_many_went_by(wires):
    driver, spectator = wires(), wires()
    opened = driver.open(credits=16)
    spectator.greet()
    spectator.send(p.Watch(seq=1, session=opened.session, credits=1))
    assert spectator.read_until(p.FrameHead).index == 0
    driver.send(p.Act(seq=2, session=opened.session, mode="once", text="move forward 1.5 metres"))
    assert driver.read_until(p.Receipt).frame == 5
    spectator.send(p.Credit(session=opened.session))
    head = spectator.read_until(p.FrameHead)
    assert (head.index, head.skipped) == (5, 4)


def test_whoever_has_the_token_takes_the_walk_over(client, server):
    first = client.open(seed=4)
    client.step(first, WALK[0])
    with Client(server.address) as other:
        walk = RemoteSession.resume(other, client.token(first))
        assert walk.frame.digest == Tiny(4).step(WALK[0]).digest
        walk.step(WALK[1])
        with pytest.raises(ServerError, match="another connection"):
            client.next_frame(first)


def test_a_closed_walk_is_gone(client, server, tmp_path):
    session = client.open()
    token = client.token(session)
    client.end(session)
    with pytest.raises(ServerError) as caught:
        client.resume(token)
    assert caught.value.code == "unknown_session"
    client.stats()
    assert not list((tmp_path / "walks" / "sessions").iterdir())


def test_the_server_counts_what_it_did(client):
    session = RemoteSession.open(client)
    session.rollout(WALK)
    stats = client.stats()
    assert (stats.clients, stats.sessions, stats.steps) == (1, 1, len(WALK))
    assert stats.frames_sent >= len(WALK)
