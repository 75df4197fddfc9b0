"""The recordings on disk as arrays, for every recipe. Pixels and depth stay on disk until they are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...scenes.recorder import load_recording
from ..action import Action
from ..pose import Pose


class Rows:
    """Arrays joined along their first axis without copying; indexed like one array, the first index a number, a
    slice or an array of numbers, and other indices after it."""

    def __init__(self, parts: Sequence[np.ndarray], limit: int | None = None):
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self._parts])
        self._count = min(int(self._ends[-1]), limit or int(self._ends[-1]))

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._count, *self._parts[0].shape[1:])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, key):
        row, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(row, int | np.integer):
            return np.array(self._row(int(row))[tuple(rest)])
        if isinstance(row, slice):
            return np.stack([self._row(k)[tuple(rest)] for k in range(*row.indices(self._count))])
        along = [np.broadcast_to(part, np.shape(row)) if not isinstance(part, slice) else None for part in rest]
        at = lambda k: tuple(r if a is None else int(a[k]) for r, a in zip(rest, along, strict=True))  # noqa: E731
        return np.stack([self._row(int(number))[at(k)] for k, number in enumerate(np.asarray(row))])

    def _row(self, number: int) -> np.ndarray:
        number = number + self._count if number < 0 else number
        if not 0 <= number < self._count:
            raise IndexError(f"row {number} of {self._count}")
        part = int(np.searchsorted(self._ends, number, side="right"))
        return self._parts[part][number - (int(self._ends[part - 1]) if part else 0)]


@dataclass(frozen=True)
class Walks:
    """R rollouts of T frames: pixels (R, T, H, W, 3) uint8, depth (R, T, H, W) float16, poses and actions R lists;
    depth or poses are None where a recording has none."""

    pixels: np.ndarray | Rows
    depth: np.ndarray | Rows | None
    poses: list[list[Pose]] | None
    actions: list[list[Action]]


def load_walks(folder: str | Path, split: str, limit: int | None = None) -> Walks:
    """All recorded rollouts of a split, in order of their scene numbers. Raises FileNotFoundError if there are none."""
    paths = sorted(Path(folder).glob(f"{split}-*.safetensors"))
    if not paths:
        raise FileNotFoundError(
            f"no recordings of split '{split}' in {folder}; make them with `roam record` or `roam train --stage record`"
        )
    parts = []
    for path in paths:
        parts.append(load_recording(path))
        if limit and sum(len(part.numbers) for part in parts) >= limit:
            break
    depth = [part.depth for part in parts if part.depth is not None]
    poses = [part.poses for part in parts if part.poses is not None]
    return Walks(
        Rows([part.pixels for part in parts], limit),
        Rows(depth, limit) if len(depth) == len(parts) else None,
        [walk for of_part in poses for walk in of_part][:limit] if len(poses) == len(parts) else None,
        [walk for part in parts for walk in part.actions][:limit],
    )
