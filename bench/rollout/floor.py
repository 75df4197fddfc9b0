"""The least time that a frame can take: bytes over bandwidth, operations over throughput, both measured here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ...kernels.linear import has_fp8_products, linear
from ...world.config import ModelConfig
from ...world.emu.memory_plan import num_parameters
from ...world.transformer.model import DTYPES
from ..timing import copy_gb_s, product_tflop_s


@dataclass(frozen=True)
class Peaks:
    """The best that the device does: a copy (read and write), and a product in each precision."""

    bandwidth_gb_s: float
    tflop_s: dict[str, float]


@dataclass(frozen=True)
class Work:
    """The least work of one frame: bytes that are read, and operations."""

    bytes: float
    operations: float

    def __add__(self, other: Work) -> Work:
        return Work(self.bytes + other.bytes, self.operations + other.operations)

    def floor_ms(self, peaks: Peaks, precision: str) -> float:
        return max(self.bytes / peaks.bandwidth_gb_s / 1e6, self.operations / peaks.tflop_s[precision] / 1e9)


def step_work(
    model: ModelConfig, tokens: int, history: int, *, precision: str, num_codes: int, is_guided: bool = False
) -> Work:
    """A denoising step: every dense layer on every row, the head's visual rows once a token (guidance comes before it),
    attention over history and canvas. num_codes 0: a commit pass, which has no head. Weights are read once."""
    dense = num_parameters(model)[0]
    width = {"float32": 4, "bfloat16": 2, "fp8": 1}[precision]
    rows = tokens * (2 if is_guided else 1)
    cache = 2 * model.num_hidden_layers * model.num_key_value_heads * model.head_dim * max(2, width) * history
    head = num_codes * model.hidden_size
    attention = 4 * model.num_attention_heads * model.head_dim * model.num_hidden_layers * (history + tokens)
    return Work((dense + head) * width + cache, 2 * dense * rows + 2 * head * tokens + attention * rows)


def measure_peaks(device: torch.device, precisions: tuple[str, ...]) -> Peaks:
    """What the device does at best, in each of these precisions."""
    return Peaks(copy_gb_s(device), {name: _products(device, name) for name in precisions})


def _products(device: torch.device, precision: str) -> float:
    is_scaled = precision == "fp8" and has_fp8_products(device)
    product = _scaled_product if is_scaled else lambda square: partial(linear, square, square)
    return product_tflop_s(device, DTYPES[precision], product)


def _scaled_product(square: Tensor) -> Callable[[], Tensor]:
    """The fp8 product alone, without the quantising that a layer does before it."""
    rows, ones = square.to(torch.float8_e4m3fn), torch.ones(len(square), 1, device=square.device)
    return partial(
        torch._scaled_mm, rows, rows.t(), scale_a=ones, scale_b=ones.t(), out_dtype=torch.bfloat16, use_fast_accum=True
    )
