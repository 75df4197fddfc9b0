"""What a path must be before it is read: a file. A pipe would be waited for until somebody writes to it, and some
devices have no end. Knows nothing of what files say."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_KINDS = {
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}
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
