"""A recorded rollout as an Explorer: it continues as it was recorded, whatever the action, and can be rewound."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...world.action import Action
from ...world.files import write_text_whole
from ...world.frame import Frame, Rollout, walk
from ..recorder import Recording, load_recording
from ..scene import SceneError


class RecordedSession:
    """One rollout of a recording, from its first frame to its last; a step beyond that raises SceneError.

    steps: the actions that were recorded, to be walked again in order.
    """

    def __init__(self, path: str | Path, row: int = 0):
        self.path, self.row = Path(path), row
        self._held: Recording = load_recording(path)
        if not 0 <= row < len(self._held.numbers):
            raise SceneError(f"{path} has the rollouts 0 to {len(self._held.numbers) - 1}, not {row}")
        self.steps: tuple[Action, ...] = tuple(self._held.actions[row])
        self.world = self._held.worlds[row]
        self._at, self._is_closed = 0, False

    @property
    def frame(self) -> Frame:
        t, held = self._at, self._held
        depth = None if held.depth is None else np.array(held.depth[self.row, t], np.float32)
        pose = None if held.poses is None else held.poses[self.row][t]
        return Frame(t, np.array(held.pixels[self.row, t]), depth=depth, pose=pose)

    @property
    def actions(self) -> tuple[Action, ...]:
        """What was done so far, as it was recorded."""
        return self.steps[: self._at]

    def step(self, action: Action) -> Frame:
        """The next recorded frame."""
        if self._is_closed:
            raise RuntimeError("this recording is closed; open it again")
        if self._at == len(self.steps):
            raise SceneError(f"{self.path.name} ends here: its rollout {self.row} has {len(self.steps) + 1} frames")
        self._at += 1
        return self.frame

    def rollout(self, actions: Iterable[Action]) -> Rollout:
        return walk(self, actions)

    def fork(self) -> RecordedSession:
        twin = RecordedSession(self.path, self.row)
        twin._at = self._at
        return twin

    def rewind(self, frames: int) -> Frame:
        if not 0 <= frames <= self._at:
            raise ValueError(f"cannot rewind {frames} frames; {self._at} have been shown")
        self._at -= frames
        return self.frame

    def save(self, path: str | Path) -> None:
        """Write which recording this is, and how far it has been shown."""
        held = {"roam": "recorded session", "path": str(self.path.absolute()), "row": self.row, "at": self._at}
        write_text_whole(path, json.dumps(held))

    def close(self) -> None:
        self._is_closed = True


def open_recorded(folder: str | Path, split: str, number: int) -> RecordedSession:
    """The number-th rollout of a split in a folder of recordings. Raises SceneError where there is none."""
    before, paths = 0, sorted(Path(folder).glob(f"{split}-*.safetensors"))
    for path in paths:
        count = len(load_recording(path).numbers)
        if number < before + count:
            return RecordedSession(path, number - before)
        before += count
    raise SceneError(
        f"{folder} has {before} rollouts in the split '{split}', numbered from 0; {number} is not there: name "
        "another folder, --split or --rollout"
    )
