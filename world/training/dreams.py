"""Codes that the model dreams beside what frames of recorded walks show: what the painter learns to finish."""

from __future__ import annotations

import numpy as np
import torch

from ..checkpoint import Checkpoint
from ..dreamer import Asked, Dreamer
from ..engine import Engine
from ..pose import Pose
from ..tokens.painter import Painter, PainterConfig
from .data import Walks
from .painter import PainterRecipe, dreamt_glimpse

TOGETHER = 8


@torch.inference_mode()
def dream_codes(
    checkpoint: Checkpoint, walks: Walks, count: int, recipe: PainterRecipe, *, progress=None
) -> np.ndarray:
    """(count, h, w) int16: the codes dreamt beside the first `count` dreamt_glimpses of the walks, with no words and no
    pages before, as the first view of a walk. progress: called with the share done."""
    engine = Engine(checkpoint)
    config = engine.vision.config
    painter = Painter(PainterConfig(config.size, len(config.levels), config.widths, config.heads))
    dida = checkpoint.dida
    dreamer = Dreamer(
        engine.passes,
        engine.vision,
        painter,
        steps=dida.dream_steps,
        temperature=dida.dream_temperature,
        pull=dida.dream_guidance,
        at_once=dida.dream_holes,
    )
    pages = [engine.cache.allocate() for _ in range(TOGETHER)]
    parts = []
    for first in range(0, count, TOGETHER):
        numbers = range(first, min(first + TOGETHER, count))
        asked = [
            Asked(Pose.at(0, 0, 0), dreamt_glimpse(walks, number, recipe).carried, (), (), page, 0, number)
            for number, page in zip(numbers, pages, strict=False)
        ]
        parts.append(dreamer.decide(asked).view(-1, *config.grid).cpu().numpy().astype(np.int16))
        if progress:
            progress(min(1.0, (first + TOGETHER) / count))
    return np.concatenate(parts)
