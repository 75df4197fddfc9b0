"""Copies a worker's stored walks to the shared place, repeatedly and without delaying any step.

A walk's files are copied in the order in which Store writes them: snapshots and logs first; meta.json when everything
that it names is there; files that are no longer needed are removed last. So the copy can be used at any moment, and is
at most `every_s` plus one round old. stays.py says into which folder. Knows no server.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .shared_place import SharedPlace
from .stays import META, Stay, SupersededError, newest_whole, path_in, remove, stay_folder, stays_of

log = logging.getLogger(__name__)

THREADS = 8  # walks that are copied at a time: a remote store answers slowly
LEAST_PAUSE_S = 0.05  # between two rounds, even if one takes longer than every_s
Stamp = tuple[int, int]  # when a file was written, and its size


class Replicator:
    """Copies the walks under `folder` (store.py) to a shared place. worker: its name; round_s: duration of the latest
    round; failures: of the shared place, so far. on_superseded: called with the id of a walk that has gone on on
    another worker, which this one was given up for; on a thread of the replicator."""

    def __init__(self, folder: Path, place: SharedPlace, *, every_s: float = 1.0, worker: str = "worker"):
        self.folder, self.place, self.every_s = folder, place, every_s
        self.round_s, self.failures = 0.0, 0
        self.on_superseded: Callable[[str], object] = self.forget
        self._worker = worker
        self._stays: dict[str, int] = {}  # by the path of a walk that came from elsewhere: the number of its stay here
        self._sent: dict[str, dict[str, Stamp]] = {}  # by a folder's path: which of its files are in the shared place
        self._busy: dict[str, threading.Lock] = {}
        self._forgotten: set[str] = set()  # paths of walks that belong to other workers now
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="roam-replicator")
        self._thread = threading.Thread(target=self._run, name="roam-replicator", daemon=True)

    def start(self) -> Replicator:
        self._thread.start()
        return self

    def stop(self) -> None:
        """End, after a last round."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        self.round()
        self._pool.shutdown()

    def round(self) -> None:
        """Bring the shared place up to date."""
        began = time.monotonic()
        walks = self._folders("sessions")
        saves = self._folders("saves")
        gone = [path for path in list(self._sent) if path not in walks and path not in saves]
        works: list[tuple[Callable[[str], None], str]] = [
            *((self._send_walk, path) for path in walks),
            *((self._send_saves, path) for path in saves),
            *((self._remove, path) for path in gone),
        ]
        for done in [self._pool.submit(self._try, work, path) for work, path in works]:
            done.result()
        self.round_s = time.monotonic() - began

    def send(self, session: str) -> None:
        """Bring the copy of one walk and of its owner's saves up to date now. Raises what the shared place raises."""
        self._send_walk(f"sessions/{session}")
        for path in self._folders("saves"):
            self._send_saves(path)

    def send_first(self, session: str) -> None:
        """Copy a new walk before any client is told of it. If the shared place cannot be reached, the next round
        does it."""
        self._try(self._send_walk, f"sessions/{session}")

    def fetch(self, session: str) -> None:
        """Fetch a walk from the shared place, as its newest copy has it, with the saves of its owner. A new stay of it
        begins. Raises FileNotFoundError."""
        import json

        path = f"sessions/{session}"
        with self._lock(path):
            stays = stays_of(self.place, path)
            newest = newest_whole(stays)
            if newest is None or not self._fetch_whole(path, newest.folder):
                raise FileNotFoundError(f"no walk '{session}' in the shared place")
            self._stays[path] = stays[0].number + 1
            self._sent.pop(path, None)  # nothing of the new stay's copy is there
            self._forgotten.discard(path)
        owner = json.loads((self.folder / path / META).read_text(encoding="utf-8"))["secret"][:32]
        self.fetch_saves(owner)

    def fetch_saves(self, owner: str) -> None:
        """Fetch the saves of one owner, unless there are some here that the shared place does not have yet. Those that
        are here from an earlier stay of the walk may be older than the shared place's."""
        path = f"saves/{owner}"
        with self._lock(path):
            here = self.folder / path
            if here.exists() and _stamps(here) != self._sent.get(path):
                return
            if self._fetch_whole(path):
                self._sent[path] = _stamps(here)

    def stay(self, session: str) -> int:
        """The number of a walk's stay here; 1 for one that began here."""
        return self._stays.get(f"sessions/{session}", 1)

    def has_newest(self, session: str) -> bool:
        """Whether this worker's files are the newest of a walk: they are here, and it has not gone on elsewhere, as
        far as the shared place can tell."""
        path = f"sessions/{session}"
        with self._lock(path):
            if path in self._forgotten or not (self.folder / path).is_dir():
                return False
            try:
                stays = stays_of(self.place, path)
            except Exception as error:  # it cannot be reached, so nobody has taken the walk from there
                log.error("%s cannot be looked up in %s: %s", path, self.place.url, error)
                return True
            return not stays or stays[0].number <= self.stay(session)

    def _fetch_whole(self, path: str, folder: str = "") -> bool:
        """Fetch a folder, or a folder of it, in place of what an earlier fetch has left here; returns whether there is
        one. If it does not come as a whole nothing changes here."""
        here, fresh = self.folder / path, self.folder / "fetched" / path
        shutil.rmtree(fresh, ignore_errors=True)
        if not self.place.fetch(path_in(path, folder), fresh):
            return False
        shutil.rmtree(here, ignore_errors=True)
        here.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh.replace(here)
        return True

    def forget(self, session: str) -> None:
        """Stop copying a walk: it belongs to another worker from now on, and its folder may be removed. When this
        returns, no round that has begun before copies it any more, or removes its copy."""
        path = f"sessions/{session}"
        with self._lock(path):
            self._sent.pop(path, None)
            self._stays.pop(path, None)
            self._forgotten.add(path)

    def _run(self) -> None:
        while not self._ending.wait(max(LEAST_PAUSE_S, self.every_s - self.round_s)):
            self.round()

    def _try(self, work: Callable[[str], None], path: str) -> None:
        try:
            work(path)
        except FileNotFoundError:
            log.debug("%s changed while it was copied; the next round has it", path)
        except SupersededError:
            log.warning("%s has gone on elsewhere: this worker's copy of it is not kept any more", path)
            self.on_superseded(path.removeprefix("sessions/"))
        except Exception as error:  # the shared place cannot be reached: walks go on, and are copied when it is back
            self.failures += 1
            log.error("%s cannot be kept in %s: %s", path, self.place.url, error)

    def _send_walk(self, path: str) -> None:
        with self._lock(path):
            if path in self._forgotten:
                return
            here = self.folder / path
            stamp_of_meta = _stamp(here / META)
            meta = (here / META).read_bytes()  # read first: the files that it names are sent before it
            now, sent = _stamps(here), self._sent.get(path, {})
            if now == sent:
                return
            own, others = self._copies(path)
            sent = {name: stamp for name, stamp in sent.items() if name in own.names}  # others were removed there
            for name, stamp in now.items():
                if name != META and sent.get(name) != stamp and not name.endswith((".new", ".partial")):
                    self.place.put(f"{path_in(path, own.folder)}/{name}", (here / name).read_bytes())
            if sent.get(META) != stamp_of_meta:
                self.place.put(f"{path_in(path, own.folder)}/{META}", meta)
            if now.get(META) == stamp_of_meta:  # otherwise files that the sent meta.json names may be gone here already
                for name in set(sent) - set(now):
                    self.place.remove(f"{path_in(path, own.folder)}/{name}")
                self._sent[path] = now
            else:
                self._sent[path] = {**sent, **now, META: stamp_of_meta}
            for other in others:  # older, now that this one is complete
                remove(self.place, path, other)

    def _copies(self, path: str) -> tuple[Stay, list[Stay]]:
        """This worker's copy of a walk, and the older ones of others. Raises SupersededError if there is a newer
        one."""
        own = Stay(self._stays.get(path, 1), "")
        own.folder, others = stay_folder(own.number, self._worker), []
        for stay in stays_of(self.place, path):
            if stay.number > own.number:
                raise SupersededError
            if stay.folder == own.folder:
                own = stay
            else:
                others.append(stay)
        return own, others

    def _send_saves(self, path: str) -> None:
        with self._lock(path):
            here = self.folder / path
            now, sent = _stamps(here), self._sent.get(path, {})
            for name, stamp in now.items():
                if sent.get(name) != stamp and not name.startswith("."):
                    self.place.put(f"{path}/{name}", (here / name).read_bytes())
            self._sent[path] = now

    def _remove(self, path: str) -> None:
        with self._lock(path):
            if not path.startswith("sessions/") or path not in self._sent or (self.folder / path).exists():
                return  # it was given away, or fetched again, since the round began
            self._copies(path)
            self.place.remove(path)
            del self._sent[path]

    def _folders(self, kind: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return [f"{kind}/{path.name}" for path in sorted((self.folder / kind).iterdir()) if path.is_dir()]
        return []

    def _lock(self, path: str) -> threading.Lock:
        return self._busy.setdefault(path, threading.Lock())


def _stamps(folder: Path) -> dict[str, Stamp]:
    """For each file below a folder: when it was written, and its size."""
    found: dict[str, Stamp] = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found[path.relative_to(folder).as_posix()] = _stamp(path)
    return found


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
