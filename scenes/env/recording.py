"""Walks through environments for recording: keys that are held for a while, from a seed of the split's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...world.action import Action, say
from ...world.pose import Camera
from ..recording.walked import WALKS, Walked
from ..scene import SceneError
from ..splits import scene_seed
from .session import PREFIX, EnvSession, EnvSpec
from .words import Table, read_table

_HELD = 0.65  # how likely the same word comes again
_TRIES = 20  # episodes that may end too early before a seed is given up


class EnvSource:
    """A Gymnasium environment, one episode a rollout; splits are of seeds."""

    licence = "that of the environment's authors"

    def __init__(self, name: str, words: str | Path | None = None):
        self.name, self.about = name, f"the Gymnasium environment {name.removeprefix(PREFIX)}"
        self._table: Table | None = None if words is None else read_table(words)

    def check(self, split: str, frames: int) -> None:
        scene_seed(split, 0)

    def rollouts(self, split: str, numbers: range, frames: int, camera: Camera, walk: str) -> Iterator[Walked]:
        for number in numbers:
            yield self._rollout(scene_seed(split, number), frames, camera, walk)

    def _rollout(self, seed: int, frames: int, camera: Camera, walk: str) -> Walked:
        """A random walk of so many frames. Raises SceneError if episodes repeatedly end before that."""
        rng = np.random.default_rng([seed, WALKS[walk]])
        session = EnvSession(EnvSpec(self.name.removeprefix(PREFIX), seed, self._table), camera=camera)
        try:
            for _ in range(_TRIES):
                if walked := self._walked(session, rng, frames, walk):
                    return walked
                session.rewind(len(session.actions))
        finally:
            session.close()
        raise SceneError(
            f"{self.name} ends its episodes before {frames} frames, {_TRIES} times over: record with fewer --frames"
        )

    def _walked(self, session: EnvSession, rng: np.random.Generator, frames: int, walk: str) -> Walked | None:
        seen, actions, words = [session.frame], [], session.words.moving
        word = words[int(rng.integers(len(words)))]
        while len(seen) < frames:
            if session.has_ended:
                return None
            if rng.uniform() > _HELD:
                word = words[int(rng.integers(len(words)))]
            times = int(rng.integers(2, 5)) if walk == "keyframes" and word.motion is not None else 1
            action = _said(word, times)
            seen.append(session.step(action))
            actions.append(action)
        depths = [frame.depth for frame in seen if frame.depth is not None]
        poses = [frame.pose for frame in seen if frame.pose is not None]
        depth = np.stack(depths).astype(np.float16) if len(depths) == frames else None
        return Walked(
            f"{self.name}#{session.spec.seed}",
            np.stack([frame.pixels for frame in seen]),
            depth,
            poses if len(poses) == frames else None,
            actions,
        )


def _said(word, times: int) -> Action:
    """A word as an action; repeated words become one sentence for the whole way."""
    if times == 1:
        return Action(word.text, word.motion)
    motion = word.motion.scaled(times)
    return Action(say(motion), motion)
