"""Where a walk's copies lie in the shared place: one folder for each stay of the walk on a worker.

A worker writes into the folder of its own stay and into no other, so a worker that was given up, and goes on out of
everybody's reach, cannot overwrite what the walk's next worker writes. Stays are numbered: the newest complete copy is
the walk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .shared_place import SharedPlace

META = "meta.json"
_STAY = re.compile(r"stay-(\d+)-[^/]*")


class SupersededError(Exception):
    """A walk that has gone on elsewhere: nothing of this worker's copy is wanted any more."""


@dataclass
class Stay:
    """The copy of one stay. folder: below the walk's folder; "" for copies of a cluster that had no stays yet. names:
    of its files."""

    number: int
    folder: str
    names: set[str] = field(default_factory=set)


def stay_folder(number: int, worker: str) -> str:
    return f"stay-{number:06d}-{worker}"


def stays_of(place: SharedPlace, walk: str) -> list[Stay]:
    """The copies of a walk, the newest first. walk: its folder's path in the shared place."""
    found: dict[str, Stay] = {}
    for name in place.files(walk):
        folder, _, rest = name.partition("/")
        match = _STAY.fullmatch(folder) if rest else None
        if match is None:
            folder, rest = "", name
        found.setdefault(folder, Stay(int(match[1]) if match else 0, folder)).names.add(rest)
    return sorted(found.values(), key=lambda stay: (stay.number, stay.folder), reverse=True)


def newest_whole(stays: list[Stay]) -> Stay | None:
    """The newest copy that is complete: its meta.json is written last."""
    return next((stay for stay in stays if META in stay.names), None)


def path_in(walk: str, folder: str) -> str:
    """The path of a copy's folder."""
    return f"{walk}/{folder}" if folder else walk


def remove(place: SharedPlace, walk: str, stay: Stay) -> None:
    """Remove a copy, and no other one."""
    if stay.folder:
        place.remove(path_in(walk, stay.folder))
        return
    for name in stay.names:
        place.remove(f"{walk}/{name}")
