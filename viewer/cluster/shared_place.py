"""A place that every machine of a cluster reads and writes: a folder, or whatever else fsspec speaks, S3 for instance.

Holds files by path and knows no walk. A file is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePosixPath
from typing import Any


class SharedPlaceError(ValueError):
    """A place that cannot be used; the message says what will do."""


class SharedPlace:
    """The place at `url`: a path, or "s3://BUCKET/PREFIX" and the like. options: what fsspec's file system of that kind
    takes, such as endpoint_url. May be used from any thread."""

    def __init__(self, url: str, options: dict[str, Any] | None = None):
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise SharedPlaceError("a cluster needs fsspec: pip install 'roam-worlds[cluster]'") from error
        self.url, self.options = url, options or {}
        try:
            self._files, root = url_to_fs(url, **self.options)
        except ImportError as error:  # the kind is known, its package is not here
            raise SharedPlaceError(f"{url}: {error}; pip install s3fs for s3://") from error
        except ValueError as error:
            raise SharedPlaceError(f"'{url}' keeps no snapshots ({error}); wanted a folder or s3://...") from error
        self._root = root.rstrip("/")
        protocol = self._files.protocol
        self._is_folder = "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def put(self, path: str, data: bytes) -> None:
        """Write a file, in place of one that is there."""
        whole = self._whole(path)
        if not self._is_folder:
            self._files.pipe_file(whole, data)
            return
        fresh = Path(f"{whole}.new")
        fresh.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh.write_bytes(data)
        os.replace(fresh, whole)

    def get(self, path: str) -> bytes:
        """What a file holds. Raises FileNotFoundError."""
        return self._files.cat_file(self._whole(path))

    def files(self, folder: str) -> list[str]:
        """The paths of all files below a folder, relative to it; none where there is no such folder."""
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
        """Remove a file, or a folder with all in it; nothing happens where there is none."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm(self._whole(path), recursive=True)

    def fetch(self, folder: str, into: Path) -> int:
        """Bring a folder here; returns how many files it had."""
        names = self.files(folder)
        for name in names:
            path = into / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_bytes(self.get(f"{folder}/{name}"))
        return len(names)

    def _whole(self, path: str) -> str:
        return f"{self._root}/{path}"
