"""The painter: turns a token grid, and what earlier views show of a place, into the pixels and depth of the whole view.

A dreamt cell says in a few bits what is there; the known pixels around it say how it should look. So the decoder's
layers read both: known pixels, their depth and where they are, as features at every size (as in SE3DS, arXiv
2204.02960); and noise, from which they make texture that no code holds. Known pixels stay as they are. Knows nothing of
time, sequences or memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...kernels.conv import serve_convolutions
from ..config import MOST_SIDE, check_numbers
from .vision import (
    MAX_DEPTH,
    MIN_DEPTH,
    USUAL_DEPTH,
    Attention,
    Residual,
    VisionTokenizer,
    to_bytes,
    to_unit,
    zero,
)

_DECODER = (
    "first",
    "near1",
    "whole1",
    "near2",
    "whole2",
    "up2",
    None,
    "mid1",
    "mid2",
    "up1",
    None,
    "low1",
    None,
    "out",
)


@dataclass(frozen=True)
class PainterConfig:
    """size: pixels a side; channels: of a code's lattice point; widths: at 1/4, 1/8 and 1/16 size; fine: at full size,
    0 for no layers there."""

    size: int = 128
    channels: int = 4
    widths: tuple[int, int, int] = (48, 96, 192)
    heads: int = 6
    fine: int = 0

    def __post_init__(self):
        check_numbers(self)
        if self.size > MOST_SIDE:
            raise ValueError(f"pictures of {self.size} pixels a side; at most {MOST_SIDE}")
        if min(self.size, self.heads, *self.widths) < 1 or self.size % 16 or self.widths[2] % self.heads:
            raise ValueError(f"painter config {self}: wanted a size that 16 divides and heads that divide the width")


@dataclass(frozen=True)
class Known:
    """What is known of views: pixels (B, 3, H, W) in [-1, 1], log_depth (B, H, W), where (B, H, W) bool."""

    pixels: Tensor
    log_depth: Tensor
    where: Tensor


class Painter(nn.Module):
    """Lattice points (B, D, h, w) and what is known to pixels (B, 3, H, W) in about [-1, 1] and log depth (B, H, W)."""

    def __init__(self, config: PainterConfig):
        super().__init__()
        self.config = config
        low, mid, high = config.widths
        grid = (config.size // 16, config.size // 16)
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(6 * 16, low, 3, padding=1), Residual(low))
        self.down1 = nn.Sequential(nn.Conv2d(low, mid, 3, 2, 1), Residual(mid))
        self.down2 = nn.Sequential(nn.Conv2d(mid, high, 3, 2, 1), Residual(high))
        self.join0, self.join1, self.join2 = (nn.Conv2d(width, width, 1) for width in config.widths)
        self.first = nn.Conv2d(config.channels, high, 3, padding=1)
        self.near1, self.near2 = Residual(high), Residual(high)
        self.whole1, self.whole2 = Attention(high, config.heads, grid), Attention(high, config.heads, grid)
        self.up2 = nn.Conv2d(high, mid * 4, 3, padding=1)
        self.mid1, self.mid2 = Residual(mid), Residual(mid)
        self.up1 = nn.Conv2d(mid, low * 4, 3, padding=1)
        self.low1, self.low2 = Residual(low), Residual(low)
        self.out = nn.Conv2d(low, 4 * 16, 3, padding=1)
        # pixels are made in blocks of 4 x 4; these layers draw lines across block borders
        self.fine = (
            nn.Sequential(
                nn.Conv2d(4 + 6, config.fine, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(config.fine, config.fine, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(config.fine, 4, 3, padding=1),
            )
            if config.fine
            else None
        )
        for last in (self.join0, self.join1, self.join2, None if self.fine is None else self.fine[-1]):
            if isinstance(last, nn.Conv2d):
                zero(last)

    @torch.no_grad()
    def go_on_from(self, other: Painter) -> None:
        """Take another painter's weights; layers that it lacks stay as they are, and have no effect yet."""
        missing, unknown = self.load_state_dict(other.state_dict(), strict=False)
        if unknown or any(not name.startswith("fine.") for name in missing):
            raise ValueError(f"a painter of {other.config} cannot go on as one of {self.config}")

    @torch.no_grad()
    def begin_as(self, vision: VisionTokenizer) -> None:
        """Take a tokenizer's decoder unchanged: an untrained painter decodes like that decoder."""
        for name, layer in zip(_DECODER, vision.decoder, strict=False):
            if name:
                getattr(self, name).load_state_dict(layer.state_dict())

    @torch.no_grad()
    def follow(self, before: VisionTokenizer, after: VisionTokenizer) -> None:
        """Apply what a tokenizer's decoder has learnt between before and after to the layers that began as that
        decoder, so that a painter for the one's codes can work with those of the other (task arithmetic, arXiv
        2212.04089)."""
        for name, old, new in zip(_DECODER, before.decoder, after.decoder, strict=False):
            if name:
                learnt = new.state_dict()
                for key, weight in getattr(self, name).state_dict().items():
                    weight.add_(learnt[key] - old.state_dict()[key])

    def served(self, dtype: torch.dtype) -> Painter:
        """A copy for inference, in `dtype` except the last convolution, which decides depth."""
        last = self.out if self.fine is None else self.fine[-1]
        assert isinstance(last, nn.Conv2d)
        return serve_convolutions(self, dtype, wide=(last,))

    def forward(self, points: Tensor, known: Known, noise: Tensor) -> tuple[Tensor, Tensor]:
        """points (B, D, h, w); noise (B, 1, H, W), normal -> what is painted everywhere, also over known parts."""
        where = known.where[:, None].to(points.dtype)
        seen = torch.cat(
            [known.pixels * where, (known.log_depth[:, None] - USUAL_DEPTH) * where, where, noise * (1 - where)], 1
        )
        low = self.stem(seen.contiguous(memory_format=torch.channels_last))
        mid = self.down1(low)
        high = self.down2(mid)
        x = self.first(points.contiguous(memory_format=torch.channels_last)) + self.join2(high)
        x = self.whole2(self.near2(self.whole1(self.near1(x))))
        x = self.mid2(self.mid1(F.pixel_shuffle(self.up2(x), 2) + self.join1(mid)))
        x = self.low2(self.low1(F.pixel_shuffle(self.up1(x), 2) + self.join0(low)))
        out = F.pixel_shuffle(self.out(F.silu(x)), 4)
        if self.fine is not None:
            out = out + self.fine(torch.cat([out, seen.to(out.dtype)], 1).contiguous(memory_format=torch.channels_last))
        return out[:, :3], out[:, 3] + USUAL_DEPTH

    @torch.inference_mode()
    def paint(
        self, points: Tensor, pixels: Tensor, depth: Tensor, where: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """points (B, D, h, w); pixels (B, H, W, 3) uint8, depth (B, H, W) metres and where (B, H, W) bool, of what is
        known; noise (B, 1, H, W) -> pixels (B, H, W, 3) uint8 and depth (B, H, W) float32 metres of the whole view,
        with what is known as it was."""
        log_depth = depth.clamp(MIN_DEPTH, MAX_DEPTH).log()
        made, made_depth = self(points, Known(to_unit(pixels), log_depth, where), noise)
        made_depth = made_depth.float().clamp(math.log(MIN_DEPTH), math.log(MAX_DEPTH)).exp()
        return torch.where(where[..., None], pixels, to_bytes(made.float())), torch.where(where, depth, made_depth)
