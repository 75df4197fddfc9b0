"""Where a command may write: new names in a folder; existing files are overwritten only on request."""

from __future__ import annotations

import atexit
import contextlib
import errno
import itertools
import os
import time
from collections.abc import Iterable
from pathlib import Path

from ...world.files import replaceable, whole

# names of devices on Windows, whatever their suffix
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})

TAKEN_S = 600.0  # how long a name stays taken on disks without locks
_SKEW_S = 60.0  # by which the clocks of a disk and of this machine may differ
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_OURS: dict[Path, int] = {}  # marker files of names that this program has taken, with their open descriptors


class OutputError(ValueError):
    """A path that cannot be written; the message says why and what to do."""


def fresh(folder: str | Path, stem: str, suffix: str) -> Path:
    """The first of `stem-001`, `stem-002`, ... that no file in `folder` has with any suffix, and that no other
    program has taken; makes the folder."""
    folder = ready(folder)
    try:
        taken = {path.name.split(".")[0] for path in folder.iterdir() if path.name.startswith(f"{stem}-")}
    except OSError as error:
        raise OutputError(f"cannot look into {folder}: {error.strerror}; name another folder") from error
    names = (f"{stem}-{number:03d}" for number in itertools.count(1))
    return folder / f"{next(name for name in names if name not in taken and _is_ours(folder, name))}{suffix}"


def _is_ours(folder: Path, name: str) -> bool:
    """Take a name that no file has yet, with a hidden marker file that this program holds locked until it ends; False
    if another program has it. If no marker can be made, the name counts as taken by us: writing there will report the
    reason."""
    mark = _mark_of(folder / name)
    if mark in _OURS and mark.exists():
        return True
    _let_go(mark)  # somebody has removed it
    try:
        _OURS[mark] = _held(mark)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _held(mark: Path) -> int:
    """The descriptor of a marker file that no other program holds. The system frees it when a program ends, however it
    ends. Raises BlockingIOError if another program holds it, OSError if there can be none."""
    while True:
        held, is_new = _opened(mark)
        try:
            _lock(held, mark, is_new=is_new)
            if os.path.samestat(os.fstat(held), os.stat(mark)):
                return held
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(held)
            raise
        os.close(held)  # the program that held it has just ended and removed it


def _opened(mark: Path) -> tuple[int, bool]:
    """The descriptor of a marker file, and whether it is new."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)  # what has the name may be a pipe
    try:
        return os.open(mark, flags | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(mark, flags, 0o666), False


def _lock(held: int, mark: Path, *, is_new: bool) -> None:
    """Lock an open marker file. Where there are no locks, one that another program has made is its own for TAKEN_S,
    however the clock was set meanwhile."""
    try:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except ImportError:  # Windows
        pass
    except BlockingIOError:
        raise
    except OSError:  # a disk without locks
        pass
    if not is_new and abs(time.time() - mark.stat().st_mtime) < TAKEN_S:
        raise BlockingIOError(errno.EAGAIN, "another program has made it", str(mark))
    os.utime(mark)


def _mark_of(path: Path) -> Path:
    """The marker file of a path's name, which any suffix may follow."""
    return path.with_name(f".{path.name.split('.')[0]}.taken")


def _let_go(mark: Path) -> None:
    """Remove a marker file, if it is ours."""
    held = _OURS.pop(mark, None)
    if held is not None:
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.close(held)
            if os.name == "nt":  # which does not remove open files
                mark.unlink(missing_ok=True)


@atexit.register
def _let_all_go() -> None:
    for mark in list(_OURS):
        _let_go(mark)


def newest(folder: str | Path, pattern: str) -> Path | None:
    """The file that was written last among those whose names match `pattern`; None if there is none."""
    return newest_of(Path(folder).glob(pattern))


def newest_of(paths: Iterable[Path]) -> Path | None:
    """The file or folder that was written last; None if none of them is there. One with a time in the future was
    written before somebody set the clock back, so it counts as older than those with earlier times."""
    found: list[tuple[bool, int, Path]] = []
    for path in paths:
        with contextlib.suppress(OSError):  # it was removed meanwhile
            written = path.stat()
            found.append((written.st_mtime < time.time() + _SKEW_S, written.st_mtime_ns, path))
    return max(found, default=(False, 0, None))[2]


def ready(folder: str | Path) -> Path:
    """`folder`, made if it was not there. Raises OutputError if that fails."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused_folder(folder, error) from error
    return folder


def refused_folder(folder: Path, error: OSError) -> OutputError:
    """What to raise where a folder cannot be written into, or made."""
    return OutputError(f"cannot write into {folder}: {why_no_folder(folder, error)}; name another folder")


def why_no_folder(folder: Path, error: OSError) -> str:
    """What is in the way of a folder, or else what the system says of it."""
    for place in (folder, *folder.parents):
        if os.path.islink(place) and not os.path.exists(place):
            return f"{place} is a link that leads nowhere"
        if os.path.exists(place) and not os.path.isdir(place):
            return f"{place} is no folder"
    return error.strerror or str(error)


def unused(path: str | Path, *, overwrite: bool = False) -> Path:
    """`path`, if it can be written without losing anything. Raises OutputError otherwise."""
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; wanted the name of a file")
    try:
        replaceable(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; name another file") from error
    if (path.exists() or path.is_symlink()) and not overwrite:  # a dangling link is somebody's file too
        raise OutputError(f"{path} is there already; name another file or say --overwrite")
    ready(path.parent)
    return path


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write a file completely or not at all, and return its path. Raises OutputError."""
    return write_together({Path(path): data})[0]


def write_together(files: dict[Path, bytes]) -> list[Path]:
    """Write files that belong together, and return their paths: no file gets its name before all are written, so a disk
    that fails at any of them leaves what was there. Raises OutputError, which names that file."""
    path = next(iter(files))
    try:
        with contextlib.ExitStack() as stack:
            for path, data in files.items():
                stack.enter_context(whole(path)).write_bytes(data)
        for path in files:
            _let_go(_mark_of(path))  # the file itself now shows that its name is taken
    except OSError as error:
        raise OutputError(f"cannot write {path}: {why_not_written(error)}") from error
    return list(files)


def why_not_written(error: Exception) -> str:
    """What the system says of a write that failed, and what to do about a disk that is full."""
    is_full = isinstance(error, OSError) and error.errno in _FULL
    return (getattr(error, "strerror", None) or str(error)) + ("; make room, or name another place" if is_full else "")
