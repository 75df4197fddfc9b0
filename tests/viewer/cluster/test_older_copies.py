"""An older copy of a walk never takes the place of a newer one, whatever fails while a walk changes workers."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from roam.viewer.client.remote_session import EXACT
from roam.viewer.cluster.routes import Route
from roam.viewer.cluster.storing.shared_place import SharedPlace
from roam.viewer.server.store import Store
from roam.viewer.wire import protocol as p
from roam.world.action import parse_action

from ..server.doubles import Tiny, until
from .doubles import ThreadFleet

FORWARD, LEFT = parse_action("move forward"), parse_action("turn left")


class Full(SharedPlace):
    """A shared place that can be read, and takes nothing while it is full."""

    is_full = True

    def put(self, path, data):
        if self.is_full:
            raise OSError(28, "No space left on device")
        super().put(path, data)


class Undead(ThreadFleet):
    """A fleet whose worker goes on when it is given up, as on a machine that is only cut off from the front."""

    def give_up(self, name):
        self.given_up = self.workers.pop(name)
        self._on_death(name)

    def end(self, *, workers_stay):
        super().end(workers_stay=workers_stay)
        self.given_up.stop()


def walk_of(client, *actions) -> str:
    """A walk in which these actions were done."""
    walk = client.open(seed=1, look=EXACT)
    for action in actions:
        client.step(walk, action)
    return walk


def assert_stands(client, walk, *actions) -> None:
    """One more step forward ends where these actions and it do."""
    assert client.step(walk, FORWARD).frame.digest == list(Tiny(1).rollout([*actions, FORWARD]))[-1].digest


def drained(front, name: str) -> str:
    said: list[str] = []
    front.do(lambda: front.drain(name, said.append))
    return until(lambda: said)[0]


def test_a_walk_that_cannot_be_copied_stays_where_it_is_and_its_walker_is_told(cluster):
    """The front gave it to another worker nevertheless, which took it up from the copy before."""
    front = cluster.front()
    client = cluster.client(front)
    walk = walk_of(client, FORWARD)
    name = front.state.routes.by_session[walk].worker
    worker = cluster.workers.workers[name]
    worker.replicator.round()
    worker.replicator.place = place = Full(worker.replicator.place.url)
    client.step(walk, LEFT)
    said = drained(front, name)
    assert said == (
        f"{name} is not drained, 1 of its walks stay there: No space left on device; drain it again when that is mended"
    )
    assert [str(warning) for warning in client.take_warnings()] == [
        "this walk cannot move to another machine (No space left on device); it goes on where it is, and nothing of it "
        "is lost unless that machine ends before it can be copied [storage]"
    ]
    assert_stands(client, walk, FORWARD, LEFT)
    assert front.state.routes.by_session[walk].worker == name
    place.is_full = False
    assert drained(front, name) == f"{name} is drained: 1 walks moved"
    assert_stands(client, walk, FORWARD, LEFT, FORWARD)
    assert front.state.counts.walks_lost == front.state.counts.frames_lost == 0


def test_a_walk_whose_disk_fails_stays_where_it_is(cluster):
    front = cluster.front()
    client = cluster.client(front)
    walk = walk_of(client, FORWARD)
    name = front.state.routes.by_session[walk].worker
    with (
        patch.object(Store, "log", side_effect=OSError(5, "Input/output error")),
        patch.object(Store, "turn", side_effect=OSError(5, "Input/output error")),
    ):
        client.step(walk, LEFT)
        assert drained(front, name).startswith(f"{name} is not drained, 1 of its walks stay there: ")
        assert_stands(client, walk, FORWARD, LEFT)
    assert front.state.routes.by_session[walk].worker == name


def test_a_parked_walk_that_cannot_be_copied_is_found_where_it_is(cluster):
    """Nobody has it open, and the shared place has only an older copy."""
    front = cluster.front()
    client = cluster.client(front)
    walk = walk_of(client, FORWARD)
    token, name = client.token(walk), front.state.routes.by_session[walk].worker
    worker = cluster.workers.workers[name]
    worker.replicator.round()
    worker.replicator.place = Full(worker.replicator.place.url)
    client.step(walk, LEFT)
    client.close()
    until(lambda: not front.state.routes.by_session[walk].seats)
    assert drained(front, name).startswith(f"{name} is not drained, 1 of its walks stay there: ")
    again = cluster.client(front)
    assert_stands(again, again.resume(token, look=EXACT), FORWARD, LEFT)


def test_a_worker_that_was_given_up_and_goes_on_does_not_overwrite_the_walk(cluster):
    """The front cannot reach it, but it reaches the shared place: it wrote its older copy over the newer one."""
    fleet = Undead(cluster.folder / "shared", cluster.own.public)
    front = cluster.front(fleet, workers=2)
    client = cluster.client(front)
    walk = walk_of(client, FORWARD)
    name = front.state.routes.by_session[walk].worker
    left = fleet.workers[name]
    left.replicator.round()
    fleet.give_up(name)
    until(lambda: front.state.counts.resumes)
    assert_stands(client, walk, FORWARD)
    other = front.state.routes.by_session[walk].worker
    fleet.workers[other].replicator.round()
    here = left.replicator.folder / "sessions" / walk
    for name in ("log-1.jsonl", "log-2.jsonl", "meta.json"):  # it writes something: a snapshot was under way
        (here / name).write_bytes((here / name).read_bytes() if (here / name).exists() else b"")
    left.replicator.round()
    until(lambda: walk not in {held.session for held in left.held()} and not here.exists())  # it drops the walk
    fleet.crash(other)
    assert_stands(client, walk, FORWARD, FORWARD)


def test_acts_that_went_with_a_machine_are_not_done_on_a_walk_that_lacks_the_acts_before_them():
    route = Route("0a", "secret", "w1", index=6)
    for seq in (1, 2, 3, 4):
        route.note(p.Act(seq=seq, session="0a", mode="once", text="move forward"))
        if seq < 4:
            assert route.receipted(seq)
    for typed in list(route.typed.values())[:2]:
        typed.receipted_at -= 3600
    route.note(p.Act(seq=5, session="0a", mode="once", text="move forward"))
    assert [act.seq for act in route.again(last=2)] == [3, 4, 5]
    assert [act.seq for act in route.again(last=1)] == [4, 5]  # 2 is forgotten here, and not in the copy


@pytest.mark.parametrize("is_told", [True, False])
def test_whoever_loses_frames_with_a_machine_is_told_how_many(cluster, is_told):
    front = cluster.front(workers=2)
    client = cluster.client(front)
    walk = walk_of(client, FORWARD)
    route = front.state.routes.by_session[walk]
    worker = cluster.workers.workers[route.worker]
    worker.replicator.round()
    if is_told:
        worker.replicator.place = Full(worker.replicator.place.url)
        client.hold(walk, "move forward", FORWARD.motion)
        while client.next_frame(walk).head.index < 8:
            pass
        client.hold(walk, "")
    cluster.workers.crash(worker.about.name)
    until(lambda: client.resumptions(walk))
    client.step(walk, FORWARD)
    warnings = [str(warning) for warning in client.take_warnings()]
    assert len(warnings) == is_told
    if is_told:
        assert "the machine of this walk has ended; it goes on from frame 1: the " in warnings[0]
