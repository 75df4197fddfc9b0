"""Where a server keeps walks: a snapshot and a log of the acts since, so that a killed server loses no frame it sent.

sessions/ID/ is the folder of a walk:
  snapshot-N    what Explorer.save wrote, a file or a folder
  changes-N     a snapshot too, of a world that is Changing (world/frame.py): what is new since the one before it, its
                chain
  log-N.jsonl   the acts after snapshot or changes N; log-N+1.jsonl goes on from there, and so on until a number is
                missing. So a new snapshot can be written while its walk goes on, and one that fails costs nothing
  meta.json     which snapshot is valid. It is replaced last, by one rename, so a half-written snapshot is never read
The previous whole snapshot and the logs since are kept, in case the disk has damaged the newest; meta-again.json is a
copy of meta.json, in case it has damaged that.
saves/OWNER/NAME are the named saves of one owner's walks.
Knows no socket. One process uses a folder at a time; different walks may be kept from different threads.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TextIO

from ...world.frame import Changing, Explorer, Retracing
from ..files.outputs import DEVICES, newest_of
from .keeping.records import DAMAGED, FORMAT, Done, Meta, line_of, meta_bytes, read_log, read_meta

log = logging.getLogger(__name__)

META, AGAIN = "meta.json", "meta-again.json"
MAX_SAVES = 64  # of one owner
MAX_SAVED_BYTES = 2**30


class StoreError(ValueError):
    """A walk that is not here or cannot be read; the message says which."""


class NameRefusedError(ValueError):
    """A name that a save may not have; the message says why."""


class FullError(ValueError):
    """An owner has too many saves, or too large ones; the message says what to do."""


def saves_changes(explorer: Explorer) -> bool:
    return isinstance(explorer, Changing) and explorer.saves_changes


class Store:
    """The walks on disk under one folder, which only its owner may read."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        for part in ("sessions", "saves"):
            (self.folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._logs: dict[str, BinaryIO] = {}
        lock = self.folder / "lock"
        # when the server before began or ended
        self._served_until = lock.stat().st_mtime if lock.exists() else math.inf
        self._lock = _locked(lock)
        os.utime(lock)

    def close(self) -> None:
        for session in list(self._logs):
            self.release(session)
        with contextlib.suppress(OSError):  # the disk is gone
            os.utime(self._lock.name)
        self._lock.close()

    def metas(self) -> list[Meta]:
        """Every walk that can be resumed; folders without a readable meta.json are skipped."""
        found = []
        for path in sorted((self.folder / "sessions").iterdir()):
            with contextlib.suppress(StoreError):
                found.append(self.meta(path.name))
        return found

    def idle_s(self, session: str) -> float:
        """Seconds between the time that something of a walk was last written and the end of the server before. The
        time since then does not count: nobody could take up a walk, and the clock may have been wrong or set anew."""
        paths = list(self._session(session).iterdir())
        now = min(time.time(), self._served_until)  # either may be ahead; st_mtime knows no other clock
        return max(0.0, now - max((path.stat().st_mtime for path in paths), default=0.0))

    def is_unused(self, session: str) -> bool:
        """Whether nothing was ever done in a walk: it has its first snapshot, and no act."""
        folder = self._session(session)
        is_first = self.meta(session).snapshot == 1
        return is_first and not any(path.stat().st_size for path in folder.glob("log-*.jsonl"))

    def snapshot(self, meta: Meta, explorer: Explorer) -> Meta:
        """Write a whole snapshot now and begin a log after it: `turn` and `write` together."""
        return self.write(self.turn(meta, meta.snapshot + 1), explorer)[0]

    def turn(self, meta: Meta, number: int) -> Meta:
        """Begin log-NUMBER. The caller must soon let `write` write the snapshot of this moment; until then the
        earlier one stays valid. number: the next one, or the one after that if acts in between were lost."""
        folder = self._session(meta.session)
        folder.mkdir(exist_ok=True, mode=0o700)
        fresh = (folder / f"log-{number}.jsonl").open("wb", buffering=0)
        self.release(meta.session)
        self._logs[meta.session] = fresh
        return replace(meta, snapshot=number)

    def write(self, meta: Meta, explorer: Explorer, before: Explorer | None = None) -> tuple[Meta, int]:
        """Write the snapshot for which `turn` was called, and make it the valid one; returns the new Meta and the
        snapshot's size in bytes. before: an explorer in the state of the last snapshot, if only the changes since
        then are to be written. If this fails, the earlier snapshot stays valid."""
        folder, number = self._session(meta.session), meta.snapshot
        path = folder / f"changes-{number}"
        files: tuple[int, ...] = ()
        try:
            if before is not None and isinstance(explorer, Changing) and explorer.save_changes(path, before):
                files = (*meta.chain, number)
            else:
                path = folder / f"snapshot-{number}"
                explorer.save(path)
            _to_disk(path)  # before meta.json names it: the machine may crash in between
            written = replace(meta, chain=files or (number,), older=meta.older if files else (*meta.chain, 0)[0])
            _replace(folder / META, meta_bytes(written))
        except BaseException:
            for torn in (path, path.with_name(f"{path.name}.partial"), folder / "meta.new"):
                with contextlib.suppress(OSError):
                    _remove(torn)
            raise
        with contextlib.suppress(OSError):
            _replace(folder / AGAIN, meta_bytes(written))
            self._drop_older(folder, written)
        return written, _size(path)

    def log(self, session: str, done: Done) -> None:
        """Add a line to a walk's log. It is passed to the system at once, so it survives the end of this process.
        Raises OSError if that fails; the log then ends before this act, and accepts no more lines until `turn`
        begins another."""
        data = line_of(done)
        lines = self._logs.get(session)
        if lines is None:
            raise OSError(errno.EIO, "the log of this walk is broken off")
        try:
            if lines.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self.release(session)
            raise

    def sync(self, session: str) -> None:
        """Wait until the log is on the disk itself (fsync), so that it survives a power failure."""
        lines = self._logs.get(session)
        if lines:
            with contextlib.suppress(ValueError):  # closed meanwhile, by `turn`
                os.fsync(lines.fileno())

    def meta(self, session: str) -> Meta:
        """The Meta of a stored walk. Raises StoreError if there is none that can be read."""
        folder = self._session(session)
        try:
            meta = read_meta(folder / META)
        except DAMAGED as error:
            log.error("%s of session %s is damaged (%s): its copy is read", META, session, error)
            with contextlib.suppress(OSError, *DAMAGED):
                return read_meta(folder / AGAIN)
            raise StoreError(f"no walk '{session}' that can be read here") from error
        except OSError as error:
            raise StoreError(f"no walk '{session}' that can be read here") from error
        if meta.session != session or meta.format != FORMAT:
            raise StoreError(f"the walk '{session}' is of format {meta.format}; wanted {FORMAT}")
        return meta

    def restored(
        self, session: str, load: Callable[..., Explorer], *, say: Callable[[Explorer], None] = lambda _: None
    ) -> Generator[None, None, tuple[Meta, Explorer, int]]:
        """Load a walk as it was after the last act in its logs; yields before each act that it repeats. Returns its
        Meta, its explorer, and the number of the new log. `say` is called with the explorer as soon as there is one,
        so that the caller can close it if the generator is abandoned."""
        meta = self.meta(session)
        explorer, meta = self._loaded(meta, load)
        say(explorer)
        step = explorer.retrace if isinstance(explorer, Retracing) else explorer.step
        end = meta.snapshot
        while (path := self._session(session) / f"log-{end}.jsonl").exists():
            acts, is_whole = read_log(path)
            for done in acts:
                yield
                if done.action:
                    step(done.action)
                elif done.rewound:
                    explorer.rewind(done.rewound)
                meta = meta.after(done)
            end += 1
            if not is_whole:
                log.error("%s is damaged: session %s is taken up as it stood before that act", path.name, session)
                self._end_with(path, acts)
        self.turn(meta, end)  # a new log, because the last line of the old one may be incomplete
        return meta, explorer, end

    def _loaded(self, meta: Meta, load: Callable[..., Explorer]) -> tuple[Explorer, Meta]:
        """The explorer of the newest snapshot that can be read, and the Meta that goes with it. If none can be read,
        raises the error of the newest one."""
        folder = self._session(meta.session)
        first: Exception | None = None
        chains = [meta.files[:count] for count in range(len(meta.files), 0, -1)]
        for files in [*chains, *([(meta.older,)] if meta.older else [])]:
            paths = [folder / f"snapshot-{files[0]}", *(folder / f"changes-{number}" for number in files[1:])]
            try:
                explorer = load(*paths)
            except Exception as error:  # any error of a world's loader on a damaged file
                log.error("%s of session %s cannot be read: %s", paths[-1].name, meta.session, error)
                first = first or error
                continue
            return explorer, replace(meta, snapshot=files[-1], chain=files)
        assert first is not None, "every walk has a snapshot"
        raise first

    def _end_with(self, path: Path, acts: list[Done]) -> None:
        """Shorten a log to these acts and remove all later logs: acts after a lost one cannot be repeated."""
        later = [other for other in path.parent.glob("log-*.jsonl") if _number(other) > _number(path)]
        _replace(path, b"".join(map(line_of, acts)))
        for other in later:
            _remove(other)

    def sizes(self, meta: Meta) -> list[int]:
        """Bytes of the files of a walk's snapshot: of the whole one, then of each file of changes."""
        folder, (whole, *changes) = self._session(meta.session), meta.files
        return [_size(folder / f"snapshot-{whole}"), *(_size(folder / f"changes-{number}") for number in changes)]

    def forget(self, session: str) -> None:
        self.release(session)
        shutil.rmtree(self._session(session), ignore_errors=True)

    def release(self, session: str) -> None:
        """Close a walk's log."""
        lines = self._logs.pop(session, None)
        if lines:
            with contextlib.suppress(OSError):
                lines.close()

    def save(self, owner: str, name: str, explorer: Explorer) -> None:
        """Write a named save; an older one of the same owner and name is replaced once the new one is complete.
        Raises NameRefusedError, FullError, OSError."""
        _check_name(name)
        folder = self.folder / "saves" / owner[:32]
        folder.mkdir(exist_ok=True, mode=0o700)
        whole, fresh, old = folder / name, folder / f".{name}.new", folder / f".{name}.old"
        if not whole.exists() and sum(not path.name.startswith(".") for path in folder.iterdir()) >= MAX_SAVES:
            raise FullError(f"{MAX_SAVES} saves of this walk are kept; save under one of their names")
        if not whole.exists() and _size(folder) >= MAX_SAVED_BYTES:
            raise FullError(f"the saves of this walk take {_size(folder) >> 20} MB; save under one of their names")
        try:
            _remove(fresh)
            explorer.save(fresh)
            _to_disk(fresh)
        except BaseException:
            with contextlib.suppress(OSError):
                _remove(fresh)
            raise
        if whole.is_dir():  # a rename cannot replace a folder
            _remove(old)
            whole.rename(old)
        os.replace(fresh, whole)
        _remove(old)

    def find_save(self, owners: Iterable[str], name: str) -> Path:
        """The newest save of that name by any of these owners. Raises StoreError if there is none."""
        folders = [self.folder / "saves" / owner[:32] for owner in owners if name]
        # the older one, if a server was killed just as it was being replaced
        places = [[folder / name, folder / f".{name}.old"] for folder in folders]
        found = [path for path in (next((p for p in both if p.exists()), None) for both in places) if path]
        if not found:
            raise StoreError(
                f"no save named '{name}' of a walk that you hold; give the token of the walk it was made in"
            )
        return newest_of(found) or found[0]

    def _session(self, session: str) -> Path:
        return self.folder / "sessions" / session

    def _drop_older(self, folder: Path, meta: Meta) -> None:
        whole, *changes = meta.files
        kept = {META, AGAIN, f"snapshot-{whole}", *(f"changes-{number}" for number in changes)}
        kept |= {f"snapshot-{meta.older}"} if meta.older else set()
        for path in folder.iterdir():
            is_log = path.name.startswith("log-") and _number(path) >= (meta.older or whole)
            if path.name not in kept and not is_log:
                _remove(path)


def finished(steps: Iterator[None]):
    """Run a generator to its end; returns what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _check_name(name: str) -> None:
    if not name:
        raise NameRefusedError("a save needs a name of letters, digits, '.', '_' or '-'")
    if name.endswith(".") or name.split(".")[0].lower() in DEVICES:  # the folder may be moved to another system
        raise NameRefusedError(f"no save can be called '{name}': some systems have no such files; choose another name")


def _number(path: Path) -> int:
    """The number in the name of a snapshot, of changes or of a log; 0 for any other file."""
    number = path.name.partition("-")[2].partition(".")[0]
    return int(number) if number.isdigit() else 0


def _size(path: Path) -> int:
    parts = path.rglob("*") if path.is_dir() else [path]
    return sum(part.stat().st_size for part in parts if part.is_file())


def _locked(path: Path) -> TextIO:
    """A lock file that one process can hold at a time; the system frees it when the process ends, however it ends."""
    held = path.open("w", encoding="utf-8")
    try:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # Windows has no fcntl: there the user must not start two servers on one folder
        pass
    except OSError as error:
        held.close()
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            reason = os.strerror(error.errno or errno.ENOLCK)
            raise StoreError(f"{path.parent} cannot be locked ({reason}); name a folder on another disk") from error
        raise StoreError(f"{path.parent} belongs to a server that runs already; name another folder") from error
    return held


def _replace(path: Path, data: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(data)
    _to_disk(fresh)
    os.replace(fresh, path)


def _to_disk(path: Path) -> None:
    """Wait until a file, or every file of a folder, is on the disk itself (fsync)."""
    for part in path.rglob("*") if path.is_dir() else [path]:
        if part.is_file():
            with part.open("rb+") as file:
                os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
