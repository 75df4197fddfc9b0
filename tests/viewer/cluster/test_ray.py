"""The same tests on Ray: workers are processes, and one that is killed loses no walk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from roam.viewer.client.client import Client
from roam.viewer.client.remote_session import EXACT
from roam.viewer.cluster import ray_fleet
from roam.viewer.cluster.fleet import FleetError
from roam.viewer.cluster.front import Front
from roam.viewer.cluster.placing import Rules
from roam.viewer.cluster.ray_fleet import RayFleet, Recipe
from roam.viewer.cluster.scaling import Size
from roam.viewer.opening.worlds import OpenRequest, SceneWorlds
from roam.viewer.wire.security import make_key
from roam.world.action import parse_action

from ..server.doubles import until

WALK = [parse_action(text) for text in ("turn left", "move forward", "turn right")] * 3
# not importorskip: Ray must not be imported before it is told to stay on loopback
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="pip install 'roam-worlds[cluster]'")


def test_a_ray_that_is_joined_is_shown_the_token_that_is_there(tmp_path, monkeypatch):
    """Ray requires the token that `ray start` has made, and does not send it by itself."""
    monkeypatch.setattr(ray_fleet, "import_module", lambda name: None)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    ray_fleet.import_ray()
    assert "RAY_AUTH_MODE" not in os.environ
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    ray_fleet.import_ray()
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_what_is_done_at_a_signal_stays_ours_whatever_ray_does_at_it(tmp_path, monkeypatch):
    def ours(*_):
        pass

    ray = SimpleNamespace(
        init=lambda **_: signal.signal(signal.SIGTERM, signal.SIG_DFL),
        shutdown=lambda: None,
        util=SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1", list_named_actors=list),
    )
    monkeypatch.setattr(ray_fleet, "import_module", lambda name: ray)
    before = signal.signal(signal.SIGTERM, ours)
    try:
        fleet = RayFleet(Recipe(str(tmp_path), "key"))
        assert fleet.begin(lambda name: None) == []
        assert signal.getsignal(signal.SIGTERM) is ours
        fleet.end(workers_stay=False)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_ray_that_does_not_start_is_told_of_in_a_sentence(tmp_path, monkeypatch):
    """Ray 2.60 raises a bare Exception where the machine is too busy to start it in time."""

    def init(**_):
        raise Exception("The current node timed out during startup.\nmore")

    monkeypatch.setattr(ray_fleet, "import_module", lambda name: SimpleNamespace(init=init))
    with pytest.raises(FleetError, match=r"Ray at this machine: The current node timed out during startup\.$"):
        RayFleet(Recipe(str(tmp_path), "key")).begin(lambda name: None)


@needs_ray
@pytest.mark.slow(reason="Ray and its workers start, seconds of both cores")
def test_a_cluster_that_is_told_to_end_keeps_every_walk(tmp_path):
    command = [sys.executable, "-m", "roam.viewer.cli", "cluster", "up", "tcp://127.0.0.1:0", "--truth"]
    command += ["--folder", str(tmp_path)]
    cluster = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = iter(cluster.stdout.readline, "")
    assert any(line.startswith("serving on") for line in said)
    cluster.send_signal(signal.SIGTERM)
    assert list(said)[-1] == "every walk is kept\n" and cluster.wait(60) == 0


@needs_ray
@pytest.mark.slow(reason="Ray and its workers start, seconds of both cores")
def test_a_worker_killed_under_a_walk_costs_it_nothing(tmp_path):
    own = make_key(tmp_path / "keys", "front")
    recipe = Recipe(str(tmp_path / "shared"), own.public, is_truth=True, every_s=0.5)
    front = Front(RayFleet(recipe, most=2), own=own, rules=Rules(), size=Size(2, 2))
    with front, Client(front.address, timeout_s=120) as client:
        walks = [client.open(seed=seed, look=EXACT, size=(32, 32)) for seed in range(2)]
        for action in WALK[:4]:
            for walk in walks:
                client.step(walk, action)
        victim = front.state.workers[front.state.routes.by_session[walks[0]].worker].about
        assert os.getpriority(os.PRIO_PROCESS, victim.pid) == os.nice(0)  # as a server would run; Ray's own value is 15
        os.kill(victim.pid, signal.SIGKILL)
        for action in WALK[4:]:
            for walk in walks:
                client.step(walk, action)
        fled = [[told for told in client.resumptions(walk) if not told.moved] for walk in walks]
        assert [len(told) for told in fled] == [1, 0]
        for seed, walk in enumerate(walks):
            alone = SceneWorlds().open(OpenRequest(seed=seed, width=32, height=32))
            assert client.latest_frame(walk).digest == list(alone.rollout(WALK))[-1].digest
        until(lambda: len(front.state.workers) == 2, timeout_s=120)  # another one replaces it
