"""Where a command may write: new names in a folder; existing files are overwritten only on request."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import time
from pathlib import Path

from ...world.files import whole

# names of devices on Windows, whatever their suffix
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})

TAKEN_S = 600.0  # errors that mean: another program has taken the name and written nothing yet
_OURS: set[Path] = set()  # marker files of names that this program has taken


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
    """Take a name that no file has yet, with a hidden marker file that stays until this program ends; False if
    another program has it. If no marker can be made, the name counts as taken by us: writing there will report the
    reason."""
    mark = _mark_of(folder / name)
    with contextlib.suppress(OSError):
        if time.time() - mark.stat().st_mtime > TAKEN_S or mark in _OURS:  # its program was killed, or never wrote
            mark.unlink()
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        return True
    _OURS.add(mark)
    return True


def _mark_of(path: Path) -> Path:
    """The marker file of a path's name, which any suffix may follow."""
    return path.with_name(f".{path.name.split('.')[0]}.taken")


def _let_go(mark: Path) -> None:
    with contextlib.suppress(OSError):
        mark.unlink(missing_ok=True)


@atexit.register
def _let_all_go() -> None:
    for mark in _OURS:
        _let_go(mark)


def newest(folder: str | Path, pattern: str) -> Path | None:
    """The file that was written last among those whose names match `pattern`; None if there is none."""
    found: list[tuple[int, Path]] = []
    for path in Path(folder).glob(pattern):
        with contextlib.suppress(OSError):  # it was removed meanwhile
            found.append((path.stat().st_mtime_ns, path))
    return max(found, default=(0, None))[1]


def ready(folder: str | Path) -> Path:
    """`folder`, made if it was not there. Raises OutputError if that fails."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror}; name another folder") from error
    return folder


def unused(path: str | Path, *, overwrite: bool = False) -> Path:
    """`path`, if it can be written without losing anything. Raises OutputError otherwise."""
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; wanted the name of a file")
    if (path.exists() or path.is_symlink()) and not overwrite:  # a dangling link is somebody's file too
        raise OutputError(f"{path} is there already; name another file or say --overwrite")
    ready(path.parent)
    return path


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write a file completely or not at all, and return its path. Raises OutputError."""
    path = Path(path)
    try:
        with whole(path) as partial:
            partial.write_bytes(data)
        _let_go(_mark_of(path))  # the file itself now shows that its name is taken
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return path
