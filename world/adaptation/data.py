"""Sources of the adaptation's sequences: recorded walks, and the model itself, drawing token by token.

The second is self-distillation: the adapted model is to draw at once what the model draws token by token (Emu3.5, arXiv
2510.26583, section 4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...scenes.recorder import load_recording
from ..action import Action
from ..checkpoint import Checkpoint
from ..emu.answer import AnswerWriter, Request
from ..engine import Engine
from ..frame import Frame
from .samples import WalkLayout

WALKS_AT_ONCE = 16
RecordedWalk = tuple[np.ndarray, list[Action]]  # pixels (T, H, W, 3) uint8 and T - 1 actions


def recorded_walks(folder: str | Path, split: str, limit: int | None = None) -> Iterator[RecordedWalk]:
    """The recorded walks of a split, one file in memory at a time.

    Raises FileNotFoundError where there are none.
    """
    paths, count = sorted(Path(folder).glob(f"{split}-*.safetensors")), 0
    if not paths:
        raise FileNotFoundError(f"no recordings of split '{split}' in {folder}; make them with `roam record {folder}`")
    for path in paths:
        part = load_recording(path)
        for pixels, actions in zip(part.pixels, part.actions, strict=True):
            if count == limit:
                return
            count += 1
            yield pixels, actions


def walk_sequences(walks: Iterable[RecordedWalk], checkpoint: Checkpoint, layout: WalkLayout) -> Iterator[np.ndarray]:
    """Recorded walks as ids, by a checkpoint's own tokenizers."""
    device = checkpoint.model.lm_head.weight.device
    for pixels, actions in walks:
        with torch.inference_mode():  # a copy, because recordings are mapped from disk, where nothing is written
            tokens = checkpoint.vision.encode(torch.from_numpy(np.array(pixels)).to(device)).flatten(1).cpu().numpy()
        yield layout.ids_of(tokens, [(), *(checkpoint.text.encode(action.text) for action in actions)])


def distilled_walks(
    engine: Engine,
    walks: Sequence[RecordedWalk],
    layout: WalkLayout,
    *,
    temperature: float,
    seed: int = 0,
    progress: Callable | None = None,
) -> list[np.ndarray]:
    """The model's own walks, token by token: each begins at a recorded walk's first frame and does its actions."""
    engine = Engine(engine.checkpoint, dida=replace(engine.dida, temperature=temperature))
    sequences: list[np.ndarray] = []
    for start in range(0, len(walks), WALKS_AT_ONCE):
        part = walks[start : start + WALKS_AT_ONCE]
        sessions = [
            engine.session(Frame(0, pixels[0]), seed=seed + start + k, start="noise", decoder="autoregressive")
            for k, (pixels, _) in enumerate(part)
        ]
        tokens = [[_codes(session.frame)] for session in sessions]
        for step in zip(*(actions for _, actions in part), strict=True):
            frames = engine.step_many(sessions, [Action(action.text) for action in step])
            for row, frame in zip(tokens, frames, strict=True):
                row.append(_codes(frame))
        for session, row, (_, actions) in zip(sessions, tokens, part, strict=True):
            session.close()
            sequences.append(layout.ids_of(np.stack(row), [(), *(engine.text.encode(a.text) for a in actions)]))
        if progress:
            progress(len(sequences) / len(walks))
    return sequences


def distilled_answers(checkpoint: Checkpoint, requests: Iterable[Request]) -> Iterator[np.ndarray]:
    """An official checkpoint's own answers, prompts included, each drawn token by token."""
    for request in requests:
        writer = AnswerWriter(checkpoint, request)
        try:
            for _ in writer.events():
                pass
            yield np.array([*writer.prompt, *writer.tokens], dtype=np.int32)
        finally:
            writer.close()


def _codes(frame: Frame) -> np.ndarray:
    assert frame.tokens is not None, "a frame that was drawn token by token has them"
    return frame.tokens.ravel()
