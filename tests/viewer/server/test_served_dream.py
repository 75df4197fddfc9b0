"""The shipped model, served; no double takes its place."""

import threading

import pytest
from roam.viewer.client.client import Client
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.opening.worlds import DreamWorlds, OpenRequest, SceneWorlds
from roam.viewer.server.registry import Limits
from roam.viewer.server.server import Server
from roam.world.action import ActionError, parse_action
from roam.world.engine import Engine
from roam.world.pose import Motion

from .doubles import until

WALK = [parse_action(text) for text in ("move forward", "turn left 15 degrees", "move back", "turn right 15 degrees")]


@pytest.fixture(scope="module")
def dreams() -> DreamWorlds:
    return DreamWorlds(Engine.from_checkpoint())


def test_a_served_dream_is_the_local_one_and_a_misspelt_word_costs_it_nothing(dreams, tmp_path):
    local = dreams.open(OpenRequest(seed=7)).rollout(WALK)
    with Server(dreams, folder=tmp_path) as server, Client(server.address, timeout_s=120.0) as client:
        walk = RemoteSession.open(client, seed=7, patience_s=120.0)
        seen = [walk.frame.digest]
        for action in WALK:
            for words in ("trun left", "open the door"):
                with pytest.raises(ActionError):
                    client.receipt(walk.id, client.act(walk.id, words))
            seen.append(walk.step(action).digest)
        assert walk.frame.pose is not None and walk.frame.depth is not None
    assert seen == [frame.digest for frame in local.frames]


def test_a_dream_goes_on_in_another_server_as_it_would_have_while_snapshots_are_written(dreams, tmp_path):
    local = dreams.open(OpenRequest(seed=3)).rollout(WALK * 3)
    limits = Limits(snapshot_frames=2)
    with Server(dreams, folder=tmp_path, limits=limits) as server, Client(server.address, timeout_s=120.0) as client:
        walk = RemoteSession.open(client, seed=3, patience_s=120.0)
        walk.rollout(WALK)
        fork = walk.fork()
        client.save(walk.id, "here")
        walk.rollout(WALK)
        assert fork.step(WALK[0]).digest == local.frames[5].digest
        token = client.token(walk.id)
    with Server(dreams, folder=tmp_path, limits=limits) as server, Client(server.address, timeout_s=120.0) as client:
        walk = RemoteSession.resume(client, token)
        assert walk.frame.digest == local.frames[8].digest
        assert [frame.digest for frame in walk.rollout(WALK).frames[1:]] == [f.digest for f in local.frames[9:]]
        assert client.next_frame(client.load("here")).head.index == 4


def test_a_dream_elsewhere_is_the_local_one_and_looks_know_it_then(dreams, tmp_path):
    local = dreams.open(OpenRequest(seed=5))
    with Server(dreams, folder=tmp_path) as server, Client(server.address, timeout_s=120.0) as client:
        walk = RemoteSession.open(client, seed=5, patience_s=120.0)
        there = walk.frame.pose.moved(Motion(right=0.2, yaw_deg=-70))
        before = walk.look(there).unknown.mean()
        assert walk.dream_at(there).digest == local.dream_at(there).digest
        after, mine = walk.look(there), local.look(there)
        assert before > 0.5 and after.unknown.mean() < 0.02 and (after.pixels == mine.pixels).all()
        assert walk.step(WALK[1]).digest == local.step(WALK[1]).digest
    local.close()


def test_every_page_is_given_back_when_walks_are_closed(dreams, tmp_path):
    pool = dreams.engine.cache.pool
    before = pool.num_pages - pool.num_free
    limits = Limits(snapshot_frames=2)
    with Server(dreams, folder=tmp_path, limits=limits) as server, Client(server.address, timeout_s=120.0) as client:
        walks = [RemoteSession.open(client, seed=seed, patience_s=120.0) for seed in range(2)]
        threads = [threading.Thread(target=walk.rollout, args=(WALK,)) for walk in walks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.save(walks[0].id, "one")
        walks[0].fork().close()
        for walk in walks:
            walk.close()
        until(lambda: pool.num_pages - pool.num_free <= before)
        assert pool.num_pages - pool.num_free == before


def test_worlds_tell_how_many_pages_walks_could_still_be_given(dreams):
    free, cache = dreams.num_free, dreams.engine.cache
    assert free - cache.pool.num_free == cache.max_pages - cache.pool.num_pages  # those that are not made yet count too
    walk = dreams.open(OpenRequest(seed=2))
    assert 0 < dreams.num_free < free
    walk.close()
    assert dreams.num_free == free and SceneWorlds().num_free == -1
