"""Walks go to the worker whose step takes the least time, while it has room; those that wait are served in order."""

from __future__ import annotations

import pytest
from roam.viewer.cluster.placing import Queue, Rules, Waiter, WorkerState, place
from roam.viewer.cluster.worker import About, Status
from roam.viewer.wire.protocol import ProtocolError


def worker(name: str, *, driven: int = 0, opening: int = 0, **status) -> WorkerState:
    about = About(name, "tcp://127.0.0.1:1", "", (), (), 0.0, 0)
    return WorkerState(about, Status(**status), driven=driven, opening=opening)


def placed(*workers: WorkerState, is_urgent: bool = False, **rules) -> str | None:
    found = place(workers, Rules(**rules), is_urgent=is_urgent)
    return found.about.name if found else None


def test_the_worker_with_fewer_walks_is_taken_where_steps_take_the_same():
    assert placed(worker("a", driven=2), worker("b", driven=1)) == "b"


def test_a_faster_worker_is_taken_though_it_has_more_walks():
    assert placed(worker("a", driven=1, step_p50_ms=400), worker("b", driven=3, step_p50_ms=60)) == "b"


def test_a_worker_without_free_pages_takes_no_walk():
    assert placed(worker("a", num_free=3), worker("b", driven=5, num_free=900)) == "b"
    assert placed(worker("a", num_free=3)) is None


def test_a_worker_whose_steps_take_too_long_is_full_unless_it_has_nobody():
    slow = {"step_p95_ms": 300.0, "target_ms": 200.0}
    assert placed(worker("a", driven=1, step_p95_ms=300.0), target_ms=200.0) is None
    assert placed(worker("a", step_p95_ms=slow["step_p95_ms"]), target_ms=slow["target_ms"]) == "a"


def test_what_is_under_way_already_goes_on_where_all_is_full():
    assert placed(worker("a", driven=1), most_walks=1) is None
    assert placed(worker("a", driven=1), most_walks=1, is_urgent=True) == "a"


def test_a_worker_that_is_drained_takes_nothing():
    leaving = worker("a")
    leaving.is_draining = True
    assert placed(leaving) is None and placed(leaving, is_urgent=True) is None


def test_keys_take_turns_in_the_queue():
    queue = Queue(Rules(most_waiting=10))
    for number, guest in enumerate(("a", "a", "a", "b", "c")):
        queue.join(Waiter(guest, number, since=float(number)), 4)
    driven = {"a": 0, "b": 0, "c": 2}
    assert [waiter.ticket for waiter in queue.order(lambda guest: driven[guest])] == [0, 3, 1, 2, 4]


def test_a_full_queue_says_when_to_come_back_by_how_long_walks_take():
    queue = Queue(Rules(most_waiting=1))
    for _ in range(5):
        queue.ended(40.0)
    queue.join(Waiter("a", 1), 4)
    with pytest.raises(ProtocolError, match=r"4 places are taken and 1 wait; come back in 10 s") as refused:
        queue.join(Waiter("b", 2), 4)
    assert refused.value.code == "full"
