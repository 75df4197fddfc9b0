"""What has changed in a session since it was last saved, as a small file; and such files combined with the whole one.

A walk keeps what it has seen, so most of two snapshots is the same. A file of changes holds the moments since, with the
pages, pictures and views that came with them, and names the moment that it continues from. Knows no disk: it works on
tensors and their descriptions (snapshot.py).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor

from ..session import Keyframe, Moment, Session, view_index
from ..spatial.view_memory import Memo
from . import forms
from .forms import Form, Stand, first_memos

PAGES = ("k", "v")  # tensors whose second axis is that of `numbers`; for the rest it is the first
BY_VIEW = ("fresh", "origins", "whole")
BY_NUMBER, BY_INDEX, BY_FRAME = ("lengths", "grids"), ("pixels", "depth", "pose"), ("has_tokens", "tokens")


class ChangesError(ValueError):
    """Changes that do not follow the file before them; the message says how."""


@dataclass(frozen=True)
class Changes:
    """What a session has that an earlier fork of it has not. base: the newest moment of both; moments, and the
    keyframes and the views that came with them, by their indices."""

    base: Moment
    moments: tuple[Moment, ...]
    keyframes: tuple[Keyframe, ...]
    views: dict[int, Memo]


def changes_since(session: Session, before: Session) -> Changes | None:
    """What has changed, or None if the two have no moment in common any more."""
    old = {id(moment) for moment in before.moments}
    kept = list(takewhile(lambda moment: id(moment) in old, session.moments))
    if not kept:
        return None
    base, new = kept[-1], session.moments[len(kept) :]
    known = {id(keyframe) for keyframe in base.keyframes}
    seen = set(base.memory.indices)
    keyframes = {k.number: k for moment in new for k in moment.keyframes if id(k) not in known}
    first = first_memos([moment.memory for moment in new])
    views = {index: memo for index, memo in first.items() if index not in seen}
    return Changes(base, tuple(new), tuple(keyframes.values()), views)


@dataclass
class _Row:
    """A row of a file's tensors."""

    held: dict[str, Tensor]
    number: int

    def of(self, name: str) -> Tensor:
        tensor = self.held[name]
        return tensor[:, self.number] if name in PAGES else tensor[self.number]


@dataclass
class _Shown:
    """A moment as stored in files: the numbers of its keyframes, the indices of its memory, its tokens' row, and those
    views of its memory that newer dreams have changed."""

    index: int
    keyframes: list[int]
    memory: list[int]
    tokens: _Row
    forms: dict[int, Form]


class Laid:
    """Files combined, the whole one first; `whole` is what a whole file in the last one's state would be."""

    def __init__(self, held: dict[str, Tensor], meta: dict[str, str]):
        numbers = held["numbers"].tolist()
        self._meta, self._actions = meta, json.loads(meta["actions"])
        self._pages: dict[int, _Row] = {}
        self._pictures: dict[int, _Row] = {}
        self._views: dict[int, _Row] = {}
        self._shown: list[_Shown] = []
        self._stands: dict[int, Stand] = {}
        self._is_exact = True  # whether all files tell of forms
        keyframes = [[numbers[place] for place in places] for places in json.loads(meta["keyframes"])]
        self._add(held, keyframes, meta)

    def lay(self, held: dict[str, Tensor], meta: dict[str, str]) -> None:
        """Add changes to what is there. Raises ChangesError if they continue from something else."""
        first, kept, count = (int(meta[name]) for name in ("first", "kept", "kept_actions"))
        self._shown = [shown for shown in self._shown if first <= shown.index <= kept]
        if not self._shown or self._shown[-1].index != kept or self._digest(kept) != meta["kept_digest"]:
            raise ChangesError(f"these changes go on from frame {kept}, which is not what is there")
        self._actions = self._actions[:count] + json.loads(meta["actions"])
        self._meta = self._meta | {name: meta[name] for name in ("seed", "start", "decoder", "solid", "dida")}
        self._add(held, json.loads(meta["keyframes"]), meta)

    def whole(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors and their descriptions, as `save_session` writes them."""
        numbers = list(dict.fromkeys(number for shown in self._shown for number in shown.keyframes))
        remembered = {index for shown in self._shown for index in shown.memory}
        views = [index for index in self._views if index in remembered]
        indices = list(dict.fromkeys([*views, *(view_index(shown.index) for shown in self._shown)]))
        held = {name: torch.stack([self._pages[n].of(name) for n in numbers], 1) for name in PAGES}
        held |= {name: torch.stack([self._pages[n].of(name) for n in numbers]) for name in BY_NUMBER}
        held |= {name: torch.stack([self._pictures[i].of(name) for i in indices]) for name in BY_INDEX}
        held |= {name: torch.stack([shown.tokens.of(name) for shown in self._shown]) for name in BY_FRAME}
        fresh, origins, is_whole = ([self._views[index].of(name) for index in views] for name in BY_VIEW)
        held |= {
            "numbers": torch.tensor(numbers),
            "index": torch.tensor(indices),
            "views": torch.tensor(views, dtype=torch.int64),
            "moments": torch.tensor([s.index for s in self._shown]),
            "fresh": torch.stack(fresh) if fresh else torch.zeros(0, 0, dtype=torch.uint8),
            "origins": torch.tensor([int(origin) for origin in origins], dtype=torch.uint8),
            "whole": torch.tensor([bool(is_all) for is_all in is_whole], dtype=torch.bool),
        }
        places = {number: place for place, number in enumerate(numbers)}
        told = self._forms(held, views) | {
            "actions": json.dumps(self._actions),
            "memories": json.dumps([shown.memory for shown in self._shown]),
            "keyframes": json.dumps([[places[number] for number in shown.keyframes] for shown in self._shown]),
        }
        return held, self._meta | told

    def _forms(self, held: dict[str, Tensor], views: list[int]) -> dict[str, str]:
        """Add to `held` what newer dreams did to the views; returns the description of it."""
        if not self._is_exact:
            return {}
        found: list[Form] = []
        changed: list[list[int]] = []
        last: dict[int, Form] = {}
        for shown in self._shown:
            new = [form for index, form in shown.forms.items() if last.get(index) is not form]
            changed.append(list(range(len(found), len(found) + len(new))))
            found, last = found + new, shown.forms
        stands = {index: self._stands[index] for index in views if index in self._stands}
        held |= forms.as_tensors(found, stands, held["fresh"].shape[1])
        return {forms.CHANGED: json.dumps(changed)}

    def _add(self, held: dict[str, Tensor], keyframes: list[list[int]], meta: dict[str, str]) -> None:
        self._pages |= {number: _Row(held, row) for row, number in enumerate(held["numbers"].tolist())}
        self._pictures |= {index: _Row(held, row) for row, index in enumerate(held["index"].tolist())}
        found, stands = forms.read(held) if forms.CHANGED in meta else ([], {})
        for row, index in enumerate(held["views"].tolist()):
            self._views.pop(index, None)  # a view seen again after a rewind becomes the newest
            self._views[index] = _Row(held, row)
            self._stands.pop(index, None)
        self._stands |= stands
        self._is_exact &= forms.CHANGED in meta
        memories, indices = json.loads(meta["memories"]), held["moments"].tolist()
        changed = json.loads(meta.get(forms.CHANGED, json.dumps([[]] * len(indices))))
        for row, index in enumerate(indices):
            before = self._shown[-1].forms if self._shown else {}
            after = before | {found[k].index: found[k] for k in changed[row]}
            kept = {number: after[number] for number in memories[row] if number in after}
            self._shown.append(_Shown(index, keyframes[row], memories[row], _Row(held, row), kept))

    def _digest(self, index: int) -> str:
        """The fields by which a stored frame is recognised."""
        return digest_of(self._pictures[view_index(index)].of("pixels").numpy())


def digest_of(pixels: np.ndarray) -> str:
    """Pixels (H, W, 3) uint8 as 16 hex digits."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()[:16]
