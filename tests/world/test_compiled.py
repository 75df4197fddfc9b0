"""Compiled code finds a folder wherever this runs: beside the sources, at home, or among temporary files."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from roam.world import compiled


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Sources and home that cannot be written, as in a container; temporary files go to tmp_path."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(compiled, "_is_writable", lambda folder: False)
    monkeypatch.setattr(compiled.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_user_without_a_writable_folder_gets_a_temporary_one_of_their_own(nowhere):
    folder = compiled._chosen()
    assert folder.parent == nowhere and folder.stat().st_mode & 0o077 == 0
    assert compiled._chosen() == folder == Path(numba.config.CACHE_DIR)


@pytest.mark.skipif(os.name != "posix", reason="owners and modes")
def test_code_that_somebody_else_may_have_put_there_is_not_loaded(nowhere):
    folder = compiled._temporary()
    folder.chmod(0o777)
    assert compiled._temporary() != folder
    folder.rmdir()
    folder.symlink_to(nowhere)
    assert compiled._temporary() != folder and not compiled._temporary().is_symlink()


def test_without_any_folder_it_compiles_and_keeps_nothing(nowhere, monkeypatch):
    def refuse():
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(compiled, "_temporary", refuse)
    assert compiled._chosen() is None
    monkeypatch.setattr(compiled, "_FOLDER", None)
    assert compiled.njit(cache=True)(lambda x: x + 1)(1) == 2


@pytest.mark.skipif(os.name != "posix", reason="HOME")
def test_no_folder_named_after_a_missing_home_is_made(tmp_path):
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    code = "from roam.scenes.splits import make_scene; import roam.viewer.commands.serve; "
    code += "make_scene('test', 1).is_free(0, 0)"
    for home in ({}, {"HOME": "/nonexistent"}):
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, env=env | home, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.iterdir())
