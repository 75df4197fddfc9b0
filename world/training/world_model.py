"""The third recipe: trains the world model to finish canvases, given everything seen before.

Each batch holds windows of walks. Every frame is there once clean, which trains token-by-token prediction, and in two
noisy copies, which train DiDA: one that started from remembered views carried into the new pose, and one that started
from noise, from the previous frame or from somewhere along the metric path. The loss is plain cross-entropy on the
clean codes, with the next-token shift kept (Emu3.5, arXiv 2510.26583, section 4.3; URSA, arXiv 2510.24717).
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..config import DidaConfig, LayoutConfig, ModelConfig
from ..tokens.vision import VisionTokenizer
from ..tokens.vocabulary import Vocabulary
from ..transformer.model import Transformer
from .banded import BandedAttention, MaskedAttention
from .canvases import Canvases
from .factored import FactoredCodes
from .muon import Muon
from .parallel import agreed, average_gradients
from .run import Average, Run, half_products, learning_rate

log = logging.getLogger(__name__)
COPIES = 2


@dataclass(frozen=True)
class Stage:
    """Until `until` of the run (0 to 1): `walks` windows of `frames` frames, each seeing `window` frames back."""

    until: float
    walks: int
    frames: int
    window: int


@dataclass(frozen=True)
class CanvasDraws:
    """How canvases are made: probabilities, and the noise levels that they are drawn at.

    The first canvas is `carried`, else in progress from noise; its covered tokens are `sure` (level 1), else at a level
    from `sure_from` on; its holes are `empty`, else in progress. The second begins `from_before`, the previous frame,
    which is pure noise (`unknown`) or at a level from `before_from` to `before_to`; else it is in progress. A history
    is `tired`: some of its codes are at `tired_level`.
    """

    carried: float = 0.8
    sure: float = 0.6
    sure_from: float = 0.6
    empty: float = 0.5
    from_before: float = 0.75
    unknown: float = 0.6
    before_from: float = 0.2
    before_to: float = 0.8
    tired: float = 0.5
    tired_level: float = 0.8


@dataclass(frozen=True)
class WorldRecipe:
    """A short window first, then the one that is served; the run fits its schedule to max_seconds of training.

    clean_weight: of the clean rows' loss compared with the canvases'; hole_weight: of a token that no carried view
    covers compared with a covered one, which is nearly right from the start.
    """

    steps: int = 12000
    stages: tuple[Stage, ...] = (Stage(0.5, 4, 8, 4), Stage(1.0, 2, 16, 12))
    peak: float = 3e-3
    max_seconds: float = 3900.0
    seed: int = 2
    history_noise: float = 0.1
    clean_weight: float = 0.25
    hole_weight: float = 3.0
    draws: CanvasDraws = field(default_factory=CanvasDraws)

    def stage(self, share: float) -> Stage:
        return next(stage for stage in self.stages if share < stage.until or stage is self.stages[-1])


class WorldTrainer(nn.Module):
    """The transformer with its code tables factored, and the losses of one batch."""

    def __init__(
        self,
        model: ModelConfig,
        layout: LayoutConfig,
        dida: DidaConfig,
        vocabulary: Vocabulary,
        vision: VisionTokenizer,
    ):
        super().__init__()
        self.layout, self.dida, self.vocabulary = layout, dida, vocabulary
        self.transformer = Transformer(model)
        self.codes = FactoredCodes(vision.config.levels, model.hidden_size)
        self.lattice = [torch.linspace(-1, 1, n) for n in vision.config.levels]
        self._vision = [vision]  # in a list, so that its weights are not ours
        self.is_compiled = False
        with torch.no_grad():
            for name, weight in self.transformer.named_parameters():
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    weight.mul_(0.3)
                elif "embed_tokens" in name or "lm_head" in name:
                    weight.normal_(std=1.0 if "embed" in name else 0.0)

    def compile_layers(self, **options: Any) -> None:
        """From now on the layers run compiled, for batches of one shape: on a GPU most of a step goes into writing and
        reading what norms, gates and rotations leave to each other. Where they cannot be compiled they run as before.
        options: of torch.compile."""
        torch._dynamo.config.suppress_errors = True
        self.is_compiled = True
        for layer in self.transformer.model.layers:
            layer.compile(dynamic=False, **options)

    @torch.no_grad()
    def begin_as(self, model: Transformer) -> None:
        """Take the weights of a transformer that ships."""
        self.transformer.load_state_dict(model.state_dict())
        tables = (model.model.embed_tokens.weight, model.lm_head.weight)
        self.codes.unfold(*(table[self.vocabulary.visual] for table in tables))

    @property
    def vision(self) -> VisionTokenizer:
        return self._vision[0]

    def digits(self, codes: Tensor) -> Tensor:
        return self.codes.digits.to(codes.device)[codes]

    def noised(self, digits: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
        """Digits at noise level t along the metric path: digits (..., K) int64, level (...) in [0, 1]. The squared
        distance is a sum over dimensions, so each dimension is drawn independently, and exactly."""
        beta = self.dida.c * (level / (1 - level).clamp_min(1e-6)) ** self.dida.alpha
        out = digits.clone()
        for k, points in enumerate(lattice.to(digits.device) for lattice in self.lattice):
            distance = (points[digits[..., k], None] - points) ** 2
            uniform = torch.rand(distance.shape, generator=generator, device=digits.device)
            noise = -torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7)))
            out[..., k] = (noise - beta[..., None] * distance).argmax(-1)
        return torch.where((level >= 1)[..., None], digits, out)

    def losses(
        self, tokens: Tensor, text: Tensor, canvases: Tensor, history: Tensor, window: int
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats a token.

        tokens (B, T, N) int64 codes; text (B, T, L) ids, -1 past the end; canvases (B, T, COPIES, N, K) digits, -1 in
        holes; history (B, T, N, K) digits. Returns the canvases' (B, T, COPIES, N) and the clean rows' (B, T, N).
        """
        digits = self.digits(tokens)[:, :, None].expand(-1, -1, 1 + canvases.shape[2], -1, -1)
        loss = self.codes.loss(self.hidden(text, canvases, history, window), digits)
        return loss[:, :, 1:], loss[:, :, 0]

    def hidden(self, text: Tensor, canvases: Tensor, history: Tensor, window: int) -> Tensor:
        """The head's input for every cell: arguments as in `losses`, with any number of copies in canvases (B, T,
        copies, N, K) -> (B, T, 1 + copies, N, C) float32, the clean rows first."""
        B, T, copies, N, _ = canvases.shape
        L = text.shape[-1] if self.is_compiled else max(1, int((text >= 0).sum(-1).max()))
        text = text[..., :L]
        embed, fresh, device = self.transformer.embed, 1 + N, text.device
        marker = embed(torch.full((B, T, 1), self.vocabulary.image, device=device))
        clean = torch.cat([embed(text.clamp_min(0)), marker, self.codes.embed(history)], 2)
        hole = embed(torch.tensor(self.vocabulary.hole, device=device))
        cells = torch.where(canvases[..., :1] < 0, hole, self.codes.embed(canvases.clamp_min(0)))
        noisy = torch.cat([marker[:, :, None].expand(-1, -1, copies, -1, -1), cells], 3)
        rows = torch.cat([clean, noisy.flatten(2, 3)], 2)
        valid = torch.cat([text >= 0, torch.ones(B, T, fresh, dtype=torch.bool, device=device)], -1)
        kind = MaskedAttention if device.type == "cuda" else BandedAttention
        attention = kind(valid, words=L, copies=copies, window=window)
        with half_products(rows.device):
            positions = self._positions(B, T, L, copies).flatten(1).to(device)
            hidden = self.transformer(rows.flatten(1, 2), positions, attention)
        return (
            hidden.float()
            .view(B, T, L + fresh * (1 + copies), -1)[:, :, L:]
            .unflatten(2, (1 + copies, fresh))[..., :-1, :]
        )

    def _positions(self, B: int, T: int, L: int, copies: int) -> Tensor:
        fresh = torch.arange(self.layout.text_capacity, self.layout.page_size)
        rows = torch.cat([torch.arange(L), *[fresh] * (1 + copies)])
        return (torch.arange(T)[:, None] * self.layout.page_size + rows).expand(B, -1, -1)

    @torch.no_grad()
    def exported(self) -> Transformer:
        """The transformer as it ships: code tables folded into ordinary embedding and head rows."""
        model = Transformer(self.transformer.config)
        model.load_state_dict(self.transformer.state_dict())
        embedding, head = self.codes.folded()
        model.model.embed_tokens.weight[self.vocabulary.visual] = embedding
        model.lm_head.weight[self.vocabulary.visual] = head
        return model.eval()


@dataclass(frozen=True)
class Batch:
    """tokens (B, T, N), text (B, T, L), canvases (B, T, COPIES, N, K) and history (B, T, N, K) as `losses` takes them;
    holes (B, T, N) bool: the cells of copy 0 that no carried view covers."""

    tokens: Tensor
    text: Tensor
    canvases: Tensor
    history: Tensor
    holes: Tensor


def train_world_model(
    data: Canvases,
    held_out: Canvases,
    folder: str | Path,
    recipe: WorldRecipe,
    trainer: WorldTrainer,
    *,
    rank: int = 0,
    workers: int = 1,
    progress=None,
) -> None:
    """Train (or continue training) in `folder`; with several workers, each calls this with its rank (see parallel.py).

    progress: called with (share done, the log row) now and then, in the first worker.
    """
    run = Run(folder)
    optimizers = make_optimizers(trainer, recipe.peak)
    average, step = Average(trainer, 0.998), 0
    if state := run.resume():
        trainer.load_state_dict(state["model"])
        average.weights, average.updates, step = state["average"], state["updates"], state["step"]
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    totals, device = [], next(trainer.parameters()).device
    while (share := agreed(max(step / recipe.steps, run.seconds / recipe.max_seconds), workers, device=device)) < 1:
        stage = recipe.stage(share)
        rate = learning_rate(int(share * recipe.steps), recipe.steps, 1.0) * min(1.0, (step + 1) / 100)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = group["peak"] * rate
        totals.append(_train_step(trainer, optimizers, data, recipe, stage, step, rank, workers))
        step += 1
        if rank:
            continue
        average.update(trainer)
        if step % 50 == 0:
            averaged = _averaged(trainer, average) if step % 200 == 0 else None
            row = _row(totals, rate, stage, averaged, held_out)
            totals = []
            run.record(step, **row)
            if step % 200 == 0:
                _save(run, step, trainer, optimizers, average)
            if progress:
                progress(share, row)
    if rank == 0:
        _save(run, step, trainer, optimizers, average)
        last = _row(totals or [[math.nan] * 3], 0.0, recipe.stages[-1], _averaged(trainer, average), held_out)
        run.record(step, **last)
        run.draw("canvas", "noise", "clean", "warp_nats", "noise_nats", "action_nats")


def _row(totals: list, rate: float, stage: Stage, averaged: WorldTrainer | None, held_out: Canvases) -> dict:
    """One row of the log, with held-out figures if there is an averaged model."""
    losses = dict(zip(("canvas", "noise", "clean"), np.mean(totals, 0), strict=True))
    held = evaluate(averaged, held_out, stage.window) if averaged else dict.fromkeys(MEASURES, math.nan)
    return {**losses, "rate": rate, "window": stage.window, **held}


def make_optimizers(trainer: WorldTrainer, peak: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for tables and norms."""
    matrices = [p for name, p in trainer.named_parameters() if ".layers." in name and p.ndim == 2]
    held = {id(p) for p in matrices}
    others = [p for p in trainer.parameters() if id(p) not in held]
    pair = [Muon(matrices, lr=peak), torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.98), weight_decay=0.0)]
    for optimizer in pair:
        for group in optimizer.param_groups:
            group["peak"] = peak
    return pair


def make_batch(
    trainer: WorldTrainer,
    data: Canvases,
    rows: np.ndarray,
    starts: np.ndarray,
    frames: int,
    generator: torch.Generator,
    recipe: WorldRecipe,
) -> Batch:
    """Windows of walks with their canvases: copy 0 begins from carried views, copy 1 from anything else."""
    share = recipe.draws

    def pick(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.stack([array[r, s : s + frames] for r, s in zip(rows, starts, strict=True)]))

    tokens, warped = pick(data.tokens).long(), pick(data.warped).long()
    coverage, text = pick(data.coverage), pick(data.text).long()
    draw = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    B, T, N = tokens.shape
    digits, carried = trainer.digits(tokens), trainer.digits(warped)
    one = (B, T, 1)
    # copy 0: covered tokens as carried, or at a high level; holes empty, or in progress as at a later denoising step
    sure = torch.where(draw(*one) < share.sure, torch.ones(one), share.sure_from + (1 - share.sure_from) * draw(*one))
    sure = sure.expand(B, T, N)
    along = trainer.noised(digits, draw(*one).expand(B, T, N), generator)
    kind = draw(*one, 1)
    filling = torch.where(kind < share.empty, torch.tensor(-1), along)
    first = torch.where((coverage > 0.5)[..., None], trainer.noised(carried, sure, generator), filling)
    first = torch.where(kind < share.carried, first, along)
    # copy 1: pure noise, the previous frame at some level, or along the path
    before = torch.cat([digits[:, :1], digits[:, :-1]], 1)
    is_unknown = draw(*one) < share.unknown
    known = share.before_from + (share.before_to - share.before_from) * draw(*one)
    level = torch.where(is_unknown, torch.zeros(one), known).expand(B, T, N)
    second = trainer.noised(before, level, generator)
    is_before = draw(*one, 1) < share.from_before
    second = torch.where(is_before, second, trainer.noised(digits, draw(*one).expand(B, T, N), generator))
    hurt = (draw(B, 1, 1) < share.tired) & (draw(B, T, N) < recipe.history_noise)
    worn = trainer.noised(digits, torch.full((B, T, N), share.tired_level), generator)
    history = torch.where(hurt[..., None], worn, digits)
    return Batch(tokens, text, torch.stack([first, second], 2), history, coverage <= 0.5)


def _train_step(trainer, optimizers, data, recipe, stage, step, rank=0, workers=1) -> tuple[float, float, float]:
    rng = np.random.default_rng([recipe.seed, step, rank])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    walks = max(1, stage.walks // workers)
    rows = rng.integers(len(data.tokens), size=walks)
    starts = rng.integers(data.tokens.shape[1] - stage.frames + 1, size=walks)
    batch = make_batch(trainer, data, rows, starts, stage.frames, generator, recipe)
    noisy, clean = trainer.losses(batch.tokens, batch.text, batch.canvases, batch.history, stage.window)
    noisy, clean = noisy[:, 1:], clean[:, 1:]  # a window's first frame has no history that tells it anything
    weight = torch.where(batch.holes[:, 1:], recipe.hole_weight, 1.0)
    canvas = (weight * noisy[:, :, 0]).sum() / weight.sum()
    loss = 0.5 * (canvas + noisy[:, :, 1].mean()) + recipe.clean_weight * clean.mean()
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(trainer.parameters(), workers)
    torch.nn.utils.clip_grad_norm_(trainer.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return noisy[:, :, 0].mean().item(), noisy[:, :, 1].mean().item(), clean.mean().item()


MEASURES = ("warp_nats", "hole_nats", "copy_nats", "noise_nats", "action_nats", "clean_nats")


@torch.no_grad()
def evaluate(
    trainer: WorldTrainer, data: Canvases, window: int, *, walks: int = 12, frames: int = 9
) -> dict[str, float]:
    """Held-out cross-entropy, nats per token: from carried views, their uncovered tokens, from noise, of clean rows;
    and what true words save compared with shuffled ones when the canvas is noise. copy_nats is 0 where a carried
    token is right, like the share of carried tokens that are wrong."""
    generator = torch.Generator().manual_seed(0)
    tokens, warped = (torch.from_numpy(x[:walks, :frames]).long() for x in (data.tokens, data.warped))
    coverage, text = (
        torch.from_numpy(data.coverage[:walks, :frames]),
        torch.from_numpy(data.text[:walks, :frames]).long(),
    )
    digits, carried = trainer.digits(tokens), trainer.digits(warped)
    start = torch.where((coverage > 0.5)[..., None], carried, torch.tensor(-1))
    noise = trainer.noised(digits, torch.zeros(tokens.shape), generator)
    canvases = torch.stack([start, noise], 2)
    noisy, clean = trainer.losses(tokens, text, canvases, digits, window)
    shuffled, _ = trainer.losses(tokens, text.roll(1, 0).roll(3, 1), canvases, digits, window)
    noisy, clean, shuffled = noisy[:, 1:], clean[:, 1:], shuffled[:, 1:]
    holes = coverage[:, 1:] <= 0.5
    wrong = (tokens != warped)[:, 1:].float().mean()
    values = (
        noisy[:, :, 0].mean(),
        noisy[:, :, 0][holes].mean(),
        wrong,
        noisy[:, :, 1].mean(),
        shuffled[:, :, 1].mean() - noisy[:, :, 1].mean(),
        clean.mean(),
    )
    return dict(zip(MEASURES, map(float, values), strict=True))


def _save(run: Run, step: int, trainer: WorldTrainer, optimizers, average: Average) -> None:
    run.save(
        step,
        model=trainer.state_dict(),
        average=average.weights,
        updates=average.updates,
        optimizers=[optimizer.state_dict() for optimizer in optimizers],
        config=asdict(trainer.transformer.config),
    )


def _averaged(trainer: WorldTrainer, average: Average) -> WorldTrainer:
    twin = WorldTrainer(trainer.transformer.config, trainer.layout, trainer.dida, trainer.vocabulary, trainer.vision)
    twin.load_state_dict(average.weights)
    return twin.eval()
