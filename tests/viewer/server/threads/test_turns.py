"""Whose step is next, by a clock of the test's: walks share an engine's time, whatever their steps cost."""

import pytest
from roam.viewer.server.threads.turns import WALKING_S, Turns


def walked(seconds: float, **walkers: tuple[float, float]) -> dict[str, int]:
    """Walk on one engine for so long. walkers: name -> (the duration of a step, the pause from its frame to the next
    request). Returns how many steps each of them has had."""
    turns, now, waiting = Turns(), 0.0, []
    asks_at, counts = dict.fromkeys(walkers, 0.0), dict.fromkeys(walkers, 0)
    while now < seconds:
        for at, name in sorted((at, name) for name, at in asks_at.items() if at <= now + 1e-9):
            turns.asks(name, at)
            waiting.append(name)
            del asks_at[name]
        name, wait_s = turns.next(waiting, now) if waiting else (None, 1e6)
        if name is None:
            assert wait_s > 1e-12, "it would wait for ever"
            now = min([now + wait_s, *asks_at.values()])
            continue
        step_s, pause_s = walkers[name]
        turns.took(name, now, now + step_s)
        waiting.remove(name)
        now += step_s
        asks_at[name], counts[name] = now + pause_s, counts[name] + 1
    return counts


@pytest.mark.parametrize("pause_s", [0.0, 0.004, 0.03, 0.2])
@pytest.mark.parametrize("long_s", [0.05, 0.12, 0.31, 2.0])
def test_a_walker_keeps_half_its_rate_beside_one_whose_steps_take_long(long_s, pause_s):
    """It had its turn after each step of the other: 0.32 of its rate beside one of twice the time."""
    alone = walked(60.0, walker=(0.05, pause_s))["walker"]
    beside = walked(60.0, walker=(0.05, pause_s), other=(long_s, 0.0))
    assert beside["walker"] >= 0.48 * alone and beside["other"] * long_s >= 0.45 * 60.0


def test_walks_whose_steps_take_the_same_have_the_same_number_and_nobody_rests():
    counts = walked(60.0, a=(0.1, 0.004), b=(0.1, 0.0), c=(0.1, 0.05))
    assert max(counts.values()) - min(counts.values()) <= 1 and sum(counts.values()) >= 599


def test_of_many_each_has_its_share():
    counts = walked(90.0, a=(0.05, 0.0), b=(0.05, 0.0), long=(0.6, 0.0))
    assert all(counts[name] * step_s >= 29.0 for name, step_s in (("a", 0.05), ("b", 0.05), ("long", 0.6)))


def test_a_walk_alone_never_rests():
    assert walked(60.0, other=(0.5, 0.0))["other"] == 120


def test_nobody_waits_for_who_has_stopped_or_will_not_come_in_time():
    turns = Turns()
    turns.took("short", 0.0, 0.1)
    turns.took("long", 0.1, 2.1)
    turns.asks("short", 2.1)
    turns.took("short", 2.1, 2.2)
    turns.asks("short", 2.2)
    turns.took("short", 2.2, 2.3)  # it asks at once, as a rule
    assert turns.next(["long"], 2.3) == (None, pytest.approx(WALKING_S))
    assert turns.next(["long"], 2.3 + WALKING_S) == ("long", 0.0)
    turns.asks("short", 4.3)
    turns.took("short", 4.3, 4.4)  # by now it pauses for longer than the other's step would take
    assert turns.next(["long"], 4.4) == ("long", 0.0)


def test_whoever_was_idle_has_saved_nothing_up():
    turns = Turns()
    turns.took("idle", 0.0, 0.1)
    for number in range(100):
        turns.took("busy", number + 0.1, number + 1.1)
    now, steps = 100.1, []
    for _ in range(6):
        name, _ = turns.next(["idle", "busy"], now)
        turns.took(name, now, now + 1.0)
        now, steps = now + 1.0, [*steps, name]
    assert steps.count("idle") <= 4 and steps.count("busy") >= 2
