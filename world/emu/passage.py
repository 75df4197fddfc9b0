"""One moment of a walk through an official model: its frame, and the tokens that each branch of the model has read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..action import Action
from ..frame import Frame
from ..pose import Camera, Pose
from ..session import Moment, Session
from ..spatial.view_memory import ViewMemory
from .answer import AnswerWriter
from .token_stream import TokenStream


@dataclass(frozen=True)
class Strand:
    """What one branch reads of a passage: its ids, the pages that hold the first `written` of them, the position
    after the last, and the token that comes then: the next step needs its state, and so reads it first."""

    ids: tuple[int, ...]
    next: int
    pages: tuple[int, ...]
    written: int
    end: int

    @staticmethod
    def of(stream: TokenStream) -> Strand:
        *ids, last = stream.ids
        return Strand(tuple(ids), last, tuple(stream.own_pages), len(stream.ids) - len(stream.pending), stream.end - 1)


@dataclass(frozen=True)
class Passage(Moment):
    """A moment of an exploration: a frame, and what each branch reads of the step that led to it. words: what the model
    said and thought before the picture. Remembers no views: pictures without depth cannot be carried."""

    strands: tuple[Strand, ...] = ()
    words: str = ""

    @staticmethod
    def of(frame: Frame, strands: tuple[Strand, ...], words: str = "") -> Passage:
        height, width = frame.pixels.shape[:2]
        return Passage(frame, (), ViewMemory(Camera(width, height)), strands, words)

    @property
    def held(self) -> tuple[int, ...]:
        """The pages that are freed with this passage."""
        return tuple(page for strand in self.strands for page in strand.pages)


def codes_of(frame: Frame) -> np.ndarray:
    assert frame.tokens is not None, "an official model's frames are all drawn as tokens"
    return frame.tokens


def cells_of(frame: Frame) -> tuple[int, int]:
    height, width = codes_of(frame).shape
    return height, width


def passages_of(session: Session) -> list[Passage]:
    """A session's moments, all of which an EmuEngine made."""
    return [moment for moment in session.moments if isinstance(moment, Passage)]


def passage_of(frame: Frame, writer: AnswerWriter, said: str = "") -> Passage:
    return Passage.of(frame, tuple(map(Strand.of, writer.branches)), said)


def moved(before: Frame, action: Action) -> Pose | None:
    """Where an action was to lead, as far as that is known; what the model made of it shows only in the picture."""
    return None if before.pose is None or action.motion is None else before.pose.moved(action.motion)
