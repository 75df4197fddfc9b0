"""Work for several sessions at once returns in order, and runs on several threads."""

from __future__ import annotations

import threading

import pytest
from roam.world.side_by_side import SideBySide


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
