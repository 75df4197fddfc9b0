"""Numba's `njit`, with what it compiles kept where this user may write; elsewhere every start would compile anew, or
none would succeed: Numba gives up, or makes a folder named `~`, where a container's user has no home.

Knows nothing of what is compiled.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

_config: Any = numba.config  # its settings are attributes that no type checker sees


def njit(**options) -> Callable:
    """`numba.njit`; cache=True counts where there is a folder for it."""
    return numba.njit(**options | {"cache": options.get("cache", False) and _FOLDER is not None})


def cache_folder() -> Path | None:
    """Where compiled code is kept, or None where it is not."""
    return _FOLDER


def _chosen() -> Path | None:
    """NUMBA_CACHE_DIR, or beside the sources, or the user's cache, or else a folder for temporary files."""
    here, own = Path(__file__).parent / "__pycache__", _own_cache()
    if _config.CACHE_DIR:
        return Path(_config.CACHE_DIR)
    if _is_writable(here):
        return here
    if own is not None and _is_writable(own):
        return own
    with contextlib.suppress(OSError):
        _config.CACHE_DIR = str(_temporary())
        return Path(_config.CACHE_DIR)
    return None


def _own_cache() -> Path | None:
    """The user's cache folder as Numba finds it, or None for a user without a home."""
    with contextlib.suppress(RuntimeError):
        home = Path.home()
        return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") if home.is_dir() else None
    return None


def _is_writable(folder: Path) -> bool:
    """Whether files can be put into a folder that is there or can be made."""
    nearest = next(part for part in (folder, *folder.parents) if part.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """A folder for temporary files that nobody else can have put code into."""
    folder = Path(tempfile.gettempdir()) / f"roam-compiled-{os.getuid() if hasattr(os, 'getuid') else 'own'}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    is_ours = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o077)
    if folder.is_symlink() or not folder.is_dir() or not is_ours:
        return Path(tempfile.mkdtemp(prefix="roam-compiled-"))
    return folder


_FOLDER = _chosen()
