"""The vision tokenizer: pixels to a grid of codes and back to pixels and depth. Knows nothing of time or sequences.

Finite scalar quantisation (Mentzer et al. 2023, arXiv 2309.15505): each cell of the grid is a point of a small lattice,
so codes have a metric between them, which the diffusion path of transformer/dida.py needs. The bound is the sigmoid of
iFSQ (arXiv 2601.17124), which fills the levels evenly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...kernels.conv import serve_convolutions
from ..config import MOST_SIDE, check_numbers

MIN_DEPTH, MAX_DEPTH = 0.1, 100.0  # metres
USUAL_DEPTH = 1.5  # log metres: most surfaces are some metres away
MOST_CODES = 4096  # of a lattice; the embedded tokenizer's has so many
_SLOPE = 1.6  # of iFSQ's sigmoid, with which a normal distribution fills the levels evenly
_HALF_WHITE = 127.5  # pixels of 0 to 255 are -1 to 1 in networks
_LEAST_POWER = 1e-6  # added to a mean square, so that nothing is divided by 0


@dataclass(frozen=True)
class VisionConfig:
    """size: pixels a side; levels: lattice steps in each code dimension; widths: channels at 1/4, 1/8 and 1/16 size."""

    size: int = 128
    levels: tuple[int, ...] = (8, 8, 8, 8)
    widths: tuple[int, int, int] = (48, 96, 192)
    heads: int = 6

    def __post_init__(self):
        check_numbers(self)
        if self.size > MOST_SIDE:
            raise ValueError(f"pictures of {self.size} pixels a side; at most {MOST_SIDE}")
        if (
            min(self.size, self.heads, *self.widths) < 1
            or self.size % 16
            or min(self.levels) < 2
            or math.prod(self.levels) > MOST_CODES
            or self.widths[2] % self.heads
        ):
            raise ValueError(
                f"vision config {self}: wanted a size that 16 divides, at most {MOST_CODES} codes, heads that "
                "divide the width"
            )

    @property
    def grid(self) -> tuple[int, int]:
        return self.size // 16, self.size // 16

    @property
    def num_codes(self) -> int:
        return math.prod(self.levels)


class VisionTokenizer(nn.Module):
    """Pixels (B, 3, H, W) in [-1, 1] to codes (B, h, w) and back to pixels and depth in metres."""

    steps: Tensor
    levels: Tensor

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.config = config
        low, mid, high = config.widths
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, low, 3, padding=1),
            Residual(low),
            nn.Conv2d(low, mid, 3, 2, 1),
            Residual(mid),
            Residual(mid),
            nn.Conv2d(mid, high, 3, 2, 1),
            Residual(high),
            _ChannelNorm(high),
            nn.Conv2d(high, len(config.levels), 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(len(config.levels), high, 3, padding=1),
            Residual(high),
            Attention(high, config.heads, config.grid),
            Residual(high),
            Attention(high, config.heads, config.grid),
            nn.Conv2d(high, mid * 4, 3, padding=1),
            nn.PixelShuffle(2),
            Residual(mid),
            Residual(mid),
            nn.Conv2d(mid, low * 4, 3, padding=1),
            nn.PixelShuffle(2),
            Residual(low),
            nn.SiLU(),
            nn.Conv2d(low, 4 * 16, 3, padding=1),
            nn.PixelShuffle(4),
        )
        steps = torch.tensor([math.prod(config.levels[k + 1 :]) for k in range(len(config.levels))])
        self.register_buffer("steps", steps, persistent=False)
        self.register_buffer("levels", torch.tensor(config.levels), persistent=False)

    def served(self, dtype: torch.dtype) -> VisionTokenizer:
        """A copy for inference, in `dtype` except the last convolutions, which decide codes and depth."""
        last = [[m for m in part if isinstance(m, nn.Conv2d)][-1] for part in (self.encoder, self.decoder)]
        return serve_convolutions(self, dtype, wide=tuple(last))

    @property
    def codebook(self) -> Tensor:
        """(V, D) float32: the lattice point of every code, each coordinate in [-1, 1]."""
        return self.points(torch.arange(self.config.num_codes, device=self.steps.device))

    def digits(self, codes: Tensor) -> Tensor:
        """codes (...) int64 -> each dimension's level (..., D) int64."""
        return codes[..., None] // self.steps % self.levels

    def points(self, codes: Tensor) -> Tensor:
        """codes (...) int64 -> lattice points (..., D) float32 in [-1, 1]."""
        return self.digits(codes) / (self.levels - 1) * 2.0 - 1.0

    def bounded(self, pixels: Tensor) -> Tensor:
        """pixels (B, 3, H, W) in [-1, 1] -> unrounded lattice coordinates (B, D, h, w) in (-1, 1)."""
        return torch.sigmoid(_SLOPE * self.encoder(pixels)) * 2 - 1

    def encode(self, pixels: Tensor) -> Tensor:
        """pixels (B, H, W, 3) uint8 -> codes (B, h, w) int64."""
        side = self.config.size
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (side, side, 3):
            raise ValueError(f"pixels of shape {tuple(pixels.shape)}; this tokenizer wants (B, {side}, {side}, 3)")
        return self.codes(self.bounded(to_unit(pixels)))

    def codes(self, bounded: Tensor) -> Tensor:
        """The codes (B, h, w) of the nearest lattice points to `bounded` (B, D, h, w)."""
        digits = torch.round((bounded.movedim(1, -1) + 1) / 2 * (self.levels - 1)).long()
        return (digits * self.steps).sum(-1)

    def decode(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """codes (B, h, w) int64 -> pixels (B, H, W, 3) uint8 and depth (B, H, W) float32 metres."""
        pixels, log_depth = self.decode_points(self.points(codes).movedim(-1, 1))
        return to_bytes(pixels).contiguous(), log_depth.clamp(math.log(MIN_DEPTH), math.log(MAX_DEPTH)).exp()

    def decode_points(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Lattice points (B, D, h, w) -> pixels (B, 3, H, W), about [-1, 1], and log depth (B, H, W)."""
        out = self.decoder(points.contiguous(memory_format=torch.channels_last))
        return out[:, :3], out[:, 3] + USUAL_DEPTH

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Training: pixels (B, 3, H, W) -> reconstruction and log depth; gradients pass straight through rounding."""
        bounded = self.bounded(pixels)
        levels = (self.levels - 1).view(1, -1, 1, 1)
        rounded = torch.round((bounded + 1) / 2 * levels) / levels * 2 - 1
        return self.decode_points(bounded + (rounded - bounded).detach())


def to_unit(pixels: Tensor) -> Tensor:
    """pixels (B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1], channels last in memory."""
    return pixels.movedim(-1, 1).float().div(_HALF_WHITE).sub(1).contiguous(memory_format=torch.channels_last)


def to_bytes(pixels: Tensor) -> Tensor:
    """pixels (B, 3, H, W) in about [-1, 1] -> (B, H, W, 3) uint8: the inverse of `to_unit`."""
    return ((pixels + 1) * _HALF_WHITE).round().clamp(0, 255).to(torch.uint8).movedim(1, -1)


def zero(conv: nn.Conv2d) -> None:
    """Initialise a convolution so that it gives zero."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


class Residual(nn.Module):
    """Two 3x3 convolutions without normalisation, the second starting at zero, so that depth does not harm
    stability."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        zero(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class _ChannelNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + _LEAST_POWER) * self.weight.view(1, -1, 1, 1)


class Attention(nn.Module):
    """Attention over the whole grid with learned positions, then a feed-forward layer; pre-norm."""

    def __init__(self, width: int, heads: int, grid: tuple[int, int]):
        super().__init__()
        self.heads = heads
        self.place = nn.Parameter(torch.zeros(grid[0] * grid[1], width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        for last in (self.out, self.down):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        B, C, h, w = x.shape
        rows = x.flatten(2).mT + self.place
        q, k, v = self.qkv(self.norm1(rows)).view(B, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        rows = rows + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, h * w, C))
        rows = rows + self.down(F.silu(self.up(self.norm2(rows))))
        return rows.mT.reshape(B, C, h, w).contiguous(memory_format=torch.channels_last)
