"""Shared by the cluster's tests: a front with two workers in threads, and clients of it."""

from __future__ import annotations

import contextlib
import threading

import pytest
from roam.viewer.client.client import Client
from roam.viewer.cluster.front import Front
from roam.viewer.cluster.placing import Rules
from roam.viewer.cluster.scaling import Size
from roam.viewer.wire.security import make_key

from ..server.doubles import until
from .doubles import ThreadFleet


class Cluster:
    """A front and its fleet; a test may start it several times."""

    def __init__(self, folder, stack: contextlib.ExitStack):
        self.folder, self._stack = folder, stack
        self.own = make_key(folder / "keys", "front")

    def fleet(self, **options) -> ThreadFleet:
        return ThreadFleet(self.folder / "shared", self.own.public, **options)

    def front(self, fleet=None, *, workers=2, most=None, rules=None, address="tcp://127.0.0.1:0", **options) -> Front:
        self.workers = fleet or self.fleet()
        times = {name: options.pop(name) for name in ("idle_s", "hang_s", "gone_s") if name in options}
        size = Size(workers, most or workers, busy_s=0.1, **times)
        front = Front(self.workers, address, own=self.own, rules=rules or Rules(), size=size, **options).start()
        self._stack.callback(front.stop)
        return front

    def client(self, front: Front, **options) -> Client:
        return self._stack.enter_context(Client(front.address, timeout_s=60, **options))


@pytest.fixture
def cluster(tmp_path):
    with contextlib.ExitStack() as stack:
        yield Cluster(tmp_path, stack)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """Fails a test that leaves a thread of ours running: the fault would otherwise show in a later test."""
    before = threading.enumerate()
    yield
    begun = lambda: [thread for thread in threading.enumerate() if thread not in before]  # noqa: E731
    until(lambda: not any(thread.name.startswith("roam-") for thread in begun()))
