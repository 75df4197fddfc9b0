"""Puts one episode to one model: shows the true frames, collects the answers, times each step."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import numpy as np

from .models.adapters import Answer, Context, WorldModel
from .questions.episode import BenchError
from .questions.truth import Truth


def ask(model: WorldModel, truth: Truth) -> tuple[list[Answer], list[float]]:
    """The model's answers, one a commanded frame, and the seconds that each took."""
    episode = truth.episode
    if model.needs_truth:
        model.take(truth)
    shown = episode.num_context
    model.reset(
        Context(
            np.stack(truth.shown()), episode.actions[: shown - 1], episode.poses[:shown], truth.camera, episode.seed
        )
    )
    answers, seconds = [], []
    for command in episode.commands:
        began = time.perf_counter()
        answers.append(_checked(model.step(command), truth))
        seconds.append(time.perf_counter() - began)
    return answers, seconds


def digest_of(answers: Sequence[Answer]) -> str:
    """16 hex digits over all pixels: equal digests, equal videos."""
    hasher = hashlib.sha256()
    for answer in answers:
        hasher.update(np.ascontiguousarray(answer.pixels).tobytes())
    return hasher.hexdigest()[:16]


def _checked(answer: Answer, truth: Truth) -> Answer:
    wanted = (truth.camera.height, truth.camera.width, 3)
    if answer.pixels.shape != wanted or answer.pixels.dtype != np.uint8:
        raise BenchError(
            f"a frame of shape {answer.pixels.shape} and type {answer.pixels.dtype}; wanted {wanted} of uint8"
        )
    return answer
