"""The table of adaptation: its goals can be missed, and its quality is a count of walks."""

from __future__ import annotations

import pytest
from roam.bench.adaptation import BLOCK, DREAMT, GOALS, LATER, LONGER, STEPS, goals, markdown_of, quality_of, spread_of


def rows(**changes: float) -> list[dict]:
    """A table whose every goal is met, with some qualities changed."""
    quality = dict(frozen=18.0, plain=20.0, longer=20.0, later=20.0, block=17.0, dida=20.0, seconds=0.1) | changes
    row = lambda name, psnr, steps=None, seconds=1.0: dict(  # noqa: E731
        name=name, steps=steps, passes=1.0, seconds=seconds, psnr=psnr, walks=[psnr - 1, psnr + 1], haarpsi=0.5
    )
    return [
        row("a frozen frame", quality["frozen"]),
        row("the truth through the tokenizer", 28.0),
        row("token by token", quality["plain"]),
        row(LONGER, quality["longer"]),
        row(LATER, quality["later"]),
        *(row(BLOCK, quality["block"], steps) for steps in STEPS),
        *(row("DiDA", quality["dida"], steps, quality["seconds"]) for steps in STEPS),
    ]


def test_a_good_table_meets_every_goal():
    assert all(goal["met"] for goal in goals(rows()).values()) and len(goals(rows())) == len(GOALS)


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        (dict(longer=21.0), "DiDA in 4 steps less token by token trained as long, dB"),
        (dict(block=19.5), "DiDA over block decoding without the adaptation, 4 steps, dB"),
        (dict(frozen=20.5), "DiDA in 4 steps over a frozen frame, dB"),
        (dict(later=19.0), "token by token after the adaptation less before, dB"),
        (dict(seconds=0.5), "DiDA in 4 steps times faster than token by token"),
    ],
)
def test_each_goal_can_be_missed_alone(change, missed):
    assert [name for name, goal in goals(rows(**change)).items() if not goal["met"]] == [missed]


def test_the_error_of_a_mean_is_taken_over_walks_and_the_table_has_a_line_a_row():
    quality = quality_of([(20.0, 0.5)] * DREAMT + [(22.0, 0.7)] * DREAMT)
    assert quality["psnr"] == 21.0 and spread_of(quality["walks"]) == pytest.approx(1.0)
    assert len(markdown_of({"rows": rows()}).splitlines()) == 2 + len(rows())


def test_a_difference_between_rows_is_judged_walk_by_walk():
    table = rows(dida=20.5)
    assert goals(table)["DiDA in 4 steps less token by token trained as long, dB"]["error"] == pytest.approx(0.0)
