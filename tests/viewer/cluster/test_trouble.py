"""Workers that die or hang at a bad moment: while they take walks or hand them over, and while others do."""

from __future__ import annotations

import threading

import pytest
from roam.viewer.client.remote_session import EXACT
from roam.viewer.cluster.fleet import WorkerLostError
from roam.viewer.cluster.placing import Rules
from roam.world.action import parse_action

from ..server.doubles import Tiny, until
from .doubles import ThreadFleet

FORWARD = parse_action("move forward")


class Troubled(ThreadFleet):
    """A fleet whose calls do first what a test wants; `before` has, by the method's name, what that is. A worker in
    `dying` answers no call any more, as in the moment before its death is known."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.before, self.dying, self.killed = {}, set(), []

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
    return Troubled(cluster.folder / "shared", cluster.own.public)


def worker_of(front, session: str) -> str:
    return front.state.routes.by_session[session].worker


def assert_goes_on(client, walks) -> None:
    """Every walk makes one more step, its second."""
    for seed, walk in enumerate(walks):
        assert client.step(walk, FORWARD).frame.digest == list(Tiny(seed).rollout([FORWARD] * 2))[-1].digest


def test_a_worker_that_dies_while_it_is_drained_ends_the_drain_and_its_walks_go_on(cluster, fleet):
    """Whoever had asked for the drain waited for good, and with it every later command."""
    front = cluster.front(fleet)
    client = cluster.client(front)
    walks = [client.open(seed=seed, look=EXACT) for seed in range(4)]
    for walk in walks:
        client.step(walk, FORWARD)
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
    walks = [client.open(seed=seed, look=EXACT) for seed in range(6)]
    for walk in walks:
        client.step(walk, FORWARD)
    first, second = worker_of(front, walks[0]), worker_of(front, walks[1])
    for name in (first, second):
        fleet.workers[name].replicator.round()
    fleet.before["adopt"] = lambda name: fleet.dying.add(name) if name == second else None
    fleet.crash(first)
    assert_goes_on(client, walks)
    assert fleet.killed == [second] and front.state.counts.walks_lost == 0


def test_workers_that_are_slow_to_take_many_walks_do_not_count_as_hanging(cluster, fleet):
    """Calls for their status waited behind the walks, and they were ended one after the other."""
    front = cluster.front(fleet, hang_s=2.0, rules=Rules(most_walks=64))
    client = cluster.client(front)
    walks = [client.open(seed=seed, look=EXACT) for seed in range(54)]
    name, may = worker_of(front, walks[0]), threading.Event()
    fleet.workers[name].replicator.round()
    fleet.before["adopt"] = lambda _: may.wait(60)
    fleet.crash(name)
    until(lambda: front.state.counts.deaths and len(front.state.workers) == 2)  # another one has come for it
    there = sorted(front.state.workers)
    asked = [front.state.workers[other].heard_at for other in there]
    until(lambda: all(front.state.workers[name].heard_at > at + 2 for name, at in zip(there, asked, strict=True)))
    may.set()
    for walk in walks:
        assert client.step(walk, FORWARD).head.index == 1
    assert fleet.killed == []
