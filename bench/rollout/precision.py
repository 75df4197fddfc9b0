"""How much the embedded model's results in one precision differ from those in another."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...world.checkpoint import load_checkpoint
from ...world.engine import Engine
from ...world.transformer.passes import Serving
from ..quick import observed, psnr, test_walk

PRECISIONS = ("float32", "bfloat16", "fp8")
PAIRS = (("bfloat16", "float32"), ("fp8", "bfloat16"), ("fp8", "float32"))

Seen = tuple[Tensor, np.ndarray, np.ndarray]  # of one frame: hidden states, tokens, and the pixels that they decode to


@dataclass(frozen=True)
class PrecisionError:
    """The embedded model in one precision against another, over frames of true walks: the relative error of the hidden
    states of a denoising pass, the share of predicted tokens that differ, and the PSNR between what they decode to."""

    precision: str
    against: str
    hidden: float
    tokens_changed: float
    psnr_db: float


def precision_errors(device: torch.device, *, walks: int = 2, frames: int = 6) -> list[PrecisionError]:
    """The embedded model over the same frames in each precision, compared with itself in the others."""
    checkpoint = load_checkpoint(None, device=device)
    seen = {name: _seen_in(Engine(checkpoint, serving=Serving(precision=name)), walks, frames) for name in PRECISIONS}
    return [_error(ours, other, seen[ours], seen[other]) for ours, other in PAIRS]


def _seen_in(engine: Engine, walks: int, frames: int) -> list[Seen]:
    """What the engine predicts for frame after frame of true walks, whose past is always the truth."""
    engine.passes.step.run_plainly()  # a replay calls no hook
    hidden: list[Tensor] = []
    hook = engine.model.register_forward_hook(lambda module, inputs, out: hidden.append(out.float().cpu()))
    seen: list[Seen] = []
    for number in range(walks):
        walk = test_walk(number, steps=frames + 4)
        session = observed(engine, walk, 4, start="noise")
        for index in range(4, 4 + frames):
            session.settle()
            hidden.clear()
            twin = session.fork()
            tokens = twin.step(walk.actions[index - 1]).tokens
            assert tokens is not None, "a canvas of noise is drawn whole"
            twin.close()
            seen.append((hidden[0], tokens, engine.show(tokens)[0]))
            session.observe(walk.actions[index - 1], walk.frames[index].pixels, walk.frames[index].pose)
        session.close()
    hook.remove()
    return seen


def _error(precision: str, against: str, ours: list[Seen], others: list[Seen]) -> PrecisionError:
    pairs = list(zip(ours, others, strict=True))
    return PrecisionError(
        precision,
        against,
        hidden=statistics.mean(((a[0] - b[0]).norm() / b[0].norm()).item() for a, b in pairs),
        tokens_changed=statistics.mean(float((a[1] != b[1]).mean()) for a, b in pairs),
        psnr_db=statistics.mean(psnr(b[2], a[2]) for a, b in pairs),
    )
