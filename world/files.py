"""Files that are read and written whole. Only files are read: a pipe would keep the reader waiting until somebody
writes to it, and some devices have no end. Text is read as other programs write it: UTF-8 with or without a byte order
mark, UTF-16 with one, any line ends. A file gets its name when it is complete, not before. Digests in a folder tell
whether its files are as they were written. Knows nothing of the contents of files."""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_KINDS = {
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
MAX_TEXT_BYTES, MAX_LINE_CHARACTERS = 1 << 20, 1 << 22
MAX_READ_BYTES = 256 << 20  # of what is read as a whole; saves and logs of a million steps are smaller
DIGESTS = "digests.json"
_OPENED = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # opened by a shell for | and <(...): somebody writes there


class TextError(ValueError):
    """A file that is not text; the message says what was wanted."""


def readable(path: str | Path, *, may_be_opened: bool = False) -> Path:
    """The path of a file that can be read from. may_be_opened: whether what a shell has opened for this program, as
    /dev/stdin, is one as well. Raises OSError, whose strerror says what it is instead."""
    if may_be_opened and str(path).startswith(_OPENED):
        return Path(path)
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    _refuse_devices(path, mode)
    return Path(path)


def replaceable(path: str | Path) -> Path:
    """The path of a file, or of nothing, in whose place a file may be put: not of a device or a pipe, which would be
    gone then, nor of what a shell has opened. Raises OSError, whose strerror says what it is instead."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise
        mode = 0  # nothing is there, or a link that leads nowhere
    _refuse_devices(path, mode)
    if str(path).startswith((*_OPENED, "/dev/stdout", "/dev/stderr")):
        raise OSError(errno.EINVAL, "it is an open stream, and no file", str(path))
    return Path(path)


def _refuse_devices(path: str | Path, mode: int) -> None:
    for name, is_one in _KINDS.items():
        if is_one(mode):
            raise OSError(errno.EINVAL, f"it is {name}, and no file", str(path))


def read_bytes(path: str | Path, *, most: int = MAX_READ_BYTES, may_be_opened: bool = False) -> bytes:
    """All of a file of at most so many bytes. A larger one is not read first, nor is one that grows meanwhile read
    without end. Raises OSError, whose strerror says why."""
    with readable(path, may_be_opened=may_be_opened).open("rb") as file:
        size = os.fstat(file.fileno()).st_size  # 0 for what a shell has opened
        data = file.read(most + 1) if size <= most else b""
    if max(size, len(data)) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most >> 20} MB", str(path))
    return data


def read_text(path: str | Path, *, most: int = MAX_TEXT_BYTES) -> str:
    """The text of a file of at most so many bytes. Raises TextError, or OSError if it cannot be opened."""
    try:
        data = read_bytes(path, most=most, may_be_opened=True)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise TextError(error.strerror) from None
    try:
        text = data.decode(_kind(data))
    except UnicodeDecodeError as error:
        raise TextError("it is neither UTF-8 nor UTF-16; save it as UTF-8") from error
    if "\0" in text:  # UTF-16 without a byte order mark, UTF-32, or not text at all
        raise TextError("it holds NUL bytes, as no text does; save it as UTF-8")
    return text


def text_lines(path: str | Path) -> Iterator[str]:
    """The lines of a text of any size, one by one. Raises UnicodeError, TextError for a line without an end, or OSError
    if it cannot be opened."""
    with readable(path, may_be_opened=True).open("rb") as file:
        lines = io.TextIOWrapper(file, encoding=_kind(file.peek(4)))
        while line := lines.readline(MAX_LINE_CHARACTERS + 1):
            if len(line) > MAX_LINE_CHARACTERS:
                raise TextError(f"a line has more than {MAX_LINE_CHARACTERS:,} characters")
            yield line


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says. Raises ValueError, also for one that is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _kind(head: bytes) -> str:
    """The encoding of a text by its byte order mark."""
    return next((kind for mark, kind in _MARKS.items() if head.startswith(mark)), "utf-8")


def partial_of(path: Path) -> Path:
    """The hidden file next to `path` that is written first and then renamed; its name is no longer than names may
    be."""
    return path.with_name(f".{path.name[:60]}.partial")


@contextlib.contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Where to write a file that appears under `path` when the block has ended: a hidden file next to it, which takes
    the place of what was there. If an error or a signal leaves the block, it is removed and what was there stays."""
    path = replaceable(path)
    partial = partial_of(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # a write that fails does not say of which file
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def let_read(path: str | Path) -> None:
    """Give a file the permissions of any new file next to it: safetensors writes files that nobody else can read, and
    weights and recordings are for others as well."""
    path = Path(path)
    usual = path.with_name(f"{path.name[:60]}.mode")
    try:
        usual.touch(exist_ok=False)
        path.chmod(stat.S_IMODE(usual.stat().st_mode))
    finally:
        usual.unlink(missing_ok=True)


def write_text_whole(path: str | Path, text: str) -> None:
    """Write a text in UTF-8, completely or not at all."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_digests(folder: str | Path) -> Path:
    """Write digests.json, in which a folder of weights tells what its files are: of config.json and each .safetensors
    file in it, BLAKE2b with 16 bytes in hexadecimal digits (`b2sum -l 128`). Returns its path."""
    folder = Path(folder)
    names = sorted(
        path.name for path in folder.iterdir() if path.name == "config.json" or path.suffix == ".safetensors"
    )
    digests = {name: _digest((folder / name).read_bytes()) for name in names if not name.startswith(".")}
    write_text_whole(folder / DIGESTS, json.dumps(digests, indent=1) + "\n")
    return folder / DIGESTS


def why_damaged(path: str | Path, data: bytes) -> str:
    """Why a file does not have the contents that were written, by the digests.json next to it; "" if it has them, or if
    the folder has no digests.json, as those of earlier versions."""
    path = Path(path)
    try:
        digests = parse_json((path.parent / DIGESTS).read_bytes())
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"{path.parent / DIGESTS} cannot be read ({error})"
    if not isinstance(digests, dict) or path.name not in digests:
        return f"{path.parent / DIGESTS} has no digest of {path.name}"
    return (
        "" if digests[path.name] == _digest(data) else f"{path} is not as it was written: {DIGESTS} has another digest"
    )


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sum_of(state: dict[str, Any]) -> str:
    """A digest of all that a save in JSON says, by which a flipped bit is noticed."""
    return _digest(json.dumps(state, sort_keys=True).encode())


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
