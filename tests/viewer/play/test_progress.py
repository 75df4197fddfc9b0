"""Work that takes long shows progress; quick work shows nothing."""

import io
import sys
import time

import pytest
from rich.console import Console
from roam.viewer.commands.bars import Bars
from roam.viewer.play import progress
from roam.viewer.play.progress import counted, waiting

from ..server.doubles import until


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_S", 0.02)
    monkeypatch.setattr(progress, "EVERY_S", 0.02)
    monkeypatch.setattr(progress, "EVERY_LINE_S", 0.02)


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_slow_things_are_counted_aloud(impatient, kind):
    out = kind()
    for _ in counted(range(5), "walked", 5, out=out):
        time.sleep(0.03)
    said = out.getvalue()
    assert "walked: 2 of 5" in said and ("\r" in said) == out.isatty()
    assert said.endswith("\x1b[K" if out.isatty() else "\n")


def test_quick_things_say_nothing():
    out = Terminal()
    assert list(counted(iter("abc"), "walked", 3, out=out)) == ["a", "b", "c"]
    with waiting("opening", out=out):
        pass
    assert out.getvalue() == ""


def test_a_wait_is_told_while_it_lasts(impatient):
    out = io.StringIO()
    with waiting("opening", out=out):
        until(lambda: out.getvalue().count("\n") > 1)
    first, second, *_ = out.getvalue().splitlines()
    assert first == "opening ..." and second == "opening ... 0 s"


def test_bars_that_nobody_sees_are_lines_whether_there_is_progress_or_not(impatient, capsys):
    with Bars(console=Console(file=io.StringIO())) as bars:
        job = bars.add_task("recording", total=None)
        said = ""

        def shown(line):
            nonlocal said
            said += capsys.readouterr().err
            return line in said

        until(lambda: shown("recording ...\n") and shown("recording ... 0 s\n"))
        bars.update(job, completed=3, total=8)
        until(lambda: shown("recording: 3 of 8, 0 s\n"))
        part = bars.add_task("training", total=1.0)
        bars.update(part, completed=0.25)
        until(lambda: shown("training: 25 %, 0 s\n"))


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("stream", [None, Broken()])
def test_an_error_stream_that_is_closed_or_breaks_ends_nothing(impatient, monkeypatch, capsys, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    with waiting("opening"):
        for _ in counted(range(3), "walked", 3):
            time.sleep(0.03)
    assert capsys.readouterr().out == ""
