"""Files that are read and written whole. What is read must be a file: a pipe would be waited for until somebody writes
to it, and some devices have no end. What is written has its name when it is complete, not before. A folder can tell by
digests whether its files are as they were written. Knows nothing of what files say."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_KINDS = {
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}
DIGESTS = "digests.json"
_OPENED = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # what a shell's <(...) and | have opened: somebody writes there


def readable(path: str | Path, *, may_be_opened: bool = False) -> Path:
    """The path of a file that can be read from. may_be_opened: whether what a shell has opened for this program, as
    /dev/stdin, is one as well. Raises OSError, whose strerror says what it is instead."""
    if may_be_opened and str(path).startswith(_OPENED):
        return Path(path)
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    for name, is_one in _KINDS.items():
        if is_one(mode):
            raise OSError(errno.EINVAL, f"it is {name}, and no file", str(path))
    return Path(path)


def partial_of(path: Path) -> Path:
    """The hidden file next to `path` that is written first and then renamed; its name is no longer than names may
    be."""
    return path.with_name(f".{path.name[:60]}.partial")


@contextlib.contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Where to write a file that appears under `path` when the block has ended: a hidden file next to it, which takes
    the place of what was there. If an error or a signal leaves the block, it is removed and what was there stays."""
    path = Path(path)
    partial = partial_of(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


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
    """Why what was read from a file cannot be what was written to it, by the digests.json next to it; "" if it is, or
    if the folder has no digests.json, as those of earlier versions."""
    path = Path(path)
    try:
        digests = json.loads((path.parent / DIGESTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"{path.parent / DIGESTS} cannot be read ({error})"
    if not isinstance(digests, dict) or path.name not in digests:
        return f"{path.parent / DIGESTS} has no digest of {path.name}"
    return (
        "" if digests[path.name] == _digest(data) else f"{path} is not as it was written: {DIGESTS} has another digest"
    )


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
