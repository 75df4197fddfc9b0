"""A model that cannot be run here: its videos, made elsewhere from the questions that `export` writes.

    FOLDER/questions.json            what is asked: for each episode its key, words, motions, poses and true frames
    FOLDER/context/NAME.npz          the true frames, "pixels" (n, H, W, 3) uint8
    FOLDER/answers/NAME.npz          to be made: "pixels" (m, H, W, 3) uint8, one frame a command; "depth" too if any

Lossless arrays, not encoded video: a codec alone costs more than most models differ by. Scored by
`--model videos:FOLDER`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...reports import keep_arrays, keep_json
from ..questions.episode import BenchError, Command, Episode
from ..questions.truth import Truth
from .adapters import Answer, Context, WorldModel


class VideoFolder(WorldModel):
    """Plays back the answers of a folder. Needs the truth only for the name of the episode."""

    needs_truth = True

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not (self.folder / "answers").is_dir():
            raise BenchError(
                f"{self.folder} has no folder 'answers'; write one .npz there for each entry of questions.json"
            )

    def take(self, truth: Truth) -> None:
        self._episode = truth.episode

    def reset(self, context: Context) -> None:
        path = self.folder / "answers" / f"{name_of(self._episode)}.npz"
        wanted = len(self._episode.commands)
        try:
            with np.load(path, allow_pickle=False) as data:
                pixels = data["pixels"]
                depth = data["depth"] if "depth" in data.files else [None] * len(pixels)
        except (OSError, ValueError, KeyError) as error:
            raise BenchError(
                f"{path} cannot be read ({error}); wanted {wanted} frames for {self._episode.key}"
            ) from error
        if len(pixels) != wanted:
            raise BenchError(f"{path} has {len(pixels)} frames; {self._episode.key} asks for {wanted}")
        self._answers = iter([Answer(p, d) for p, d in zip(pixels, depth, strict=True)])

    def step(self, command: Command) -> Answer:
        return next(self._answers)

    @property
    def about(self) -> dict:
        return {"weights": f"videos in {self.folder.name}"}


def export(episodes: Sequence[Episode], folder: str | Path) -> None:
    """Write the questions, for a model that runs elsewhere."""
    folder = Path(folder)
    (folder / "answers").mkdir(parents=True, exist_ok=True)
    questions = []
    for episode in episodes:
        keep_arrays(folder / "context" / f"{name_of(episode)}.npz", pixels=np.stack(Truth(episode).shown()))
        shown = zip((None, *episode.actions), episode.poses[: episode.num_context], strict=False)
        questions.append(
            {
                "key": episode.key,
                "name": name_of(episode),
                "seed": episode.seed,
                "shown": [_said(action, pose) for action, pose in shown],
                "asked": [_said(command.action, command.pose) for command in episode.commands],
            }
        )
    keep_json(folder / "questions.json", questions)


def name_of(episode: Episode) -> str:
    """A file name for an episode: readable, and different for different keys."""
    plain = "".join(c if c.isalnum() else "-" for c in episode.key)
    return f"{plain}-{hashlib.sha256(episode.key.encode()).hexdigest()[:8]}"


def _said(action, pose) -> dict:
    """One frame's action and pose, in metres and degrees; wxyz turns camera axes (right, down, forward) to world."""
    motion = None if action is None or action.motion is None else vars(action.motion)
    return {"text": action and action.text, "motion": motion, "position": pose.position, "wxyz": pose.wxyz}
