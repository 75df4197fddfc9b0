"""Work for several sessions at once returns in order, and runs on several threads."""

from __future__ import annotations

import threading

import pytest
from roam.world.side_by_side import SideBySide
from roam.world.side_by_side.threads import num_cores

two_cores = pytest.mark.skipif(num_cores() < 2, reason="with one core nothing is done ahead")


def test_values_come_in_the_order_of_their_items():
    assert SideBySide(3).map(lambda item: item * 2, list(range(20))) == [2 * item for item in range(20)]


def test_two_items_are_under_way_at_the_same_time():
    meeting = threading.Barrier(2)
    assert SideBySide(2).map(lambda item: meeting.wait(30) >= 0, [1, 2]) == [True, True]


def test_one_item_is_done_where_it_was_asked_for():
    here = threading.get_ident()
    assert SideBySide(4).map(lambda item: threading.get_ident(), [1]) == [here]


def test_the_first_error_is_raised_once_all_have_ended():
    done = []

    def work(item: int) -> None:
        done.append(item)
        if item in (1, 2):
            raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 1"):
        SideBySide(2).map(work, [0, 1, 2, 3])
    assert sorted(done) == [0, 1, 2, 3]


def test_one_after_the_other_values_come_in_order():
    assert list(SideBySide(1).in_order(lambda item: item * 2, range(20))) == [2 * item for item in range(20)]


@two_cores
def test_the_next_is_done_while_the_one_before_is_used():
    begun = threading.Event()
    values = SideBySide(1).in_order(lambda item: begun.set() if item else None, [0, 1])
    next(values)
    assert begun.wait(30)


@two_cores
def test_nobody_waits_for_threads_that_are_busy():
    one, begun, may_end = SideBySide(1), threading.Event(), threading.Event()
    slow = one.in_order(lambda item: (begun.set(), may_end.wait(30)) if item else None, [0, 1])
    next(slow)
    assert begun.wait(30)
    here = threading.get_ident()
    assert list(one.in_order(lambda item: threading.get_ident(), range(3))) == [here] * 3
    may_end.set()
    assert list(slow) == [(None, True)]


def test_an_error_of_one_ends_those_after_it():
    def work(item: int) -> int:
        if item == 1:
            raise ValueError(f"item {item}")
        return item

    values = SideBySide(1).in_order(work, range(3))
    assert next(values) == 0
    with pytest.raises(ValueError, match="item 1"):
        next(values)
    assert list(values) == []
