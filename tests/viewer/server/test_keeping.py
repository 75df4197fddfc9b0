"""Walks survive connections, idle time and the server itself, killed or stopped; and a folder belongs to one server."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from roam.viewer.client.client import Client, ConnectionLostError
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.server.command_queue import CommandQueue
from roam.viewer.server.keeping.records import Meta
from roam.viewer.server.registry import Limits, ServedWalk, Viewer
from roam.viewer.server.server import Server
from roam.viewer.server.store import Store, StoreError
from roam.viewer.wire import protocol as p
from roam.viewer.wire.encoding import Look
from roam.world.action import ActionError, parse_action

from .doubles import Tiny, TinyWorlds, gauge

WALK = [parse_action(text) for text in ("move forward", "turn left", "move forward", "strafe left", "look down")] * 5
ROOT = Path(__file__).parents[3]
SERVE = """
import sys
from roam.viewer.commands.serve import serve
from roam.viewer.server.command_queue import CommandQueue
from roam.viewer.server.registry import Limits, ServedWalk, Viewer
from tests.viewer.server.doubles import TinyWorlds
serve(TinyWorlds(), sys.argv[1], folder=sys.argv[2], limits=Limits(snapshot_frames=7))
"""


class Process:
    """A server of tiny worlds in a process of its own, which can be killed and started again at the same address."""

    def __init__(self, folder: Path, address: str = "tcp://127.0.0.1:0"):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        command = [sys.executable, "-c", SERVE, address, str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
        self.address = self.process.stdout.readline().split()[2].rstrip(",")

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(120)
        self.process.stdout.close()


@pytest.fixture
def process(tmp_path):
    running = [Process(tmp_path / "walks")]

    def again() -> Process:
        running.append(Process(tmp_path / "walks", running[0].address))
        return running[-1]

    running[0].again = again
    yield running[0]
    for one in running:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def true_walk(actions) -> list[str]:
    return [frame.digest for frame in Tiny(4).rollout(actions)]


INTERRUPTED = pytest.param(signal.SIGINT, marks=pytest.mark.slow(reason="the same handler, and two more processes"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, INTERRUPTED])
def test_a_server_that_ends_loses_no_frame_and_its_client_walks_on(process, number):
    with Client(process.address, timeout_s=120.0) as client:
        walk = RemoteSession.open(client, seed=4)
        seen = [walk.frame.digest] + [frame.digest for frame in walk.rollout(WALK).frames[1:]]
        process.end(number)
        process.again()
        seen += [frame.digest for frame in walk.rollout(WALK).frames[1:]]
    assert seen == true_walk(WALK * 2)


def test_acts_that_were_on_their_way_when_the_server_was_killed_are_done_once(process):
    with Client(process.address, timeout_s=120.0) as client:
        walk = RemoteSession.open(client, seed=4, ahead=2)
        seqs = [client.act(walk.id, action) for action in WALK]
        process.end(signal.SIGKILL)
        process.again()
        heads = [client.next_frame(walk.id).head]
        while heads[-1].index < len(WALK):
            heads.append(client.next_frame(walk.id).head)
        assert client.receipt(walk.id, seqs[-1]).frame == len(WALK)
    digests = true_walk(WALK)
    assert all(digests[head.index] == head.digest for head in heads)


def sent_again(wire, token: str, *acts: p.Act) -> list[p.Receipt]:
    """The receipts that a walk's next driver gets for acts whose receipts were lost."""
    wire.greet()
    wire.send(p.Resume(seq=1, token=token, credits=16))
    session = wire.read_until(p.Opened).session
    receipts = []
    for act in acts:
        wire.send(replace(act, session=session))
        receipts.append(wire.read_until(p.Receipt))
        wire.send(p.Credit(session=session, frames=16))
    return receipts


@pytest.mark.parametrize("is_killed_after_a_snapshot", [False, True])
def test_an_act_that_was_refused_stays_so_when_the_server_was_killed(process, wire_to, is_killed_after_a_snapshot):
    with Client(process.address, timeout_s=120.0) as client:
        walk = RemoteSession.open(client, seed=4)
        walk.step(WALK[0])
        refused = client.act(walk.id, "jump over the wall")
        with pytest.raises(ActionError):
            client.receipt(walk.id, refused)
        walk.rollout(WALK[1 : 9 if is_killed_after_a_snapshot else 3])
        token, index = client.token(walk.id), walk.frame.index
    process.end(signal.SIGKILL)
    acts = [
        p.Act(seq=refused, session="", mode="once", text="jump over the wall"),
        p.Act(seq=refused + 1, session="", mode="once", text="turn left"),
    ]
    receipts = sent_again(wire_to(process.again()), token, *acts)
    assert [receipt.status for receipt in receipts] == ["refused", "applied"]
    assert receipts[-1].frame <= index  # and was not done a second time


def test_an_act_that_a_killed_server_had_done_in_part_is_finished_and_not_begun_anew(process, wire_to):
    far = p.Act(seq=2, session="", mode="once", text="move forward 3 m")
    first = wire_to(process)
    opened = first.open(seed=4, credits=5)
    first.send(replace(far, session=opened.session))
    while first.read_until(p.FrameHead).index < 4:  # then it has no credit
        pass
    process.end(signal.SIGKILL)
    receipts = sent_again(wire_to(process.again()), opened.token, far)
    assert [(receipt.status, receipt.frame) for receipt in receipts] == [("applied", 10)]


def test_another_program_takes_up_a_walk_after_the_server_was_killed(process):
    with Client(process.address, timeout_s=120.0) as client:
        walk = RemoteSession.open(client, seed=4)
        walk.rollout(WALK)
        token = client.token(walk.id)
        walk.rewind(9)
    process.end(signal.SIGKILL)
    with Client(process.again().address, timeout_s=120.0) as client:
        walk = RemoteSession.resume(client, token)
        assert walk.frame.digest == true_walk(WALK)[-10]
        assert walk.step(WALK[-9]).digest == true_walk(WALK)[-9]


def test_a_request_that_the_end_of_the_server_cut_off_says_so(process):
    with Client(process.address, patience_s=1.0, timeout_s=120.0) as client:
        session = client.open()
        # a client that said goodbye is known to have left, and the server waits for the walk to be written
        process.end(signal.SIGKILL)
        with pytest.raises(ConnectionLostError):
            client.save(session, "one")


def test_a_question_that_the_end_of_the_server_cut_off_is_asked_again(process):
    with Client(process.address, patience_s=1.0, timeout_s=120.0) as client, ThreadPoolExecutor() as beside:
        client.open()
        process.end(signal.SIGKILL)
        told = beside.submit(client.stats)
        process.again()
        assert told.result(120).clients == 1


def test_idle_walks_are_parked_and_come_back_as_they_were(tmp_path):
    limits = Limits(park_s=0.2)
    with Server(TinyWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=3)
        walk.rollout(WALK)
        deadline = time.monotonic() + 60
        while client.stats().sessions and time.monotonic() < deadline:
            time.sleep(0.1)
        assert (client.stats().sessions, client.stats().parked) == (0, 1)
        assert walk.step(WALK[0]).digest == Tiny(3).rollout([*WALK, WALK[0]]).frames[-1].digest


def test_a_walk_that_is_parked_and_seen_by_nobody_takes_no_memory_for_its_frame(tmp_path):
    limits = Limits(park_s=0.2)
    with Server(TinyWorlds(), folder=tmp_path, limits=limits) as server:
        with Client(server.address) as client:
            walk = RemoteSession.open(client, seed=3)
            walk.step(WALK[0])
            token = client.token(walk.id)
        deadline = time.monotonic() + 60
        while gauge(server, "frames_held") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert gauge(server, "frames_held") == 0
        with Client(server.address) as client:
            assert RemoteSession.resume(client, token).frame.digest == walk.frame.digest


def test_a_walk_that_nobody_sees_any_more_is_parked_long_before_one_that_stands_still(tmp_path):
    with Server(TinyWorlds(), folder=tmp_path, limits=Limits(left_s=0.2)) as server, Client(server.address) as client:
        still = RemoteSession.open(client, seed=4)
        still.step(WALK[0])
        with Client(server.address) as other:
            left = RemoteSession.open(other, seed=3)
            left.step(WALK[0])
            token = other.token(left.id)
        deadline = time.monotonic() + 60
        while client.stats().sessions > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (client.stats().sessions, client.stats().parked) == (1, 1)
        assert RemoteSession.resume(client, token).step(WALK[1]).digest == Tiny(3).rollout(WALK[:2]).frames[-1].digest


def test_a_walk_is_left_when_its_last_viewer_goes_however_long_it_stood_still(tmp_path):
    walk = ServedWalk("id", "secret", CommandQueue("id"), active_at=time.monotonic() - 1000)
    walk.viewers[b"one"] = Viewer(Look(), 1, is_driver=False)
    walk.leave(b"somebody else")
    assert walk.idle_s > 999
    walk.leave(b"one")
    assert walk.idle_s < 100


def test_more_walks_than_fit_in_memory_take_turns(tmp_path):
    limits = Limits(max_awake=2)
    with Server(TinyWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        walks = [RemoteSession.open(client, seed=seed) for seed in range(5)]
        for action in WALK[:4]:
            for walk in walks:
                walk.step(action)
        deadline = time.monotonic() + 60
        while client.stats().sessions > 2 and time.monotonic() < deadline:  # the last one is being written to the disk
            time.sleep(0.05)
        assert client.stats().sessions == 2
        digests = [Tiny(seed).rollout(WALK[:4]).frames[-1].digest for seed in range(5)]
        assert [walk.frame.digest for walk in walks] == digests


def test_as_many_walks_stay_awake_as_may(tmp_path):
    with Server(TinyWorlds(), folder=tmp_path, limits=Limits(max_awake=2)) as server, Client(server.address) as client:
        for seed in range(2):
            RemoteSession.open(client, seed=seed).step(WALK[0])
        for _ in range(8):
            time.sleep(0.1)
            assert client.stats().sessions == 2


def test_one_server_owns_a_folder(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="runs already"):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


def test_a_snapshot_that_was_torn_is_not_read(tmp_path):
    with Server(TinyWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=3)
        walk.rollout(WALK)
        token = client.token(walk.id)
    folder = tmp_path / "sessions" / walk.id
    (folder / "snapshot-99").write_text("half a snap")
    (folder / "log-99.jsonl").write_text('[3, "mo')
    with Server(TinyWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        assert RemoteSession.resume(client, token).frame.digest == walk.frame.digest


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="sees which file is meant by Linux's /proc")
def test_a_snapshot_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    happened = []
    sync, replace = os.fsync, os.replace

    def note_sync(number):
        happened.append(os.path.basename(os.readlink(f"/proc/self/fd/{number}")))
        sync(number)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", lambda old, new: (happened.append("meta counts"), replace(old, new)))
    store = Store(tmp_path)
    store.snapshot(Meta("ab", "secret"), Tiny(3))
    store.close()
    assert happened[:3] == ["snapshot-1", "meta.new", "meta counts"]


def test_the_secret_of_a_walk_is_not_on_the_disk(tmp_path):
    with Server(TinyWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        token = client.token(RemoteSession.open(client).id)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        assert not any(token.encode() in path.read_bytes() for path in files)


def test_a_server_that_is_interrupted_while_it_begins_keeps_no_folder(tmp_path, monkeypatch):
    def interrupted(*_given, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("roam.viewer.server.server.Handlers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Server(TinyWorlds())
    assert not list(tmp_path.iterdir())
