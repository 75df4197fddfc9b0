"""RMSNorm, with the residual sum that stands before it.

s = x + residual
y = weight * (s / sqrt(mean(s^2) + eps)),  the mean in float32, the product with the weight after the cast back
as in Qwen3 and Emu3.5; returns (y, s), or y alone when there is no residual.
"""

from typing import overload

import torch
import torch.nn.functional as F

from .device import backend, block_of, needs_grad, tl, triton
from .loops import fits, rms_norm_loops


def rms_norm_reference(x, weight, *, eps, residual=None):
    """`rms_norm` in plain torch."""
    total = x if residual is None else x + residual
    if total.dtype == torch.float32:  # no cast back is needed, so the product with the weight can join the same call
        normed = F.rms_norm(total, weight.shape, weight.float(), eps)
    else:  # torch's own is in float32 within and rounds once
        normed = weight * F.rms_norm(total, weight.shape, None, eps)
    return normed if residual is None else (normed, total)


@triton.jit
def _rms_norm_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    out_ptr,
    total_ptr,
    num_rows,
    C,
    eps,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
):
    rows = (tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)).to(tl.int64)
    columns = tl.arange(0, BLOCK_C)
    inside = (rows < num_rows)[:, None] & (columns < C)[None, :]
    offsets = rows[:, None] * C + columns[None, :]
    dtype = out_ptr.dtype.element_ty
    total = tl.load(x_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        total += tl.load(residual_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
        total = total.to(dtype)  # the next layer adds to the rounded sum, so it is what gets normalised
        tl.store(total_ptr + offsets, total, mask=inside)
        total = total.to(tl.float32)
    inverse = tl.rsqrt(tl.sum(total * total, 1) / C + eps)
    normed = (total * inverse[:, None]).to(dtype).to(tl.float32)
    weight = tl.load(weight_ptr + columns, mask=columns < C, other=0.0).to(tl.float32)
    tl.store(out_ptr + offsets, (normed * weight[None, :]).to(dtype), mask=inside)


def rms_norm_triton(x, weight, *, eps, residual=None):
    """`rms_norm` as one kernel: a row is read once and stays in registers."""
    C = x.shape[-1]
    x = x.contiguous()
    out = torch.empty_like(x)
    total = None if residual is None else torch.empty_like(x)
    if x.numel():
        num_rows = x.numel() // C
        block_c = block_of(C)
        block_r = max(1, 2048 // block_c)
        _rms_norm_kernel[(triton.cdiv(num_rows, block_r),)](
            x,
            x if residual is None else residual.contiguous(),
            weight,
            out,
            out if total is None else total,
            num_rows,
            C,
            eps,
            BLOCK_R=block_r,
            BLOCK_C=block_c,
            HAS_RESIDUAL=residual is not None,
            num_warps=8 if block_c > 4096 else 4,
        )
    return out if residual is None else (out, total)


@overload
def rms_norm(x: torch.Tensor, weight: torch.Tensor, *, eps: float, residual: None = None) -> torch.Tensor: ...
@overload
def rms_norm(
    x: torch.Tensor, weight: torch.Tensor, *, eps: float, residual: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]: ...
def rms_norm(
    x: torch.Tensor, weight: torch.Tensor, *, eps: float, residual: torch.Tensor | None = None
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Normalise the last axis of x (..., C) by its root mean square and multiply by weight (C,).

    With residual (..., C) the sum x + residual is normalised, and returned beside the result for the next layer to add
    to. Both come back in x's dtype.
    """
    if weight.shape != x.shape[-1:] or (residual is not None and residual.shape != x.shape):
        raise ValueError(
            f"rms_norm: x {tuple(x.shape)}, weight {tuple(weight.shape)}, residual "
            f"{None if residual is None else tuple(residual.shape)}; wanted (..., C), (C,) and (..., C)"
        )
    is_kernel = backend(x.device) == "triton" and not needs_grad(x, weight, residual)
    is_looped = not is_kernel and fits(x, weight, residual)
    run = rms_norm_triton if is_kernel else rms_norm_loops if is_looped else rms_norm_reference
    return run(x, weight, eps=eps, residual=residual)
