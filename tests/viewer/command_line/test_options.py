"""Options that several commands share."""

from pathlib import Path

from roam.viewer.command_line.options import model_text
from roam.world.checkpoint import LARGE


def test_a_model_that_ships_is_named_in_full_for_other_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_text(Path("large")) == str(LARGE) and model_text(None) is None
    assert model_text(Path("mine")) == str(tmp_path / "mine")
