"""How newer dreams have changed remembered views, as tensors of a file: what each view still shows at each moment, and
what stands in for it. Nothing of it can be worked out again from the views alone: what changed a view may have been
forgotten since, and a view that was changed itself changes others otherwise. Knows no sessions and no disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..pose import Camera
from ..spatial.anew import NOBODY, StandsIn
from ..spatial.view_memory import Memo, ViewMemory, memo_of
from ..spatial.warp import View

CHANGED = "forms"  # the entry of a file's description for `changed` below; files of before have none


@dataclass(frozen=True)
class Form:
    """A view as it became. index: its number; fresh (P,) uint8: what it still shows, packed; gone: numbers of newer
    dreams, each with where that one stands in for it, packed."""

    index: int
    fresh: np.ndarray
    gone: tuple[tuple[int, np.ndarray], ...]


@dataclass(frozen=True)
class Stand:
    """What a dream stands in for, as in anew.StandsIn: where (P,) uint8, packed; points (n, 3) float64 of older dreams,
    and from how far, distances (n,) float32, those had been dreamt."""

    where: np.ndarray
    points: np.ndarray
    distances: np.ndarray


def first_memos(memories: Sequence[ViewMemory]) -> dict[int, Memo]:
    """The views of some moments by their indices, in the order in which they were remembered, each as the oldest of the
    moments has it."""
    memos: dict[int, Memo] = {}
    for memory in memories:
        for memo in memory.memos:
            memos.setdefault(memo.index, memo)
    return memos


def forms_of(
    memories: Sequence[ViewMemory], new: dict[int, Memo], before: ViewMemory | None = None
) -> tuple[list[Form], list[list[int]]]:
    """The forms of views that differ from how those were remembered first, and for each moment which of these are new
    in it. new: views of which the file holds the first form; before: the memory at the moment before these."""
    known = {id(memo) for memo in (before.memos if before else ())}
    known |= {id(memo) for memo in new.values() if memo.gone is None}
    forms: list[Form] = []
    changed = []
    for memory in memories:
        found = [memo for memo in memory.memos if id(memo) not in known]
        known |= {id(memo) for memo in found}
        changed.append(list(range(len(forms), len(forms) + len(found))))
        forms += [_form_of(memo) for memo in found]
    return forms, changed


def _form_of(memo: Memo) -> Form:
    by = [] if memo.gone is None else [int(number) for number in np.unique(memo.gone) if number != NOBODY]
    return Form(memo.index, packed(memo.view), tuple((number, np.packbits(memo.gone == number)) for number in by))


def stands_of(memos: Iterable[Memo]) -> dict[int, Stand]:
    """What the dreams among some views stand in for, by their indices."""
    stands = {}
    for memo in memos:
        if memo.stands_in is not None:
            points = np.concatenate([np.zeros((0, 3)), *memo.stands_in.points])
            distances = np.concatenate([np.zeros(0, np.float32), *memo.stands_in.distances])
            stands[memo.index] = Stand(np.packbits(memo.stands_in.where), points, distances)
    return stands


def as_tensors(forms: Sequence[Form], stands: dict[int, Stand], width: int) -> dict[str, Tensor]:
    """Both as the tensors of a file; width: bytes P of a packed mask."""
    gone = [(row, number, where) for row, form in enumerate(forms) for number, where in form.gone]
    nothing, nowhere = np.zeros((0, width), np.uint8), np.zeros((0, 3))
    return {
        "form_view": torch.tensor([form.index for form in forms], dtype=torch.int64),
        "form_fresh": torch.from_numpy(np.concatenate([nothing, *(form.fresh[None] for form in forms)])),
        "gone_form": torch.tensor([row for row, _, _ in gone], dtype=torch.int64),
        "gone_by": torch.tensor([number for _, number, _ in gone], dtype=torch.int64),
        "gone_where": torch.from_numpy(np.concatenate([nothing, *(where[None] for _, _, where in gone)])),
        "stand_view": torch.tensor(list(stands), dtype=torch.int64),
        "stand_where": torch.from_numpy(np.concatenate([nothing, *(stand.where[None] for stand in stands.values())])),
        "stood_count": torch.tensor([len(stand.points) for stand in stands.values()], dtype=torch.int64),
        "stood": torch.from_numpy(np.concatenate([nowhere, *(stand.points for stand in stands.values())])),
        "stood_from": torch.from_numpy(
            np.concatenate([np.zeros(0, np.float32), *(stand.distances for stand in stands.values())])
        ),
    }


def read(held: dict[str, Tensor]) -> tuple[list[Form], dict[int, Stand]]:
    """What `as_tensors` made. Raises ValueError for tensors that do not belong together."""
    gone: list[list[tuple[int, np.ndarray]]] = [[] for _ in held["form_view"]]
    numbers, masks = held["gone_by"].tolist(), held["gone_where"].numpy()
    for row, number, where in zip(held["gone_form"].tolist(), numbers, masks, strict=True):
        if not 0 <= row < len(gone):
            raise ValueError(f"the form {row} of a view, of {len(gone)}")
        gone[row].append((number, where))
    rows = zip(held["form_view"].tolist(), held["form_fresh"].numpy(), gone, strict=True)
    forms = [Form(index, fresh, tuple(by)) for index, fresh, by in rows]
    counts, stands, start = held["stood_count"].tolist(), {}, 0
    if sum(counts) != len(held["stood"]) or sum(counts) != len(held["stood_from"]) or min(counts, default=0) < 0:
        raise ValueError(f"{len(held['stood'])} points of older dreams where there are to be {sum(counts)}")
    points, distances = held["stood"].numpy(), held["stood_from"].numpy()
    for index, where, count in zip(held["stand_view"].tolist(), held["stand_where"].numpy(), counts, strict=True):
        stands[index] = Stand(where, points[start : start + count], distances[start : start + count])
        start += count
    return forms, stands


def remembered(
    views: dict[int, View],
    told: Sequence[Sequence[int]],
    forms: Sequence[Form],
    changed: Sequence[Sequence[int]],
    stands: dict[int, Stand],
    camera: Camera,
) -> list[ViewMemory]:
    """The memory at each moment as it was. views: in their first forms; told: the indices of each memory; forms and
    changed: as of `forms_of`."""
    shape = (camera.height, camera.width)
    memos = {index: _memo(index, view, stands, camera) for index, view in views.items()}
    memories = []
    for indices, rows in zip(told, changed, strict=True):
        for row in rows:
            form = forms[row]
            memo = memos[form.index]
            view, gone = replace(memo.view, fresh=unpacked(form.fresh, shape)), None
            if form.gone:
                gone = np.full(shape, NOBODY, np.int32)
                for number, where in form.gone:
                    gone[unpacked(where, shape)] = number
            memos[form.index] = memo_of(form.index, view, camera, memo.stands_in, gone)
        memories.append(ViewMemory(camera, memos=tuple(memos[index] for index in indices)))
    return memories


def _memo(index: int, view: View, stands: dict[int, Stand], camera: Camera) -> Memo:
    stand, stands_in = stands.get(index), None
    if stand is not None:
        where = unpacked(stand.where, view.depth.shape)
        some = bool(len(stand.points))
        stands_in = StandsIn(where, [stand.points] * some, [stand.distances] * some, view.pose)
    return memo_of(index, view, camera, stands_in)


def packed(view: View) -> np.ndarray:
    """(P,) uint8: what a view showed first, eight pixels a byte."""
    return np.packbits(np.ones(view.depth.shape, bool) if view.fresh is None else view.fresh)


def unpacked(row: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A mask (H, W) bool of shape from its packed form. Raises ValueError for one of another size."""
    count = int(np.prod(shape))
    if row.size != -(-count // 8):
        raise ValueError(f"a mask of {row.size} bytes; wanted {-(-count // 8)}")
    return np.unpackbits(row, count=count).reshape(shape).astype(bool)
