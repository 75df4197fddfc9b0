"""Small episodes, and models that show the true pictures with a known damage, to check the metrics with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from roam.bench.consistency.ask import ask
from roam.bench.consistency.metrics.definitions import Measured
from roam.bench.consistency.metrics.score import score
from roam.bench.consistency.models.adapters import Answer
from roam.bench.consistency.models.baselines import TruthRow
from roam.bench.consistency.models.opening import open_model
from roam.bench.consistency.questions.episode import Command, Episode
from roam.bench.consistency.questions.forms import FORMS
from roam.bench.consistency.questions.tasks import build
from roam.bench.consistency.questions.truth import Truth
from roam.scenes.render import render
from roam.world.pose import Motion

TINY = FORMS["tiny"]


class Damaged(TruthRow):
    """The truth, damaged by `spoil(pixels, step number)`."""

    def __init__(self, spoil: Callable[[np.ndarray, int], np.ndarray]):
        self._spoil = spoil

    def reset(self, context):
        self._count = 0

    def step(self, command: Command) -> Answer:
        self._count += 1
        return Answer(self._spoil(self.truth.at(command.pose).pixels, self._count))


class Misled(TruthRow):
    """The truth, seen from a pose that differs from the commanded one by a motion."""

    def __init__(self, motion: Motion):
        self._motion = motion

    def step(self, command: Command) -> Answer:
        return Answer(self.truth.at(command.pose.moved(self._motion)).pixels)


class Altered(TruthRow):
    """The truth of a scene that `alter(scene)` has changed."""

    def __init__(self, alter: Callable):
        self._alter = alter

    def step(self, command: Command) -> Answer:
        return Answer(render(self._alter(self.truth.scene), command.pose, self.truth.camera).pixels)


def blur(sigma: float):
    return lambda pixels, count: cv2.GaussianBlur(pixels, (0, 0), sigma)


def jpeg(quality: int):
    return lambda pixels, count: cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


def noise(sigma: float):
    def spoil(pixels, count):
        grain = np.random.default_rng(count).normal(0, sigma, pixels.shape)
        return np.clip(pixels + grain, 0, 255).astype(np.uint8)

    return spoil


def tint(amount: float):
    def spoil(pixels, count):
        return np.clip(pixels * np.array([1 + amount, 1.0, 1 - amount]), 0, 255).astype(np.uint8)

    return spoil


def shift(columns: int):
    return lambda pixels, count: np.roll(pixels, columns, 1)


def episode(task: str, *, number: int = 0, variant: str = "", mode: str = "C", frames: int | None = None) -> Episode:
    """The first tiny episode of the task variant with that name; only its last `frames` scored frames count."""
    found = next(e for e in build(task, number, mode=mode, form=TINY) if variant in e.variant)
    return found if frames is None else replace(found, scored=found.scored[-frames:])


def answers_of(model, truth: Truth) -> list[Answer]:
    return ask(open_model(model) if isinstance(model, str) else model, truth)[0]


def scored(model, asked: Episode | Truth) -> dict[str, Measured]:
    truth = asked if isinstance(asked, Truth) else Truth(asked)
    return score(truth, answers_of(model, truth))[0]


def numbers(models, asked: Episode, name: str) -> list[float | None]:
    """One metric of several models on the same episode; a failure counts as the worst value."""
    truth = Truth(asked)
    return [scored(model, truth)[name].ranked for model in models]
