"""Tests that are marked slow run where they are asked for: `make test-all`, or -m slow. None is timed."""

import pytest
from hypothesis import settings

settings.register_profile("roam", deadline=None)  # the machine may be busy
settings.load_profile("roam")


def pytest_collection_modifyitems(config, items):
    if "slow" in config.getoption("-m"):
        return
    skip = pytest.mark.skip(reason="marked slow; `make test-all` runs it")
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(skip)
