"""Workers that die or hang at a bad moment: while they take walks or hand them over, and while others do."""

from __future__ import annotations

import threading
from dataclasses import replace
from unittest.mock import patch

import pytest
from roam.viewer.client.remote_session import EXACT
from roam.viewer.cluster.connections import WorkerConnection
from roam.viewer.cluster.fleet import WorkerLostError
from roam.viewer.cluster.placing import Rules
from roam.viewer.wire import protocol as p
from roam.world.action import parse_action

from ..server.conftest import Wire
from ..server.doubles import Tiny, TinyWorlds, until
from .doubles import Cable, ThreadFleet

FORWARD = parse_action("move forward")


class Troubled(ThreadFleet):
    """A fleet whose calls do first what a test wants; `before` has, by the method's name, what that is. A worker in
    `dying` answers no call any more, as in the moment before its death is known."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.before, self.dying, self.killed = {}, set(), []
        self.cables: dict[str, Cable] = {}

    def start(self):
        about = super().start()
        cable = self.cables[about.name] = Cable(about.address)
        return replace(about, address=cable.address)

    def ask(self, name, method, *arguments):
        self.before.get(method, lambda name: None)(name)
        if name in self.dying:
            raise WorkerLostError(f"{name} has just died")
        return super().ask(name, method, *arguments)

    def kill(self, name):
        self.killed.append(name)
        if name in self.workers:
            super().kill(name)


@pytest.fixture
def fleet(cluster):
    fleet = Troubled(cluster.folder / "shared", cluster.own.public)
    yield fleet
    for cable in fleet.cables.values():
        cable.close()


def worker_of(front, session: str) -> str:
    return front.state.routes.by_session[session].worker


def begun(client, count: int) -> list:
    """So many walks, each a step from where it began."""
    walks = [client.open(seed=seed, look=EXACT) for seed in range(count)]
    for walk in walks:
        client.step(walk, FORWARD)
    return walks


def assert_goes_on(client, walks) -> None:
    """Every walk makes one more step, its second."""
    for seed, walk in enumerate(walks):
        assert client.step(walk, FORWARD).frame.digest == list(Tiny(seed).rollout([FORWARD] * 2))[-1].digest


def test_a_worker_that_dies_while_it_is_drained_ends_the_drain_and_its_walks_go_on(cluster, fleet):
    """Whoever had asked for the drain waited for good, and with it every later command."""
    front = cluster.front(fleet)
    client = cluster.client(front)
    walks = begun(client, 4)
    name, said = worker_of(front, walks[0]), []
    fleet.workers[name].replicator.round()
    fleet.before["release"] = fleet.dying.add
    front.do(lambda: front.drain(name, said.append))
    until(lambda: said)
    assert said == [f"{name} died while it was drained; its walks go on elsewhere from what was copied of them"]
    assert_goes_on(client, walks)
    assert name not in front.state.workers and front.state.counts.walks_lost == 0


def test_a_worker_that_dies_while_it_takes_walks_loses_none_of_them(cluster, fleet):
    """Its refusals came before the news of its death, and were taken for walks that cannot be taken up."""
    front = cluster.front(fleet, workers=3)
    client = cluster.client(front)
    walks = begun(client, 6)
    for worker in fleet.workers.values():
        worker.replicator.round()
    fleet.before["adopt"] = lambda name: fleet.dying or fleet.dying.add(name)  # the first one that is to take walks
    fleet.crash(worker_of(front, walks[0]))
    assert_goes_on(client, walks)
    assert len(fleet.dying) == 1 and set(fleet.killed) == fleet.dying and front.state.counts.walks_lost == 0


def test_workers_that_are_slow_to_take_many_walks_do_not_count_as_hanging(cluster, fleet):
    """Calls for their status waited behind the walks, and they were ended one after the other."""
    front = cluster.front(fleet, workers=1, hang_s=2.0, rules=Rules(most_walks=64))
    client = cluster.client(front)
    walks = [client.open(seed=seed, look=EXACT) for seed in range(26)]
    may, asked = threading.Event(), []
    fleet.workers["w1"].replicator.round()
    fleet.before = {"adopt": lambda _: may.wait(60), "status": asked.append}
    fleet.crash("w1")
    until(lambda: asked.count("w2") > 3)  # seconds later
    may.set()
    for walk in walks:
        assert client.step(walk, FORWARD).head.index == 1
    assert fleet.killed == []


def test_walks_leave_a_machine_that_is_gone_though_no_connection_of_it_was_closed(cluster, fleet):
    """Nothing but the silence of a machine that was switched off says so, and Ray waits long for it."""
    front = cluster.front(fleet, gone_s=1.0)
    client = cluster.client(front)
    walks = begun(client, 2)
    name = worker_of(front, walks[0])
    fleet.workers[name].replicator.round()
    fleet.cables[name].cut()
    assert_goes_on(client, walks)
    assert fleet.killed == [name] and front.state.counts.walks_lost == 0


def test_a_worker_whose_step_takes_long_is_not_gone(cluster):
    fleet = Troubled(cluster.folder / "shared", cluster.own.public, worlds=lambda: TinyWorlds(pause_s=1.0))
    client = cluster.client(cluster.front(fleet, workers=1, gone_s=0.4))
    walk = client.open(seed=0, look=EXACT)
    client.step(walk, FORWARD)
    assert fleet.killed == []
    for cable in fleet.cables.values():
        cable.close()


class SlowWorlds(TinyWorlds):
    """Worlds whose walks are read from the disk only when a test lets them be."""

    may, asked = threading.Event(), threading.Event()

    def load(self, path):
        self.asked.set()
        self.may.wait(60)
        return super().load(path)


def test_a_walk_whose_driver_leaves_while_it_moves_can_be_taken_up(cluster):
    """Nobody ended its move: whoever resumed it later waited without end."""
    SlowWorlds.may.clear()
    SlowWorlds.asked.clear()
    front = cluster.front(cluster.fleet(worlds=SlowWorlds))
    client, again = cluster.client(front), cluster.client(front)
    walk = begun(client, 1)[0]
    token, name = client.token(walk), worker_of(front, walk)
    front.do(lambda: front.drain(name, lambda _: None))
    assert SlowWorlds.asked.wait(60)  # another worker reads it for its driver
    client.close()
    until(lambda: front.state.routes.by_session[walk].driver is None)
    SlowWorlds.may.set()
    assert_goes_on(again, [again.resume(token, look=EXACT)])


def test_a_walk_that_is_being_closed_is_not_moved(cluster):
    """Its worker did not have it any more, the drain ended as failed, and its driver was told that it is lost."""
    front = cluster.front()
    client = cluster.client(front)
    walk, said = begun(client, 1)[0], []
    route, name = front.state.routes.by_session[walk], worker_of(front, walk)
    front.do(lambda: setattr(route, "is_closing", True))
    front.do(lambda: front.drain(name, said.append))
    until(lambda: front.state.workers[name].is_draining)
    assert not route.is_moving and route.worker == name
    client.end(walk)
    until(lambda: said)
    assert said == [f"{name} is drained: 1 walks moved"] and walk not in front.state.routes.by_session


def test_a_walk_whose_driver_closes_it_and_leaves_is_gone(cluster):
    front = cluster.front()
    client = cluster.client(front)
    walk = begun(client, 1)[0]
    route = front.state.routes.by_session[walk]
    with patch.object(WorkerConnection, "messages", return_value=iter(())):  # the answer has not come yet
        front.do(lambda: setattr(route, "is_closing", True))
        until(lambda: route.is_closing)  # the front's thread does it
        client.close()
        until(lambda: walk not in front.state.routes.by_session)


def test_a_spectator_that_is_gone_does_not_hinder_a_walk_that_moves(cluster):
    """It was found to be gone while all were told; whoever was to be told after it was not, and the walk stood."""
    front = cluster.front()
    client, gone = cluster.client(front), Wire(front.address)
    walk = begun(client, 1)[0]
    gone.greet()
    gone.send(p.Watch(seq=1, session=walk))
    gone.read_until(p.FrameHead)
    seats, tell = front.state.routes.by_session[walk].seats, front.state.tell

    def found_gone(who, message):
        if isinstance(message, p.Resumed) and len(seats) == 2:
            gone_id = next(other for other in seats if other != front.state.routes.by_session[walk].driver)
            front.state.wire.drop(gone_id, "its connection is gone")
        tell(who, message)

    front.state.tell = found_gone
    name = worker_of(front, walk)
    front.do(lambda: front.drain(name, lambda _: None))
    until(lambda: len(seats) == 1)
    assert_goes_on(client, [walk])
    gone.close()


def test_a_request_whose_number_is_taken_is_refused_and_takes_no_place(cluster):
    """The first of two was forgotten: its place on the worker stayed taken, and its walk was known to nobody."""
    front = cluster.front(workers=1)
    wire = Wire(front.address)
    wire.greet()
    for _ in range(3):
        wire.send(p.Open(seq=1))
    told = [wire.read_until(p.Request | p.Error) for _ in range(3)]
    wire.send(p.Open(seq=2))
    opened = wire.read_until(p.Opened)
    wire.send(p.Rewind(seq=3, session=opened.session, frames=0))
    wire.read_until(p.Done)
    wire.close()
    assert sorted(type(each).__name__ for each in told) == ["Error", "Error", "Opened"]
    assert all("is being worked on" in each.message for each in told if isinstance(each, p.Error))
    assert front.state.workers["w1"].opening == 0
