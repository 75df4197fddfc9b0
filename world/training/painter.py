"""The recipe of the painter: to finish views of which something is known, sharply, with depth that joins.

A sample is a frame of a walk by keyframes, with what one to three frames before it show from there, their depth off as
estimates are. Cells that those cover have the codes of the carried view, the others the frame's own, sometimes hurt, as
a dream's are. What is painted is held to the true frame (pixels, gradients, log depth) and to a small patch
discriminator, which sees the finished view with its depth (hinge loss, Lim and Ye 2017, arXiv 1705.02894, and feature
matching, Wang et al. 2018, arXiv 1711.11585): of the many views that the codes allow the mean is a blur, and a blur is
what it learns to tell.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from ..pose import Camera
from ..spatial.warp import View, sharpened, warp
from ..tokens.painter import USUAL_DEPTH, Known, Painter, PainterConfig
from ..tokens.vision import MAX_DEPTH, MIN_DEPTH, VisionTokenizer, to_unit
from .canvases import scaled_off
from .data import Walks
from .muon import Muon
from .run import Average, Run, half_products, learning_rate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PainterRecipe:
    """steps and max_seconds: whichever ends first. Weights of the losses: gradient and depth beside pixels' 1,
    adversarial and matching from the share `adversarial_from` on; known_weight of a pixel that is known beside one that
    is not. Probabilities: tired, that codes of holes are hurt, each with `hurt`, by steps of the lattice."""

    steps: int = 30_000
    batch: int = 6
    peak: float = 5e-4
    judge_peak: float = 4e-4
    max_seconds: float = 4700.0
    seed: int = 6
    gradient_weight: float = 0.5
    depth_weight: float = 0.3
    adversarial_weight: float = 0.03
    matching_weight: float = 0.5
    adversarial_from: float = 0.04
    known_weight: float = 0.15
    tired: float = 0.4
    hurt: float = 0.25


class Judge(nn.Module):
    """A patch discriminator: pixels, log depth and where something was known, (B, 5, H, W), to features and scores."""

    def __init__(self, width: int = 32):
        super().__init__()
        wide = (20, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 3 if k == 0 else 4, 1 if k == 0 else 2, 1))
            for k, (a, b) in enumerate(pairwise(wide))
        )
        self.near = spectral_norm(nn.Conv2d(wide[-1], wide[-1], 3, 1, 1))
        self.score = spectral_norm(nn.Conv2d(wide[-1], 1, 3, 1, 1))

    def forward(self, view: Tensor) -> tuple[list[Tensor], Tensor]:
        x, features = F.pixel_unshuffle(view, 2).contiguous(memory_format=torch.channels_last), []
        for layer in (*self.layers, self.near):
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return features, self.score(x)


@dataclass(frozen=True)
class Sample:
    """pixels (B, 3, H, W) in [-1, 1] and log_depth (B, H, W): the truth; points (B, D, h, w); known; noise."""

    pixels: Tensor
    log_depth: Tensor
    points: Tensor
    known: Known
    noise: Tensor


def draw_samples(walks: Walks, vision: VisionTokenizer, rng: np.random.Generator, recipe: PainterRecipe,
                 size: int) -> Sample:  # fmt: skip
    """Frames drawn at random, half of them mirrored, with what frames before them show from there."""
    R, T, H, W = walks.pixels.shape[:4]
    grid, camera = vision.config.grid, Camera(W, H)
    pixels, depth, carried, carried_depth, covered, shares = [], [], [], [], [], []
    for _ in range(size):
        r, t = int(rng.integers(R)), int(rng.integers(1, T))
        before = [s for s in range(max(0, t - 3), t) if s == t - 1 or rng.uniform() < 0.6]
        views = []
        for s in before:
            shown = walks.pixels[r, s]
            off = scaled_off(walks.depth[r, s : s + 1], rng)[0] if rng.uniform() < 0.7 else walks.depth[r, s]
            views.append(View(shown, sharpened(off.astype(np.float32), shown), walks.poses[r][s]))
        seen = warp(views, walks.poses[r][t], camera)
        parts = (walks.pixels[r, t], walks.depth[r, t].astype(np.float32), seen.pixels, seen.depth, seen.covered)
        if rng.uniform() < 0.5:
            parts = tuple(np.ascontiguousarray(part[:, ::-1]) for part in parts)
        for column, part in zip((pixels, depth, carried, carried_depth, covered), parts, strict=True):
            column.append(part)
        shares.append(parts[4].reshape(grid[0], H // grid[0], grid[1], W // grid[1]).mean((1, 3)))
    truth = torch.from_numpy(np.stack(pixels))
    filled, where = torch.from_numpy(np.stack(carried)), torch.from_numpy(np.stack(covered))
    with torch.inference_mode():
        codes = vision.encode(torch.cat([truth, filled]))
    own, guessed = codes.clone().chunk(2)  # a clone, for inference tensors cannot be saved for a backward pass
    levels = torch.tensor(vision.config.levels)
    digits = vision.digits(own)
    jump = torch.from_numpy(rng.choice([-1, 1], digits.shape)) * torch.from_numpy(rng.geometric(0.5, digits.shape))
    hurt = (rng.uniform(size=(size, 1, 1)) < recipe.tired) & (rng.uniform(size=own.shape) < recipe.hurt)
    moved = (digits + jump).clamp(torch.zeros_like(levels), levels - 1)
    digits = torch.where(torch.from_numpy(hurt)[..., None], moved, digits)
    own = (digits * vision.steps).sum(-1)
    codes = torch.where(torch.from_numpy(np.stack(shares)) > 0.5, guessed, own)
    as_log = lambda metres: torch.from_numpy(np.stack(metres)).clamp(MIN_DEPTH, MAX_DEPTH).log()  # noqa: E731
    noise = torch.from_numpy(rng.standard_normal((size, 1, H, W), dtype=np.float32))
    return Sample(to_unit(truth), as_log(depth), vision.points(codes).movedim(-1, 1),
                  Known(to_unit(filled), as_log(carried_depth), where), noise)  # fmt: skip


def train_painter(walks: Walks, held_out: Walks, folder: str | Path, recipe: PainterRecipe, config: PainterConfig,
                  vision: VisionTokenizer, *, begin: Painter | None = None, progress=None) -> Painter:  # fmt: skip
    """Train (or go on training) in `folder`; returns the averaged painter. begin: a painter to go on from, else the
    tokenizer's decoder is. progress: called with (share done, the log row) now and then."""
    run = Run(folder)
    torch.manual_seed(recipe.seed)
    model = Painter(config).to(memory_format=torch.channels_last)
    model.begin_as(vision)
    if begin is not None:
        model.load_state_dict(begin.state_dict())
    judge = Judge().to(memory_format=torch.channels_last)
    optimizers = make_painter_optimizers(model, judge, recipe)
    average, step = Average(model, 0.998), 0
    if state := run.resume():
        model.load_state_dict(state["model"])
        judge.load_state_dict(state["judge"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        average.weights, average.updates, step = state["average"], state["updates"], state["step"]

    def save() -> None:
        run.save(step, model=model.state_dict(), judge=judge.state_dict(), average=average.weights,
                 optimizers=[optimizer.state_dict() for optimizer in optimizers], updates=average.updates,
                 config=asdict(config))  # fmt: skip

    totals: list[dict[str, float]] = []
    while (share := max(step / recipe.steps, run.seconds / recipe.max_seconds)) < 1:
        rate = learning_rate(int(share * recipe.steps), recipe.steps, 1.0, warmup=0) * min(1.0, (step + 1) / 50)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = group["peak"] * rate
        sample = draw_samples(walks, vision, np.random.default_rng([recipe.seed, step]), recipe, recipe.batch)
        totals.append(_painter_step(model, judge, optimizers, sample, recipe, share >= recipe.adversarial_from))
        average.update(model)
        step += 1
        if step % 50 == 0:
            row = {name: float(np.mean([total[name] for total in totals])) for name in totals[0]} | {"rate": rate}
            held = evaluate_painter(average.of(model), vision, held_out, recipe) if step % 200 == 0 else {}
            run.record(step, **row, **{name: held.get(name, math.nan) for name in MEASURES})
            totals = []
            if held:
                save()
            if progress:
                progress(share, row | held)
    save()
    kept = average.of(model)
    run.record(step, **dict.fromkeys(LOSSES, math.nan), rate=0.0, **evaluate_painter(kept, vision, held_out, recipe))
    run.draw("pixels", "judged", *MEASURES)
    return kept


LOSSES = ("pixels", "gradients", "depth", "adversarial", "matching", "judged")


def make_painter_optimizers(model: Painter, judge: Judge, recipe: PainterRecipe) -> list[torch.optim.Optimizer]:
    """Muon for what turns features into features, Adam for the rest and for the judge."""
    matrices = [p for name, p in model.named_parameters()
                if p.ndim >= 2 and not name.startswith(("out.", "join")) and not name.endswith("place")]  # fmt: skip
    held = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in held]
    made = [Muon(matrices, lr=recipe.peak, momentum=0.9),
            torch.optim.AdamW(others, lr=recipe.peak, betas=(0.8, 0.98), weight_decay=0.0),
            torch.optim.Adam(judge.parameters(), lr=recipe.judge_peak, betas=(0.0, 0.98))]  # fmt: skip
    for optimizer, peak in zip(made, (recipe.peak, recipe.peak, recipe.judge_peak), strict=True):
        for group in optimizer.param_groups:
            group["peak"] = peak
    return made


def _painter_step(model: Painter, judge: Judge, optimizers, sample: Sample, recipe: PainterRecipe,
                  is_judged: bool) -> dict[str, float]:  # fmt: skip
    known = sample.known.where
    with half_products():
        made, made_depth = (part.float() for part in model(sample.points, sample.known, sample.noise))
    weight = torch.where(known, recipe.known_weight, 1.0)
    mean = lambda loss: (weight * loss).sum() / weight.sum()  # noqa: E731
    # as it will be shown: what is known stays, here at its true value, so that only the seam is judged
    pixels = torch.where(known[:, None], sample.pixels, made)
    log_depth = torch.where(known, sample.log_depth, made_depth)
    losses = {
        "pixels": mean((made - sample.pixels).abs().mean(1)),
        "gradients": _gradient_loss(pixels, sample.pixels),
        "depth": mean((made_depth - sample.log_depth).abs()) + _gradient_loss(log_depth, sample.log_depth),
    }
    loss = losses["pixels"] + recipe.gradient_weight * losses["gradients"] + recipe.depth_weight * losses["depth"]
    judged = dict.fromkeys(("adversarial", "matching", "judged"), torch.tensor(0.0))
    if is_judged:
        view = lambda p, d: torch.cat([p, (d[:, None] - USUAL_DEPTH) / 2, known[:, None].float()], 1)  # noqa: E731
        true, shown = view(sample.pixels, sample.log_depth), view(pixels, log_depth)
        near = F.interpolate(F.max_pool2d((~known)[:, None].float(), 17, 1, 8), scale_factor=1 / 8, mode="area")
        over = lambda score: (near * score).sum() / near.sum().clamp_min(1)  # noqa: E731
        with half_products():
            _, real_score = judge(true)
            _, made_score = judge(shown.detach())
        judged["judged"] = over(F.relu(1 - real_score.float())) + over(F.relu(1 + made_score.float()))
        optimizers[-1].zero_grad(set_to_none=True)
        judged["judged"].backward()
        optimizers[-1].step()
        judge.requires_grad_(False)
        with half_products():
            with torch.no_grad():
                features, _ = judge(true)
            made_features, score = judge(shown)
        judge.requires_grad_(True)
        judged["adversarial"] = -over(score.float())
        judged["matching"] = sum(
            (a.float() - b.float()).abs().mean() for a, b in zip(features, made_features, strict=True)
        )
        loss = loss + recipe.adversarial_weight * judged["adversarial"] + recipe.matching_weight * judged["matching"]
    model.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers[:-1]:
        optimizer.step()
    return {name: value.item() for name, value in (losses | judged).items()}


def _gradient_loss(made: Tensor, truth: Tensor) -> Tensor:
    off = made - truth
    return (off[..., 1:] - off[..., :-1]).abs().mean() + (off[..., 1:, :] - off[..., :-1, :]).abs().mean()


MEASURES = ("hole_l1", "hole_sharpness", "hole_depth")


@torch.no_grad()
def evaluate_painter(model: Painter, vision: VisionTokenizer, walks: Walks, recipe: PainterRecipe) -> dict[str, float]:
    """Of held-out holes painted from the frames' own codes: error of pixels, mean gradient over the truth's, and error
    of log depth."""
    sums = np.zeros(5)
    for k in range(8):
        sample = draw_samples(walks, vision, np.random.default_rng([99, k]), recipe, 8)
        made, depth = model(sample.points, sample.known, sample.noise)
        hole = ~sample.known.where
        inner = hole[:, 1:, 1:] & hole[:, :-1, 1:] & hole[:, 1:, :-1]
        steep = [((x[:, :, 1:, 1:] - x[:, :, 1:, :-1]).abs() + (x[:, :, 1:, 1:] - x[:, :, :-1, 1:]).abs()).mean(1)
                 for x in (made, sample.pixels)]  # fmt: skip
        off = (made - sample.pixels).abs().mean(1)
        sums += [off[hole].sum(), hole.sum(), steep[0][inner].sum(), steep[1][inner].sum(),
                 (depth - sample.log_depth).abs()[hole].sum()]  # fmt: skip
    return dict(zip(MEASURES, (sums[0] / sums[1], sums[2] / sums[3], sums[4] / sums[1]), strict=True))
