"""The codebook entry nearest to each vector: the last step of encoding an image.

dot:  argmax_v z . e_v                     (for l2-normalised rows the same as l2)
l2:   argmin_v |z - e_v|^2 = argmax_v z . e_v - |e_v|^2 / 2
ties go to the lowest index
"""

import torch

from .device import backend, tl, triton
from .tiles import keep_best, launch_options, plan_tiles, tile_products, winners

# The reference makes scores a tile at a time, rows by codes: 8 MiB of float32.
_ROWS_AT_ONCE = 256
_CODES_AT_ONCE = 8192


def nearest_code_reference(z, codebook, *, metric="dot"):
    """`nearest_code` in plain torch, tile by tile, in float32."""
    rows = z.reshape(-1, z.shape[-1]).float()
    best = rows.new_full((len(rows),), -torch.inf)
    index = torch.zeros(len(rows), dtype=torch.int64, device=z.device)
    for first in range(0, len(codebook), _CODES_AT_ONCE):
        codes = codebook[first : first + _CODES_AT_ONCE].float()
        half_squares = _half_squares(codes, metric)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            top, place = torch.addmm(half_squares, rows[part], codes.t(), beta=-1).max(-1)
            better = top > best[part]
            best[part] = torch.where(better, top, best[part])
            index[part] = torch.where(better, first + place, index[part])
    return index.view(z.shape[:-1])


def _half_squares(codebook, metric):
    """|e_v|^2 / 2 (V,) float32, or zeros where lengths do not count."""
    if metric == "dot":
        return torch.zeros(len(codebook), device=codebook.device)
    return torch.linalg.vector_norm(codebook, dim=1, dtype=torch.float32).square() / 2


@triton.jit
def _nearest_kernel(
    z_ptr,
    codebook_ptr,
    half_squares_ptr,
    best_ptr,
    code_ptr,
    num_rows,
    num_codes,
    width,
    row_stride,
    code_stride,
    tiles_a_share,
    BLOCK_R: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    inside = rows < num_rows
    share = tl.program_id(1)
    best = tl.full((BLOCK_R,), float("-inf"), tl.float32)
    best_code = tl.zeros((BLOCK_R,), tl.int32)
    for tile in range(share * tiles_a_share, (share + 1) * tiles_a_share):
        codes = tile * BLOCK_V + tl.arange(0, BLOCK_V)
        scores = tile_products(
            z_ptr,
            rows.to(tl.int64) * row_stride,
            inside,
            codebook_ptr,
            codes,
            num_codes,
            width,
            code_stride,
            BLOCK_R,
            BLOCK_V,
            BLOCK_K,
            PRECISION,
        )
        scores -= tl.load(half_squares_ptr + codes, mask=codes < num_codes, other=float("inf"))[None, :]
        best, best_code = keep_best(best, best_code, scores, codes, BLOCK_V)
    place = rows * tl.num_programs(1) + share
    tl.store(best_ptr + place, best, mask=inside)
    tl.store(code_ptr + place, best_code, mask=inside)


def nearest_code_triton(z, codebook, *, metric="dot", plan=None):
    """`nearest_code` as a scan of the codebook; `plan` overrides the choice of tiles."""
    rows = z.reshape(-1, z.shape[-1]).to(codebook.dtype).contiguous()
    codebook = codebook.contiguous()
    R, E = rows.shape
    if R == 0:
        return torch.empty(z.shape[:-1], dtype=torch.int64, device=z.device)
    V = len(codebook)
    plan = plan or plan_tiles(R, V, E, z.device, codebook.dtype)
    best = torch.empty(R, plan.shares, dtype=torch.float32, device=z.device)
    code = torch.empty(R, plan.shares, dtype=torch.int32, device=z.device)
    _nearest_kernel[(triton.cdiv(R, plan.block_r), plan.shares)](
        rows,
        codebook,
        _half_squares(codebook, metric),
        best,
        code,
        R,
        V,
        E,
        rows.stride(0),
        codebook.stride(0),
        plan.tiles_a_share(V),
        **launch_options(plan, codebook.dtype),
    )
    return winners(best, code)[0].view(z.shape[:-1])


def nearest_code(z: torch.Tensor, codebook: torch.Tensor, *, metric: str = "dot") -> torch.Tensor:
    """Find the nearest codebook row of every vector: z (..., E), codebook (V, E) -> indices (...) int64.

    metric "dot" takes the largest product, "l2" the smallest distance. Products are float32; the kernel reads z in the
    codebook's dtype, so a bf16 codebook decides near-ties in bf16.
    """
    if codebook.ndim != 2 or len(codebook) == 0 or z.shape[-1] != codebook.shape[1]:
        raise ValueError(f"nearest_code: z {tuple(z.shape)}, codebook {tuple(codebook.shape)}; wanted (..., E), (V, E)")
    if metric not in ("dot", "l2"):
        raise ValueError(f"nearest_code: metric {metric!r}; known metrics: dot, l2")
    run = nearest_code_triton if backend(z.device) == "triton" else nearest_code_reference
    return run(z, codebook, metric=metric)
