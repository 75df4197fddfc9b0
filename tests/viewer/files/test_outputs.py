"""A new file name belongs to one program alone, and the newest file is the one that was written last."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time

import pytest
from roam.viewer.files.outputs import fresh, newest

ASK = """
import sys
from roam.viewer.files.outputs import fresh
print(fresh(sys.argv[1], "save", ".roam").name)
"""


def test_two_programs_that_save_in_the_same_moment_get_names_of_their_own(tmp_path):
    """The save of the second program once replaced that of the first, which was still being written."""
    assert fresh(tmp_path, "save", ".roam").name == "save-001.roam"
    assert fresh(tmp_path, "save", ".roam").name == "save-001.roam", "nothing was written by it"
    other = subprocess.run([sys.executable, "-c", ASK, tmp_path], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == "save-002.roam"
    assert [path.name for path in tmp_path.iterdir()] == [".save-001.taken"], "a program that ended holds no name"


HOLD = ASK.replace(").name)", ").name, flush=True)") + "input()"
YEAR_S = 366 * 86400


@pytest.mark.parametrize("by_s", [-YEAR_S, 0, YEAR_S])
def test_a_name_is_taken_as_long_as_its_program_runs_however_the_clock_is_set(tmp_path, by_s):
    """A recording of more than ten minutes once lost its name to the next program, which wrote into the same file."""
    command = [sys.executable, "-c", HOLD, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "save-001.roam\n"
        os.utime(tmp_path / ".save-001.taken", (time.time() + by_s,) * 2)
        assert fresh(tmp_path, "save", ".roam").name == "save-002.roam"
        other.kill()
        other.wait()
    assert (tmp_path / ".save-001.taken").exists()
    assert fresh(tmp_path, "save", ".roam").name == "save-001.roam", "a program that was killed holds no name"


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_a_name_that_another_program_has_just_freed_is_taken_anew(tmp_path, monkeypatch):
    """The marker was there when it was opened, and removed by its program before it was locked."""
    import fcntl

    marks = [tmp_path / ".save-001.taken"]
    marks[0].touch()
    lock = fcntl.flock

    def late(held, how):
        if marks:
            marks.pop().unlink()
        lock(held, how)

    monkeypatch.setattr("fcntl.flock", late)
    assert fresh(tmp_path, "save", ".roam").name == "save-001.roam"
    assert (tmp_path / ".save-001.taken").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
@pytest.mark.parametrize(("age_s", "name"), [(0, "save-002"), (9, "save-002"), (2000, "save-001"), (-2000, "save-001")])
def test_where_there_are_no_locks_a_name_is_taken_for_some_minutes(tmp_path, monkeypatch, age_s, name):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    mark = tmp_path / ".save-001.taken"
    mark.touch()
    os.utime(mark, (time.time() - age_s,) * 2)
    assert fresh(tmp_path, "save", ".roam").stem == fresh(tmp_path, "save", ".roam").stem == name


def test_a_written_name_is_taken_whatever_its_suffix(tmp_path):
    (tmp_path / "walk-001.jsonl").touch()
    assert fresh(tmp_path, "walk", ".mp4").name == "walk-002.mp4"


def test_the_newest_save_is_the_one_written_last(tmp_path):
    """The highest name was once taken for the newest, and save-999 counted as higher than save-1000."""
    now = time.time()
    for age, name in enumerate(("save-1000.roam", "save-002.roam", "save-999.roam")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (now - age, now - age))
    assert newest(tmp_path, "save-*.roam") == tmp_path / "save-1000.roam"
    assert newest(tmp_path, "walk-*") is None


def test_the_newest_save_is_the_one_written_last_also_after_the_clock_was_set_back(tmp_path):
    now = time.time()
    for name, written_at in (("save-001", now + YEAR_S), ("save-002", now - 5), ("save-003", now - 9)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (written_at, written_at))
    assert newest(tmp_path, "save-*") == tmp_path / "save-002"
    os.utime(tmp_path / "save-003", (now + 2, now + 2))  # by the clock of another machine's disk
    assert newest(tmp_path, "save-*") == tmp_path / "save-003"
