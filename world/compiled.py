"""Numba's `njit` with a cache folder that this user may write. Otherwise every start would compile again, or fail:
where a container's user has no home, Numba stops, or makes a folder named `~`.

Knows nothing of what is compiled.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import logging
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler import Compiler
from numba.np import linalg

log = logging.getLogger(__name__)

_IMPORT = re.compile(r"^from (\.+)([\w.]+) import", re.MULTILINE)
_config: Any = numba.config  # its settings are attributes that no type checker sees


def njit(*, cache: bool = False, **options) -> Callable:
    """`numba.njit`; cache=True stores compiled code if there is a folder for it, and a full disk is no error."""
    compiled = numba.njit(pipeline_class=_Alone, **options)

    def decorated(function: Callable) -> Callable:
        dispatcher = compiled(function)
        if cache and cache_folder() is not None:
            dispatcher._cache = _Cache(function)
        return dispatcher

    return decorated


def _spare_scipy() -> None:
    """Imports numba's functions of arrays without SciPy, which some machines have and nothing compiled here calls: it
    would take a third of a second of every start. What multiplies matrices imports it still, when it is compiled."""
    ensure_blas, linalg.ensure_blas = linalg.ensure_blas, lambda: None
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = ensure_blas


class _Alone(Compiler):
    """Numba's compiler, with copies of the functions called that belong to their caller alone. As Numba links them, all
    callers in a process run the copy that was loaded first, and that was optimised for another caller: with fastmath
    its last bits differ, so what was computed would depend on the order in which functions were first called."""

    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        library = library or targetctx.codegen().create_library("roam")
        library.enable_object_caching()
        optimize = library._optimize_final_module

        def with_own_copies():
            for function in library._final_module.functions:
                if not function.is_declaration and function.linkage.name == "linkonce_odr":
                    function.linkage = "internal"
            optimize()

        library._optimize_final_module = with_own_copies
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)


class _Cache(FunctionCache):
    """Numba's cache, made tolerant: code that cannot be written to it, or read from it, is compiled again. Code is kept
    for as long as all sources are the same that it was made of: Numba itself looks at the function's own file alone,
    and would go on running functions and constants of other files as they were before an update."""

    def __init__(self, function: Callable):
        super().__init__(function)
        stamp = (self._impl.locator.get_source_stamp(), digest_of_sources(Path(function.__code__.co_filename)))
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=stamp
        )

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:  # the disk is full, or the index file is damaged
            log.warning("compiled code of %s is not kept: %s", self._name, error)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling a damaged file can raise anything
            log.warning("compiled code of %s cannot be read, and is compiled anew: %s", self._name, error)
            with contextlib.suppress(OSError):
                self.flush()  # an index without it
            return None


@functools.cache
def digest_of_sources(path: Path) -> str:
    """A digest of a module's source and of those that it imports relatively; and of those that these import, if they
    are compiled as well."""
    known, open_ = set(), [path]
    while open_:
        file = open_.pop()
        if file in known or not file.is_file():
            continue
        known.add(file)
        source = file.read_text(encoding="utf-8")
        if file == path or "njit" in source:
            for dots, name in _IMPORT.findall(source):
                found = file.parents[len(dots) - 1].joinpath(*name.split(".")).with_suffix(".py")
                open_.append(found)
    hasher = hashlib.blake2b(digest_size=16)
    for file in sorted(known):
        hasher.update(file.read_bytes())
    return hasher.hexdigest()


def cache_folder() -> Path | None:
    """Where compiled code is stored, or None if nowhere."""
    return _FOLDER


def choose_folder() -> Path | None:
    """The first that can be used: NUMBA_CACHE_DIR, next to the sources, the user's cache, a temporary folder."""
    here, own = Path(__file__).parent / "__pycache__", _own_cache()
    if _config.CACHE_DIR:
        return Path(_config.CACHE_DIR)
    if _is_writable(here):
        return here
    if own is not None and _is_writable(own):
        return own
    with contextlib.suppress(OSError):
        _config.CACHE_DIR = str(temporary_folder())
        return Path(_config.CACHE_DIR)
    return None


def _own_cache() -> Path | None:
    """The user's cache folder as Numba finds it, or None for a user without a home."""
    with contextlib.suppress(RuntimeError):
        home = Path.home()
        return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") if home.is_dir() else None
    return None


def _is_writable(folder: Path) -> bool:
    """Whether files can be put into a folder that exists or can be made."""
    nearest = next(part for part in (folder, *folder.parents) if part.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def temporary_folder() -> Path:
    """A temporary folder into which nobody else can have put code."""
    folder = Path(tempfile.gettempdir()) / f"roam-compiled-{os.getuid() if hasattr(os, 'getuid') else 'own'}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    is_ours = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o077)
    if folder.is_symlink() or not folder.is_dir() or not is_ours:
        return Path(tempfile.mkdtemp(prefix="roam-compiled-"))
    return folder


_FOLDER = choose_folder()
_spare_scipy()
