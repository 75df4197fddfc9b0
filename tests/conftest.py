"""Tests that are marked slow run where they are asked for: `make test-all`, or -m slow. None is timed."""

import pytest
from hypothesis import HealthCheck, settings

# those that take longest begin first, so that none is left alone at the end while other processes have nothing to do
LONGEST = (
    "viewer/server/test_xr_page.py",
    "viewer/server/test_gateway.py",
    "world/emu/test_shards.py",
    "world/emu/test_tensor_parallel.py",
    "world/adaptation/test_adapt.py",
    "world/training/test_recipe.py",
    "bench/consistency/test_unseen.py",
    "world/transformer/test_passes.py",
    "world/emu/test_explore.py",
    "world/spatial/test_looker.py",
    "world/test_session.py",
    "bench/consistency/test_worlds.py",
    "bench/consistency/test_run.py",
    "bench/test_imagination.py",
    "test_examples.py",
)
settings.register_profile("roam", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are busy
settings.load_profile("roam")


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: _place(item.path.as_posix()))
    if "slow" in config.getoption("-m"):
        return
    skip = pytest.mark.skip(reason="marked slow; `make test-all` runs it")
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(skip)


def _place(path: str) -> int:
    return next((place for place, name in enumerate(LONGEST) if path.endswith("/tests/" + name)), len(LONGEST))
