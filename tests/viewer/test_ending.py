"""Commands that are interrupted end soon, with one sentence and the shell's status, and leave nothing behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from roam.scenes.recorder import record
from roam.viewer import ending
from roam.viewer.ending import Ended, ending_on_signals

RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores for what it runs in the background
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup does
sys.argv[0] = "roam"
from roam.viewer.begin import main
main()
"""
pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals of POSIX")
RECORD = ["record", "out", "--rollouts", "640", "--frames", "8", "--workers", "2"]
STREAM = ["bench", "stream", "--frames", "100000", "--sessions", "1", "--out", "out"]
INTERLEAVE = ["data", "interleave", "recordings", "--out", "out/examples.jsonl"]
TRAIN = ["train", "--out", "out", "--walks", "64", "--minutes", "5"]
ATTACK = ["bench", "attack", "--only", "neighbours-truth", "--out", "out"]  # a server and attackers as processes
slow = pytest.mark.slow(reason="processes that import all")
HERE = {  # what each is waited for, before the signal
    "record": (RECORD, "out/manifest.json"),
    "stream": (STREAM, "tmp/roam-*"),
    "interleave": (INTERLEAVE, "out/examples/*.png"),
    "train": (TRAIN, "out/*"),
    "attack": (ATTACK, "tmp/roam-attack-*/walks"),
}


def kept(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def processes_of(mark: str) -> list[str]:
    """The processes that have inherited a mark in their environment, and have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            is_dead = (path.parent / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if mark.encode() in path.read_bytes() and not is_dead:
                found.append((path.parent / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("name", "number", "is_group"),
    [
        ("record", "SIGINT", True),
        pytest.param("record", "SIGTERM", False, marks=slow),
        pytest.param("record", "SIGHUP", True, marks=slow),
        pytest.param("stream", "SIGINT", True, marks=slow),
        pytest.param("stream", "SIGTERM", True, marks=slow),
        pytest.param("stream", "SIGHUP", False, marks=slow),
        pytest.param("interleave", "SIGINT", False, marks=slow),
        pytest.param("train", "SIGHUP", False, marks=slow),
        pytest.param("attack", "SIGINT", True, marks=slow),
        pytest.param("attack", "SIGTERM", False, marks=slow),
    ],
)
def test_a_command_that_is_interrupted_says_so_and_leaves_nothing_half_done(tmp_path, name, number, is_group):
    arguments, sign = HERE[name]
    if name == "interleave":
        record(tmp_path / "recordings", "train", 64, frames=8)
    (tmp_path / "tmp").mkdir()
    mark = f"ROAM_TEST={tmp_path}"
    settings = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "ROAM_TEST": str(tmp_path)}
    command = [sys.executable, "-c", RUN, *arguments]
    began = subprocess.Popen(
        command, cwd=tmp_path, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(sign)):
        assert began.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    (os.killpg if is_group else os.kill)(began.pid, getattr(signal, number))
    said = began.communicate(timeout=60)[1].decode()
    assert began.returncode == 128 + getattr(signal, number), said
    assert said.count(f"roam: ended by {number}, before it was done") == 1 and "Traceback" not in said, said
    assert ("the same command goes on" in said) == (name in ("record", "train"))
    while sys.platform == "linux" and processes_of(mark):
        assert time.monotonic() < deadline, processes_of(mark)
        time.sleep(0.05)
    left = kept(tmp_path / "out") if (tmp_path / "out").exists() else []
    assert not [file for file in left if "partial" in file] and not list((tmp_path / "tmp").glob("roam*"))
    if name == "record":
        assert set(json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]) <= set(left)
    else:
        assert not [file for file in left if file.endswith((".json", ".jsonl"))]


class Freed:
    """An object in whose end a signal comes, where Python cannot raise."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_comes_where_python_cannot_raise_ends_the_command_all_the_same(capsys):
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(Ended, match="ended by SIGTERM") as ended, ending_on_signals():
            Freed()
            time.sleep(20)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143 and "ignored" not in capsys.readouterr().err


def test_a_signal_that_others_code_catches_ends_the_command_all_the_same(monkeypatch):
    monkeypatch.setattr(ending, "GRACE_S", 0.1)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(Ended, match="ended by SIGTERM"), ending_on_signals():
            with contextlib.suppress(BaseException):  # as some packages do while they are imported
                signal.raise_signal(signal.SIGTERM)
            time.sleep(20)
            raise AssertionError("the command went on")
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_is_put_away_after_a_signal_is_not_interrupted_by_itself(monkeypatch):
    monkeypatch.setattr(ending, "GRACE_S", 0.05)
    before, put_away = signal.signal(signal.SIGTERM, signal.SIG_DFL), []
    try:
        with pytest.raises(Ended), ending_on_signals():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                try:
                    raise OSError("one of the files is gone")
                except OSError:
                    time.sleep(0.3)
                with contextlib.closing(contextlib.ExitStack()) as stack:
                    stack.callback(time.sleep, 0.3)
                put_away.append("all")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert put_away == ["all"]


class Parts:
    """Stands for a server: its parts know each other, and one is a temporary folder."""

    def __init__(self, folder):
        self.itself, self.folder = self, tempfile.TemporaryDirectory(dir=folder)
        signal.raise_signal(signal.SIGTERM)


def test_what_a_signal_leaves_half_made_keeps_no_folder(tmp_path):
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(Ended), ending_on_signals():
            Parts(tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not list(tmp_path.iterdir())


class HalfMade:
    """Stands for an object of llvmlite: a signal ends its construction, so its destructor misses a field."""

    def __init__(self):
        signal.raise_signal(signal.SIGTERM)
        self.pointer = 1

    def __del__(self):
        assert self.pointer


def test_what_a_signal_leaves_half_made_is_freed_without_a_word(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda said: told.append(repr(said.exc_value)))
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(Ended), ending_on_signals():
            HalfMade()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not told


def test_a_second_signal_does_not_disturb_what_is_put_away():
    with pytest.raises(Ended) as ended, ending_on_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            is_put_away = True
    assert is_put_away and ended.value.code == 143


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as nohup and a shell's & do
    try:
        with ending_on_signals():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


DEAF = """
import hashlib, threading
from roam.viewer import ending
ending.GRACE_S = 0.05
with ending.ending_on_signals():
    threading.Timer(0.2, lambda: print("begun", flush=True)).start()
    hashlib.pbkdf2_hmac("sha256", b"word", b"salt", 10**9)  # minutes, in which no line of Python is run
"""


def test_a_signal_while_python_does_not_run_is_told_and_one_more_ends_at_once():
    """While code was compiled, Ctrl-C did nothing for a minute, however often it was pressed."""
    running = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "begun\n"
    running.send_signal(signal.SIGTERM)
    assert running.stderr.readline().startswith("roam: SIGTERM has come; it ends the command when")
    running.send_signal(signal.SIGTERM)
    assert running.communicate(timeout=60) == ("", "") and running.returncode == 143
