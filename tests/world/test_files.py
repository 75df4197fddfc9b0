"""A file has its name when it is complete: what breaks off leaves what was there, and nothing else. What is read as a
whole has an end."""

import os
from pathlib import Path

import pytest
from roam.world import files
from roam.world.files import TextError, let_read, read_bytes, text_lines, whole, write_text_whole


@pytest.mark.parametrize("end", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("before", [None, "before"])
def test_a_file_that_is_not_finished_leaves_what_was_there(tmp_path, end, before):
    path = tmp_path / "order.json"
    if before:
        path.write_text(before)
    with pytest.raises(type(end)), whole(path) as partial:
        partial.write_text("hal")
        raise end
    assert [file.read_text() for file in tmp_path.iterdir()] == ([before] if before else [])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_file_takes_the_place_of_no_pipe_device_or_open_stream(tmp_path):
    """`--out /dev/full`, as root, once put a file in the place of the device."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", "/dev/stdout", "/dev/fd/1"):
        with pytest.raises(OSError, match=r"it is .*, and no file"), whole(path):
            raise AssertionError("it was begun")
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_weights_can_be_read_by_whoever_reads_other_files(tmp_path):
    """Those of a folder that one person had trained could be opened by nobody else on the machine."""
    (tmp_path / "other").touch()
    (tmp_path / "weights").touch(0o600)
    let_read(tmp_path / "weights")
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "weights"]


def test_a_finished_file_takes_the_place_of_the_one_before(tmp_path):
    for text in ("½", "one"):
        write_text_whole(tmp_path / ("n" * 250), text)
        assert [file.read_text(encoding="utf-8") for file in tmp_path.iterdir()] == [text]


def test_a_file_larger_than_wanted_is_not_read(tmp_path):
    (tmp_path / "some").write_bytes(b"some")
    assert read_bytes(tmp_path / "some", most=4) == b"some"
    with pytest.raises(OSError, match="larger than"):
        read_bytes(tmp_path / "some", most=3)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="files of Linux's own")
def test_a_file_that_grows_while_it_is_read_is_not_read_without_end():
    with pytest.raises(OSError, match="larger than"):
        read_bytes(Path("/proc/self/maps"), most=10)  # a file whose size the system gives as 0


def test_a_line_without_an_end_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_LINE_CHARACTERS", 5)
    (tmp_path / "lines").write_text("1234\n\n123\n123456\n")
    lines = text_lines(tmp_path / "lines")
    assert [next(lines) for _ in range(3)] == ["1234\n", "\n", "123\n"]
    with pytest.raises(TextError, match="more than 5 characters"):
        next(lines)
