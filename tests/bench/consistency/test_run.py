"""A run from end to end: it is resumed, reported, compared, verified and put on a leaderboard, and forged runs are
found."""

from __future__ import annotations

import errno
import json
import os
import sys
import types
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from roam.bench.consistency.commands import main
from roam.bench.consistency.models.adapters import Answer, WorldModel
from roam.bench.consistency.questions.episode import BenchError
from roam.bench.consistency.report.compare import as_markdown, compare
from roam.bench.consistency.report.leaderboard import leaderboard
from roam.bench.consistency.report.page import report
from roam.bench.consistency.report.publish import publish
from roam.bench.consistency.report.verify import verify
from roam.bench.consistency.results import frames_path, read_lines, read_manifest
from roam.bench.consistency.run import run
from roam.viewer.files.outputs import OutputError
from roam.world.checkpoint import CheckpointError

ROWS = ("truth", "copy-last")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    run(ROWS, path, tasks=("T1", "T6"), form="tiny", scenes=2, processes=1, note="a test")
    return path


@pytest.fixture(scope="module")
def reported(folder):
    """That run with its report beside it: the folder and the page."""
    return folder, report(folder, draws=50)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of one row a model, for tests that change single rows."""
    path = tmp_path_factory.mktemp("small")
    run(ROWS, path, tasks=("T1",), form="tiny", scenes=1, processes=1)
    return path


def ask_again(folder, **changes):
    return run(ROWS, folder, **(dict(tasks=("T1",), form="tiny", scenes=1, processes=1) | changes))


def test_a_run_has_a_line_for_every_model_and_episode(folder):
    lines = read_lines(folder)
    assert len(lines) == len(read_manifest(folder).asked) * 2 == 8
    assert not any(line.error for line in lines)


def test_a_line_that_was_cut_off_is_asked_again_and_the_others_are_not(small):
    path = small / "results.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-200])
    told = []
    lines = ask_again(small, progress=lambda done, total, key: told.append(key))
    assert len(told) == 1 and len(lines) == 2
    assert verify(small).is_sound


def test_a_finished_run_is_sound_and_its_frames_give_its_numbers(folder):
    verdict = verify(folder, most=4)
    assert verdict.is_sound and verdict.rescored == 4


def test_a_number_that_was_bettered_by_hand_is_found_out(small, tmp_path):
    cheat = copy_of(small, tmp_path)
    lines = [json.loads(line.as_json()) for line in read_lines(cheat)]
    for line in lines:
        line["values"]["psnr"]["value"] = 60.0
    (cheat / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert any("psnr was 60.0" in why for why in verify(cheat).changed)


def test_frames_that_were_exchanged_and_lines_that_are_missing_are_found_out(small, tmp_path):
    cheat = copy_of(small, tmp_path)
    line = next(line for line in read_lines(cheat) if line.model == "copy-last")
    path = frames_path(cheat, "copy-last", line.key)
    path.write_bytes(frames_path(cheat, "truth", line.key).read_bytes())
    texts = (cheat / "results.jsonl").read_text().splitlines()
    (cheat / "results.jsonl").write_text("\n".join(texts[1:]) + "\n")
    verdict = verify(cheat)
    assert len(verdict.missing) == 1 and any("another digest" in why for why in verdict.changed)


def test_a_report_has_every_table_with_intervals_and_needs_no_other_file(reported):
    folder, page = reported[0], reported[1].read_text()
    text = (folder / "report.md").read_text()
    assert "T1, mode C" in page and "T6, mode C" in page
    assert "data:image/png;base64" in page and "data:image/jpeg;base64" in page
    assert "The truth comes first, or ties with the first, in 2 of 2 tables" in text and "first in none" in text
    assert 'src="http' not in page and "60.00 [60.00, 60.00]" in text
    assert text.index("| truth |") < text.index("| copy-last |")


def test_a_comparison_is_paired_and_knows_which_way_is_better(folder):
    rows = compare(f"{folder}#copy-last", f"{folder}#truth", metrics=("psnr", "angle_error"))
    assert {row.task for row in rows} == {"T1", "T6"}
    assert all(row.is_better for row in rows) and all(row.difference.scenes == 2 for row in rows)
    line = next(row for row in rows if (row.task, row.metric) == ("T1", "psnr"))
    assert line.after == 60 and line.before == pytest.approx(60 - line.difference.mean)
    assert "| T1 | C | psnr |" in as_markdown(rows)
    with pytest.raises(BenchError, match="name one"):
        compare(str(folder), str(folder))


def test_a_table_that_was_kept_is_overwritten_only_when_asked(folder, tmp_path, capsys):
    kept, said = tmp_path / "kept.md", ["compare", f"{folder}#copy-last", f"{folder}#truth", "--out"]
    kept.write_text("before")
    with pytest.raises(SystemExit) as refused:
        main([*said, str(kept)])
    assert refused.value.code == 2 and "kept.md is there already" in capsys.readouterr().err
    assert kept.read_text() == "before"
    with pytest.raises(SystemExit) as done:
        main([*said, str(kept), "--overwrite"])
    assert not done.value.code and "| T1 | C | psnr |" in kept.read_text()


def test_a_leaderboard_is_made_from_reports_of_the_same_questions_only(reported, tmp_path):
    folder, _ = reported
    text = leaderboard([folder], tmp_path).read_text()
    assert "| truth |" in text and "a test" in text
    other = json.loads((folder / "report.json").read_text()) | {"questions": "others"}
    (tmp_path / "report.json").write_text(json.dumps(other))
    with pytest.raises(BenchError, match="different questions"):
        leaderboard([folder, tmp_path / "report.json"], tmp_path)


def test_a_model_that_raises_is_a_failure_and_not_the_end(tmp_path, monkeypatch):
    class Broken(WorldModel):
        def reset(self, context):
            raise RuntimeError("out of ideas")

    module = types.ModuleType("broken_models")
    module.Broken = Broken
    monkeypatch.setitem(sys.modules, "broken_models", module)
    lines = run(("broken_models:Broken", "copy-last"), tmp_path, tasks=("T1",), form="tiny", scenes=1, processes=1)
    broken = next(line for line in lines if "broken" in line.model)
    assert "out of ideas" in broken.error and broken.ranked("psnr") == 0
    assert not verify(tmp_path).is_sound
    report(tmp_path, draws=50)
    table = (tmp_path / "report.md").read_text().split("## T1")[1]
    assert table.index("copy-last") < table.index("broken_models")


def test_what_is_no_model_is_told_before_anything_is_written_or_asked(tmp_path):
    for spec in ("frozen", "embedded:memory=maybe", f"{tmp_path}/nothing/", "tokenizer:/nowhere"):
        with pytest.raises((BenchError, CheckpointError)):
            run(("truth", spec), tmp_path / "run", tasks=("T1",), form="tiny", scenes=1, processes=1)
    assert not (tmp_path / "run").exists()


def test_a_disk_that_takes_no_more_frames_is_no_failure_of_the_model(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    asked = partial(run, ("truth", "copy-last"), tmp_path, tasks=("T1",), form="tiny", scenes=1, processes=1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        patch.setattr("roam.bench.consistency.run.write_manifest", lambda *_: None)
        with pytest.raises(OutputError, match=os.strerror(errno.ENOSPC)):
            asked()
    assert [line.error for line in asked()] == ["", ""] and verify(tmp_path).is_sound


def test_a_second_seed_asks_the_same_way_with_another_random_state(tmp_path):
    seeds = []

    class Seeded(WorldModel):
        def reset(self, context):
            seeds.append((context.seed, context.poses))
            self.frame = np.zeros(context.frames.shape[1:], np.uint8)

        def step(self, command):
            return Answer(self.frame)

    sys.modules["seeded_models"] = types.ModuleType("seeded_models")
    sys.modules["seeded_models"].Seeded = Seeded
    run(("seeded_models:Seeded",), tmp_path, tasks=("T1",), form="tiny", scenes=1, seeds=(0, 1), processes=1)
    del sys.modules["seeded_models"]
    assert sorted(seed for seed, _ in seeds) == [0, 1] and seeds[0][1] == seeds[1][1]


def test_what_was_trained_on_is_never_asked(tmp_path):
    with pytest.raises(BenchError, match="held out"):
        run(ROWS, tmp_path, split="train")


def test_dev_scenes_are_no_result_and_the_report_says_so(tmp_path):
    run(("truth",), tmp_path, tasks=("T1",), form="tiny", scenes=1, processes=1, split="dev")
    assert "NOT A RESULT" in report(tmp_path, draws=20).read_text()
    assert verify(tmp_path).is_sound


def test_another_form_in_the_same_folder_is_refused(small):
    with pytest.raises(BenchError, match="name another folder"):
        ask_again(small, form="quick")


def test_the_command_line_runs_reports_and_verifies(tmp_path, capsys):
    common = ["--form", "tiny", "--tasks", "T10", "--processes", "1", "--out", str(tmp_path / "run")]
    for command in (
        ["run", "--model", "truth;copy-last", *common],
        ["report", str(tmp_path / "run")],
        ["verify", str(tmp_path / "run")],
    ):
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert not stop.value.code
    assert "2 answers" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["report", str(tmp_path / "nothing")])
    assert stop.value.code == 2


def copy_of(folder, tmp_path):
    import shutil

    return shutil.copytree(folder, tmp_path / "copy")


def test_lines_survive_being_written_and_read(folder):
    line = read_lines(folder)[0]
    assert type(line).from_json(line.as_json()) == line
    assert replace(line, error="x").ranked("psnr") == 0


def test_what_is_published_is_small_and_replaces_what_was_there(reported, tmp_path):
    folder, target = reported[0], tmp_path / "published"
    with pytest.raises(BenchError, match="run `bench consistency report"):
        publish(tmp_path, target)
    (target / "pictures").mkdir(parents=True)
    (target / "pictures" / "old.png").write_bytes(b"x")
    assert publish(folder, target) < 1_500_000
    assert json.loads((target / "report.json").read_text())["questions"] == read_manifest(folder).digest
    assert not (target / "pictures" / "old.png").exists()
    named = [part.split(")")[0] for part in (target / "report.md").read_text().split("](")[1:]]
    assert named and all((target / name).exists() for name in named)
