"""Which tests run when. `make test` leaves out what is marked slow(reason=...), seconds of processor each, so that it
takes under five minutes on two cores, and what is marked soak(reason=...), a minute or more each. Both run where -m
names them: `.ci/run` asks for the slow ones, `make test-all` for all; tests that draw their own examples then draw all
of them. None is timed.
"""

import pytest
from hypothesis import HealthCheck, settings

# those that take longest begin first, so that none is left alone at the end while other processes have nothing to do
LONGEST = (
    "viewer/server/test_xr_page.py",
    "viewer/server/test_gateway.py",
    "viewer/cluster/test_ray.py",
    "world/emu/test_shards.py",
    "world/emu/test_tensor_parallel.py",
    "world/adaptation/test_adapt.py",
    "world/training/test_recipe.py",
    "world/test_session.py",
    "world/transformer/test_passes.py",
    "bench/consistency/test_unseen.py",
    "world/adaptation/test_rewards.py",
    "viewer/commands/test_play.py",
    "world/test_dreaming.py",
    "world/emu/test_explore.py",
    "bench/consistency/test_run.py",
    "bench/consistency/test_rows.py",
    "bench/consistency/questions/test_worlds.py",
    "bench/consistency/test_damage.py",
    "bench/imagination/test_rewards.py",
    "world/test_dreaming_anew.py",
    "world/training/test_teacher.py",
    "world/emu/test_answer.py",
    "world/emu/test_rewarded.py",
    "kernels/test_interpreter.py",
    "bench/imagination/test_imagination.py",
)
# examples that a test draws: fewer in `make test`, all where the slow tests run; no deadline, for machines are busy
EXAMPLES = {"quick": 30, "whole": 100}
for name, count in EXAMPLES.items():
    settings.register_profile(name, max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def pytest_configure(config):
    settings.load_profile("whole" if "slow" in config.getoption("-m") else "quick")


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: _place(item.path.as_posix()))
    for item in items:
        for name in ("slow", "soak"):
            if (marker := item.get_closest_marker(name)) and name not in config.getoption("-m"):
                reason = f"{name}, for {marker.kwargs['reason']}; `make test-all` runs it"
                item.add_marker(pytest.mark.skip(reason=reason))


def _place(path: str) -> int:
    return next((place for place, name in enumerate(LONGEST) if path.endswith("/tests/" + name)), len(LONGEST))
