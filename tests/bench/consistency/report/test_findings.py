"""The sentences of a report say what its rows show, also when that is bad."""

from __future__ import annotations

from roam.bench.consistency.metrics.definitions import measured
from roam.bench.consistency.report.findings import findings, own_models, sanity
from roam.bench.consistency.report.summary import tables
from roam.bench.consistency.results import EpisodeResult


def line(model, task, *, variant="v", scene=0, seed=0, gap=None, scored=(10,), frames="a", **values) -> EpisodeResult:
    held = {name: measured(name, x if isinstance(x, list) else [x] * len(scored)) for name, x in values.items()}
    return EpisodeResult(
        model,
        f"{task}/{variant}/C/test-{scene}/{seed}",
        task,
        variant,
        "C",
        scene,
        seed,
        gap,
        "e",
        scored,
        values=held,
        frames=frames,
    )


def test_a_frozen_row_that_wins_is_named():
    lines = [line("truth", "T1", haarpsi=0.5, psnr=20.0), line("copy-last", "T1", haarpsi=0.9, psnr=40.0)]
    assert "in 0 of 1 tables" in sanity(tables(lines, draws=20))[0]
    assert "T1 (copy-last)" in sanity(tables(lines, draws=20))[0]


def test_the_gap_at_which_three_decibels_are_lost_is_said():
    curve = ((16, 30.0), (64, 29.0), (256, 22.0))
    lines = [line("m", "T6", gap=gap, variant=str(gap), psnr=psnr) for gap, psnr in curve]
    said = findings("m", lines, tables(lines, draws=20))
    assert any("30.0 dB after 16, 29.0 dB after 64, 22.0 dB after 256" in s and "by 256 frames" in s for s in said)


def test_the_frame_from_which_a_walk_is_lost_is_said():
    times = tuple(range(100, 200))
    found = [1.0] * 60 + [0.0] * 40
    lines = [line("m", "T9", scored=times, psnr=[20.0] * 100, registered=found)]
    assert any("from about frame 65" in s for s in findings("m", lines, tables(lines, draws=20)))


def test_actions_that_are_not_followed_are_listed():
    shares = {"turn left": 1.0, "look up": 0.0}
    lines = [line("m", "T8", variant=variant, action_strict=share) for variant, share in shares.items()]
    assert any(s.endswith("half of the steps: look up.") for s in findings("m", lines, tables(lines, draws=20)))


def test_a_part_that_is_worth_nothing_is_seen_to_be():
    lines = [line(m, "T1", haarpsi=0.86) for m in ("m", "m:weights=untrained")]
    assert any("weights=untrained fidelity 0.86, not 0.86" in s for s in findings("m", lines, tables(lines, draws=20)))


def test_a_report_is_about_models_and_not_about_their_rows():
    rows = ["embedded", "embedded:memory=off", "tokenizer", "truth", "mine:Model"]
    assert own_models(rows) == ["embedded", "mine:Model"]
    assert own_models(["truth"]) == ["truth"]
