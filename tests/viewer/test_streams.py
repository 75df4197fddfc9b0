"""What is printed to readers who have left is lost, and nothing else is."""

import errno
import os
import sys

import pytest
from rich.console import Console
from roam.viewer.streams import outliving_readers

MUCH = "word " * 30_000  # more than any buffer


@pytest.fixture
def stream(monkeypatch):
    """Replaces the output stream by one of these names."""

    def to(name):
        if name == "nobody":
            reading, writing = os.pipe()
            os.close(reading)
        else:
            writing = os.open(name, os.O_WRONLY)
        file = os.fdopen(writing, "w", encoding="utf-8")
        monkeypatch.setattr(sys, "stdout", file)
        return file

    return to


@pytest.mark.parametrize("num_words", [1, len(MUCH)])
def test_a_reader_who_leaves_ends_nothing(stream, num_words):
    file, done = stream("nobody"), []
    with outliving_readers():
        print(MUCH[:num_words])
        Console().print(MUCH[:num_words])
        sys.stdout.flush()
        done.append(True)
    assert done and sys.stdout is file
    file.close()  # nor does Python complain when it ends


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("code", [None, 0, 3])
def test_output_that_no_disk_takes_is_no_success(stream, code):
    file = stream("/dev/full")
    with pytest.raises((OSError, SystemExit)) as ended, outliving_readers():
        print("figures")
        if code is not None:
            raise SystemExit(code)
    assert (ended.value.code == 3) if code else (ended.value.errno == errno.ENOSPC)
    file.close()


def test_streams_that_are_closed_stay_so(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with outliving_readers():
        print("to nobody")
    assert sys.stdout is None
