"""What a run keeps in its folder besides states and weights: what it began with, for it goes on with nothing else. And
whether the disk has room for what it will leave there. Knows nothing of training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import parse_json, write_text_whole

ORDER = "order.json"
SHOWN = 60  # characters of a value that a sentence can hold; digests of files are longer
_GIB = 2**30


class AdaptError(ValueError):
    """An adaptation that is impossible; the message says what came and what was wanted."""


def has_begun(out: Path, fixed: Mapping[str, Any]) -> bool:
    """Whether a run began here, with the same inputs. Raises AdaptError for one with others."""
    note = out / ORDER
    if not note.exists():
        return False
    try:
        held = parse_json(note.read_bytes())
    except ValueError as error:
        raise AdaptError(f"{note} is damaged ({error}): bring a copy of it, or name another --out") from error
    for name, value in _plain(fixed).items():
        was = held.get(name) if isinstance(held, dict) else None
        if was != value:
            shown = f" ({was}, now {value})" if len(f"{was}{value}") < SHOWN else ""
            raise AdaptError(
                f"{out} holds a run with another '{name}'{shown}: go on with what it had, or name another --out"
            )
    return True


def note_begin(out: Path, fixed: Mapping[str, Any]) -> None:
    """Note with what a run begins, as soon as it has something to keep."""
    out.mkdir(parents=True, exist_ok=True)
    write_text_whole(out / ORDER, json.dumps(_plain(fixed), indent=1))


def check_room(out: Path, checkpoint: int, state: int) -> None:
    """Make a run's folder, and raise AdaptError if its disk has no room for a checkpoint and a state of so many bytes.
    A new state is written beside the one before it."""
    out.mkdir(parents=True, exist_ok=True)
    is_saved = any((out / "run").glob("state*"))
    needed = state * (1 if is_saved else 2) + (0 if (out / "checkpoint").exists() else checkpoint)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise AdaptError(
            f"{out} wants {needed / _GIB:.1f} GiB of disk for the checkpoint and states, and {free / _GIB:.1f} GiB are "
            "free: make room, or name another --out"
        )


def _plain(fixed: Mapping[str, Any]) -> dict:
    """As it is read again from JSON."""
    return json.loads(json.dumps(dict(fixed), default=repr))
