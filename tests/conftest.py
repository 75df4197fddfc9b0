"""Which tests run when. `make test` leaves out what is marked slow(reason=...), seconds of processor each, so that it
takes about five minutes on two cores, and what is marked soak(reason=...), a minute or more each. Both run where -m
names them: `.ci/run` asks for the slow ones, `make test-all` for all; tests that draw their own examples then draw all
of them. None is timed.
"""

import gc
from functools import cache

import pytest
from hypothesis import HealthCheck, settings

# those that take longest begin first, so that none is left alone at the end while other processes have nothing to do
LONGEST = (
    "kernels/test_triton.py",
    "viewer/server/test_gateway.py",
    "viewer/cluster/test_ray.py",
    "world/emu/test_qwen3.py",
    "world/emu/test_shards.py",
    "world/emu/test_tensor_parallel.py",
    "viewer/server/test_shares.py",
    "world/training/test_recipe.py",
    "world/test_dreaming.py",
    "viewer/server/test_keeping.py",
    "world/test_dreaming_anew.py",
    "bench/imagination/test_rewards.py",
    "viewer/server/test_xr_page.py",
    "viewer/cluster/test_trouble.py",
    "world/test_session.py",
    "viewer/cluster/test_front.py",
    "bench/consistency/test_run.py",
    "world/test_checkpoint.py",
    "world/emu/test_explore.py",
    "world/transformer/test_passes.py",
    "world/emu/test_answer.py",
    "viewer/server/test_served_dream.py",
    "world/adaptation/test_adapt.py",
    "plugins/test_panda3d_world.py",
    "viewer/server/test_half_gone.py",
    "world/training/test_teacher.py",
    "viewer/server/test_manners.py",
    "world/emu/test_checkpoint.py",
    "bench/consistency/test_damage.py",
    "bench/consistency/questions/test_tasks.py",
    "viewer/play/test_anew.py",
    "viewer/commands/test_play.py",
    "viewer/test_ending_while_writing.py",
    "world/emu/test_tuned.py",
    "bench/consistency/questions/test_worlds.py",
    "world/saves/test_snapshot.py",
    "world/adaptation/test_rewards.py",
    "world/test_processes.py",
    "viewer/server/keeping/test_changes.py",
    "viewer/server/test_walking.py",
    "plugins/test_gymnasium_env.py",
    "viewer/commands/test_view.py",
    "viewer/server/test_connection_watch.py",
    "viewer/server/keeping/test_disk.py",
    "viewer/server/keeping/test_owners.py",
    "test_examples.py",
    "world/emu/test_adapted.py",
    "world/training/test_guide.py",
    "bench/consistency/test_unseen.py",
    "test_layers.py",
    "bench/imagination/test_stroll.py",
    "viewer/server/looking/test_looks.py",
    "world/test_compiled.py",
    "world/emu/test_explore_viewer.py",
    "bench/imagination/test_imagination.py",
    "viewer/commands/test_paths.py",
    "world/test_doom_model.py",
    "test_portable.py",
    "world/emu/test_captured.py",
    "bench/test_recorded.py",
    "world/test_large.py",
    "world/emu/test_rewarded.py",
    "world/tokens/test_depth.py",
    "bench/consistency/models/test_embedded.py",
    "viewer/server/page/test_between.py",
    "world/stepping/test_elsewhere.py",
    "scenes/doom/test_doom.py",
    "viewer/commands/test_dream.py",
    "bench/rollout/test_rollout.py",
    "scenes/recording/test_recordings.py",
    "viewer/window/test_window.py",
    "bench/consistency/test_rows.py",
    "world/transformer/test_autoregressive.py",
    "viewer/test_ending.py",
    "world/training/test_fresh.py",
)
# examples that a test draws: fewer in `make test`, all where the slow tests run; no deadline, for machines are busy
EXAMPLES = {"quick": 20, "whole": 100}
for name, count in EXAMPLES.items():
    settings.register_profile(name, max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def pytest_configure(config):
    settings.load_profile("whole" if "slow" in config.getoption("-m") else "quick")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Without looking for garbage: what is imported stays until the end, so it is not looked through later either."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def commands_made_once():
    """Typer makes all commands of `roam` anew for each call, which takes longer than most tests of a command."""
    import typer.main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(scope="module")
def uncollected():
    """No search for garbage while syntax trees are made: hundreds of thousands of objects, none of which is any."""
    gc.disable()
    yield
    gc.enable()


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: _place(item.path.as_posix()))
    for item in items:
        for name in ("slow", "soak"):
            if (marker := item.get_closest_marker(name)) and name not in config.getoption("-m"):
                reason = f"{name}, for {marker.kwargs['reason']}; `make test-all` runs it"
                item.add_marker(pytest.mark.skip(reason=reason))


def _place(path: str) -> int:
    return next((place for place, name in enumerate(LONGEST) if path.endswith("/tests/" + name)), len(LONGEST))
