"""RMSNorm, with the residual sum that stands before it.

    s = x + residual
    y = weight * (s / sqrt(mean(s^2) + eps)),  the mean in float32, the product with the weight after the cast back
    as in Qwen3 and Emu3.5; returns (y, s), or y alone when there is no residual.
"""

import torch

from .device import backend


def rms_norm_reference(x, weight, *, eps, residual=None):
    """`rms_norm` in plain torch."""
    total = x if residual is None else x + residual
    if total.dtype == torch.float32:  # one fused call; with nothing to cast back the order of the product is the same
        normed = torch.nn.functional.rms_norm(total, weight.shape, weight.float(), eps)
    else:
        wide = total.float()
        normed = weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(total.dtype)
    return normed if residual is None else (normed, total)


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
    return rms_norm_reference(x, weight, eps=eps, residual=residual)
