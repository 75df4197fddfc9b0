"""Ownership: saves belong to the guest who made them, and no guest takes more than a share of the limits."""

import contextlib
import os
import time

import msgpack
import pytest
from roam.viewer.client.client import Client, ServerError
from roam.viewer.client.remote_session import RemoteSession, load_remote
from roam.viewer.server.registry import Limits
from roam.viewer.server.server import Server
from roam.viewer.server.store import MAX_SAVES, Store
from roam.viewer.wire import protocol as p
from roam.world.action import parse_action

from ..doubles import Tiny, TinyWorlds

FORWARD, LEFT = parse_action("move forward"), parse_action("turn left")


def test_two_people_who_save_under_one_name_each_load_their_own(server, tmp_path):
    with Client(server.address) as one, Client(server.address) as other:
        walks = [RemoteSession.open(one, seed=1), RemoteSession.open(other, seed=2)]
        walks[0].step(FORWARD)
        for number, walk in enumerate(walks):
            (tmp_path / str(number)).mkdir()
            walk.save(tmp_path / str(number) / "same.roam")
        for number, walk in enumerate(walks):
            again = load_remote(walk.client, tmp_path / str(number) / "same.roam")
            assert again.frame.digest == walk.frame.digest
            assert walk.client.next_frame(walk.client.load("same.roam")).head.digest == walk.frame.digest


def test_a_save_is_loaded_by_whoever_has_its_walk_s_token_and_by_nobody_else(server, tmp_path):
    with Client(server.address) as one:
        walk = RemoteSession.open(one, seed=1)
        walk.step(FORWARD)
        walk.save(tmp_path / "mine.roam")
        digest = walk.frame.digest
        walk.close()  # the walk is gone, its save is not
    with Client(server.address) as other:
        with pytest.raises(ServerError) as caught:
            other.load("mine.roam")
        assert caught.value.code == "not_found"
        with pytest.raises(ServerError):
            other.load("mine.roam", token="0" * 32)
        assert load_remote(other, tmp_path / "mine.roam").frame.digest == digest
    assert (tmp_path / "mine.roam").stat().st_mode & 0o077 == 0  # the file holds the token


def test_saves_of_a_walk_have_an_end(server, client):
    session = client.open(seed=1)
    for number in range(MAX_SAVES):
        client.save(session, f"s{number}")
    with pytest.raises(ServerError) as caught:
        client.save(session, "one-more")
    assert caught.value.code == "limit"
    client.save(session, "s0")  # an existing one may be overwritten


class TestWithSmallQuotas:
    @pytest.fixture
    def limits(self):
        return Limits(max_sessions=4, max_driven=2, max_kept_each=3, unused_s=0.0, patience_s=60.0)

    def test_a_client_drives_so_many_walks_and_no_more(self, client):
        client.open()
        client.open()
        with pytest.raises(ServerError) as caught:
            client.open()
        assert caught.value.code == "limit"

    def test_walks_in_which_nothing_was_done_make_room_and_others_do_not(self, server, limits):
        tokens = []
        for number in range(9):
            with Client(server.address) as client:
                walk = RemoteSession.open(client, seed=number)
                if number == 0:
                    walk.step(FORWARD)
                tokens.append(client.token(walk.id))
        with Client(server.address) as client:
            assert RemoteSession.resume(client, tokens[0]).frame.index == 1
            with pytest.raises(ServerError, match="no walk has that token"):
                client.resume(tokens[1])


def test_walks_that_fill_the_disk_are_no_more_until_some_are_closed(tmp_path):
    limits = Limits(max_kept_bytes_each=2)
    with Server(TinyWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        walk = RemoteSession.open(client)
        with pytest.raises(ServerError, match="of your walks are kept, 0 MB"):
            client.open()
    with Server(TinyWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as other:
        with pytest.raises(ServerError, match="no more: close some"):
            other.open()
        RemoteSession.resume(other, client.token(walk.id)).close()
        assert other.open()


def test_saves_that_fill_the_disk_are_no_more_under_other_names(server, client, monkeypatch):
    walk = RemoteSession.open(client)
    client.save(walk.id, "one")
    monkeypatch.setattr("roam.viewer.server.store.MAX_SAVED_BYTES", 10)
    with pytest.raises(ServerError, match="save under one of their names") as refused:
        client.save(walk.id, "two")
    assert refused.value.code == "limit"
    client.save(walk.id, "one")


def test_a_restart_does_not_forget_which_walks_were_used_and_when(tmp_path):
    limits = Limits(max_sessions=2, unused_s=0.0, patience_s=60.0)
    with Server(TinyWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        used, unused = RemoteSession.open(client, seed=1), RemoteSession.open(client, seed=2)
        used.step(FORWARD)
        tokens = [client.token(walk.id) for walk in (used, unused)]
    with Server(TinyWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        client.open(seed=3)
        assert RemoteSession.resume(client, tokens[0]).frame.index == 1
        with pytest.raises(ServerError, match="no walk has that token"):
            client.resume(tokens[1])


@pytest.mark.parametrize("by_s", [-9e7, 0, 9e7])
def test_walks_are_as_old_as_when_the_server_ended_however_the_clock_was_set_since(tmp_path, monkeypatch, by_s):
    """A clock that was a month ahead when the machine started made every walk one that may go."""
    with Server(TinyWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        walks = [RemoteSession.open(client, seed=seed).id for seed in range(2)]
    for path in (tmp_path / "sessions" / walks[0]).iterdir():
        os.utime(path, (path.stat().st_mtime - 7200,) * 2)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + by_s)
    with contextlib.closing(Store(tmp_path)) as store:
        ages_s = [store.idle_s(walk) for walk in walks]
    assert ages_s == pytest.approx([7200 if by_s >= 0 else 0, 0], abs=60)


def test_walks_are_begun_only_so_fast(tmp_path, monkeypatch):
    monkeypatch.setattr("roam.viewer.server.opener.FIRST_OPENS", 3)
    limits = Limits(opens_per_s=0.01)
    with Server(TinyWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        for _ in range(3):
            client.open()
        with pytest.raises(ServerError, match="a second") as caught:
            client.open()
        assert caught.value.code == "limit"
        later = time.monotonic() + 100.0
        monkeypatch.setattr("roam.viewer.server.opener.monotonic", lambda: later)
        assert client.open()


def test_a_walk_that_was_parked_over_a_restart_can_be_watched(tmp_path, wire_to):
    with Server(TinyWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=3)
        walk.rollout([FORWARD, LEFT])
    with Server(TinyWorlds(), folder=tmp_path) as server:
        wire = wire_to(server)
        wire.greet()
        wire.send(p.Watch(seq=1, session=walk.id))
        assert wire.read_until(p.Opened).token == ""
        assert wire.read_until(p.FrameHead).digest == Tiny(3).rollout([FORWARD, LEFT]).frames[-1].digest


@pytest.mark.parametrize("words", ["trun left", "open the door", "!", "move forward 9999999999 metres"])
@pytest.mark.parametrize("mode", ["hold", "once"])
def test_what_is_not_understood_is_refused_and_changes_nothing(tmp_path, wire_to, words, mode):
    worlds = TinyWorlds()
    worlds.reads_words = False  # as neither a dream nor a true scene does
    with Server(worlds, folder=tmp_path) as server:
        wire = wire_to(server)
        session = wire.open(seed=3, credits=16).session
        wire.send(p.Act(seq=2, session=session, mode=mode, text=words))
        receipt = wire.read_until(p.Receipt)
        assert (receipt.seq, receipt.status, bool(receipt.reason)) == (2, "refused", True)
        wire.send(p.Act(seq=3, session=session, mode="once", text="move forward"))
        assert wire.read_until(p.Receipt).frame == 1


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [9e299, -1e9, 361.0])
def test_a_motion_beyond_its_range_is_refused_at_the_door(tmp_path, wire_to, place, value):
    with Server(TinyWorlds(), folder=tmp_path) as server:
        wire = wire_to(server)
        session = wire.open(seed=3, credits=16).session
        motion = [0.0] * 4
        motion[place] = value
        wire.raw(msgpack.packb({"type": "act", "seq": 2, "session": session, "mode": "once", "motion": motion}))
        error = wire.read_until(p.Error)
        assert (error.code, error.seq) == ("malformed", 2)
        wire.send(p.Act(seq=3, session=session, mode="once", text="move forward"))
        assert wire.read_until(p.Receipt).frame == 1


def test_errors_tell_nobody_where_the_server_keeps_things(server, client, tmp_path):
    with pytest.raises(ServerError) as caught:
        client.load("nowhere")
    assert str(tmp_path) not in str(caught.value)
