"""SwiGLU: the gate of the feed-forward layer.

silu(g) = g / (1 + exp(-g)), in float32 and rounded to the inputs' dtype, as in Qwen3
y = silu(gate) * up
element by element; two reads and one write.
"""

import torch
import torch.nn.functional as F

from .device import backend, block_of, needs_grad, tl, triton


def swiglu_reference(gate, up):
    """`swiglu` in plain torch."""
    return F.silu(gate) * up


@triton.jit
def _swiglu_kernel(
    gate_ptr,
    up_ptr,
    out_ptr,
    num_rows,
    C,
    gate_stride,
    up_stride,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    rows = (tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = (rows < num_rows)[:, None] & (columns < C)[None, :]
    gate = tl.load(gate_ptr + rows[:, None] * gate_stride + columns[None, :], mask=inside, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + rows[:, None] * up_stride + columns[None, :], mask=inside, other=0.0).to(tl.float32)
    dtype = out_ptr.dtype.element_ty
    gated = (gate / (1.0 + tl.exp(-gate))).to(dtype).to(tl.float32)
    tl.store(out_ptr + rows[:, None] * C + columns[None, :], (gated * up).to(dtype), mask=inside)


def swiglu_triton(gate, up):
    """`swiglu` as one kernel; the halves of one fused projection are read where they lie."""
    C = gate.shape[-1]
    out = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    if out.numel() == 0:
        return out
    gate, up = _as_rows(gate), _as_rows(up)
    block_c = min(1024, block_of(C))
    block_r = max(1, 1024 // block_c)
    grid = (triton.cdiv(gate.shape[0], block_r), triton.cdiv(C, block_c))
    _swiglu_kernel[grid](
        gate, up, out, gate.shape[0], C, gate.stride(0), up.stride(0), BLOCK_R=block_r, BLOCK_C=block_c
    )
    return out


def _as_rows(x):
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 else rows.contiguous()


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up for gate and up (..., C) of one dtype."""
    if gate.shape != up.shape or gate.dtype != up.dtype:
        raise ValueError(
            f"swiglu: gate {tuple(gate.shape)} {gate.dtype}, up {tuple(up.shape)} {up.dtype}; wanted two alike"
        )
    is_kernel = backend(gate.device) == "triton" and not needs_grad(gate, up)
    return swiglu_triton(gate, up) if is_kernel else swiglu_reference(gate, up)
