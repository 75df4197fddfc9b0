"""The action log of a recording: what was done, and the digest of every frame that followed, one JSON object per line.

The first line describes the start; the others are steps, rewinds and repeated dreams in order. Replaying them must give
the same digests.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...world.action import Action
from ...world.files import TextError, read_text
from ...world.frame import Dreaming, Explorer, Frame
from ...world.options import DreamOptions
from ...world.records import known_pose_of, motion_of, motion_row, pose_row
from ..files.outputs import OutputError, unused

FORMAT = 1
MAX_BYTES = 256 << 20


class LogError(ValueError):
    """An action log that cannot be read; the message says which line is wrong."""


@dataclass(frozen=True)
class Step:
    """One step: the action, and the digest of its frame."""

    action: Action
    digest: str


@dataclass(frozen=True)
class Rewind:
    """`frames` steps undone, and the digest of the current frame after that."""

    frames: int
    digest: str


@dataclass(frozen=True)
class Anew:
    """The last dream was dreamt again with the next seed; and the digest of the current frame after that."""

    digest: str


Event = Step | Rewind | Anew


@dataclass(frozen=True)
class ActionLog:
    """A whole log: the start as its plain fields, the weights (None: the embedded ones), the first frame's digest;
    dreams: how unseen places were dreamt, if that was given."""

    start: dict
    model: str | None
    first: str
    events: tuple[Event, ...]
    dreams: DreamOptions = field(default_factory=DreamOptions)


class LogWriter:
    """Appends events to a log file; each is on the disk before the next, so that a crash loses no finished line.

    Raises OutputError if the disk accepts no more.
    """

    def __init__(self, path: str | Path, log: ActionLog, *, overwrite: bool = False):
        self.path = unused(path, overwrite=overwrite)
        head = {"roam": "action log", "format": FORMAT, "start": log.start, "model": log.model, "first": log.first}
        head |= {"dreams": log.dreams.given} if log.dreams.given else {}
        try:
            self._file = open(self.path, "w", encoding="utf-8")  # noqa: SIM115 -- closed by close()
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}; name another file") from error
        try:
            self._write(head)
            for event in log.events:
                self.add(event)
        except OutputError:
            self.close()
            raise

    def add(self, event: Event) -> None:
        self._write(_line(event))

    def close(self) -> None:
        """Close the file; `add` has raised any error of writing."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, line: dict) -> None:
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from error


def load_log(path: str | Path) -> ActionLog:
    """Read what a LogWriter wrote. Raises LogError for an incomplete or foreign file."""
    try:
        text = read_text(path, most=MAX_BYTES)
    except (OSError, TextError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LogError(f"cannot read the action log {path}: {reason}") from error
    lines = text.splitlines()
    head = _parsed(lines[0] if lines else "", path, 1)
    if not isinstance(head.get("model"), str | None):
        raise LogError(f"{path}: a model of {head['model']!r}; wanted the name of a folder, or null")
    if head.get("roam") != "action log" or head.get("format") != FORMAT or not isinstance(head.get("start"), dict):
        raise LogError(f"{path} is no action log of format {FORMAT}; wanted the .jsonl file beside a recording")
    told = [(number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    events = tuple(_event(_parsed(line, path, number), path, number) for number, line in told)
    return ActionLog(head["start"], head.get("model"), str(head.get("first")), events, _dreams(head, path))


def replay(explorer: Explorer, log: ActionLog) -> Iterator[tuple[str, str]]:
    """Repeat the log; yields (digest then, digest now) for the first frame and after each event."""
    yield log.first, explorer.frame.digest
    for event in log.events:
        yield event.digest, _done_again(explorer, event).digest


def _done_again(explorer: Explorer, event: Event) -> Frame:
    if isinstance(event, Step):
        return explorer.step(event.action)
    if isinstance(event, Rewind):
        return explorer.rewind(event.frames)
    if not isinstance(explorer, Dreaming):
        raise LogError("the log dreams anew, and this world is none that is dreamt")
    return explorer.dream_anew()


def first_difference(pairs: Iterable[tuple[str, str]]) -> int | None:
    """The number of the first pair that differs, or None."""
    return next((number for number, (then, now) in enumerate(pairs) if then != now), None)


def _line(event: Event) -> dict:
    if isinstance(event, Anew):
        return {"anew": True, "digest": event.digest}
    if isinstance(event, Rewind):
        return {"rewind": event.frames, "digest": event.digest}
    m = event.action.motion
    motion = None if m is None else motion_row(m)
    at = {} if event.action.at is None else {"at": pose_row(event.action.at)}
    return {"text": event.action.text, "motion": motion, **at, "digest": event.digest}


def _parsed(line: str, path: str | Path, number: int) -> dict:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LogError(f"{path}, line {number}: no JSON; the log is torn or no action log") from error
    if not isinstance(value, dict):
        raise LogError(f"{path}, line {number}: wanted a table, got {type(value).__name__}")
    return value


def _dreams(head: dict, path: str | Path) -> DreamOptions:
    dreams = head.get("dreams", {})
    kinds: dict[str, Any] = {"dream_steps": int, "dream_temperature": (int, float)}
    if not isinstance(dreams, dict) or not all(isinstance(v, kinds.get(k, ())) for k, v in dreams.items()):
        raise LogError(f"{path}: dreams of {dreams!r}; wanted dream_steps and dream_temperature, both numbers")
    return DreamOptions(**dreams)


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _event(line: dict, path: str | Path, number: int) -> Event:
    try:
        if line.get("anew") is True:
            return Anew(str(line["digest"]))
        if "rewind" in line:
            return Rewind(_of(int, line["rewind"]), str(line["digest"]))
        motion = None if line["motion"] is None else motion_of(line["motion"])
        at = known_pose_of(line["at"]) if "at" in line else None
        return Step(Action(_of(str, line["text"]), motion, at), str(line["digest"]))
    except (KeyError, TypeError, ValueError) as error:
        raise LogError(f"{path}, line {number}: no step, no rewind and no dream anew ({error})") from error
