"""A new file name belongs to one program alone, and the newest file is the one that was written last."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from roam.viewer.files import outputs
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


def test_a_name_that_a_killed_program_took_is_free_again(tmp_path):
    mark = tmp_path / ".save-001.taken"
    mark.touch()
    assert fresh(tmp_path, "save", ".roam").name == "save-002.roam"
    long_ago = time.time() - 2 * outputs.TAKEN_S
    os.utime(mark, (long_ago, long_ago))
    assert fresh(tmp_path, "save", ".roam").name == "save-001.roam"


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
