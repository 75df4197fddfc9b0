"""Commands that take long to begin say what they wait for."""

import io
import time
from pathlib import Path

import pytest
from rich.console import Console
from roam.viewer.commands.bars import stage_bars
from roam.viewer.play import progress


@pytest.fixture
def at_once(monkeypatch, capsys):
    monkeypatch.setattr(progress, "FIRST_S", 0.01)
    return capsys


def wait_for(capsys, words: str) -> None:
    said = ""
    for _ in range(500):
        said += capsys.readouterr().err
        if words in said:
            return
        time.sleep(0.01)
    raise AssertionError(said)


def test_learning_says_what_it_waits_for_before_its_first_stage(at_once):
    with stage_bars(Console(file=io.StringIO())) as show:
        wait_for(at_once, "reading what it begins with ...")
        show("learning", 0.5, {})


def test_an_export_says_what_it_waits_for(at_once, tmp_path, monkeypatch):
    from roam.viewer.commands import export
    from roam.viewer.opening.start import StartError

    def opened(*_):
        wait_for(at_once, "opening the walk ...")
        raise StartError("that was all")

    monkeypatch.setattr(export.Opener, "open", opened)
    with pytest.raises(StartError, match="that was all"):
        export.export(export.ExportOrder(Path("walk.roam"), tmp_path / "out.glb"))


def test_the_consistency_benchmark_says_what_it_waits_for(at_once, tmp_path, monkeypatch):
    from roam.bench.consistency import commands, run

    def asking(*_, **__):
        wait_for(at_once, "asking; the first answers take up to a minute ...")
        return []

    monkeypatch.setattr(run, "run", asking)
    commands.run(out=tmp_path)
