"""What the paths of a command line must be, asked before any work begins: folders and files that can be written, files
and folders that can be read. Nothing is made, and what is there stays as it is. None is an option that was not given.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ...world.files import readable, replaceable
from .outputs import OutputError, refused_folder, why_no_folder


def folder_to_write(path: Path | None) -> Path | None:
    """The path of a folder that can be written into, or that can be made. Raises OutputError."""
    if path is None:
        return None
    try:
        # permissions do not tell of disks that are full, or that nobody may write to
        with tempfile.TemporaryFile(dir=_nearest(path)):
            pass
    except OSError as error:
        raise refused_folder(path, error) from error
    return path


def file_to_write(path: Path | None) -> Path | None:
    """The path of a file that can be written, whether it is there or not. Raises OutputError."""
    if path is None:
        return None
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder; wanted the name of a file")
    try:
        replaceable(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; name another file") from error
    folder_to_write(path.parent)
    return path


def file_to_read(path: Path | None) -> Path | None:
    """The path of a file that can be read, or of what a shell has opened. Raises OutputError."""
    if path is None or str(path).startswith(("/dev/", "/proc/")):  # what a shell has opened is read once
        return path
    try:
        readable(path).open("rb").close()
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}; wanted a file that is there") from error
    return path


def folder_to_read(path: Path | None) -> Path | None:
    """The path of a folder whose files can be read. Raises OutputError."""
    if path is None:
        return None
    try:
        os.listdir(path)
    except OSError as error:
        raise OutputError(f"cannot read {path}: {why_no_folder(path, error)}; wanted a folder that is there") from error
    return path


def folder_of_weights(path: Path | None) -> Path | None:
    """A folder, or what is not there, which may be the name of weights that ship. Raises OutputError."""
    if path is None:
        return None
    try:
        os.listdir(path)
    except OSError as error:
        why = why_no_folder(path, error)
        if why == error.strerror and isinstance(error, FileNotFoundError):
            return path  # whoever reads it says more about it
        raise OutputError(f"cannot read {path}: {why}; wanted a folder of weights") from error
    return path


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there. Raises OSError where something else is in the way."""
    for place in (folder, *folder.absolute().parents):
        try:
            os.stat(place)
        except FileNotFoundError:
            if place.is_symlink():
                raise
        else:
            return place
    return folder
