"""A true scene behind Gymnasium's interface gives the same frames as the scene itself for the same seed and words."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from roam.viewer.client.walk_state import ServerError
from roam.world.action import ActionError

gymnasium = pytest.importorskip("gymnasium", reason="the plugin needs gymnasium")
FOLDER = Path(__file__).parents[2] / "plugins" / "gymnasium_env"
ID = "roam_env:Roam-v0"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)


@pytest.fixture
def make(server):
    """Makes environments on the server, and closes them."""
    made = []

    def make(**wanted):
        made.append(gymnasium.make(ID, address=server.address, **wanted))
        return made[-1]

    yield make
    for env in made:
        env.close()


def test_it_passes_gymnasiums_own_checks_without_a_warning(make):
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(render_mode="rgb_array").unwrapped)


def test_a_walk_by_numbers_and_by_words_leads_where_the_world_does(make, truth):
    env = make()
    observation, info = env.reset(seed=6)
    assert info["digest"] == truth(6).digest
    env.step(env.unwrapped.commands.index("turn left"))
    observation, reward, terminated, truncated, info = env.step("move forward 1.5 metres and look up")
    frame = truth(6, "turn left", "move forward 1.5 metres and look up")
    assert (info["index"], info["digest"]) == (frame.index, frame.digest)
    assert (observation["pixels"] == frame.pixels).all() and np.allclose(observation["depth"], frame.depth)
    assert np.allclose(info["pose"], [*frame.pose.position, *frame.pose.wxyz])
    assert (reward, terminated, truncated) == (0.0, False, False)


def test_a_sentence_is_walked_in_the_order_in_which_it_is_said(make, truth):
    env = make()
    env.reset(seed=6)
    info = env.step("turn left 90 degrees, then move forward 1 metre")[4]
    frame = truth(6, "turn left 90 degrees", "move forward 1 metre")
    assert (info["index"], info["digest"]) == (frame.index, frame.digest)


def test_every_command_is_one_frame_and_they_differ(make):
    env = make()
    env.reset(seed=6)
    commands = env.unwrapped.commands
    seen = [env.step(number)[4] for number in range(len(commands))]
    assert [info["index"] for info in seen] == list(range(1, len(commands) + 1))
    assert len({info["digest"] for info in seen}) == len(commands)


def test_what_has_no_depth_counts_as_far(fogs):
    env = gymnasium.make(ID, address=fogs.address, world="thin")
    observation, _ = env.reset(seed=6)
    assert (observation["depth"] == 100.0).all() and observation in env.observation_space
    env.close()


def test_a_world_without_depth_and_pose_is_pixels_only_and_stays_so(fogs):
    env = gymnasium.make(ID, address=fogs.address)
    observation, info = env.reset(seed=6)
    assert set(observation) == {"pixels"} and "pose" not in info
    with pytest.raises(ValueError, match=r"began with pixels \(4, 8, 3\): make one for this world"):
        env.reset(options={"world": "thin"})
    env.close()


def test_a_task_pays_and_ends_the_episode(make):
    env = make(task=lambda before, after: (before.pose.distance_to(after.pose), after.index == 2))
    env.reset(seed=6)
    assert env.step("turn left")[1:3] == (0.0, False)
    assert env.step("strafe right 0.2 metres")[1:3] == (pytest.approx(0.2), True)


def test_an_environment_renders_what_it_saw_and_no_later_step_changes_it(make):
    env = make(render_mode="rgb_array")
    observation, _ = env.reset(seed=6)
    kept = observation["pixels"].copy()
    assert (env.render() == kept).all()
    env.step(0)
    assert (observation["pixels"] == kept).all() and (env.render() != kept).any()


def test_a_reset_ends_the_walk_before(make, server):
    env = make()
    for seed in range(3):
        env.reset(seed=seed)
    assert "roam_sessions 1\n" in server.metrics_text()


def test_a_fork_tries_a_step_that_the_environment_then_takes(make):
    from roam.world.action import parse_action

    env = make()
    env.reset(seed=6)
    branch = env.unwrapped.walk.fork()
    tried = branch.step(parse_action("turn right"))
    assert env.step("turn right")[4]["digest"] == tried.digest


def test_environments_of_a_vector_share_a_server(server):
    envs = gymnasium.make_vec(ID, num_envs=2, vectorization_mode="sync", address=server.address)
    observation, info = envs.reset(seed=[6, 6])
    assert observation["pixels"].shape == (2, 128, 128, 3) and len(set(info["digest"])) == 1
    assert len(set(envs.step(np.array([0, 4]))[4]["digest"])) == 2
    envs.close()


def test_what_cannot_be_done_is_refused_in_a_sentence_and_the_walk_goes_on(make):
    from roam.viewer.client.knock import ViewError

    env = make()
    env.reset(seed=6)
    with pytest.raises(ActionError, match="unknown verb 'jmp'"):
        env.step("jmp")
    pose = env.unwrapped.walk.frame.pose
    with pytest.raises(ActionError):  # it was done, and the pose and memory were lost
        env.step("open the door")
    assert env.unwrapped.walk.frame.pose == pose
    with pytest.raises(ValueError, match="wanted 0 to 8 or a sentence"):
        env.step(9)
    assert env.step(0)[4]["index"] == 1
    with pytest.raises(ValueError, match="unknown option 'wrld'; known: model, world, text, image"):
        env.reset(options={"wrld": "rooms"})
    with pytest.raises(ServerError, match="unknown world 'caves'"):
        env.reset(options={"world": "caves"})
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.unwrapped.step(0)
    with pytest.raises(ViewError, match="'5555' is no address"):
        gymnasium.make(ID, address="5555")


def test_it_brings_no_torch_and_says_what_to_install():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import roam_env; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(FOLDER)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    code = "import sys; sys.modules['gymnasium'] = None; " + code
    done = subprocess.run([sys.executable, "-c", code, str(FOLDER)], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip().endswith("pip install 'gymnasium>=1.0'")


def test_the_random_agent_walks_and_records(server, tmp_path):
    command = [sys.executable, "random_agent.py", server.address, "--steps", "12", "-o", str(tmp_path / "walk.gif")]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=120)
    assert re.match(r"\d+\.\d metres in 12 steps", done.stdout), done.stderr
    assert (tmp_path / "walk.gif").stat().st_size > 1000


def test_the_snippets_of_its_page_run(server):
    snippets = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(), re.S)
    names = {}
    for code in snippets:
        exec(code.replace(f'"{ID}"', f'"{ID}", address="{server.address}"'), names)
    names["env"].close()
    assert len(snippets) == 2 and names["observation"]["depth"].shape == (128, 128)


@pytest.mark.parametrize("seed", [999_999, 1_000_000, 33_247_589, 2**31 - 1, 2**32 - 1])
def test_any_seed_that_a_trainer_draws_begins_a_walk_and_the_same_one_the_same(make, seed):
    env = make()
    assert env.reset(seed=seed)[1]["digest"] == env.reset(seed=seed)[1]["digest"]


def test_large_seeds_begin_different_walks(make):
    env = make()
    assert len({env.reset(seed=seed)[1]["digest"] for seed in (10**6, 10**6 + 1, 10**7, 2**32 - 1)}) == 4
