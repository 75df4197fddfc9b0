"""To its clients a front is a server like any other; behind it, walks survive the end of their workers."""

from __future__ import annotations

import pytest
from roam.viewer.client.remote_session import EXACT, RemoteSession
from roam.viewer.client.walk_state import ServerError
from roam.viewer.cluster.placing import Rules
from roam.viewer.cluster.routes import Route
from roam.viewer.wire import protocol as p
from roam.viewer.wire.encoding import decode
from roam.world.action import ActionError, parse_action

from ..server.conftest import Wire
from ..server.doubles import Tiny, TinyWorlds, until

WALK = [parse_action(text) for text in ("move forward", "turn left", "move forward", "strafe left", "look down")] * 3


def worker_of(front, session: str) -> str:
    return front.state.routes.by_session[session].worker


def digests(seed: int, actions) -> list[str]:
    return [frame.digest for frame in Tiny(seed).rollout(actions)]


def test_a_walk_through_a_front_shows_what_a_local_one_does(cluster):
    client = cluster.client(cluster.front())
    walk = RemoteSession.open(client, seed=5, look=EXACT)
    assert [frame.digest for frame in walk.rollout(WALK)] == digests(5, WALK)
    with pytest.raises(ActionError, match="jump"):
        walk.step(parse_action("move forward").__class__("jump"))


def test_walks_are_spread_over_the_workers_and_stay_where_they_are(cluster):
    front = cluster.front()
    client = cluster.client(front)
    walks = [client.open(seed=seed, look=EXACT) for seed in range(4)]
    where = [worker_of(front, walk) for walk in walks]
    assert sorted(where) == ["w1", "w1", "w2", "w2"]
    for action in WALK:
        for walk in walks:
            client.step(walk, action)
    assert [worker_of(front, walk) for walk in walks] == where
    for seed, walk in enumerate(walks):
        assert client.latest_frame(walk).digest == digests(seed, WALK)[-1]


def test_fork_rewind_save_load_watch_and_close_go_through(cluster):
    front = cluster.front()
    client, other = cluster.client(front), cluster.client(front)
    walk = client.open(seed=3, look=EXACT)
    for action in WALK[:4]:
        client.step(walk, action)
    assert client.rewind(walk, 2).digest == digests(3, WALK[:2])[-1]
    client.save(walk, "here")
    fork, loaded = client.fork(walk), client.load("here", look=EXACT)
    elsewhere = other.load("here", token=client.token(walk), look=EXACT)
    for one, who in ((walk, client), (fork, client), (loaded, client), (elsewhere, other)):
        assert who.step(one, WALK[2]).frame.digest == digests(3, WALK[:3])[-1]
    watched = other.watch(walk, look=EXACT)
    assert other.next_frame(watched).frame.digest == digests(3, WALK[:3])[-1]
    client.end(walk)
    assert walk not in front.state.routes.by_session
    with pytest.raises(ServerError, match="unknown_session"):
        other.watch(walk)


def test_a_worker_that_dies_costs_no_typed_word_and_no_hello(cluster):
    front = cluster.front()
    client = cluster.client(front)
    walks = [client.open(seed=seed, look=EXACT) for seed in range(4)]
    for number, action in enumerate(WALK):
        for walk in walks:
            client.step(walk, action)
        if number == 6:
            cluster.workers.crash(worker_of(front, walks[0]))
    for seed, walk in enumerate(walks):
        assert client.latest_frame(walk).digest == digests(seed, WALK)[-1]
    resumed = [[told for told in client.resumptions(walk) if not told.moved] for walk in walks]
    assert sorted(len(times) for times in resumed) == [0, 0, 1, 1]
    assert front.state.counts.deaths == 1 and front.state.counts.walks_lost == 0


def test_walks_move_to_the_worker_that_comes_for_one_that_has_died(cluster):
    """Walks once stayed where they had moved to, so that the next worker to die took all of them with it."""
    front = cluster.front()
    client = cluster.client(front)
    walks = [client.open(seed=seed, look=EXACT) for seed in range(4)]
    for walk in walks:
        client.step(walk, WALK[0])
    cluster.workers.crash(worker_of(front, walks[0]))
    until(lambda: front.state.counts.deaths)
    spread = lambda: sorted(front.state.routes.num_driven(name) for name in front.state.workers)  # noqa: E731
    until(lambda: spread() == [2, 2] and not any(r.is_moving for r in front.state.routes.by_session.values()))
    for action in WALK[1:]:
        for walk in walks:
            client.step(walk, action)
    for seed, walk in enumerate(walks):
        assert client.latest_frame(walk).digest == digests(seed, WALK)[-1]
    counts = front.state.counts
    assert (counts.deaths, counts.moves, counts.frames_lost, counts.walks_lost) == (1, 2, 0, 0)


def test_an_act_whose_receipt_went_with_its_worker_is_said_again():
    """The walk had moved between the act and its receipt, and its client waited for the receipt without end."""
    route = Route("0a", "secret", "w1")
    for seq in (1, 2, 3):
        route.note(p.Act(seq=seq, session="0a", mode="once", text="move forward"))
    assert route.receipted(1)
    assert [act.seq for act in route.again(last=2)] == [2, 3]  # act 2 is done, and is receipted once more
    assert route.receipted(2) and route.receipted(3)


def test_walks_that_are_spread_as_evenly_as_can_be_stay(cluster):
    front = cluster.front()
    client = cluster.client(front)
    walks = [client.open(seed=seed, look=EXACT) for seed in range(3)]
    for action in WALK[:8]:
        for walk in walks:
            client.step(walk, action)
    assert front.state.counts.moves == 0


def test_what_is_held_stays_held_when_a_worker_dies(cluster):
    front = cluster.front()
    client = cluster.client(front)
    walk = client.open(seed=1, look=EXACT)
    client.hold(walk, "move forward", parse_action("move forward").motion)
    for _ in range(5):
        client.next_frame(walk)
    cluster.workers.crash(worker_of(front, walk))
    told = until(lambda: client.resumptions(walk) or not client.next_frame(walk))[0]
    while (received := client.next_frame(walk)).head.index < told.index + 5:
        pass
    same = [parse_action("move forward")] * received.head.index
    assert received.frame.digest == digests(1, same)[-1]


def test_a_drained_worker_loses_nothing_and_goes(cluster):
    front = cluster.front()
    client = cluster.client(front)
    walks = [client.open(seed=seed, look=EXACT) for seed in range(4)]
    for walk in walks:
        client.step(walk, WALK[0])
    said: list[str] = []
    name = worker_of(front, walks[0])
    front.do(lambda: front.drain(name, said.append))
    for action in WALK[1:]:
        for walk in walks:
            client.step(walk, action)
    until(lambda: said)
    assert "2 walks moved" in said[0] and name not in front.state.workers
    for seed, walk in enumerate(walks):
        assert client.latest_frame(walk).digest == digests(seed, WALK)[-1]
        assert all(told.moved and told.index >= 1 for told in client.resumptions(walk))
    assert front.state.counts.frames_lost == 0
    until(lambda: len(front.state.workers) == 2)  # the smallest allowed value


def test_a_front_that_restarts_finds_its_walks(cluster):
    fleet = cluster.fleet()
    first = cluster.front(fleet)
    client = cluster.client(first, patience_s=1.0)
    walks = [client.open(seed=seed, look=EXACT) for seed in range(2)]
    for walk in walks:
        client.step(walk, WALK[0])
    first.stop(workers_stay=True)
    cluster.front(fleet, address=first.address)
    for action in WALK[1:]:
        for walk in walks:
            client.step(walk, action)
    for seed, walk in enumerate(walks):
        assert client.latest_frame(walk).digest == digests(seed, WALK)[-1]


def test_a_cluster_that_was_stopped_finds_its_walks_in_the_shared_place(cluster):
    first = cluster.front()
    client = cluster.client(first)
    walk = client.open(seed=2, look=EXACT)
    for action in WALK[:3]:
        client.step(walk, action)
    secret, token = first.state.routes.by_session[walk].secret, client.token(walk)
    client.close()
    first.stop()
    second = cluster.front(cluster.fleet(), stored_walks=lambda: {walk: secret})
    again = cluster.client(second)
    walk = again.resume(token, look=EXACT)
    assert again.next_frame(walk).frame.digest == digests(2, WALK[:3])[-1]


def test_a_full_cluster_tells_a_place_then_refuses_with_a_time(cluster):
    front = cluster.front(workers=1, rules=Rules(most_walks=1, most_waiting=1))
    client, waiting, late = (cluster.client(front) for _ in range(3))
    walk = client.open(seed=1)
    wire = Wire(front.address)
    wire.send(p.Hello(versions=(3, 2, 1), client="wire"))
    wire.read_until(p.Welcome)
    wire.send(p.Open(seq=1, seed=4, depth="f32", tokens=True))
    queued = wire.read_until(p.Queued)
    assert (queued.seq, queued.place) == (1, 1) and queued.wait_s > 0
    with pytest.raises(ServerError, match=r"1 wait; come back in \d+ s \[full\]"):
        late.open(seed=3)
    client.end(walk)
    assert wire.read_until(p.Opened).seq == 1
    head = wire.read_until(p.FrameHead)
    assert decode(head, wire.payload).digest == Tiny(4).frame.digest
    wire.close()
    assert waiting.is_connected


def test_a_client_that_never_reads_is_walked_no_further_than_its_connection_holds(cluster):
    """Its worker sees a front that reads everything: frames once piled up in the front, 4,000 of them."""
    front = cluster.front(cluster.fleet(worlds=lambda: TinyWorlds(side=(512, 512))), workers=1)
    walk, deaf = RemoteSession.open(cluster.client(front)), Wire(front.address, rcvhwm=1, rcvbuf=65536)
    opened, num_steps, num_still = deaf.open(credits=16), 0, 0
    deaf.send(p.Act(seq=2, session=opened.session, text="move forward"))
    while num_still < 20:  # steps of its neighbour in which it takes none
        assert walk.frame.index < 500, "its steps do not end"
        deaf.send(p.Credit(session=opened.session, frames=16))
        index = walk.step(WALK[0]).index
        num_still = num_still + 1 if front.state.counts.frames - index == num_steps else 0
        num_steps = front.state.counts.frames - index
    for index in range(num_steps + 20):
        assert deaf.read_until(p.FrameHead).index == index
        deaf.send(p.Credit(session=opened.session))
    deaf.close()


def test_an_older_client_is_refused_in_words_that_it_knows(cluster):
    front = cluster.front(workers=1, rules=Rules(most_walks=1, most_waiting=0))
    cluster.client(front).open(seed=1)
    wire = Wire(front.address)
    wire.greet()
    wire.send(p.Open(seq=1))
    error = wire.read_until(p.Error)
    wire.close()
    assert error.code == "limit" and "come back in" in error.message


def test_a_key_has_only_so_many_walks(cluster):
    client = cluster.client(cluster.front(rules=Rules(most_each=2)))
    walks = [client.open(seed=seed) for seed in range(2)]
    with pytest.raises(ServerError, match="2 walks are driven with your key"):
        client.open(seed=3)
    with pytest.raises(ServerError, match="2 walks are driven with your key"):
        client.fork(walks[1])
    client.end(walks[0])
    client.open(seed=3)


def test_workers_are_added_for_those_who_wait_and_taken_away_again(cluster):
    front = cluster.front(workers=1, most=2, rules=Rules(most_walks=1), idle_s=0.3)
    client = cluster.client(front)
    first, second = client.open(seed=1, look=EXACT), client.open(seed=2, look=EXACT)
    assert {worker_of(front, first), worker_of(front, second)} == {"w1", "w2"}
    client.end(first)
    until(lambda: len(front.state.workers) == 1)
    assert client.step(second, WALK[0]).frame.digest == digests(2, WALK[:1])[-1]


def test_workers_let_in_the_front_alone(cluster):
    front = cluster.front(workers=1)
    wire = Wire(front.state.workers["w1"].about.address)
    wire.send(p.Hello(versions=(1,), client="stranger"))
    assert wire.read(timeout_s=1.0) is None
    wire.close()
