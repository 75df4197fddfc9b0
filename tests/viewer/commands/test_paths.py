"""Paths that lead to something else than a file: told in a sentence, and not waited for, nor read without end."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from .test_play import TRUTH, refused

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and devices of POSIX")
WALK = (*TRUTH, "--headless", "--frames", 2)
COMMANDS = {
    "a save": lambda path: (*WALK, "--load", path),
    "a dream's save": lambda path: ("play", "--headless", "--frames", 2, "--load", path),
    "an image": lambda path: ("play", "--headless", "--frames", 2, "--image", path),
    "actions": lambda path: (*WALK, "--actions", path),
    "a log": lambda path: ("replay", path),
    "a WAD": lambda path: ("play", "--truth", f"doom:{path}:MAP01", "--headless", "--frames", 2),
    "a table": lambda path: ("record", "out", "--env", "CartPole-v1", "--words", path),
    "a report": lambda path: ("bench", "consistency", "leaderboard", path),
}


@pytest.fixture
def impatient():
    """Ends a test after a minute, which only one that waits for ever takes."""

    def end(*_):
        raise TimeoutError("it was waited for")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a device", "a link to a pipe", "a folder", "a loop of links"])
def test_what_is_no_file_is_told_and_not_waited_for(roam, impatient, command, kind):
    path, listening = "there.wad", socket.socket(socket.AF_UNIX)
    if kind == "a device":
        path = "/dev/zero"
    elif kind == "a socket":
        listening.bind(path)
    elif kind == "a folder":
        os.mkdir(path)
    elif kind == "a loop of links":
        os.symlink(path, path)
    else:
        os.mkfifo("pipe")
        os.symlink("pipe", path)
    code, _, err = roam(*command(path))
    listening.close()
    said = err.splitlines()[-1]
    assert code == 2 and said.startswith("roam: ") and "Traceback" not in err, err
    if kind in ("a pipe", "a socket", "a device"):
        assert f"it is {kind}, and no file" in said


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_name_with_line_ends_and_orders_to_the_terminal_is_told_in_one_line_that_obeys_none(roam, command):
    code, _, err = roam(*command("two\nlines\x1b[2J\x9b0m\u202e.jsonl"))
    *_, said, rest = err.split("\n")  # after what was counted, for commands that count
    assert code == 2 and said.startswith("roam: ") and said.isprintable() and not rest, err


@pytest.mark.parametrize("command", [*COMMANDS.values(), lambda path: ("data", "check", path)], ids=[*COMMANDS, "data"])
def test_a_file_of_terabytes_is_told_and_takes_no_memory(roam, impatient, command):
    """A file of holes, which takes no disk; to read it at once would be a MemoryError."""
    path = "there.jsonl"
    with open(path, "wb") as file:
        try:
            file.truncate(8 << 40)
        except OSError:
            pytest.skip("no files of this size on this disk")
    code, _, err = roam(*command(path))
    said = err.splitlines()[-1]
    assert code == 2 and said.startswith("roam: ") and "Traceback" not in err, err


@pytest.mark.parametrize(
    "command",
    [
        ("play", "--truth", "--headless", "--frames"),
        ("record", "out", "--rollouts", 1, "--workers"),
        ("serve", "--truth", "tcp://127.0.0.1:0", "--snapshot-frames"),
    ],
)
def test_more_than_can_be_counted_is_refused(roam, command):
    code, _, err = roam(*command, 10**20)
    assert code == 2 and "Invalid value for" in err and command[-1] in err


def test_a_folder_of_recordings_that_is_none_is_refused_before_anything_is_served(roam):
    open("there", "w").close()
    err = refused(roam, "serve", "tcp://127.0.0.1:0", "--truth", "--folder", "walks", "--record", "there")
    assert "cannot write into there" in err


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="descriptors by name")
def test_what_a_shell_has_opened_is_read(tmp_path):
    """bash's <(...), and a pipe into the command."""
    command = [sys.executable, "-m", "roam.viewer.cli", *map(str, WALK), "--actions", "/dev/stdin", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, input="turn left\n", capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and (tmp_path / "out" / "walk-001.mp4").exists(), done.stderr
