"""QK-norm, rotary positions and the write into pages, in one pass over q, k and v.

n(x) = weight * (x / sqrt(mean(x^2) + eps))                over head_dim; float32, weight after the cast back
rot(x) = x * cos + [-x2, x1] * sin,  x = [x1, x2] in half  in float32, then back to x's dtype
q, k <- rot(n(q)), rot(n(k));  pages[slot] <- k, v wherever slot >= 0
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .device import backend, block_of, needs_grad, tl, triton
from .loops import fits, norm_rope_loops


@dataclass(frozen=True)
class PageWrite:
    """Where a pass leaves its keys and values: k_pages, v_pages (P, S, Hkv, D) are written in place.

    slots (B, N) int64 are flat, page * S + slot; -1 writes nothing. No slot may be named twice. kept (K,) int64 may
    carry `kept_rows(slots)`, so that the layers of a step do not each work it out; only the reference reads it.
    """

    k_pages: torch.Tensor
    v_pages: torch.Tensor
    slots: torch.Tensor
    kept: torch.Tensor | None = None


def kept_rows(slots: torch.Tensor) -> torch.Tensor:
    """Which of the B * N rows have a slot: (K,) int64."""
    return (slots.reshape(-1) >= 0).nonzero()[:, 0]


def qk_norm_rope_reference(q, k, v, q_weight, k_weight, cos, sin, *, eps, pages=None):
    """`qk_norm_rope` in plain torch. Heads that lie side by side in one projection are taken together."""
    H = q.shape[2]
    heads = _side_by_side(q, k)
    weight = torch.cat([q_weight.expand(H, -1), k_weight.expand(k.shape[2], -1)])
    normed = F.rms_norm(heads, heads.shape[-1:], None, eps) * weight  # which comes after the cast back
    cos, sin = cos.float().unsqueeze(-2), sin.float().unsqueeze(-2)  # one head axis, which all heads broadcast over
    rotated = _rotate(normed, cos, sin)
    q, k = rotated[:, :, :H], rotated[:, :, H:]
    if pages is not None:
        write_pages(pages, k, v)
    return q, k


def qk_norm_rope_loops(q, k, v, q_weight, k_weight, cos, sin, *, eps, pages=None):
    """`qk_norm_rope` as one compiled loop, and the write."""
    q, k = norm_rope_loops(q, k, q_weight, k_weight, cos, sin, eps=eps)
    if pages is not None:
        write_pages(pages, k, v)
    return q, k


def _side_by_side(q, k):
    """q and k (B, N, heads, D) as one tensor: a view if they are neighbours in memory, else a copy."""
    B, N, H, D = q.shape
    neighbours = (
        q.stride() == k.stride()
        and q.stride(2) == D
        and q.untyped_storage().data_ptr() == (k.untyped_storage().data_ptr())
    )
    if neighbours and k.storage_offset() == q.storage_offset() + H * D:
        return q.as_strided((B, N, H + k.shape[2], D), q.stride())
    return torch.cat([q, k], 2)


def _rotate(x, cos, sin):
    half = x.shape[-1] // 2
    wide = x.float()
    out = wide * cos
    out[..., :half].addcmul_(wide[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(wide[..., :half], sin[..., half:])
    return out.to(x.dtype)


def write_pages(pages, k, v):
    kept = kept_rows(pages.slots) if pages.kept is None else pages.kept
    slots = pages.slots.reshape(-1)
    everything = len(kept) == len(slots)
    for target, rows in ((pages.k_pages, k), (pages.v_pages, v)):
        rows = rows.reshape(-1, *rows.shape[2:])
        flat = target.view(-1, *target.shape[2:])
        if everything:
            flat.index_copy_(0, slots, rows.to(flat.dtype))
        elif len(kept):
            flat.index_copy_(0, slots[kept], rows[kept].to(flat.dtype))


@triton.jit
def _rotated_heads(
    x_ptr,
    weight_ptr,
    head_stride,
    num_heads,
    cos1,
    cos2,
    sin1,
    sin2,
    eps,
    HALF: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
):
    heads = tl.arange(0, BLOCK_H)
    columns = tl.arange(0, BLOCK_HALF)
    inside = (heads < num_heads)[:, None] & (columns < HALF)[None, :]
    dtype = x_ptr.dtype.element_ty
    first = x_ptr + heads[:, None] * head_stride + columns[None, :]
    x1 = tl.load(first, mask=inside, other=0.0).to(tl.float32)
    x2 = tl.load(first + HALF, mask=inside, other=0.0).to(tl.float32)
    inverse = tl.rsqrt((tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)) / (2 * HALF) + eps)[:, None]
    weight1 = tl.load(weight_ptr + columns, mask=columns < HALF, other=0.0).to(tl.float32)[None, :]
    weight2 = tl.load(weight_ptr + HALF + columns, mask=columns < HALF, other=0.0).to(tl.float32)[None, :]
    x1 = ((x1 * inverse).to(dtype).to(tl.float32) * weight1).to(dtype).to(tl.float32)
    x2 = ((x2 * inverse).to(dtype).to(tl.float32) * weight2).to(dtype).to(tl.float32)
    return (x1 * cos1 - x2 * sin1).to(dtype), (x2 * cos2 + x1 * sin2).to(dtype)


@triton.jit
def _store_heads(
    out_ptr, x1, x2, head_stride, num_heads, HALF: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_HALF: tl.constexpr
):
    heads = tl.arange(0, BLOCK_H)
    columns = tl.arange(0, BLOCK_HALF)
    inside = (heads < num_heads)[:, None] & (columns < HALF)[None, :]
    first = out_ptr + heads[:, None] * head_stride + columns[None, :]
    dtype = out_ptr.dtype.element_ty
    tl.store(first, x1.to(dtype), mask=inside)
    tl.store(first + HALF, x2.to(dtype), mask=inside)


@triton.jit
def _qk_norm_rope_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    q_weight_ptr,
    k_weight_ptr,
    cos_ptr,
    sin_ptr,
    q_out_ptr,
    k_out_ptr,
    k_pages_ptr,
    v_pages_ptr,
    slots_ptr,
    N,
    H,
    HKV,
    q_stride_b,
    q_stride_n,
    q_stride_h,
    k_stride_b,
    k_stride_n,
    k_stride_h,
    v_stride_b,
    v_stride_n,
    v_stride_h,
    angle_stride_b,
    eps,
    HALF: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_HKV: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    WRITES: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)  # one token: all of its heads fit in registers, and cos and sin are read once
    b = row // N
    n = row % N
    columns = tl.arange(0, BLOCK_HALF)
    angle = b * angle_stride_b + n * (2 * HALF) + columns
    inside = columns < HALF
    cos1 = tl.load(cos_ptr + angle, mask=inside, other=0.0).to(tl.float32)[None, :]
    cos2 = tl.load(cos_ptr + angle + HALF, mask=inside, other=0.0).to(tl.float32)[None, :]
    sin1 = tl.load(sin_ptr + angle, mask=inside, other=0.0).to(tl.float32)[None, :]
    sin2 = tl.load(sin_ptr + angle + HALF, mask=inside, other=0.0).to(tl.float32)[None, :]
    D: tl.constexpr = 2 * HALF
    q_row = q_ptr + b * q_stride_b + n * q_stride_n
    q1, q2 = _rotated_heads(q_row, q_weight_ptr, q_stride_h, H, cos1, cos2, sin1, sin2, eps, HALF, BLOCK_H, BLOCK_HALF)
    _store_heads(q_out_ptr + row * H * D, q1, q2, D, H, HALF, BLOCK_H, BLOCK_HALF)
    k_row = k_ptr + b * k_stride_b + n * k_stride_n
    k1, k2 = _rotated_heads(
        k_row, k_weight_ptr, k_stride_h, HKV, cos1, cos2, sin1, sin2, eps, HALF, BLOCK_HKV, BLOCK_HALF
    )
    _store_heads(k_out_ptr + row * HKV * D, k1, k2, D, HKV, HALF, BLOCK_HKV, BLOCK_HALF)
    if WRITES:
        slot = tl.load(slots_ptr + row)
        if slot >= 0:
            _store_heads(k_pages_ptr + slot * HKV * D, k1, k2, D, HKV, HALF, BLOCK_HKV, BLOCK_HALF)
            heads = tl.arange(0, BLOCK_HKV)
            here = (heads < HKV)[:, None] & inside[None, :]
            v_row = v_ptr + b * v_stride_b + n * v_stride_n + heads[:, None] * v_stride_h + columns[None, :]
            v1 = tl.load(v_row, mask=here, other=0.0)
            v2 = tl.load(v_row + HALF, mask=here, other=0.0)
            _store_heads(v_pages_ptr + slot * HKV * D, v1, v2, D, HKV, HALF, BLOCK_HKV, BLOCK_HALF)


def qk_norm_rope_triton(q, k, v, q_weight, k_weight, cos, sin, *, eps, pages=None):
    """`qk_norm_rope` as one kernel, with one program for each token."""
    B, N, H, D = q.shape
    Hkv = k.shape[2]
    q_out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    k_out = torch.empty(k.shape, dtype=k.dtype, device=k.device)
    if B * N == 0:
        return q_out, k_out
    q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
    cos, sin = cos.contiguous(), sin.contiguous()
    if pages is not None and not (pages.k_pages.is_contiguous() and pages.v_pages.is_contiguous()):
        raise ValueError("qk_norm_rope: pages must be contiguous (P, S, Hkv, D), so that a flat slot names one place")
    _qk_norm_rope_kernel[(B * N,)](
        q,
        k,
        v,
        q_weight,
        k_weight,
        cos,
        sin,
        q_out,
        k_out,
        k_out if pages is None else pages.k_pages,
        k_out if pages is None else pages.v_pages,
        cos if pages is None else pages.slots.contiguous(),
        N,
        H,
        Hkv,
        *q.stride()[:3],
        *k.stride()[:3],
        *v.stride()[:3],
        N * D if cos.ndim == 3 else 0,
        eps,
        HALF=D // 2,
        BLOCK_H=block_of(H, smallest=1),
        BLOCK_HKV=block_of(Hkv, smallest=1),
        BLOCK_HALF=block_of(D // 2),
        WRITES=pages is not None,
        num_warps=4 if H * D > 1024 else 1,
    )
    return q_out, k_out


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

    q (B, N, H, D); k, v (B, N, Hkv, D), views with a stride welcome; q_weight, k_weight (D,); cos, sin (B, N, D) or
    (N, D), both halves filled. Returns new q and k in their dtype; v is only copied to the pages.
    """
    _check(q, k, v, q_weight, k_weight, cos, sin, pages)
    is_kernel = backend(q.device) == "triton" and not needs_grad(q, k, v, q_weight, k_weight)
    is_looped = not is_kernel and fits(q, k, v, q_weight, k_weight, cos, sin)
    run = qk_norm_rope_triton if is_kernel else qk_norm_rope_loops if is_looped else qk_norm_rope_reference
    return run(q, k, v, q_weight, k_weight, cos, sin, eps=eps, pages=pages)


def _check(q, k, v, q_weight, k_weight, cos, sin, pages):
    B, N, _, D = q.shape
    Hkv = k.shape[2]
    if k.shape != (B, N, Hkv, D) or v.shape != k.shape or D % 2:
        raise ValueError(
            f"qk_norm_rope: q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}; wanted (B, N, H, D) and twice "
            f"(B, N, Hkv, D) with D even"
        )
    if q_weight.shape != (D,) or k_weight.shape != (D,):
        raise ValueError(f"qk_norm_rope: weights {tuple(q_weight.shape)}, {tuple(k_weight.shape)}; wanted ({D},) twice")
    if cos.shape not in ((N, D), (B, N, D)) or sin.shape != cos.shape:
        raise ValueError(
            f"qk_norm_rope: cos {tuple(cos.shape)}, sin {tuple(sin.shape)}; wanted ({B}, {N}, {D}) or ({N}, {D})"
        )
    if pages is not None and (pages.slots.shape != (B, N) or pages.k_pages.shape[2:] != (Hkv, D)):
        raise ValueError(
            f"qk_norm_rope: slots {tuple(pages.slots.shape)}, pages {tuple(pages.k_pages.shape)}; "
            f"wanted ({B}, {N}) and (P, S, {Hkv}, {D})"
        )
