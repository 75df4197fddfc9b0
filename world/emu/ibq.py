"""Emu3.5's vision tokenizer: an IBQ autoencoder (arXiv 2412.02692) of 16-pixel cells and 131,072 codes.

A VQGAN encoder and decoder with the official state-dict names; a cell's code is the codebook row of the largest dot
product. Decodes to pixels only: it has no depth. Knows nothing of sequences, files or time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ...kernels.nearest import nearest_code

NUM_GROUPS = 32


CELL = 16  # pixels a side of a code's cell in the official tokenizer


@dataclass(frozen=True)
class IbqConfig:
    """The numbers of the autoencoder; the defaults are the official ones (facts of the released config.yaml).

    ch: channels at full size; ch_mult: their multiple at each halving; attn_resolutions: nominal sizes, counted down
    from `resolution`, at which blocks attend; n_embed codes of embed_dim numbers.
    """

    ch: int = 256
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 4
    attn_resolutions: tuple[int, ...] = (16,)
    resolution: int = 256
    in_channels: int = 3
    out_ch: int = 3
    z_channels: int = 256
    n_embed: int = 131_072
    embed_dim: int = 256

    def __post_init__(self):
        if self.ch % NUM_GROUPS or not self.ch_mult or min(self.num_res_blocks, self.n_embed, self.embed_dim) < 1:
            raise ValueError(f"{self}: wanted channels that {NUM_GROUPS} divides and positive counts")

    @property
    def cell(self) -> int:
        """Pixels a side of one code's cell."""
        return 2 ** (len(self.ch_mult) - 1)

    @property
    def num_codes(self) -> int:
        return self.n_embed

    def has_attention(self, level: int) -> bool:
        return self.resolution // 2**level in self.attn_resolutions


class IbqTokenizer(nn.Module):
    """Pixels (B, H, W, 3) uint8 to codes (B, H/16, W/16) and back; any sizes that the cell divides."""

    def __init__(self, config: IbqConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = _Encoder(config), _Decoder(config)
        self.quantize = _Codebook(config)
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    @property
    def codebook(self) -> Tensor:
        """(V, D): the vector of every code."""
        return self.quantize.embedding.weight

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """pixels (B, H, W, 3) uint8, wherever they are -> codes (B, H/16, W/16) int64 where this is; ValueError for
        sides that 16 does not divide."""
        cell = self.config.cell
        if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.shape[1] % cell or pixels.shape[2] % cell:
            raise ValueError(
                f"pixels of shape {tuple(pixels.shape)}; this tokenizer wants (B, H, W, 3) with sides that {cell} "
                "divides: resize with smart_resize first"
            )
        unit = pixels.to(self.codebook.device).movedim(-1, 1).to(self.codebook.dtype).div(127.5).sub(1)
        return nearest_code(self.quant_conv(self.encoder(unit)).movedim(1, -1), self.codebook, metric="dot")

    @torch.no_grad()
    def decode(self, codes: Tensor) -> tuple[Tensor, None]:
        """codes (B, h, w) int64, wherever they are -> pixels (B, 16h, 16w, 3) uint8 where this is, and None where other
        tokenizers give depth."""
        out = self.decoder(self.post_quant_conv(self.codebook[codes.to(self.codebook.device)].movedim(-1, 1)))
        pixels = (out.float() + 1).mul(127.5).clamp(0, 255).to(torch.uint8)
        return pixels.movedim(1, -1).contiguous(), None


def smart_size(height: int, width: int, *, area: int, cell: int = CELL) -> tuple[int, int]:
    """Height and width in pixels of about `area` pixels, the aspect kept, each rounded half up to whole cells."""
    if min(height, width) < 1:
        raise ValueError(f"an image of {height}x{width} pixels; wanted at least one pixel a side")
    aspect = width / height
    tall = int((area / aspect) ** 0.5)
    wide = int(tall * aspect)  # from the floored height, as the official code has it
    rounded = [max(cell, (side + cell // 2) // cell * cell) for side in (tall, wide)]
    return rounded[0], rounded[1]


def smart_resize(pixels: np.ndarray, *, area: int, cell: int = 16) -> np.ndarray:
    """pixels (H, W, 3) uint8 -> the same picture, bicubic, at `smart_size`; 16:9 at 518400 becomes 544 x 960."""
    height, width = smart_size(*pixels.shape[:2], area=area, cell=cell)
    if (height, width) == pixels.shape[:2]:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


class _Codebook(nn.Module):
    def __init__(self, config: IbqConfig):
        super().__init__()
        self.embedding = nn.Embedding(config.n_embed, config.embed_dim)


class _Level(nn.Module):
    """The blocks of one size, an attention after each where there are any, and the step to the next size: an encoder's
    levels downsample except the last, a decoder's upsample except the finest."""

    def __init__(self, blocks: list[nn.Module], attention: list[nn.Module]):
        super().__init__()
        self.block, self.attn = nn.ModuleList(blocks), nn.ModuleList(attention)
        self.downsample: nn.Module | None = None
        self.upsample: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[index](x)
        step = self.upsample if self.downsample is None else self.downsample
        return x if step is None else step(x)


class _Middle(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = _Block(width, width), _Attention(width), _Block(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


def _level(config: IbqConfig, level: int, width_in: int, width: int, blocks: int) -> _Level:
    attends = config.has_attention(level)
    return _Level(
        [_Block(width if k else width_in, width) for k in range(blocks)],
        [_Attention(width) for _ in range(blocks) if attends],
    )


class _Encoder(nn.Module):
    def __init__(self, config: IbqConfig):
        super().__init__()
        widths = [config.ch * times for times in config.ch_mult]
        self.conv_in = nn.Conv2d(config.in_channels, config.ch, 3, padding=1)
        self.down = nn.ModuleList(
            _level(config, k, ([config.ch, *widths])[k], width, config.num_res_blocks) for k, width in enumerate(widths)
        )
        for level, width in zip(self.down[:-1], widths, strict=False):
            level.downsample = _Downsample(width)
        self.mid = _Middle(widths[-1])
        self.norm_out = _norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class _Decoder(nn.Module):
    """`up` is numbered by size, finest first, and run from the coarsest."""

    def __init__(self, config: IbqConfig):
        super().__init__()
        widths = [config.ch * times for times in config.ch_mult]
        coarser = [*widths[1:], widths[-1]]
        self.conv_in = nn.Conv2d(config.z_channels, widths[-1], 3, padding=1)
        self.mid = _Middle(widths[-1])
        self.up = nn.ModuleList(
            _level(config, k, coarser[k], width, config.num_res_blocks + 1) for k, width in enumerate(widths)
        )
        for level, width in zip(self.up[1:], widths[1:], strict=True):
            level.upsample = _Upsample(width)
        self.norm_out = _norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], config.out_ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(NUM_GROUPS, width, eps=1e-6)


class _Block(nn.Module):
    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.norm1, self.conv1 = _norm(width_in), nn.Conv2d(width_in, width, 3, padding=1)
        self.norm2, self.conv2 = _norm(width), nn.Conv2d(width, width, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else None

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return inner + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class _Attention(nn.Module):
    """One head over all cells, with 1x1 convolutions as its projections."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = _norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (project(normed).flatten(2).mT[:, None] for project in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0]
        return x + self.proj_out(mixed.mT.reshape(x.shape))


class _Downsample(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # right and below only, as the weights were trained


class _Upsample(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
