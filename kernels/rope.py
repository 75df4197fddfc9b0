"""QK-norm, rotary positions and the write into pages, in one pass over q, k and v.

    n(x) = weight * (x / sqrt(mean(x^2) + eps))                        over head_dim; float32, weight after the cast back
    rot(x) = x * cos + [-x2, x1] * sin,  x = [x1, x2] split in half    in float32, then back to x's dtype
    q, k <- rot(n(q)), rot(n(k));  pages[slot] <- k, v wherever slot >= 0
"""

from dataclasses import dataclass

import torch

from .device import backend
from .norm import rms_norm_reference


@dataclass(frozen=True)
class PageWrite:
    """Where a pass leaves its keys and values: k_pages, v_pages (P, S, Hkv, D) are written in place.

    slots (B, N) int64 are flat, page * S + slot; -1 writes nothing. No slot may be named twice.
    """

    k_pages: torch.Tensor
    v_pages: torch.Tensor
    slots: torch.Tensor


def qk_norm_rope_reference(q, k, v, q_weight, k_weight, cos, sin, *, eps, pages=None):
    """`qk_norm_rope` in plain torch."""
    cos, sin = cos.float().unsqueeze(-2), sin.float().unsqueeze(-2)  # one head axis, which q and k broadcast over
    q = _rotate(rms_norm_reference(q, q_weight, eps=eps), cos, sin)
    k = _rotate(rms_norm_reference(k, k_weight, eps=eps), cos, sin)
    if pages is not None:
        _write(pages.k_pages, pages.slots, k)
        _write(pages.v_pages, pages.slots, v)
    return q, k


def _rotate(x, cos, sin):
    half = x.shape[-1] // 2
    wide = x.float()
    out = wide * cos
    out[..., :half].addcmul_(wide[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(wide[..., :half], sin[..., half:])
    return out.to(x.dtype)


def _write(pages, slots, rows):
    flat = pages.view(-1, *pages.shape[2:])
    slots, rows = slots.reshape(-1), rows.reshape(-1, *rows.shape[2:])
    kept = slots >= 0
    if not bool(kept.all()):
        slots, rows = slots[kept], rows[kept]
    flat.index_copy_(0, slots, rows.to(flat.dtype))


def qk_norm_rope(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    q_weight: torch.Tensor,
    k_weight: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    *,
    eps: float,
    pages: PageWrite | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalise and rotate q and k, and leave k and v in the pages.

    q (B, N, H, D); k, v (B, N, Hkv, D), views with a stride welcome; q_weight, k_weight (D,); cos, sin (B, N, D) or (N, D),
    both halves filled. Returns new q and k in their dtype; v is only copied to the pages.
    """
    _check(q, k, v, q_weight, k_weight, cos, sin, pages)
    return qk_norm_rope_reference(q, k, v, q_weight, k_weight, cos, sin, eps=eps, pages=pages)


def _check(q, k, v, q_weight, k_weight, cos, sin, pages):
    B, N, H, D = q.shape
    Hkv = k.shape[2]
    if k.shape != (B, N, Hkv, D) or v.shape != k.shape or D % 2:
        raise ValueError(
            f"qk_norm_rope: q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}; wanted (B, N, H, D) and twice "
            f"(B, N, Hkv, D) with D even"
        )
    if q_weight.shape != (D,) or k_weight.shape != (D,):
        raise ValueError(f"qk_norm_rope: weights {tuple(q_weight.shape)}, {tuple(k_weight.shape)}; wanted ({D},) twice")
    if cos.shape not in ((N, D), (B, N, D)) or sin.shape != cos.shape:
        raise ValueError(f"qk_norm_rope: cos {tuple(cos.shape)}, sin {tuple(sin.shape)}; wanted ({B}, {N}, {D}) or ({N}, {D})")
    if pages is not None and (pages.slots.shape != (B, N) or pages.k_pages.shape[2:] != (Hkv, D)):
        raise ValueError(
            f"qk_norm_rope: slots {tuple(pages.slots.shape)}, pages {tuple(pages.k_pages.shape)}; wanted ({B}, {N}) and "
            f"(P, S, {Hkv}, {D})"
        )
