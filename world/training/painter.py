"""The recipe of the painter: it learns to complete partly known views, sharply, with depth that joins.

A sample is a frame of a walk by keyframes, with what one to three earlier frames show from there, with depth errors
like those of estimates. Cells that those cover have the codes of the carried view, the others the frame's own,
sometimes corrupted like those of a dream. What is painted is compared with the true frame (pixels, gradients, log
depth) and judged by two small patch discriminators, which see the finished view with its depth, whole and at half its
size (hinge loss, Lim and Ye 2017, arXiv 1705.02894; feature matching and several sizes, Wang et al. 2018, arXiv
1711.11585). Without them it would paint the mean of all views that the codes allow: a blur.

Dreamt codes fit together less well than a frame's own, so some samples have codes that the model dreamt. These have no
true frame: the discriminators judge them, and their means over eight by eight pixels are compared with the tokenizer's
decoder, so that a dreamt wall stays that wall.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from ...kernels.conv import channels_last
from ..pose import Camera
from ..spatial.warp import View, Warp, sharpened, warp
from ..tokens.painter import Known, Painter, PainterConfig
from ..tokens.vision import MAX_DEPTH, MIN_DEPTH, USUAL_DEPTH, VisionTokenizer, to_unit
from .canvases import scaled_off
from .data import Walks
from .muon import Muon
from .run import Average, Run, half_products, learning_rate

log = logging.getLogger(__name__)
KEPT = 8  # pixels a side, over whose mean a dreamt part must stay what it is


@dataclass(frozen=True)
class PainterRecipe:
    """steps and max_seconds: whichever ends first; stop_at: the step after which a run ends; rates fall as if it
    continued to `steps`. batch: samples with a truth; dreamt: with dreamt codes. Weights of the losses, where that of
    pixels is 1: gradient, texture and depth (where codes leave the truth open, a blur lowers all except texture);
    adversarial and matching, which grow until the share `adversarial_from`; dreamt_adversarial_weight and kept_weight,
    for dreamt codes; known_weight of a known pixel. Probabilities: tired, that codes of holes are corrupted, each with
    `hurt`, by steps of the lattice; earlier, that a view before the last is known too; off, that a view's depth is
    wrong. look_every: steps between evaluations and saved states."""

    steps: int = 30_000
    stop_at: int | None = None
    batch: int = 6
    dreamt: int = 0
    peak: float = 5e-4
    judge_peak: float = 1e-3
    max_seconds: float = 4700.0
    seed: int = 6
    gradient_weight: float = 0.5
    texture_weight: float = 0.0
    depth_weight: float = 0.3
    adversarial_weight: float = 0.03
    matching_weight: float = 0.5
    adversarial_from: float = 0.04
    dreamt_adversarial_weight: float = 0.1
    kept_weight: float = 1.0
    known_weight: float = 0.15
    tired: float = 0.4
    hurt: float = 0.25
    earlier: float = 0.6
    off: float = 0.7
    look_every: int = 200


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


class Judges(nn.Module):
    """Two discriminators: of the whole view, and of it at half its size, where straight and wavy walls can be told
    apart."""

    def __init__(self):
        super().__init__()
        self.sizes = nn.ModuleList([Judge(), Judge()])

    def forward(self, view: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """View (B, 5, H, W) -> features of both, and scores of both."""
        found = [judge(part) for judge, part in zip(self.sizes, (view, F.avg_pool2d(view, 2)), strict=True)]
        return [feature for features, _ in found for feature in features], [score for _, score in found]


@dataclass(frozen=True)
class Sample:
    """pixels (B, 3, H, W) in [-1, 1] and log_depth (B, H, W): the truth; points (B, D, h, w); known; noise."""

    pixels: Tensor
    log_depth: Tensor
    points: Tensor
    known: Known
    noise: Tensor


@dataclass(frozen=True)
class Glimpse:
    """A frame of a walk and what is known of it: pixels (H, W, 3) uint8, depth (H, W) metres; carried: what earlier
    frames show from there."""

    pixels: np.ndarray
    depth: np.ndarray
    carried: Warp


def draw_glimpse(walks: Walks, rng: np.random.Generator, recipe: PainterRecipe) -> Glimpse:
    """A frame drawn at random, mirrored or not."""
    assert walks.depth is not None and walks.poses is not None, "recordings without them leave this stage out"
    R, T, H, W = walks.pixels.shape[:4]
    r, t = int(rng.integers(R)), int(rng.integers(1, T))
    before = [s for s in range(max(0, t - 3), t) if s == t - 1 or rng.uniform() < recipe.earlier]
    views = []
    for s in before:
        shown, off = walks.pixels[r, s], walks.depth[r, s]
        off = scaled_off(off[None], rng)[0] if rng.uniform() < recipe.off else off
        views.append(View(shown, sharpened(off.astype(np.float32), shown), walks.poses[r][s]))
    seen = warp(views, walks.poses[r][t], Camera(W, H))
    parts: tuple[np.ndarray, ...]
    parts = (walks.pixels[r, t], walks.depth[r, t].astype(np.float32), seen.pixels, seen.covered, seen.depth)
    if rng.uniform() < 0.5:
        parts = tuple(np.ascontiguousarray(part[:, ::-1]) for part in parts)
    return Glimpse(parts[0], parts[1], Warp(parts[2], parts[3], parts[4]))


def dreamt_glimpse(walks: Walks, number: int, recipe: PainterRecipe) -> Glimpse:
    """Glimpse `number` of those for which codes are dreamt; always the same."""
    return draw_glimpse(walks, np.random.default_rng([23, number]), recipe)


def draw_samples(
    walks: Walks, vision: VisionTokenizer, rng: np.random.Generator, recipe: PainterRecipe, size: int
) -> Sample:
    """Frames drawn at random, half of them mirrored, with what earlier frames show from there."""
    return samples_of([draw_glimpse(walks, rng, recipe) for _ in range(size)], vision, rng, recipe)


def samples_of(
    glimpses: list[Glimpse], vision: VisionTokenizer, rng: np.random.Generator, recipe: PainterRecipe
) -> Sample:
    """Glimpses with the codes of what is carried where it covers a cell, and elsewhere their own, some of them
    corrupted; on the tokenizer's device."""
    device, size = vision.steps.device, len(glimpses)
    on = lambda array: torch.from_numpy(array).to(device)  # noqa: E731
    truth, filled = (np.stack(views) for views in zip(*((g.pixels, g.carried.pixels) for g in glimpses), strict=True))
    with torch.inference_mode():
        codes = vision.encode(on(np.concatenate([truth, filled])))
    own, guessed = codes.clone().chunk(2)  # a clone, because inference tensors cannot be saved for a backward pass
    levels = torch.tensor(vision.config.levels, device=device)
    digits = vision.digits(own)
    jump = rng.choice([-1, 1], digits.shape) * rng.geometric(0.5, digits.shape)
    hurt = (rng.uniform(size=(size, 1, 1)) < recipe.tired) & (rng.uniform(size=own.shape) < recipe.hurt)
    moved = (digits + on(jump)).clamp(torch.zeros_like(levels), levels - 1)
    own = (torch.where(on(hurt)[..., None], moved, digits) * vision.steps).sum(-1)
    shares = on(np.stack([one.carried.coverage(vision.config.grid) for one in glimpses]))
    return as_sample(glimpses, torch.where(shares > 0.5, guessed, own), vision, rng)


def draw_dreamt(
    walks: Walks, dreamt: np.ndarray, vision: VisionTokenizer, rng: np.random.Generator, recipe: PainterRecipe
) -> Sample:
    """Like draw_samples, of glimpses with dreamt codes (n, h, w). Unknown parts have no target."""
    numbers = rng.integers(len(dreamt), size=recipe.dreamt)
    codes = torch.from_numpy(dreamt[numbers].astype(np.int64)).to(vision.steps.device)
    return as_sample([dreamt_glimpse(walks, int(number), recipe) for number in numbers], codes, vision, rng)


def as_sample(glimpses: list[Glimpse], codes: Tensor, vision: VisionTokenizer, rng: np.random.Generator) -> Sample:
    """Glimpses with codes (B, h, w), and noise; on the codes' device."""
    on = lambda views: torch.from_numpy(np.stack(list(views))).to(codes.device)  # noqa: E731
    stacked = lambda name: on(getattr(one.carried, name) for one in glimpses)  # noqa: E731
    as_log = lambda metres: metres.clamp(MIN_DEPTH, MAX_DEPTH).log()  # noqa: E731
    truth, depth = on(one.pixels for one in glimpses), on(one.depth for one in glimpses)
    noise = rng.standard_normal((len(glimpses), 1, *depth.shape[1:]), dtype=np.float32)
    known = Known(to_unit(stacked("pixels")), as_log(stacked("depth")), stacked("covered"))
    points = vision.points(codes).movedim(-1, 1)
    return Sample(to_unit(truth), as_log(depth), points, known, torch.from_numpy(noise).to(codes.device))


def _together(a, b):
    """Two samples as one, or what they hold."""
    if not isinstance(a, Tensor):
        return type(a)(*(_together(getattr(a, part.name), getattr(b, part.name)) for part in fields(a)))
    both = torch.cat([a, b])
    return both.contiguous(memory_format=torch.channels_last) if both.ndim == 4 else both


def train_painter(
    walks: Walks,
    held_out: Walks,
    folder: str | Path,
    recipe: PainterRecipe,
    config: PainterConfig,
    vision: VisionTokenizer,
    *,
    dreamt: np.ndarray | None = None,
    begin: Painter | None = None,
    judges: dict[str, Tensor] | None = None,
    glimpses: Iterator[list[Glimpse]] | None = None,
    device: str = "cpu",
    progress=None,
) -> Painter:
    """Train (or continue training) in `folder`; returns the averaged painter. dreamt (n, h, w): codes that were
    dreamt at the first n dreamt_glimpses of the walks, if the recipe uses such samples. begin: a painter to start
    from, else the tokenizer's decoder; judges: the weights of discriminators to start from. glimpses: of each
    remaining step, instead of some of the walks (fresh.fresh_glimpses). progress: called with (share done, the log
    row) now and then."""
    run = Run(folder)
    vision.to(device)
    torch.manual_seed(recipe.seed)
    model = channels_last(Painter(config)).to(device)
    model.begin_as(vision)
    if begin is not None:
        model.go_on_from(begin)
    judge = channels_last(Judges()).to(device)
    if judges is not None:
        judge.load_state_dict(judges)
    optimizers = make_painter_optimizers(model, judge, recipe)
    average, step = Average(model, 0.998), 0
    if state := run.resume():
        model.load_state_dict(state["model"])
        judge.load_state_dict(state["judge"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        average.take(state["average"])
        average.updates, step = state["updates"], state["step"]

    def save() -> None:
        run.save(
            step,
            model=model.state_dict(),
            judge=judge.state_dict(),
            average=average.weights,
            optimizers=[optimizer.state_dict() for optimizer in optimizers],
            updates=average.updates,
            config=asdict(config),
        )

    totals: list[Tensor] = []
    while (share := max(step / recipe.steps, run.seconds / recipe.max_seconds)) < 1 and step != recipe.stop_at:
        rate = learning_rate(int(share * recipe.steps), recipe.steps, 1.0, warmup=0) * min(1.0, (step + 1) / 50)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = group["peak"] * rate
        rng = np.random.default_rng([recipe.seed, step])
        drawn = [draw_glimpse(walks, rng, recipe) for _ in range(recipe.batch)] if glimpses is None else next(glimpses)
        true = samples_of(drawn, vision, rng, recipe)
        dreams = None if dreamt is None or not recipe.dreamt else draw_dreamt(walks, dreamt, vision, rng, recipe)
        ramp = min(1.0, share / recipe.adversarial_from)
        totals.append(_painter_step(model, judge, optimizers, vision, true, dreams, recipe, ramp))
        average.update(model)
        step += 1
        if step % 50 == 0:
            row = dict(zip(LOSSES, torch.stack(totals).mean(0).tolist(), strict=True)) | {"rate": rate}
            is_looked_at = step % recipe.look_every == 0
            held = evaluate_painter(average.of(model), vision, held_out, recipe) if is_looked_at else {}
            run.record(step, **row, **{name: held.get(name, math.nan) for name in MEASURES})
            totals = []
            if held:
                save()
            if progress:
                progress(share, row | held)
    save()
    kept = average.of(model).cpu()
    vision.cpu()
    run.record(step, **dict.fromkeys(LOSSES, math.nan), rate=0.0, **evaluate_painter(kept, vision, held_out, recipe))
    run.draw("pixels", "judged", "dreamt_adversarial", *MEASURES)
    return kept


LOSSES = ("pixels", "gradients", "textures", "depth", "kept", "adversarial", "dreamt_adversarial", "matching", "judged")


def make_painter_optimizers(model: Painter, judge: nn.Module, recipe: PainterRecipe) -> list[torch.optim.Optimizer]:
    """Muon for layers from features to features, Adam for the rest and for the judge."""
    matrices = [
        p
        for name, p in model.named_parameters()
        if p.ndim >= 2 and not name.startswith(("out.", "join")) and not name.endswith("place")
    ]
    held = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in held]
    made = [
        Muon(matrices, lr=recipe.peak, momentum=0.9),
        torch.optim.AdamW(others, lr=recipe.peak, betas=(0.8, 0.98), weight_decay=0.0),
        torch.optim.Adam(judge.parameters(), lr=recipe.judge_peak, betas=(0.0, 0.98)),
    ]
    for optimizer, peak in zip(made, (recipe.peak, recipe.peak, recipe.judge_peak), strict=True):
        for group in optimizer.param_groups:
            group["peak"] = peak
    return made


def _painter_step(
    model: Painter,
    judge: Judges,
    optimizers,
    vision: VisionTokenizer,
    true: Sample,
    dreams: Sample | None,
    recipe: PainterRecipe,
    ramp: float,
) -> Tensor:
    """The losses, as LOSSES names them, on their device."""
    sample, count = true if dreams is None else _together(true, dreams), len(true.pixels)
    known = sample.known.where
    device = sample.pixels.device
    with half_products(device):
        made, made_depth = (part.float() for part in model(sample.points, sample.known, sample.noise))
    # as it will be shown: known pixels stay, here with their true values, so that only the seam is judged
    pixels = torch.where(known[:, None], sample.pixels, made)
    log_depth = torch.where(known, sample.log_depth, made_depth)
    losses = _true_losses(true, made[:count], made_depth[:count], pixels[:count], log_depth[:count], recipe)
    losses["kept"] = made.new_zeros(())
    if dreams is not None:
        losses["kept"] = _kept_loss(vision, dreams, made[count:], made_depth[count:])
    near = F.max_pool2d((~known)[:, None].float(), 17, 1, 8)  # only what is painted, and its surroundings, is judged
    view = lambda p, d: torch.cat([p, (d[:, None] - USUAL_DEPTH) / 2, known[:, None].float()], 1)  # noqa: E731
    real, shown = view(sample.pixels, sample.log_depth)[:count], view(pixels, log_depth)
    with half_products(device):
        _, real_scores = judge(real)
        _, made_scores = judge(shown.detach())
    losses["judged"] = _over([F.relu(1 - score.float()) for score in real_scores], near[:count])
    losses["judged"] = losses["judged"] + _over([F.relu(1 + score.float()) for score in made_scores], near)
    optimizers[-1].zero_grad(set_to_none=True)
    losses["judged"].backward()
    optimizers[-1].step()
    judge.requires_grad_(False)
    with half_products(device):
        with torch.no_grad():
            features, _ = judge(real)
        made_features, scores = judge(shown)
    judge.requires_grad_(True)
    losses["adversarial"] = -_over([score[:count].float() for score in scores], near[:count])
    losses["dreamt_adversarial"] = -_over([score[count:].float() for score in scores], near[count:])
    losses["matching"] = sum(
        (a.float() - b[:count].float()).abs().mean() for a, b in zip(features, made_features, strict=True)
    ) / len(scores)
    weights = {
        "pixels": 1.0,
        "gradients": recipe.gradient_weight,
        "textures": recipe.texture_weight,
        "depth": recipe.depth_weight,
        "kept": recipe.kept_weight,
        "adversarial": ramp * recipe.adversarial_weight,
        "dreamt_adversarial": ramp * recipe.dreamt_adversarial_weight,
        "matching": ramp * recipe.matching_weight,
    }
    model.zero_grad(set_to_none=True)
    reduce(torch.add, [weight * losses[name] for name, weight in weights.items()]).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers[:-1]:
        optimizer.step()
    return torch.stack([losses[name].detach() for name in LOSSES])


def _true_losses(
    true: Sample, made: Tensor, made_depth: Tensor, pixels: Tensor, log_depth: Tensor, recipe: PainterRecipe
) -> dict[str, Tensor]:
    """Losses of what is painted (made), and of the view as it will be shown (pixels, log_depth), compared with the
    truth."""
    weight = torch.where(true.known.where, recipe.known_weight, 1.0)
    mean = lambda loss: (weight * loss).sum() / weight.sum()  # noqa: E731
    return {
        "pixels": mean((made - true.pixels).abs().mean(1)),
        "gradients": _gradient_loss(pixels, true.pixels),
        "textures": texture_loss(pixels, true.pixels),
        "depth": mean((made_depth - true.log_depth).abs()) + _gradient_loss(log_depth, true.log_depth),
    }


def _kept_loss(vision: VisionTokenizer, dreams: Sample, made: Tensor, made_depth: Tensor) -> Tensor:
    """How far what is painted differs from the decoder's picture of the codes, in the mean over KEPT by KEPT pixels."""
    with torch.no_grad():
        meant, meant_depth = vision.decode_points(dreams.points)
    off = torch.cat([made - meant, (made_depth - meant_depth)[:, None] / 2], 1)
    hole = F.avg_pool2d((~dreams.known.where)[:, None].float(), KEPT)
    return (F.avg_pool2d(off, KEPT).abs().mean(1, keepdim=True) * hole).sum() / hole.sum().clamp_min(1)


def _over(scores: list[Tensor], near: Tensor) -> Tensor:
    """The mean of scores (B, 1, h, w) of several sizes, weighted by a share of each pixel, near (B, 1, H, W)."""
    shares = [F.interpolate(near, size=score.shape[-2:], mode="area") for score in scores]
    means = [(share * score).sum() / share.sum().clamp_min(1) for share, score in zip(shares, scores, strict=True)]
    return reduce(torch.add, means) / len(means)


def _gradient_loss(made: Tensor, truth: Tensor) -> Tensor:
    off = made - truth
    return (off[..., 1:] - off[..., :-1]).abs().mean() + (off[..., 1:, :] - off[..., :-1, :]).abs().mean()


def texture_loss(made: Tensor, truth: Tensor) -> Tensor:
    """How wrong the mean gradient of patches of KEPT pixels is, at full, half and quarter size."""

    def steep(x: Tensor, size: int) -> Tensor:
        x = F.avg_pool2d(x, size)
        right, down = (x[..., 1:] - x[..., :-1]).abs().mean(1), (x[..., 1:, :] - x[..., :-1, :]).abs().mean(1)
        return F.avg_pool2d(F.pad(right, (0, 1)) + F.pad(down, (0, 0, 0, 1)), KEPT // size)

    return torch.stack([(steep(made, size) - steep(truth, size)).abs().mean() for size in (1, 2, 4)]).mean()


HELD_OUT, HELD_OUT_SIZE = 8, 8  # batches of held-out frames by which a painter is measured, and frames of each
MEASURES = ("hole_l1", "hole_sharpness", "hole_depth")


@torch.no_grad()
def evaluate_painter(model: Painter, vision: VisionTokenizer, walks: Walks, recipe: PainterRecipe) -> dict[str, float]:
    """Of held-out holes painted from their frames' codes: errors of pixels and log depth, gradients over true ones."""
    sums = np.zeros(5)
    for k in range(HELD_OUT):
        sample = draw_samples(walks, vision, np.random.default_rng([99, k]), recipe, HELD_OUT_SIZE)
        made, depth = model(sample.points, sample.known, sample.noise)
        hole = ~sample.known.where
        inner = hole[:, 1:, 1:] & hole[:, :-1, 1:] & hole[:, 1:, :-1]
        steep = [
            ((x[:, :, 1:, 1:] - x[:, :, 1:, :-1]).abs() + (x[:, :, 1:, 1:] - x[:, :, :-1, 1:]).abs()).mean(1)
            for x in (made, sample.pixels)
        ]
        off, far = (made - sample.pixels).abs().mean(1), (depth - sample.log_depth).abs()
        sums += [x.sum().item() for x in (off[hole], hole, steep[0][inner], steep[1][inner], far[hole])]
    return dict(zip(MEASURES, (sums[0] / sums[1], sums[2] / sums[3], sums[4] / sums[1]), strict=True))
