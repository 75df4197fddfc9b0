"""What the cluster's benchmark says about killed workers: which steps were repeated, and which walkers had to wait."""

from __future__ import annotations

from dataclasses import replace

import pytest
from roam.bench.cluster import __main__
from roam.bench.cluster.__main__ import beside
from roam.bench.cluster.measure import Chaos, silences
from roam.bench.cluster.walkers import KEYS, RATE_S, Walker

GOOD = Chaos("truth", 2, 16, 600.0, 19, 150, 0, 3.0, 0.3, 1.2, 4.0, 9000, 16, 16)


def walker(frames: list[tuple[float, float]]) -> Walker:
    """A walker that was shown these frames: when the key was pressed and when the frame came, in seconds."""
    pressed, came = zip(*frames, strict=True)
    ms = [1000 * (b - a) for a, b in zip(pressed, came, strict=True)]
    return Walker(None, "walk", 1, done=[KEYS[0]] * len(frames), ms=ms, at=list(came))  # type: ignore[arg-type]


def test_frames_that_were_shown_and_made_again_are_told_in_seconds_of_walking():
    # the fourth came from a worker that resumed the walk at frame 1
    one = walker([(0, 0.5), (1, 1.01), (9, 9.2), (10, 13)])
    one.went_back_to(1)
    assert one.remade == [2]
    assert one.remade_s == [pytest.approx(RATE_S + 0.2)]  # of frames 2 and 3; nobody walked between them
    one.went_back_to(3)  # nothing was lost
    assert (one.remade[1], one.remade_s[1]) == (0, 0)


def test_a_walk_stood_still_from_the_kill_or_from_the_key_that_came_later():
    one = walker([(0, 0.5), (1, 4)])
    one.went_back_to(1)
    assert silences(one, [0.2, 2.0, 30.0]) == [2.0]  # the key was waiting when its worker was killed
    assert silences(one, [0.7]) == [3.0]  # nobody waited yet
    assert silences(one, [0.7, 3.0]) == [3.0]  # the worker that resumed it died as well
    assert silences(one, [30.0]) == []


def test_every_goal_that_is_missed_is_named():
    assert not GOOD.missed
    for worse, said in [
        ({"kills": 0}, "killed"),
        ({"lost": 1}, "1 of 16 walks were lost"),
        ({"same": 15}, "1 of 16 walks came out otherwise"),
        ({"same": 0, "compared": 0}, "otherwise"),
        ({"remade_p95_s": 1.5}, "1.50 s"),
        ({"silent_p95_s": 9.0}, "9.0 s"),
    ]:
        (missed,) = replace(GOOD, **worse).missed
        assert said in missed


def test_figures_stay_beside_fresh_ones_of_something_else():
    truth, dream = ({"world": world, "workers": 1, "walkers": 16, "p50_ms": 5} for world in ("truth", "dream"))
    assert beside([truth], [dream]) == [truth, dream]
    assert beside([truth, dream], [truth | {"p50_ms": 4}]) == [dream, truth | {"p50_ms": 4}]


def test_without_ray_it_says_so_at_once(monkeypatch):
    """It once ended in a traceback, when the cluster that it had begun was read and had ended."""
    monkeypatch.setattr(__main__, "find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["cluster"])
    with pytest.raises(SystemExit, match="pip install 'roam-worlds"):
        __main__.main()
