"""Paths that are not what a command wants: told in one sentence before anything begins, and nothing is changed."""

import errno
import os
import typing

import pytest
from roam.viewer.cli import app
from roam.viewer.command_line.options import if_named
from roam.viewer.files.outputs import OutputError
from roam.viewer.files.paths import file_to_read, file_to_write, folder_of_weights, folder_to_read, folder_to_write

from ..commands.test_play import contents

INTO, ONTO = (folder_to_write, if_named(folder_to_write)), (file_to_write,)
NAMES = {"vision_tokenizer": "vision-tokenizer", "evaluation": "eval"}
NO_FILES = ("/dev/full", "/proc/1/new/x") if os.path.exists("/proc/1") else ()
pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and names of POSIX")
MORE = {  # what else the commands want before they look at a path, and the path of what is written
    "play": ["--truth", "--headless", "--frames", "2"],
    "view": ["tcp://127.0.0.1:1"],
    "replay": ["log.jsonl"],
    "train": ["--minutes", "0"],
    "adapt": ["--out", "run"],
    "generate": ["a cat", "--task", "t2i", "--model", "m", "--vision-tokenizer", "v"],
    "data check": ["recordings"],
    "data interleave": ["--out", "examples.jsonl"],
    "record": [],
    "export": ["--to", "surfaces.ply", "walk.roam"],
    "tune reward": ["--out", "run"],
    "tune sft": ["--data", "/dev/null", "--out", "run"],
    "keys make": ["ann"],
    "keys add": ["ann", "key"],
    "bench consistency publish": ["."],
    "bench consistency compare": ["a", "b"],
    "bench consistency leaderboard": ["."],
    "bench consistency release": ["published"],
}
# read and told of where they are opened (tests/viewer/commands/test_paths.py, tests/viewer/server/test_security.py)
OPENED = {
    *("play image", "play load", "play actions", "play keys", "view image", "view load", "view keymap", "replay log"),
    *("export walk", "data check folder", "adapt data", "bench consistency leaderboard reports", "generate image"),
    *("view keys", "serve keys", "gateway keys", "keys list folder", "cluster up keys", "cluster status folder"),
    *("cluster drain folder", "cluster down folder"),
}
ELSEWHERE = {"export to", "data interleave out"}  # by tests of their own


def paths_of_commands():
    """(command, parameter, its option or argument) of all whose value is a path."""
    found, groups = [], [((), app)]
    while groups:
        name, group = groups.pop()
        groups += [((*name, each.name), each.typer_instance) for each in group.registered_groups]
        for command in group.registered_commands:
            words = " ".join((*name, command.name or command.callback.__name__.replace("_", "-")))
            for parameter, kind in typing.get_type_hints(command.callback, include_extras=True).items():
                if "Path" in str(kind) and parameter != "return":
                    found.append((words, parameter, kind.__metadata__[0]))
    return found


PATHS = paths_of_commands()


def test_every_path_of_every_command_is_checked():
    assert len(PATHS) > 60
    unchecked = {f"{command} {name}" for command, name, option in PATHS if option.callback is None}
    unchecked = {each for each in unchecked if not each.endswith("text_tokenizer")}  # who reads it says where to get it
    assert unchecked == OPENED | ELSEWHERE


def those(*checks):
    """The paths of commands with one of these checks; a cluster's need Ray to be installed."""
    names = {check.__qualname__ for check in checks}
    found = [each for each in PATHS if getattr(each[2].callback, "__qualname__", "") in names]
    return pytest.mark.parametrize(
        ("command", "name", "option"), found, ids=[f"{command} {name}" for command, name, _ in found]
    )


@pytest.fixture
def there(tmp_path):
    """What is in the way, in a folder that does not change."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "file \u00fc#%'[b]\n").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "x")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    before = contents(tmp_path)
    yield tmp_path
    assert contents(tmp_path) == before


def refused_at(roam, path, command, name, option):
    """What is said of a path, in one sentence."""
    said, more = [f"--{NAMES.get(name, name)}", path], MORE.get(command, [])
    if type(option).__name__ == "ArgumentInfo":
        said, more = ["--", path], [] if name == "publish" else more
        if command == "bench consistency publish" and name == "folder":
            said, more = ["--", path, "published"], []
    code, _, err = roam(*command.split(), *more, *said)
    assert code == 2 and err.startswith("roam: ") and err.count("\n") == 1 and "Errno" not in err, (path, err)
    return err


@those(*INTO, *ONTO)
def test_where_nothing_can_be_written_one_sentence_says_so_at_once(roam, there, command, name, option):
    end = "video.mp4" if option.callback in ONTO else ""
    for path in ("file", "file/below/it", "link", "link/below", "round", "n" * 300, "file \u00fc#%'[b]\n", *NO_FILES):
        err = refused_at(roam, there / path / end, command, name, option)
        assert err.startswith("roam: cannot write") and "; name another" in err


@those(folder_to_read, folder_of_weights)
def test_what_is_no_folder_is_told_at_once(roam, there, command, name, option):
    for path in ("file", "file/below", "link", "round", "n" * 300, *NO_FILES[:1]):
        err = refused_at(roam, there / path, command, name, option)
        assert err.startswith("roam: cannot read") and "; wanted a folder" in err


@those(file_to_read)
def test_what_is_no_file_is_told_at_once(roam, there, command, name, option):
    for path in ("nothing", "file/below", "link", "round", "n" * 300, "."):
        err = refused_at(roam, there / path, command, name, option)
        assert err.startswith("roam: cannot read") and "; wanted a file" in err


@those(file_to_write)
def test_what_is_no_file_is_not_written_over(roam, there, command, name, option):
    os.mkfifo(there / "pipe.mp4")
    for path in ("pipe.mp4", "/dev/stdout", "."):
        err = refused_at(roam, there / path, command, name, option)
        assert " and no file; name another" in err or "is a folder; wanted the name of a file" in err
    assert (there / "pipe.mp4").is_fifo()
    os.remove(there / "pipe.mp4")


def test_a_file_in_a_folder_that_is_not_there_yet_can_be_written(there):
    assert file_to_write(there / "new" / "video.mp4") and folder_to_write(there / "new" / "er")
    with pytest.raises(OutputError, match="is a folder; wanted the name of a file"):
        file_to_write(there)


@pytest.mark.parametrize(("number", "remedy"), [(errno.ENOSPC, "make room"), (errno.EDQUOT, "make room")])
def test_what_the_system_refuses_later_is_told_with_what_to_do(roam, monkeypatch, number, remedy):
    def full(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("roam.viewer.commands.doctor.examine", full)
    code, _, err = roam("doctor")
    assert code == 2 and err.startswith(f"roam: {os.strerror(number)}; {remedy}") and err.count("\n") == 1
