"""Storage that every machine of a cluster reads and writes: a folder, or anything that fsspec supports, such as S3.

Stores files by path and knows nothing of walks. A file is either there completely or not at all.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePosixPath
from typing import Any


class SharedPlaceError(ValueError):
    """Storage that cannot be used; the message says what can."""


class SharedPlace:
    """The storage at `url`: a path, or "s3://BUCKET/PREFIX" and the like. options: for fsspec's file system of that
    kind, such as endpoint_url. May be used from any thread."""

    def __init__(self, url: str, options: dict[str, Any] | None = None):
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise SharedPlaceError("a cluster needs fsspec: pip install 'roam-worlds[cluster]'") from error
        self.url, self.options = url, options or {}
        try:
            self._files, root = url_to_fs(url, **self.options)
        except ImportError as error:  # fsspec knows this kind, but its package is not installed
            raise SharedPlaceError(f"{url}: {error}; pip install s3fs for s3://") from error
        except ValueError as error:
            raise SharedPlaceError(f"'{url}' keeps no snapshots ({error}); wanted a folder or s3://...") from error
        self._root = root.rstrip("/")
        protocol = self._files.protocol
        self._is_folder = "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def put(self, path: str, data: bytes) -> None:
        """Write a file, replacing one of that name."""
        whole = self._whole(path)
        if not self._is_folder:
            self._files.pipe_file(whole, data)
            return
        fresh = Path(f"{whole}.new")
        fresh.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh.write_bytes(data)
        os.replace(fresh, whole)

    def get(self, path: str) -> bytes:
        """The contents of a file. Raises FileNotFoundError."""
        return self._files.cat_file(self._whole(path))

    def files(self, folder: str) -> list[str]:
        """The paths of all files below a folder, relative to it; empty if there is no such folder."""
        whole = self._whole(folder)
        with contextlib.suppress(FileNotFoundError):
            self._files.invalidate_cache(whole)
            found = self._files.find(whole)
            names = [str(PurePosixPath(path).relative_to(whole)) for path in found]
            return sorted(name for name in names if not name.endswith(".new"))
        return []

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder."""
        return sorted({path.split("/", 1)[0] for path in self.files(folder) if "/" in path})

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with its contents; does nothing if there is none."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm(self._whole(path), recursive=True)

    def fetch(self, folder: str, into: Path) -> int:
        """Copy a folder into a local one; returns how many files it had."""
        names = self.files(folder)
        for name in names:
            path = into / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_bytes(self.get(f"{folder}/{name}"))
        return len(names)

    def _whole(self, path: str) -> str:
        return f"{self._root}/{path}"
