"""Dense layers with weights of 8 or 4 bits, and a scale and an offset for each group of inputs: a large model fits on a
small card.

w_oi ~ s_og q_oi + m_og,  q_oi of 8 bits in 0 .. 255 or of 4 in 0 .. 15,  g the group of GROUP inputs that i is in
y_io = sum_g ( s_og sum_{k in g} x_ik q_ok  +  m_og sum_{k in g} x_ik )
s and m are bfloat16, and q is the nearest to w with s and m as they are rounded. Of 4 bits, a byte holds an input of
the first half of its group below and the one as far into the second half above, so that each half is read as it lies.
Products are summed in float32; q is exact in bfloat16, so that only x is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from .device import backend, block_of, dot_precision, tl, triton

BITS = {"int8": 8, "int4": 4}  # of the precisions that are packed
GROUPS = (128, 64, 32, 16)  # inputs that share a scale: the largest that divides their number
FEW = 256  # rows up to which weights are unpacked tile by tile; more are worth unpacking them all first
_AT_ONCE = 2048  # rows of a weight that are quantised together
UNPACKED_AT_ONCE = 1 << 24  # weights that are unpacked together: all of a layer of 34B would take gigabytes


@dataclass(frozen=True)
class Packed:
    """A matrix (O, I) in few bits: codes (O, I * bits / 8) uint8, scale and offset (O, I / group) bfloat16."""

    codes: torch.Tensor
    scale: torch.Tensor
    offset: torch.Tensor
    bits: int

    @classmethod
    def of(cls, weight: torch.Tensor, bits: int) -> Packed:
        """Pack weight (O, I). Raises ValueError for bits other than 8 and 4, or an I that no group divides."""
        group = group_of(weight.shape[1])
        if bits not in (8, 4) or not group:
            raise ValueError(
                f"a weight {tuple(weight.shape)} in {bits} bits; wanted 8 or 4, and inputs in groups of {GROUPS}"
            )
        parts = [_packed(part, bits, group) for part in weight.detach().split(_AT_ONCE)]
        codes, scale, offset = (torch.cat(part) for part in zip(*parts, strict=True))
        return cls(codes, scale, offset, bits)

    @property
    def group(self) -> int:
        return self.codes.shape[1] * (8 // self.bits) // self.scale.shape[1]

    @property
    def num_bytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in (self.codes, self.scale, self.offset))

    def rows(self, which: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """Some rows as they are applied: (..., I) float32."""
        codes = self.codes[which].unflatten(-1, (self.scale.shape[1], -1))
        values = torch.cat([codes & 15, codes >> 4], -1) if self.bits == 4 else codes
        scale, offset = self.scale[which].float()[..., None], self.offset[which].float()[..., None]
        return (values.float() * scale + offset).flatten(-2)


@dataclass(frozen=True)
class PackedLinear:
    """A dense layer of packed weights."""

    weight: Packed

    @classmethod
    def from_weight(cls, weight: torch.Tensor, bits: int) -> PackedLinear:
        """Raises ValueError as Packed.of does."""
        return cls(Packed.of(weight, bits))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x (..., I) times the weight transposed: (..., O) in x's dtype."""
        rows = x.reshape(-1, x.shape[-1])
        is_kernel = backend(x.device) == "triton" and 0 < len(rows) <= FEW
        out = (packed_linear_triton if is_kernel else packed_linear_reference)(rows, self.weight)
        return out.view(*x.shape[:-1], len(self.weight.codes))

    def dequantised(self) -> torch.Tensor:
        """The weight (O, I) float32 that the layer really applies."""
        return self.weight.rows()


@dataclass(frozen=True)
class PackedEmbedding:
    """An embedding of packed rows; states come out in `dtype`."""

    weight: Packed
    dtype: torch.dtype

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """ids (...) int64 -> (..., C)."""
        return self.weight.rows(ids).to(self.dtype)


def group_of(count: int) -> int:
    """How many of so many inputs share a scale, 0 where no group divides them."""
    return next((size for size in GROUPS if count % size == 0), 0)


def _packed(weight: torch.Tensor, bits: int, group: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    grouped, top = weight.float().unflatten(1, (-1, group)), 2**bits - 1
    low, high = grouped.amin(-1), grouped.amax(-1)
    offset = low.to(torch.bfloat16)
    # of the offset as it is rounded, up to the largest; a constant group takes any scale
    scale = ((high - offset.float()).clamp_min(1e-30) / top).to(torch.bfloat16)
    values = (grouped - offset.float()[..., None]) / scale.float()[..., None]
    values = values.round_().clamp_(0, top).to(torch.uint8)
    if bits == 4:
        below, above = values.chunk(2, -1)
        values = below | above << 4
    return values.flatten(1), scale, offset


def packed_linear_reference(x: torch.Tensor, weight: Packed) -> torch.Tensor:
    """`PackedLinear` in plain torch: x (N, I) -> (N, O)."""
    O, size = len(weight.codes), max(1, UNPACKED_AT_ONCE // x.shape[1])
    if size >= O:
        return F.linear(x, weight.rows().to(x.dtype))
    out = x.new_empty(len(x), O)
    for first in range(0, O, size):
        part = slice(first, first + size)
        out[:, part] = F.linear(x, weight.rows(part).to(x.dtype))
    return out


@triton.jit
def _packed_linear_kernel(
    x_ptr,
    codes_ptr,
    scale_ptr,
    offset_ptr,
    out_ptr,
    num_rows,
    O,
    I,
    x_stride,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    outs = tl.program_id(0) * BLOCK_O + tl.arange(0, BLOCK_O)
    rows = (tl.program_id(1) * BLOCK_R + tl.arange(0, BLOCK_R)).to(tl.int64)
    is_out, is_row = outs < O, rows < num_rows
    WIDTH: tl.constexpr = GROUP * BITS // 8  # bytes of a group
    ahead = tl.arange(0, WIDTH)
    groups = I // GROUP
    wide = outs.to(tl.int64)
    code_ptrs = codes_ptr + wide[None, :] * (groups * WIDTH) + ahead[:, None]
    x_ptrs = x_ptr + rows[:, None] * x_stride + ahead[None, :]
    total = tl.zeros((BLOCK_R, BLOCK_O), tl.float32)
    for g in range(0, groups):
        codes = tl.load(code_ptrs + g * WIDTH, mask=is_out[None, :], other=0)
        x = tl.load(x_ptrs + g * GROUP, mask=is_row[:, None], other=0.0)
        summed = tl.sum(x.to(tl.float32), 1)
        if BITS == 4:
            above = tl.load(x_ptrs + g * GROUP + WIDTH, mask=is_row[:, None], other=0.0)
            summed += tl.sum(above.to(tl.float32), 1)
            product = tl.dot(x, (codes & 15).to(x.dtype), input_precision=PRECISION)
            product = tl.dot(above, (codes >> 4).to(x.dtype), product, input_precision=PRECISION)
        else:
            product = tl.dot(x, codes.to(x.dtype), input_precision=PRECISION)
        scale = tl.load(scale_ptr + wide * groups + g, mask=is_out, other=0.0).to(tl.float32)
        offset = tl.load(offset_ptr + wide * groups + g, mask=is_out, other=0.0).to(tl.float32)
        total += product * scale[None, :] + summed[:, None] * offset[None, :]
    out = total.to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + rows[:, None] * O + wide[None, :], out, mask=is_row[:, None] & is_out[None, :])


def packed_linear_triton(x: torch.Tensor, weight: Packed) -> torch.Tensor:
    """`packed_linear_reference` as one kernel, which reads the packed bytes alone; groups of at least 32."""
    if weight.group * weight.bits // 8 < 16:  # tensor cores have no products with fewer
        return packed_linear_reference(x, weight)
    x = x if x.stride(1) == 1 else x.contiguous()
    (N, I), O = x.shape, len(weight.codes)
    out = torch.empty(N, O, dtype=x.dtype, device=x.device)
    block_r, block_o = block_of(N, largest=64), 32 if O <= 8192 else 64
    _packed_linear_kernel[(triton.cdiv(O, block_o), triton.cdiv(N, block_r))](
        x,
        weight.codes,
        weight.scale,
        weight.offset,
        out,
        N,
        O,
        I,
        x.stride(0),
        BITS=weight.bits,
        GROUP=weight.group,
        PRECISION=dot_precision(x.dtype),
        BLOCK_R=block_r,
        BLOCK_O=block_o,
        num_warps=4,
        num_stages=4,
    )
    return out
