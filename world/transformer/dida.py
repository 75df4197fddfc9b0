"""The denoising loop: turns a canvas into one frame's tokens. Knows nothing of pixels, pages or sessions.

The path is p_t(x | x1) = softmax(-beta_t d(x, x1)) on the codebook's metric (URSA, arXiv 2510.24717, equations 7 to 9).
Each step predicts every clean token at once and draws the next canvas directly at a higher noise level; the last step's
prediction is the frame. Every token stays revisable to the end. A carried view's holes are marked as such: with random
codes in them, a small model has to find out first which of its tokens mean anything.

Places that nobody has seen are decoded on the path's two ends alone: a cell is a hole at level 0 or a code at level 1
(masked diffusion, MaskGIT, arXiv 2202.04200, section 3.2). The order of the cells does not depend on confidence: the
model is surest of sky and wall, and if those are decided first, nothing else fits between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...kernels.graph import CapturedStep
from ...kernels.renoise import beta_of, kinetic_jump, renoise, squared_norms
from ..config import DidaConfig

CORRECTED_IN = 2  # steps in which every cell is decided anew once
Predict = Callable[[Tensor, Tensor, float], Tensor]  # (tokens (B, N), seeds (B,), temperature) -> clean tokens (B, N)
# the same, of the cells (B, N) bool alone: (tokens, cells, seeds, temperature) -> tokens with those predicted
PredictSome = Callable[[Tensor, Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Canvas:
    """tokens (B, N) int64 codes, -1 in holes, and the noise level (B, N) float32 of each: 0 nothing known, 1 clean."""

    tokens: Tensor
    level: Tensor


class MetricPath:
    """Noise along the codebook's metric. codebook (V, D)."""

    def __init__(self, codebook: Tensor, config: DidaConfig):
        self.codebook, self.config = codebook, config
        self._squares = squared_norms(codebook)
        self._captured = CapturedStep(self._drawn)

    def noised(self, tokens: Tensor, level: Tensor, seeds: Tensor) -> Tensor:
        """Draw x_t ~ p_t(. | tokens) at each token's own level."""
        return self._captured(("noise",), tokens, level, seeds)

    def jumped(self, tokens: Tensor, clean: Tensor, level: Tensor, ahead: Tensor, seeds: Tensor) -> Tensor:
        """Jump from a canvas at `level` towards the predicted clean codes, to level + ahead; all (B, N)."""
        return kinetic_jump(tokens, clean, level, ahead, self.codebook, seeds, alpha=self.config.alpha, c=self.config.c)

    def _drawn(self, kind: tuple, tokens: Tensor, level: Tensor, seeds: Tensor) -> Tensor:
        beta = beta_of(level, alpha=self.config.alpha, c=self.config.c)
        return renoise(tokens, beta, self.codebook, seeds, squares=self._squares)


def start_from_noise(path: MetricPath, shape: tuple[int, int], seeds: Tensor) -> Canvas:
    """Uniformly random codes at level 0."""
    tokens = torch.zeros(shape, dtype=torch.int64, device=path.codebook.device)
    level = torch.zeros(shape, device=path.codebook.device)
    return Canvas(path.noised(tokens, level, seeds), level)


def start_from_frame(path: MetricPath, tokens: Tensor, seeds: Tensor) -> Canvas:
    """The frame before, noised to the configuration's frame_level."""
    level = torch.full(tokens.shape, path.config.frame_level, device=tokens.device)
    return Canvas(path.noised(tokens, level, seeds), level)


def start_from_warp(path: MetricPath, tokens: Tensor, coverage: Tensor, seeds: Tensor) -> Canvas:
    """Carried views: tokens (B, N) at warp_level where more than half of a cell is covered, holes elsewhere."""
    covered = coverage > 0.5
    level = torch.where(covered, path.config.warp_level, 0.0)
    noised = path.noised(tokens, torch.where(covered, level, 1.0), seeds)
    return Canvas(torch.where(covered, noised, -1), level)


def shifted(share, shift: float):
    """URSA's time shift (section 4.2) of a share of the way, float or array; above 1 it spends more at high noise."""
    return share / (share + shift * (1 - share))


def schedule(steps: int, shift: float) -> list[float]:
    """How far along its way to clean the canvas is before each step after the first: steps - 1 numbers in (0, 1)."""
    return [shifted(k / steps, shift) for k in range(1, steps)]


def decode_canvas(
    predict: Predict, canvas: Canvas, path: MetricPath, seeds: Sequence[Tensor], *, sampler: str = "direct"
) -> Tensor:
    """Denoise a canvas in len(seeds) steps; seeds[k] (B,) int64 belongs to step k. Returns tokens (B, N).

    sampler "direct" draws each next canvas around the prediction; "jump" lets the canvas jump towards it, by URSA's
    kinetic-optimal rates: exact in the limit of many steps, and slow to leave the noise in few.
    """
    marks = schedule(len(seeds), path.config.shift)
    now, level, tokens = canvas.tokens, canvas.level, canvas.tokens
    for step, seed in enumerate(seeds):
        is_last = step == len(seeds) - 1
        tokens = predict(now, seed, path.config.temperature if is_last else path.config.step_temperature)
        if is_last:
            break
        ahead = canvas.level + (1 - canvas.level) * marks[step]
        if sampler == "jump":
            if step == 0:  # a hole is at level 0, where every code is as likely
                now = torch.where(now < 0, path.noised(tokens, torch.zeros_like(level), seed), now)
            now = path.jumped(now, tokens, level, ahead - level, seed)
        else:
            now = path.noised(tokens, ahead, seed)
        level = ahead
    return tokens


def reveal_order(grid: tuple[int, int], seed: int) -> np.ndarray:
    """(h * w,) int64: the cells of a grid in a low-discrepancy order that the seed shifts, so that cells decided in the
    same step are far apart (Halton-MaskGIT, arXiv 2503.17076)."""
    (h, w), rng = grid, np.random.default_rng(seed)
    shift, count = rng.uniform(size=2), 24 * h * w
    points = np.stack([_van_der_corput(count, 2), _van_der_corput(count, 3)], 1)
    rows, columns = ((points + shift) % 1 * grid).astype(np.int64).T
    cells, first = np.unique(rows * w + columns, return_index=True)
    rest = np.setdiff1d(np.arange(h * w), cells)
    return np.concatenate([cells[np.argsort(first)], rest])


def _van_der_corput(count: int, base: int) -> np.ndarray:
    """The first `count` numbers of the sequence in that base, in [0, 1)."""
    left, out, scale = np.arange(1, count + 1), np.zeros(count), 1.0
    while left.any():
        scale /= base
        out += scale * (left % base)
        left //= base
    return out


def decode_holes(
    predict: PredictSome,
    tokens: Tensor,
    orders: Tensor,
    seeds: Sequence[Tensor],
    *,
    temperature: float,
    at_once: int,
    corrections: int = 0,
    correcting: float = 1.0,
    hinted: Tensor | None = None,
) -> Tensor:
    """Fill the holes of canvases in at most len(seeds) - corrections steps: tokens (B, N) int64, -1 in holes; orders
    (B, N) int64, the cells in the order in which they are decided. predict is asked for a step's cells alone. Known
    cells stay. A canvas takes a step for every `at_once` holes, if that is fewer; after step k of S a share
    cos(pi k / 2S) of its holes is left.

    corrections: steps after that, in each of which a share of the decided cells, far apart, is taken back and decided
    anew, now that all around is known, at the temperature `correcting` (remasking, Wang et al. 2025, arXiv
    2503.00307; here each cell once in CORRECTED_IN steps, as in Gibbs sampling). No canvas takes more of them than it
    took steps. hinted (B, N) bool: codes that are guesses, and are corrected as well. Returns tokens (B, N)."""
    holes = tokens < 0
    counts, most = holes.sum(1), len(seeds) - corrections
    steps = (-(-counts // at_once)).clamp(1, most)
    rank = torch.empty_like(orders)
    rank.scatter_(1, orders, holes.gather(1, orders).cumsum(1) - 1)  # a hole's place among the holes
    for step, seed in enumerate(seeds[: int(steps.max())], 1):
        share = 1 - torch.cos(math.pi / 2 * (step / steps).clamp(max=1).double())
        done = torch.ceil(counts * share - 1e-6)
        turn = (tokens < 0) & (rank < done[:, None])
        tokens = torch.where(turn, predict(tokens, turn, seed, temperature), tokens)
    if hinted is not None:
        holes = holes | hinted
        counts = holes.sum(1)
        rank.scatter_(1, orders, holes.gather(1, orders).cumsum(1) - 1)
    for step, seed in enumerate(seeds[most:]):
        turn = (
            holes
            & (rank * CORRECTED_IN // counts.clamp(min=1)[:, None] == step % CORRECTED_IN)
            & (step < steps)[:, None]
        )
        if turn.any():
            drawn = predict(torch.where(turn, -1, tokens), turn, seed, correcting)
            tokens = torch.where(turn, drawn, tokens)
    return tokens
