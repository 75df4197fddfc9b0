"""The second recipe: trains the depth refiner on single frames of the recordings; the tokenizer does not change.

Its inputs are pixels as in service (true ones, the decoder's, and patches of both) and the decoder's depth for the
frame's codes. Loss: absolute error of log depth, relative error, and absolute error of log depth's gradients, so that
edges are where the picture has them.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...kernels.conv import channels_last
from ..tokens.depth import DepthConfig, DepthRefiner
from ..tokens.vision import MAX_DEPTH, MIN_DEPTH, VisionTokenizer
from .data import Walks, load_walks
from .muon import Muon
from .run import Average, Run, half_products, learning_rate
from .tokenizer import draw_frames

log = logging.getLogger(__name__)
SHOWN = ("true", "decoded", "patches")  # the kinds of pixels that a refiner reads


@dataclass(frozen=True)
class DepthRecipe:
    """Up to `steps` of `batch` frames each, or max_seconds of training, the schedule fitted to whichever comes
    first. shares: of frames shown as in SHOWN."""

    steps: int = 24_000
    batch: int = 12
    peak: float = 1.5e-3
    max_seconds: float = 2700.0
    seed: int = 3
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2)
    edge_weight: float = 0.3


def train_depth(
    data: str | Path,
    folder: str | Path,
    recipe: DepthRecipe,
    config: DepthConfig,
    vision: VisionTokenizer,
    *,
    begin: nn.Module | None = None,
    device: str = "cpu",
    progress=None,
) -> DepthRefiner:
    """Train (or continue training) in `folder`; returns the averaged refiner. begin: one to start from, if it is of the
    same size.

    progress: called with (share done, the log row) now and then.
    """
    walks, held_out = load_walks(data, "train"), load_walks(data, "dev", 64)
    run = Run(folder)  # its clock starts here
    torch.manual_seed(recipe.seed)
    model = channels_last(DepthRefiner(config)).to(device)
    if isinstance(begin, DepthRefiner) and begin.config == config:
        model.load_state_dict(begin.state_dict())
    vision = vision.to(device)
    optimizers = make_optimizers(model, recipe)
    average, step = Average(model), 0
    if state := run.resume():
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        average.weights, average.updates, step = state["average"], state["updates"], state["step"]

    def save() -> None:
        run.save(
            step,
            model=model.state_dict(),
            optimizers=[optimizer.state_dict() for optimizer in optimizers],
            average=average.weights,
            updates=average.updates,
            config=asdict(config),
        )

    total = 0.0
    while (share := max(step / recipe.steps, run.seconds / recipe.max_seconds)) < 1:
        rng = np.random.default_rng([recipe.seed, step])
        pixels, truth = draw_frames(walks, rng, recipe.batch, device)
        assert truth is not None, "recordings without depth train no depth"
        shown, depth = _as_shown(vision, pixels, recipe.shares, rng)
        rate = learning_rate(int(share * recipe.steps), recipe.steps, recipe.peak, warmup=0) * min(1, (step + 1) / 100)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = rate
        loss = depth_loss(model, shown, depth, truth, recipe.edge_weight)
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        with half_products(device):  # Muon's products too
            for optimizer in optimizers:
                optimizer.step()
        average.update(model)
        total += loss.item()
        step += 1
        if step % 100 == 0:
            row = {"loss": total / 100, "rate": rate, **dict.fromkeys(MEASURES, math.nan)}
            if step % 1000 == 0:
                row.update(evaluate(average.of(model), vision, held_out))
                save()
            run.record(step, **row)
            total = 0.0
            if progress:
                progress(share, row)
    kept = average.of(model)
    run.record(step, loss=math.nan, rate=0.0, **evaluate(kept, vision, held_out))
    save()
    run.draw("loss", "abs_rel", "abs_rel_decoded")
    return kept


def make_optimizers(model: DepthRefiner, recipe: DepthRecipe) -> list[torch.optim.Optimizer]:
    """Muon for layers from features to features, AdamW for the rest. AdamW alone learns nothing here for thousands
    of steps, because the remaining error is small compared with its noise."""
    matrices = [
        p
        for name, p in model.named_parameters()
        if p.ndim >= 2 and not name.startswith("out.") and not name.endswith("place")
    ]
    held = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in held]
    adam = torch.optim.AdamW(others, lr=recipe.peak, betas=(0.9, 0.95), weight_decay=0.0)
    return [Muon(matrices, lr=recipe.peak), adam]


def depth_loss(model: DepthRefiner, pixels: Tensor, log_depth: Tensor, truth: Tensor, edge_weight: float) -> Tensor:
    """pixels (B, 3, H, W) in [-1, 1]; log_depth (B, H, W) the decoder's; truth (B, H, W) metres."""
    with half_products(pixels.device):
        made = model(pixels, log_depth).float()
    off = made - truth.clamp(MIN_DEPTH, MAX_DEPTH).log()
    edges = (off[:, :, 1:] - off[:, :, :-1]).abs().mean() + (off[:, 1:] - off[:, :-1]).abs().mean()
    return (0.5 * off.abs() + 0.5 * torch.expm1(off.clamp(max=2.0)).abs()).mean() + edge_weight * edges


MEASURES = ("abs_rel", "abs_rel_decoded", "abs_rel_before")


@torch.inference_mode()
def evaluate(model: DepthRefiner, vision: VisionTokenizer, walks: Walks) -> dict[str, float]:
    """AbsRel on every 8th held-out frame where there is a surface: refined from true pixels, from the decoder's, and
    the decoder's depth as it was."""
    pixels = walks.pixels[:, ::8].reshape(-1, *walks.pixels.shape[2:])
    assert walks.depth is not None, "recordings without depth train no depth"
    depth = walks.depth[:, ::8].reshape(-1, *walks.depth.shape[2:])
    off: dict[str, list[float]] = {name: [] for name in MEASURES}
    device = vision.steps.device
    for k in range(0, len(pixels), 16):
        true = torch.from_numpy(pixels[k : k + 16]).to(device)
        shown, before = vision.decode(vision.encode(true))
        truth = depth[k : k + 16].astype(np.float32)
        guesses = (model.refine(true, before), model.refine(shown, before), before)
        for name, guess in zip(MEASURES, guesses, strict=True):
            error = np.abs(guess.cpu().numpy() - truth) / truth
            off[name].append(error[truth < MAX_DEPTH].mean())
    return {name: float(np.mean(values)) for name, values in off.items()}


@torch.no_grad()
def _as_shown(vision: VisionTokenizer, pixels: Tensor, shares: tuple[float, ...], rng) -> tuple[Tensor, Tensor]:
    """pixels (B, 3, H, W) in [-1, 1] -> pixels as in service, and the decoder's log depth (B, H, W)."""
    with half_products(pixels.device):
        codes = vision.codes(vision.bounded(pixels).float())
        decoded, log_depth = (part.float() for part in vision.decode_points(vision.points(codes).movedim(-1, 1)))
    kind = torch.from_numpy(rng.choice(len(SHOWN), len(pixels), p=shares)).to(pixels.device)[:, None, None, None]
    coarse = torch.from_numpy(rng.normal(size=(len(pixels), 1, 4, 4)).astype(np.float32)).to(pixels.device)
    patches = F.interpolate(coarse, pixels.shape[2:], mode="bicubic") > 0
    is_true = (kind == 0) | ((kind == 2) & patches)
    return torch.where(is_true, pixels, decoded.clamp(-1, 1)), log_depth
