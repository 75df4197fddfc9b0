"""SwiGLU: the gate of the feed-forward layer.

    silu(g) = g / (1 + exp(-g)), in float32 and rounded to the inputs' dtype, as in Qwen3
    y = silu(gate) * up
    element by element; two reads and one write.
"""

import torch
import torch.nn.functional as F

from .device import backend


def swiglu_reference(gate, up):
    """`swiglu` in plain torch."""
    return F.silu(gate) * up


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up for gate and up (..., C) of one dtype."""
    if gate.shape != up.shape or gate.dtype != up.dtype:
        raise ValueError(f"swiglu: gate {tuple(gate.shape)} {gate.dtype}, up {tuple(up.shape)} {up.dtype}; wanted a pair")
    return swiglu_reference(gate, up)
