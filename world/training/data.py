"""The recordings on disk as arrays in memory: what every recipe reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...scenes.recorder import load_recording
from ..action import Action
from ..pose import Pose


@dataclass(frozen=True)
class Walks:
    """R rollouts of T frames: pixels (R, T, H, W, 3) uint8, depth (R, T, H, W) float16, poses and actions R lists."""

    pixels: np.ndarray
    depth: np.ndarray
    poses: list[list[Pose]]
    actions: list[list[Action]]


def load_walks(folder: str | Path, split: str, limit: int | None = None) -> Walks:
    """All recorded rollouts of a split, in order of their scene numbers. Raises FileNotFoundError if there are none."""
    paths = sorted(Path(folder).glob(f"{split}-*.safetensors"))
    if not paths:
        raise FileNotFoundError(
            f"no recordings of split '{split}' in {folder}; make them with `roam train --stage record`"
        )
    parts = []
    for path in paths:
        parts.append(load_recording(path))
        if limit and sum(len(part.numbers) for part in parts) >= limit:
            break
    return Walks(
        np.concatenate([part.pixels for part in parts])[:limit],
        np.concatenate([part.depth for part in parts])[:limit],
        [walk for part in parts for walk in part.poses][:limit],
        [walk for part in parts for walk in part.actions][:limit],
    )
