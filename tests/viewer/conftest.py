"""Shared by the viewers' tests: SDL without a screen, players in a true scene, and the command line in this process."""

import os

os.environ["SDL_VIDEODRIVER"] = "dummy"

import pytest
from roam.viewer.cli import main
from roam.viewer.opening.start import Opener, Start
from roam.viewer.play.player import Player


@pytest.fixture
def player(tmp_path):
    """A player in true scene 6, whose files go into `tmp_path / "out"`."""
    player = Player(Opener(), Start(seed=6, truth=True), folder=tmp_path / "out")
    yield player
    player.close()


@pytest.fixture
def roam(tmp_path, monkeypatch, capsys):
    """Runs a command line in an empty folder with no display; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("roam.viewer.play.progress.FIRST_S", 1e6)  # do not fail on the delays of a busy machine
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)

    def run(*args):
        with pytest.raises(SystemExit) as exit:
            main([str(arg) for arg in args])
        said = capsys.readouterr()
        return exit.value.code or 0, said.out, said.err

    return run
