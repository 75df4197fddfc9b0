"""A server's registry by itself: how many walks each guest may keep, which one is given up first, and how fast a
client may send."""

import time

import numpy as np
import pytest
from roam.viewer.server import registry
from roam.viewer.server.command_queue import CommandQueue
from roam.viewer.server.registry import Client, Limits, Published, Registry, ServedWalk, Viewer
from roam.viewer.wire.encoding import Look
from roam.viewer.wire.protocol import MAX_CREDITS, Act, ProtocolError
from roam.world.frame import Frame


def walk(name: str, *, guest: str = "ann", still_s: float = 0.0, **how) -> ServedWalk:
    return ServedWalk(
        name, f"secret of {name}", CommandQueue(name), guest=guest, active_at=time.monotonic() - still_s, **how
    )


def registry_of(*walks: ServedWalk, **limits) -> Registry:
    made = Registry(Limits(**limits))
    for one in walks:
        made.add(one)
    return made


def test_a_guest_keeps_as_many_walks_as_the_limit_says_and_none_more():
    full = registry_of(walk("a", is_used=True), walk("b", is_used=True), walk("c", guest="ben"), max_kept_each=3)
    assert full.to_make_room("ann") is None
    full.add(walk("d", is_used=True))
    with pytest.raises(ProtocolError, match="3 of your walks are kept"):
        full.to_make_room("ann")
    assert full.to_make_room("ben") is None


def test_a_server_keeps_as_many_walks_as_the_limit_says_whoever_they_are_of():
    full = registry_of(walk("a", is_used=True), walk("b", guest="ben", is_used=True), max_sessions=2)
    with pytest.raises(ProtocolError, match="2 walks are kept here"):
        full.to_make_room("cleo")


def test_on_a_full_server_anybodys_unused_walk_makes_room():
    unused = walk("b", guest="ben", still_s=61.0)
    assert registry_of(walk("a", is_used=True), unused, max_sessions=2).to_make_room("cleo") is unused


def test_whoever_leaves_lets_go_of_the_keys():
    one = walk("a", driver=b"x")
    one.viewers = {b"x": Viewer(Look("raw"), 1, is_driver=True), b"y": Viewer(Look("raw"), 1, is_driver=False)}
    one.controls.take_in(Act(seq=1, session="a", mode="hold", text="move forward"), frame=0)
    one.leave(b"y")
    assert one.wants_step  # it was watched, not driven, so its keys stay held
    one.leave(b"x")
    assert not one.controls.has_work


def test_bytes_on_the_disk_count_as_walks_do():
    made = registry_of(walk("a", is_used=True), max_kept_bytes_each=1000)
    assert made.to_make_room("ann", kept_bytes=999) is None
    with pytest.raises(ProtocolError, match="MB"):
        made.to_make_room("ann", kept_bytes=1000)


def test_unused_walks_go_first_then_those_that_have_lain_still_longest_and_never_one_that_is_driven():
    day = 86400.0
    old, older, used = (
        walk("old", still_s=31 * day, is_used=True),
        walk("older", still_s=32 * day, is_used=True),
        "used",
    )
    unused, driven = walk("unused", still_s=61.0), walk("driven", still_s=99 * day, driver=b"x")
    made = registry_of(old, older, walk(used, is_used=True), unused, driven, max_kept_each=5)
    for expected in (unused, older, old):
        assert made.to_make_room("ann") is expected
        made.remove(expected)
        made.add(walk(f"instead of {expected.id}", is_used=True))
    with pytest.raises(ProtocolError):
        made.to_make_room("ann")


def test_a_walk_that_was_just_begun_is_not_unused_yet():
    with pytest.raises(ProtocolError):
        registry_of(walk("a", still_s=30.0), max_kept_each=1).to_make_room("ann")


def test_two_seconds_worth_of_messages_may_come_at_once_and_then_no_more_than_the_rate(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(registry.time, "monotonic", lambda: now[0])
    client = Client(b"x", allowance=0.0, filled_at=0.0)
    assert sum(client.may_speak(10.0) for _ in range(99)) == 20
    now[0] += 0.5
    assert sum(client.may_speak(10.0) for _ in range(99)) == 5


def frame(index: int) -> Frame:
    return Frame(index, np.zeros((2, 2, 3), np.uint8))


def test_a_driver_gets_every_frame_and_a_spectator_the_newest_with_a_count_of_those_that_went_by():
    driver, spectator = (Viewer(Look("raw"), 1, is_driver=is_driver) for is_driver in (True, False))
    for index in range(3):
        for viewer in (driver, spectator):
            viewer.show(Published("ab", frame(index)))
    assert [published.frame.index for published in driver.waiting] == [0, 1, 2] and driver.skipped == 0
    assert [published.frame.index for published in spectator.waiting] == [2] and spectator.skipped == 2


def test_credits_have_an_end_and_a_frame_that_waits_takes_one():
    viewer = Viewer(Look("raw"), 1, is_driver=True)
    assert viewer.has_room
    viewer.show(Published("ab", frame(0)))
    assert not viewer.has_room
    viewer.grant(10**9)
    assert viewer.credits == MAX_CREDITS and viewer.has_room


def test_whoever_leaves_a_walk_that_is_parked_leaves_no_frame_in_memory():
    one = walk("a", driver=b"x", is_parked=True)
    one.viewers = {b"x": Viewer(Look("raw"), 1, is_driver=True), b"y": Viewer(Look("raw"), 1, is_driver=False)}
    one.latest = Published("a", frame(0))
    one.leave(b"x")
    assert one.driver is None and one.latest is not None  # somebody is still watching
    one.leave(b"y")
    assert one.latest is None


def test_a_walk_is_found_by_its_token_until_it_is_removed():
    made = registry_of()
    kept = made.add(ServedWalk("a", registry.secret_of("token"), CommandQueue("a")))
    assert made.with_token("token") is kept
    with pytest.raises(ProtocolError, match="no walk has that token"):
        made.with_token("a")
    made.remove(kept)
    with pytest.raises(ProtocolError):
        made.with_token("token")
