"""Where a server keeps walks: a snapshot and a log of the acts since, so that a killed server loses no frame it sent.

sessions/ID/meta.json names the snapshot that counts; snapshot-N is what Explorer.save wrote, a file or a folder, and
log-N.jsonl holds the acts after it. meta.json is replaced in one stroke, last, so that a torn snapshot is never read.
Knows no socket and no thread; one process owns a folder at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from ..world.action import Action
from ..world.frame import Explorer
from ..world.pose import Motion

FORMAT = 1


class StoreError(ValueError):
    """A walk that is not here or cannot be read; the message says which."""


@dataclass(frozen=True)
class Meta:
    """What is known of a walk beside its snapshot. secret: SHA-256 of its token; last: the last once's seq."""

    session: str
    secret: str
    last: int = 0
    snapshot: int = 0
    format: int = FORMAT


class Store:
    """Walks on disk under one folder, which it makes readable by its owner only."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        for part in ("sessions", "saves"):
            (self.folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._logs: dict[str, TextIO] = {}
        self._lock = _locked(self.folder / "lock")

    def close(self) -> None:
        for session in list(self._logs):
            self._close_log(session)
        self._lock.close()

    def metas(self) -> list[Meta]:
        """Every walk that can be taken up again; folders without a readable meta.json are passed over."""
        found = []
        for path in sorted((self.folder / "sessions").iterdir()):
            with contextlib.suppress(StoreError):
                found.append(self._meta(path.name))
        return found

    def snapshot(self, meta: Meta, explorer: Explorer) -> Meta:
        """Write the explorer's whole state; what is logged afterwards follows this snapshot."""
        folder = self._session(meta.session)
        folder.mkdir(exist_ok=True, mode=0o700)
        meta = Meta(meta.session, meta.secret, meta.last, meta.snapshot + 1)
        explorer.save(folder / f"snapshot-{meta.snapshot}")
        _to_disk(folder / f"snapshot-{meta.snapshot}")  # before meta.json names it: the machine may die in between
        self._close_log(meta.session)
        self._logs[meta.session] = (folder / f"log-{meta.snapshot}.jsonl").open("w", encoding="utf-8")
        _replace(folder / "meta.json", json.dumps(asdict(meta)))
        self._drop_older(folder, meta.snapshot)
        return meta

    def log(self, session: str, action: Action, seq: int) -> None:
        """Note an act that has been done. Handed to the system at once, so it outlives the process."""
        m = action.motion
        motion = [m.forward, m.right, m.yaw_deg, m.pitch_deg] if m else None
        self._logs[session].write(json.dumps([seq, action.text, motion]) + "\n")
        self._logs[session].flush()

    def restore(self, session: str, load: Callable[[Path], Explorer]) -> tuple[Meta, Explorer]:
        """The explorer as it stood after the last act logged. The caller snapshots it before it logs more."""
        meta, last = self._meta(session), 0
        explorer = load(self._session(session) / f"snapshot-{meta.snapshot}")
        for seq, action in self._logged(session, meta.snapshot):
            explorer.step(action)
            last = max(last, seq)
        return Meta(meta.session, meta.secret, max(meta.last, last), meta.snapshot), explorer

    def forget(self, session: str) -> None:
        self._close_log(session)
        shutil.rmtree(self._session(session), ignore_errors=True)

    def release(self, session: str) -> None:
        """Close what is open for a walk that is being parked; its snapshot must be written."""
        self._close_log(session)

    def save(self, name: str, explorer: Explorer) -> None:
        """Write a named save; an older one of that name is replaced once the new one is whole."""
        if not name:
            raise StoreError("a save needs a name of letters, digits, '.', '_' or '-'")
        whole, fresh = self.folder / "saves" / name, self.folder / "saves" / f".{name}.new"
        _remove(fresh)
        explorer.save(fresh)
        _remove(whole)
        fresh.rename(whole)

    def load(self, name: str, load: Callable[[Path], Explorer]) -> Explorer:
        path = self.folder / "saves" / name
        if not name or not path.exists():
            raise StoreError(f"no save named '{name}' here")
        return load(path)

    def _session(self, session: str) -> Path:
        return self.folder / "sessions" / session

    def _meta(self, session: str) -> Meta:
        try:
            meta = Meta(**json.loads((self._session(session) / "meta.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(f"no walk '{session}' that can be read here") from error
        if meta.session != session or meta.format != FORMAT:
            raise StoreError(f"the walk '{session}' is of format {meta.format}; wanted {FORMAT}")
        return meta

    def _logged(self, session: str, snapshot: int) -> list[tuple[int, Action]]:
        acts, path = [], self._session(session) / f"log-{snapshot}.jsonl"
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:  # an act torn by a power cut has no line end
            seq, text, motion = json.loads(line)
            acts.append((seq, Action(text, Motion(*motion) if motion else None)))
        return acts

    def _drop_older(self, folder: Path, snapshot: int) -> None:
        kept = {"meta.json", f"snapshot-{snapshot}", f"log-{snapshot}.jsonl"}
        for path in folder.iterdir():
            if path.name not in kept:
                _remove(path)

    def _close_log(self, session: str) -> None:
        if session in self._logs:
            self._logs.pop(session).close()


def _locked(path: Path) -> TextIO:
    """An open file that only one process may hold; the system lets go of it when the process dies, however it dies."""
    held = path.open("w", encoding="utf-8")
    try:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # Windows: two servers on one folder are then the user's to avoid
        pass
    except OSError as error:
        held.close()
        raise StoreError(f"{path.parent} belongs to a server that runs already; name another folder") from error
    return held


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    _to_disk(fresh)
    os.replace(fresh, path)


def _to_disk(path: Path) -> None:
    """Wait until a file, or every file of a folder, would outlive the machine."""
    for part in path.rglob("*") if path.is_dir() else [path]:
        if part.is_file():
            with part.open("rb+") as file:
                os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
