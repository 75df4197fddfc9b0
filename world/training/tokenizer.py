"""The first recipe: trains the vision tokenizer on single frames of the recordings.

Loss: squared and absolute error, absolute error of the picture's gradients (edges stay edges), and absolute error of
log depth. The average of the weights is kept.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...kernels.conv import channels_last
from ..tokens.vision import MAX_DEPTH, VisionConfig, VisionTokenizer, to_unit
from .data import Walks, load_walks
from .run import Average, Run, half_products, learning_rate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenizerRecipe:
    """Up to `steps` of `batch` frames each, or max_seconds of training, the schedule fitted to whichever comes
    first, so that the rate has fallen at the end on any machine. From polish_from of the run on, depth weighs more
    and counts by its relative error, and the rate starts again at polish_peak."""

    steps: int = 14000
    batch: int = 12
    peak: float = 1.5e-3
    max_seconds: float = 1680.0
    seed: int = 1
    gradient_weight: float = 0.6
    depth_weight: float = 0.25
    polish_from: float = 0.7
    polish_peak: float = 5e-4
    polish_depth_weight: float = 0.6

    def rate(self, share: float, step: int) -> float:
        """The learning rate at that share of the run."""
        if share < self.polish_from:
            peak, done = self.peak, share / self.polish_from
        else:
            peak, done = self.polish_peak, (share - self.polish_from) / (1 - self.polish_from)
        return learning_rate(int(done * self.steps), self.steps, peak, warmup=0) * min(1.0, (step + 1) / 100)


def train_tokenizer(
    data: str | Path,
    folder: str | Path,
    recipe: TokenizerRecipe,
    config: VisionConfig,
    *,
    begin: nn.Module | None = None,
    device: str = "cpu",
    progress=None,
) -> VisionTokenizer:
    """Train (or continue training) in `folder`; returns the averaged tokenizer. begin: one to start from, if it is of
    the same size.

    progress: called with (share done, the log row) now and then.
    """
    walks, held_out = load_walks(data, "train"), load_walks(data, "dev", 64)
    run = Run(folder)  # its clock starts here
    torch.manual_seed(recipe.seed)
    model = channels_last(VisionTokenizer(config)).to(device)
    if isinstance(begin, VisionTokenizer) and begin.config == config:
        model.load_state_dict(begin.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.peak, betas=(0.9, 0.95), weight_decay=0.01)
    average, step = Average(model), 0
    if state := run.resume():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.weights, average.updates, step = state["average"], state["updates"], state["step"]
    total = 0.0
    while (share := max(step / recipe.steps, run.seconds / recipe.max_seconds)) < 1:
        pixels, depth = draw_frames(walks, np.random.default_rng([recipe.seed, step]), recipe.batch, device)
        rate = recipe.rate(share, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = reconstruction_loss(model, pixels, depth, recipe, is_polish=share >= recipe.polish_from)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model)
        total += loss.item()
        step += 1
        if step % 100 == 0:
            row = {"loss": total / 100, "rate": rate, "psnr": math.nan, "abs_rel": math.nan, "codes": math.nan}
            if step % 500 == 0:
                row.update(evaluate(average.of(model), held_out, device))
                run.save(
                    step,
                    model=model.state_dict(),
                    optimizer=optimizer.state_dict(),
                    average=average.weights,
                    updates=average.updates,
                    config=asdict(config),
                )
            run.record(step, **row)
            total = 0.0
            if progress:
                progress(share, row)
    averaged = average.of(model)
    run.record(step, loss=math.nan, rate=0.0, **evaluate(averaged, held_out, device))
    run.save(
        step,
        model=model.state_dict(),
        optimizer=optimizer.state_dict(),
        average=average.weights,
        updates=average.updates,
        config=asdict(config),
    )
    run.draw("loss", "psnr", "abs_rel")
    return averaged


def reconstruction_loss(
    model: VisionTokenizer, pixels: Tensor, depth: Tensor | None, recipe: TokenizerRecipe, *, is_polish: bool = False
) -> Tensor:
    """pixels (B, 3, H, W) in [-1, 1]; depth (B, H, W) metres, or None if unknown."""
    with half_products(pixels.device):
        made, log_depth = (part.float() for part in model(pixels))
    error = made - pixels
    edges = (error[..., :, 1:] - error[..., :, :-1]).abs().mean() + (
        error[..., 1:, :] - error[..., :-1, :]
    ).abs().mean()
    if depth is None:  # depth is unknown: the decoder's depth learns nothing
        return 3 * error.square().mean() + error.abs().mean() + recipe.gradient_weight * edges
    off = log_depth - depth.clamp(max=MAX_DEPTH).log()
    far = recipe.depth_weight * off.abs().mean()
    if is_polish:  # |d - truth| / truth, which is what depth is judged by
        far = recipe.polish_depth_weight * (0.5 * off.abs() + 0.5 * torch.expm1(off.clamp(max=2.0)).abs()).mean()
    return 3 * error.square().mean() + error.abs().mean() + recipe.gradient_weight * edges + far


@torch.inference_mode()
def evaluate(model: VisionTokenizer, walks: Walks, device: str = "cpu") -> dict[str, float]:
    """On every 8th held-out frame: PSNR in dB (mean over frames), AbsRel of depth if there is any, codes in use."""
    pixels = walks.pixels[:, ::8].reshape(-1, *walks.pixels.shape[2:])
    depth = None if walks.depth is None else walks.depth[:, ::8].reshape(-1, *walks.depth.shape[2:])
    psnr, abs_rel, used = [], [], []
    for k in range(0, len(pixels), 16):
        codes = model.encode(torch.from_numpy(pixels[k : k + 16]).to(device))
        made, far = (part.cpu().numpy() for part in model.decode(codes))
        error = (made.astype(np.float32) - pixels[k : k + 16]) / 255
        psnr += (-10 * np.log10((error**2).mean((1, 2, 3)))).tolist()
        if depth is not None:
            truth = depth[k : k + 16].astype(np.float32)
            error = np.abs(far - truth) / truth
            abs_rel.append(error[truth < MAX_DEPTH].mean())
        used.append(codes.flatten().cpu())
    counts = torch.bincount(torch.cat(used), minlength=model.config.num_codes).float()
    share = counts[counts > 0] / counts.sum()
    perplexity = float(torch.exp(-(share * share.log()).sum()))
    return {"psnr": float(np.mean(psnr)), "abs_rel": float(np.mean(abs_rel or [math.nan])), "codes": perplexity}


def draw_frames(walks: Walks, rng: np.random.Generator, size: int, device: str) -> tuple[Tensor, Tensor | None]:
    """Frames drawn at random, half of them mirrored: pixels (B, 3, H, W) in [-1, 1] and depth (B, H, W) metres, None
    where the recordings have none."""
    R, T = walks.pixels.shape[:2]
    rows, columns = rng.integers(R, size=size), rng.integers(T, size=size)
    pixels = walks.pixels[rows, columns]
    flip = rng.uniform(size=size) < 0.5  # a mirrored scene is a scene too
    pixels[flip] = pixels[flip, :, ::-1]
    shown = to_unit(torch.from_numpy(pixels).to(device))
    if walks.depth is None:
        return shown, None
    depth = walks.depth[rows, columns].astype(np.float32)
    depth[flip] = depth[flip, :, ::-1]
    return shown, torch.from_numpy(depth).to(device)
