"""Depth at the picture's own resolution: a grid of a few dozen codes is too coarse for it, so the pixels are used too.

The tokenizer's depth knows the room and blurs its edges. This small U-Net (Ronneberger et al. 2015, arXiv 1505.04597)
reads that depth and the pixels that are shown, and predicts a correction, for true and dreamt pixels alike. Knows
nothing of time, sequences or memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...kernels.conv import serve_convolutions
from ..config import MOST_SIDE, check_numbers
from .vision import MAX_DEPTH, MIN_DEPTH, USUAL_DEPTH, Attention, Residual, to_unit, zero


@dataclass(frozen=True)
class DepthConfig:
    """size: pixels a side; widths: channels at 1/4, 1/8 and 1/16 size."""

    size: int = 128
    widths: tuple[int, int, int] = (40, 80, 160)
    heads: int = 5

    def __post_init__(self):
        check_numbers(self)
        if self.size > MOST_SIDE:
            raise ValueError(f"pictures of {self.size} pixels a side; at most {MOST_SIDE}")
        if min(self.size, self.heads, *self.widths) < 1 or self.size % 16 or self.widths[2] % self.heads:
            raise ValueError(f"depth config {self}: wanted a size that 16 divides and heads that divide the width")


class DepthRefiner(nn.Module):
    """Pixels (B, 3, H, W) in [-1, 1] and log depth (B, H, W) to a better log depth; unchanged before training."""

    rows: Tensor

    def __init__(self, config: DepthConfig):
        super().__init__()
        self.config = config
        low, mid, high = config.widths
        grid = (config.size // 16, config.size // 16)
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(5 * 16, low, 3, padding=1), Residual(low))
        self.down1 = nn.Sequential(nn.Conv2d(low, mid, 3, 2, 1), Residual(mid))
        self.down2 = nn.Sequential(
            nn.Conv2d(mid, high, 3, 2, 1), Residual(high), Attention(high, config.heads, grid), Residual(high)
        )
        self.up2 = nn.Sequential(nn.Conv2d(high, mid * 4, 3, padding=1), nn.PixelShuffle(2))
        self.join1 = Residual(mid)
        self.up1 = nn.Sequential(nn.Conv2d(mid, low * 4, 3, padding=1), nn.PixelShuffle(2))
        self.join0 = Residual(low)
        self.out = nn.Conv2d(low, 16, 3, padding=1)
        zero(self.out)
        # a pixel's height in the picture tells much about its depth, because the floor is at a known height
        rows = torch.linspace(-1, 1, config.size)[:, None].expand(config.size, config.size)
        self.register_buffer("rows", rows.clone(), persistent=False)

    def served(self, dtype: torch.dtype) -> DepthRefiner:
        """A copy for inference, in `dtype` except the last convolution, which decides depth."""
        return serve_convolutions(self, dtype, wide=(self.out,))

    def forward(self, pixels: Tensor, log_depth: Tensor) -> Tensor:
        """pixels (B, 3, H, W) in [-1, 1], log_depth (B, H, W) -> log depth (B, H, W)."""
        place = self.rows.to(pixels.dtype).expand(len(pixels), 1, -1, -1)
        seen = torch.cat([pixels, (log_depth - USUAL_DEPTH)[:, None].to(pixels.dtype), place], 1)
        fine = self.stem(seen.contiguous(memory_format=torch.channels_last))
        middle = self.down1(fine)
        middle = self.join1(middle + self.up2(self.down2(middle)))
        fine = self.join0(fine + self.up1(middle))
        return log_depth + F.pixel_shuffle(self.out(F.silu(fine)), 4)[:, 0]

    @torch.inference_mode()
    def refine(self, pixels: Tensor, depth: Tensor) -> Tensor:
        """pixels (B, H, W, 3) uint8 as shown, depth (B, H, W) metres -> depth (B, H, W) float32 metres."""
        side = self.config.size
        if tuple(pixels.shape[1:]) != (side, side, 3) or depth.shape != pixels.shape[:3]:
            raise ValueError(
                f"pixels {tuple(pixels.shape)} and depth {tuple(depth.shape)}; wanted (B, {side}, {side}, 3) and "
                f"(B, {side}, {side})"
            )
        log_depth = self(to_unit(pixels), depth.clamp(MIN_DEPTH, MAX_DEPTH).log())
        return log_depth.float().clamp(math.log(MIN_DEPTH), math.log(MAX_DEPTH)).exp()
