"""Where a command may write: fresh names in a folder, and no file overwritten that was not meant to be."""

from __future__ import annotations

import contextlib
from pathlib import Path

# names that mean a device to Windows, whatever ending they have
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})


class OutputError(ValueError):
    """A path that cannot be written; the message says why and what to do."""


def fresh(folder: str | Path, stem: str, suffix: str) -> Path:
    """The first of `stem-001`, `stem-002`, ... that nothing in `folder` bears with any suffix; makes the folder."""
    folder = ready(folder)
    try:
        taken = {path.name.split(".")[0] for path in folder.iterdir() if path.name.startswith(f"{stem}-")}
    except OSError as error:
        raise OutputError(f"cannot look into {folder}: {error.strerror}; name another folder") from error
    number = next(n for n in range(1, len(taken) + 2) if f"{stem}-{n:03d}" not in taken)
    return folder / f"{stem}-{number:03d}{suffix}"


def ready(folder: str | Path) -> Path:
    """`folder`, made if it was not there. Raises OutputError where that cannot be."""
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
    if (path.exists() or path.is_symlink()) and not overwrite:  # one that leads nowhere is somebody's too
        raise OutputError(f"{path} is there already; name another file or say --overwrite")
    ready(path.parent)
    return path


def partial_of(path: Path) -> Path:
    """Where a file is written until it is whole: hidden beside it, and no longer than names may be."""
    return path.with_name(f".{path.name[:60]}.partial")


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write a file whole or not at all, and return its path. Raises OutputError."""
    path = Path(path)
    partial = partial_of(path)
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return path
