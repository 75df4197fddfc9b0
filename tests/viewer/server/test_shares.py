"""Nobody's work stands in everybody's way: openings, pictures, large walks and the disk beside the steps of others."""

import threading
import time
from itertools import pairwise

import pytest
from roam.viewer.client.client import Client
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.opening.worlds import OpenRequest
from roam.viewer.server.awake import Stepped
from roam.viewer.server.command_queue import CommandQueue
from roam.viewer.server.explorers import Explorers
from roam.viewer.server.registry import Limits
from roam.viewer.server.server import Server
from roam.viewer.server.store import Store
from roam.viewer.server.threads.stepper import ENGINE, StepJob, Stepper
from roam.viewer.server.threads.strands import Strands
from roam.viewer.wire.protocol import Act
from roam.world.action import ActionError, parse_action

from .doubles import EngineWorlds, Gate, Tiny, TinyWorlds, killed, until

FORWARD = parse_action("move forward")


class LongWorlds(TinyWorlds):
    """Tinies that share nothing; a step of those of seed 9 takes 0.5 s, and from the third on until the gate opens."""

    def __init__(self):
        super().__init__()
        self.gate, self.num_waiting = Gate(), 0

    def is_alone(self, _what):
        return True

    def prepare(self, request):
        worlds = self

        class Long(Tiny):
            def step(self, action):
                if self.seed == 9 and len(self.actions) < 2:
                    time.sleep(0.5)  # how long its steps take is known by then
                elif self.seed == 9:
                    worlds.num_waiting += 1
                    worlds.gate()
                return super().step(action)

        return lambda: Long(request.seed)


def test_walks_that_take_long_leave_the_others_their_rate(tmp_path):
    worlds = LongWorlds()
    with Server(worlds, folder=tmp_path) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=1)
        worlds.gate.shut()
        others = [client.open(seed=9, ahead=16) for _ in range(12)]  # more than there are threads
        for other in others:
            client.hold(other, "move forward")
        assert worlds.gate.reached.wait(60)
        walk.rollout([FORWARD] * 20)
        assert worlds.num_waiting > 0
        worlds.gate.open()


def test_openings_leave_who_walks_half_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr("roam.viewer.server.threads.stepper.WALKING_S", 1e6)  # whoever has walked goes on, at any rate
    spans = []

    class Slow(EngineWorlds):
        def open(self, request):
            began = time.monotonic()
            explorer = super().open(request)
            if request.seed == 9:  # on the engine's thread
                time.sleep(0.05)
                spans.append((began, time.monotonic()))
            return explorer

    with Server(Slow(), folder=tmp_path) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=1)
        walk.step(FORWARD)
        openers = [threading.Thread(target=client.open, kwargs={"seed": 9}) for _ in range(6)]
        for opener in openers:
            opener.start()
        walk.rollout([FORWARD] * 10)
        for opener in openers:
            opener.join()
    rests = [(after[0] - before[1], before[1] - before[0]) for before, after in pairwise(spans)]
    assert len(rests) == 5 and all(rest >= 1.3 * took for rest, took in rests)


def test_work_has_its_turn_among_walkers_of_whom_one_always_waits(tmp_path):
    store = Store(tmp_path)
    stepper = Stepper(Explorers(EngineWorlds(), store), lambda: None)
    controls, done = CommandQueue("ab"), threading.Event()
    controls.take_in(Act(seq=1, session="ab", mode="hold", text="move forward"), frame=0)

    def never_pausing(steps):
        if not done.is_set():
            stepper.step(StepJob(controls, lambda _: None))  # the next one waits before this one is done
        return [Stepped(error=ActionError("nowhere to go"))] * len(steps)

    stepper.explorers.step = never_pausing
    stepper.start()
    stepper.step(StepJob(controls, lambda _: None))
    for _ in range(2):
        stepper.submit(ENGINE, lambda: None, lambda _: None)
    stepper.submit(ENGINE, done.set, lambda _: None)
    try:
        assert done.wait(30)
    finally:
        done.set()
        assert stepper.stop()
        store.close()


def test_what_is_prepared_beside_does_not_hold_up_the_engine(tmp_path):
    walked, is_held_up = threading.Event(), []

    class Slow(EngineWorlds):
        def prepare(self, request):
            is_held_up.append(request.seed == 9 and not walked.wait(60))
            return lambda: self.open(request)

    with Server(Slow(), folder=tmp_path) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=1)
        opener = threading.Thread(target=client.open, kwargs={"seed": 9})
        opener.start()
        walk.rollout([FORWARD] * 10)
        walked.set()
        opener.join()
    assert is_held_up == [False, False]


def test_a_slow_disk_holds_up_no_steps(tmp_path, monkeypatch):
    write, walked, is_held_up = Store.write, threading.Event(), []

    def slow(store, meta, *explorers):
        if meta.snapshot > 1:
            is_held_up.append(not walked.wait(60))
        return write(store, meta, *explorers)

    monkeypatch.setattr(Store, "write", slow)
    limits = Limits(snapshot_frames=3)
    with Server(EngineWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=1)
        walk.rollout([FORWARD] * 30)
        walked.set()
    assert is_held_up and not any(is_held_up)


def test_a_large_snapshot_is_taken_less_often(tmp_path, monkeypatch):
    taken, write = [], Store.write

    def noted(store, meta, *explorers):
        taken.append(meta.snapshot)
        return write(store, meta, *explorers)[0], 10_000_000

    monkeypatch.setattr(Store, "write", noted)
    limits = Limits(snapshot_frames=4, snapshot_bytes=1_000_000)
    with Server(TinyWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=1)
        walk.rollout([FORWARD] * 25)
        while len(taken) < 3 and walk.frame.index < 2000:  # while one is being written, no other one is taken
            walk.step(FORWARD)
    assert 3 <= len(taken) <= 2 + walk.frame.index // 10  # at the start, after 10 and 20 steps, and at the end


class KeptWorlds(EngineWorlds):
    """Worlds on an engine, whose walks come back from the disk on it; a step takes 20 ms."""

    def __init__(self):
        super().__init__()
        self.engine.stepping = lambda: time.sleep(0.02)

    def load(self, path):
        explorer, read = self.open(OpenRequest()), super().load(path)
        explorer.seed, explorer.actions = read.seed, read.actions
        return explorer


def test_a_walk_is_taken_up_act_by_act_while_others_walk(tmp_path):
    limits = Limits(snapshot_frames=10_000)
    with killed(KeptWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=1)
        walk.rollout([FORWARD] * 60)
        token = client.token(walk.id)
    taken = {}
    with Server(KeptWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        other = RemoteSession.open(client, seed=2)
        taker = threading.Thread(target=lambda: taken.update(walk=RemoteSession.resume(client, token)))
        taker.start()
        count = 0
        while taker.is_alive():  # sixty steps, twice as long for sharing the engine
            other.step(FORWARD)
            count += 1
        assert count >= 3  # in one piece, they would leave room for the step that was under way
        assert taken["walk"].frame.digest == walk.frame.digest


def test_a_step_that_never_ends_does_not_keep_the_server_from_ending(tmp_path, monkeypatch):
    worlds, before = EngineWorlds(), threading.enumerate()
    server = Server(worlds, folder=tmp_path).start()
    stop = Stepper.stop
    monkeypatch.setattr(Stepper, "stop", lambda stepper: stop(stepper, timeout_s=0.5))
    with Client(server.address) as client:
        session = client.open(ahead=2)
        worlds.engine.stepping.shut()
        client.act(session, FORWARD)
        assert worlds.engine.stepping.reached.wait(60)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 50  # the step would wait for a minute
    assert server.lost is None  # nobody says that every walk is saved
    worlds.engine.stepping.open()
    until(lambda: not any(t.name.startswith("roam-") for t in threading.enumerate() if t not in before))


class Piece:
    """Work that takes so long, and writes down that it was done."""

    def __init__(self, name, seconds, done):
        self.name, self.seconds, self.done = name, seconds, done

    def advance(self):
        time.sleep(self.seconds)
        self.done.append(self.name)
        return True

    def give_up(self):
        self.done.append(f"not {self.name}")


class Waiting(Piece):
    """Work that is done once the gate is open."""

    def __init__(self, name, gate, done):
        super().__init__(name, 0, done)
        self.gate = gate

    def advance(self):
        self.gate()
        return super().advance()


@pytest.fixture
def beside():
    made = Strands(2)
    made.start()
    yield made
    made.stop()


def test_work_of_one_strand_is_done_in_order(beside):
    done = []
    for number in range(50):
        beside.submit("one", Piece(number, 0, done))
    until(lambda: len(done) == 50)
    assert done == list(range(50))


def occupied(beside, done, *, between=0):
    """Occupy all threads but the one that is left, with three strands that are known to take long; returns the gate
    where one of them waits. between: how many little things each of them has done since it took long."""
    count = len(done) + 3 * (2 + between)
    for strand in ("a", "b", "c"):
        for seconds in [0.5] * 2 + [0] * between:
            beside.submit(strand, Piece(strand, seconds, done))
    until(lambda: len(done) == count)
    gate = Gate()
    gate.shut()
    for strand in ("a", "b", "c"):
        beside.submit(strand, Waiting(strand, gate, done))
    assert gate.reached.wait(60)
    return gate


def test_long_work_leaves_a_thread_to_the_rest(beside):
    done = []
    gate = occupied(beside, done)
    beside.submit("short", Piece("short", 0, done))
    until(lambda: "short" in done)
    assert len(done) == 7
    gate.open()


def test_little_things_between_long_work_do_not_make_it_short(beside):
    done = []
    gate = occupied(beside, done, between=3)
    beside.submit("short", Piece("short", 0, done))
    until(lambda: "short" in done)
    gate.open()


def test_work_that_took_long_once_or_on_a_busy_machine_does_not_wait_for_what_always_does(beside):
    done = []
    beside.submit("once", Piece("once", 0.5, done))
    for _ in range(3):
        beside.submit("busy", Piece("busy", 0.15, done))  # asleep, as if others had the processor
    until(lambda: len(done) == 4)
    gate = occupied(beside, done)
    for strand in ("once", "busy"):
        beside.submit(strand, Piece(f"{strand} more", 0, done))
        until(lambda strand=strand: f"{strand} more" in done)
    gate.open()


def test_work_that_turns_out_to_be_long_leaves_the_last_thread_to_the_rest(beside):
    done, gates = [], [Gate(), Gate()]
    for strand in ("a", "b"):
        for _ in range(2):
            beside.submit(strand, Piece(strand, 0.5, done))
    until(lambda: len(done) == 4)
    for gate in gates:
        gate.shut()
    beside.submit("new", Waiting("new", gates[0], done))
    assert gates[0].reached.wait(60)
    time.sleep(0.5)  # by now it has taken long, though nothing was known of it
    beside.submit("a", Waiting("a", gates[1], done))
    beside.submit("short", Piece("short", 0, done))
    until(lambda: "short" in done)
    assert not gates[1].reached.is_set()
    for gate in gates:
        gate.open()


def test_what_waits_at_the_end_is_given_up():
    beside, done = Strands(2), []
    beside.submit("one", Piece("one", 0, done))
    beside.start()
    until(lambda: done == ["one"])
    gate = Gate()
    gate.shut()
    for number in range(3):
        beside.submit("slow", Waiting(number, gate, done))
    assert gate.reached.wait(60)
    threading.Timer(0.2, gate.open).start()
    beside.stop(timeout_s=60)
    assert done[1:] == [0, "not 1", "not 2"]
