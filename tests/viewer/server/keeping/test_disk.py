"""A disk that fails at any write stops the saving of one walk and nothing else; the walk is saved again when the
disk works again."""

import contextlib
import errno
import os
import sys
import time
from pathlib import Path

import pytest
from roam.viewer.client.client import Client, ServerError
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.commands import serve
from roam.viewer.commands.view import RemoteOpener
from roam.viewer.opening.start import Start
from roam.viewer.play.player import Player
from roam.viewer.server.keeping.records import Done, Meta
from roam.viewer.server.registry import Limits
from roam.viewer.server.server import Server
from roam.viewer.server.store import Store, StoreError, finished
from roam.viewer.wire import protocol as p
from roam.world.action import parse_action

from ..doubles import Tiny, TinyWorlds

FORWARD = parse_action("move forward")
FAILURES = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EMFILE]


class Disk:
    """A disk on which the named writes of one walk fail while `error` is set."""

    def __init__(self, monkeypatch):
        self.error, self.session, self.failing = 0, "", {"log", "snapshot", "turn"}
        log, write, turn = Store.log, Store.write, Store.turn

        def fails(what: str, session: str) -> None:
            if self.error and session == self.session and what in self.failing:
                raise OSError(self.error, os.strerror(self.error))

        def failing_log(store, session, done):
            try:
                fails("log", session)
            except OSError:
                store.release(session)  # as a log that could not be written does
                raise
            log(store, session, done)

        def failing_write(store, meta, *explorers):
            fails("snapshot", meta.session)
            return write(store, meta, *explorers)

        def failing_turn(store, meta, number):
            fails("turn", meta.session)
            return turn(store, meta, number)

        monkeypatch.setattr(Store, "log", failing_log)
        monkeypatch.setattr(Store, "write", failing_write)
        monkeypatch.setattr(Store, "turn", failing_turn)


@pytest.fixture
def disk(monkeypatch):
    monkeypatch.setattr("roam.viewer.server.explorers.RETRY_S", 0.1)
    return Disk(monkeypatch)


@pytest.mark.parametrize("number", FAILURES)
def test_a_walk_whose_log_cannot_grow_goes_on_and_so_do_the_others(disk, tmp_path, number):
    with Server(TinyWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        one, other = (RemoteSession.open(client, seed=seed) for seed in (1, 2))
        disk.session, disk.error = one.id, number
        for walk in (one, other) * 3:
            walk.step(FORWARD)
        assert [one.frame.digest, other.frame.digest] == [
            Tiny(seed).rollout([FORWARD] * 3).frames[-1].digest for seed in (1, 2)
        ]
        assert RemoteSession.open(client, seed=3).step(FORWARD).index == 1
    assert server.lost == [one.id]


def test_a_walker_is_told_once_that_nothing_is_kept_and_what_the_disk_says(disk, tmp_path):
    with Server(TinyWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=1)
        disk.session, disk.error = walk.id, errno.ENOSPC
        walk.rollout([FORWARD] * 5)
        client.stats()
        (warning,) = client.take_warnings()
        assert client.take_warnings() == []
    assert warning.code == "storage" and "No space left" in str(warning) and str(tmp_path) not in str(warning)


def test_who_looks_on_through_a_window_is_told_as_well(disk, tmp_path):
    with Server(TinyWorlds(), folder=tmp_path / "walks") as server, Client(server.address) as client:
        player = Player(RemoteOpener(client), Start(1), folder=tmp_path / "out", connection=client)
        disk.session, disk.error = player.branch.explorer.id, errno.ENOSPC
        for _ in range(100):
            player.queue([FORWARD])
            player.step()
            if player.notes:
                break
        assert "No space left" in player.notes[0]
        player.close()


@pytest.mark.parametrize("failing", [{"log"}, {"snapshot"}, {"turn"}, {"log", "snapshot", "turn"}])
def test_a_walk_is_kept_again_when_the_disk_is_back(disk, tmp_path, failing):
    limits = Limits(snapshot_frames=4)
    with Server(TinyWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=1)
        token = client.token(walk.id)
        disk.session, disk.error, disk.failing = walk.id, errno.ENOSPC, failing
        walk.rollout([FORWARD] * 9)
        disk.error = 0
        for _ in range(6):
            time.sleep(0.05)
            walk.rollout([FORWARD])
    assert server.lost == []
    with Server(TinyWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        assert RemoteSession.resume(client, token).frame.digest == walk.frame.digest


def test_a_walk_that_cannot_be_kept_at_all_is_refused_and_leaves_nothing(disk, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "sessions"))

    with Server(TinyWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        monkeypatch.setattr(Store, "write", full)
        with pytest.raises(ServerError, match="No space left") as caught:
            client.open(seed=1)
        assert caught.value.code == "storage" and str(tmp_path) not in str(caught.value)
    assert not list((tmp_path / "sessions").iterdir())


def test_a_save_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    with Server(TinyWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=1)
        client.save(walk.id, "here")
        first = walk.frame.digest
        walk.step(FORWARD)

        def torn(self, path):
            path.write_text("half a s")
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Tiny, "save", torn)
            with pytest.raises(ServerError, match="No space left"):
                client.save(walk.id, "here")
        assert client.next_frame(client.load("here")).head.digest == first
        assert walk.step(FORWARD).index == 2


def test_a_save_that_is_a_folder_is_there_whenever_the_server_is_killed(tmp_path, monkeypatch):
    class Foldered(Tiny):
        def save(self, path):
            path.mkdir()
            super().save(path / "walk")

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    store = Store(tmp_path)
    for owner, name in ((os, "replace"), (Path, "rename")):
        store.save("owner", name, Foldered(1))
        first = (store.find_save(["owner"], name) / "walk").read_text()
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, killed)
            store.save("owner", name, Foldered(2))
        assert (store.find_save(["owner"], name) / "walk").read_text() == first
        store.save("owner", name, Foldered(2))
        assert (store.find_save(["owner"], name) / "walk").read_text() != first
    assert sorted(path.name for path in (tmp_path / "saves" / "owner").iterdir()) == ["rename", "replace"]
    store.close()


def test_what_is_said_at_the_end_is_true():
    assert serve.farewell([]) == "every walk is saved"
    assert "every walk is saved" not in serve.farewell(["ab"])
    assert "every walk is saved" not in serve.farewell(None)


def test_acts_after_a_lost_one_are_not_done_again_without_it(tmp_path):
    store = Store(tmp_path)
    explorer, meta = Tiny(5), store.snapshot(Meta("ab", "secret"), Tiny(5))
    store.log("ab", Done(FORWARD, 1))
    store.release("ab")  # the second act is lost here
    with pytest.raises(OSError, match="broken off"):
        store.log("ab", Done(FORWARD, 2))
    store.turn(meta, meta.snapshot + 2)
    store.log("ab", Done(parse_action("turn left"), 3))
    restored, walk, _ = finished(store.restored("ab", TinyWorlds().load))
    store.close()
    assert (restored.last, walk.frame.digest) == (1, explorer.step(FORWARD).digest)


def test_a_rewind_is_in_the_log(tmp_path):
    store = Store(tmp_path)
    store.snapshot(Meta("ab", "secret"), Tiny(5))
    for done in (Done(FORWARD, 1), Done(FORWARD, 2), Done(None, rewound=1), Done(parse_action("turn left"), 3)):
        store.log("ab", done)
    _, walk, _ = finished(store.restored("ab", TinyWorlds().load))
    store.close()
    assert walk.frame.digest == Tiny(5).rollout([FORWARD, parse_action("turn left")]).frames[-1].digest


def test_an_act_that_was_never_walkable_ends_the_taking_up_of_its_own_walk_alone(tmp_path):
    with Server(TinyWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        bad, good = (RemoteSession.open(client, seed=seed) for seed in (1, 2))
        tokens = [client.token(walk.id) for walk in (bad, good)]
    log = next((tmp_path / "sessions" / bad.id).glob("log-*.jsonl"))
    log.write_text('[1, "jump", null]\n')
    with Server(TinyWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        with pytest.raises(ServerError) as caught:
            client.resume(tokens[0])
        assert caught.value.code == "not_found"
        assert RemoteSession.resume(client, tokens[1]).step(FORWARD).index == 1


class Unsayable(Tiny):
    """A world whose third frame cannot be encoded as a message."""

    @property
    def frame(self):
        frame = super().frame
        if frame.index == 3:
            object.__setattr__(frame.pose, "position", (float("inf"), 0.0, 0.0))
        return frame


class UnsayableWorlds(TinyWorlds):
    def open(self, request):
        return Unsayable(request.seed) if request.seed == 3 else super().open(request)


def test_a_frame_that_cannot_be_sent_ends_its_own_walk_alone(tmp_path):
    with Server(UnsayableWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        bad, good = (RemoteSession.open(client, seed=seed) for seed in (3, 4))
        bad.rollout([FORWARD] * 2)
        with pytest.raises(ServerError, match="cannot go on"):
            bad.step(FORWARD)
        assert good.rollout([FORWARD] * 5).frames[-1].index == 5
        assert isinstance(client.stats(), p.Statistics)


class Forkless(Tiny):
    """A world that cannot be forked."""

    def fork(self):
        raise NotImplementedError


class ForklessWorlds(TinyWorlds):
    def open(self, request):
        return Forkless(request.seed)


def test_a_world_without_forks_is_kept_as_well(tmp_path):
    limits = Limits(snapshot_frames=2)
    with Server(ForklessWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=1)
        walk.rollout([FORWARD] * 5)
        client.save(walk.id, "here")
        token = client.token(walk.id)
        assert walk.step(FORWARD).index == 6
    with Server(ForklessWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        assert RemoteSession.resume(client, token).frame.digest == walk.frame.digest


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_a_disk_without_locks_is_not_said_to_belong_to_another_server(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with contextlib.closing(Store(tmp_path)), pytest.raises(StoreError, match="belongs to a server that runs"):
        Store(tmp_path)
    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreError, match=r"cannot be locked \(.*\); name a folder on another disk"):
        Store(tmp_path)
