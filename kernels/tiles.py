"""Rows against a tall table, a tile of products at a time, keeping the best code of each row: no (rows, codes) tensor.

    z_rv = x_r . table_v for a tile of rows and a tile of codes, in float32
    each program scans a share of the table for one tile of rows and remembers the best score, its code and a few sums
    `winners` then picks the best share of each row; ties go to the lowest code throughout

The scores are defined by sample.py, renoise.py and nearest.py.
"""

from dataclasses import dataclass

import torch

from .device import block_of, chip_of, dot_precision, tl, triton


@triton.jit
def tile_products(
    x_ptr,
    row_offsets,
    rows_inside,
    table_ptr,
    codes,
    num_codes,
    width,
    table_stride,
    BLOCK_R: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Products (BLOCK_R, BLOCK_V) float32 of the rows at row_offsets with the table's rows at codes."""
    columns = tl.arange(0, BLOCK_K)
    code_offsets = codes.to(tl.int64) * table_stride
    codes_inside = codes < num_codes
    acc = tl.zeros((BLOCK_R, BLOCK_V), tl.float32)
    for start in range(0, width, BLOCK_K):
        here = start + columns < width
        x = tl.load(
            x_ptr + row_offsets[:, None] + (start + columns)[None, :],
            mask=rows_inside[:, None] & here[None, :],
            other=0.0,
        )
        table = tl.load(
            table_ptr + code_offsets[None, :] + (start + columns)[:, None],
            mask=codes_inside[None, :] & here[:, None],
            other=0.0,
        )
        acc = tl.dot(x, table, acc, input_precision=PRECISION)
    return acc


@triton.jit
def keep_best(best, best_code, scores, codes, BLOCK_V: tl.constexpr):
    """Update each row's best score and code with a tile of scores; codes (V,) rise, so ties keep the lower one."""
    top, place = tl.max(scores, 1, return_indices=True, return_indices_tie_break_left=True)
    better = top > best
    return tl.where(better, top, best), tl.where(better, tl.min(codes, 0) + place, best_code)


@triton.jit
def _winners_kernel(
    best_ptr,
    code_ptr,
    logit_ptr,
    top_ptr,
    sum_ptr,
    token_ptr,
    confidence_ptr,
    num_rows,
    SHARES: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_S: tl.constexpr,
    HAS_CONFIDENCE: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    shares = tl.arange(0, BLOCK_S)
    place = rows[:, None] * SHARES + shares[None, :]
    inside = (rows < num_rows)[:, None] & (shares < SHARES)[None, :]
    best = tl.load(best_ptr + place, mask=inside, other=float("-inf"))
    winner = tl.argmax(best, 1)  # ties to the left: the share with the lower codes
    chosen = shares[None, :] == winner[:, None]
    code = tl.load(code_ptr + place, mask=inside, other=0)
    tl.store(token_ptr + rows, tl.sum(tl.where(chosen, code, 0), 1).to(tl.int64), mask=rows < num_rows)
    if HAS_CONFIDENCE:
        logit = tl.sum(tl.where(chosen, tl.load(logit_ptr + place, mask=inside, other=0.0), 0.0), 1)
        tops = tl.load(top_ptr + place, mask=inside, other=float("-inf"))
        top = tl.max(tops, 1)
        top = tl.where(rows < num_rows, top, 0.0)
        sums = tl.load(sum_ptr + place, mask=inside, other=0.0) * tl.exp(tops - top[:, None])
        total = tl.where(rows < num_rows, tl.sum(sums, 1), 1.0)
        tl.store(confidence_ptr + rows, tl.exp(logit - top) / total, mask=rows < num_rows)


def winners(best, code, logit=None, top=None, total=None):
    """Pick each row's best share: tokens (R,) int64; with logit, top and total (R, S) also confidence (R,) float32."""
    R, S = best.shape
    tokens = torch.empty(R, dtype=torch.int64, device=best.device)
    confidence = None if logit is None else torch.empty(R, dtype=torch.float32, device=best.device)
    block_s = block_of(S, smallest=2)
    block_r = block_of(R, smallest=1, largest=max(1, 1024 // block_s))
    _winners_kernel[(triton.cdiv(R, block_r),)](
        best,
        code,
        best if logit is None else logit,
        best if top is None else top,
        best if total is None else total,
        tokens,
        best if confidence is None else confidence,
        R,
        SHARES=S,
        BLOCK_R=block_r,
        BLOCK_S=block_s,
        HAS_CONFIDENCE=logit is not None,
    )
    return tokens, confidence


@dataclass(frozen=True)
class TilePlan:
    """How a scan of the table is cut: rows, codes and columns a tile, and shares of the table scanned side by side."""

    block_r: int
    block_v: int
    block_k: int
    shares: int
    num_warps: int
    num_stages: int

    def tiles_a_share(self, num_codes: int) -> int:
        return _ceil(_ceil(num_codes, self.block_v), self.shares)


def plan_tiles(num_rows: int, num_codes: int, width: int, device: torch.device, dtype: torch.dtype) -> TilePlan:
    """Choose tiles as large as leave registers for the noise, and enough shares for two programs a multiprocessor."""
    chip = chip_of(device)
    block_r, block_k = block_of(num_rows, largest=128), min(64, block_of(width))
    if dtype == torch.float32:
        block_r, block_v, block_k, num_warps, num_stages = 32, 64, 32, 4, 2
    elif block_r == 128 and chip.is_large and width > 1024:
        # 128 registers a thread; a narrow table's scan is mostly noise, which spills then, and gains nothing by it
        block_v, num_warps, num_stages = 128, 16, 4
    else:
        block_v, num_warps, num_stages = 64 if block_r == 128 else 128, 8, 3
    row_tiles, code_tiles = _ceil(num_rows, block_r), _ceil(num_codes, block_v)
    shares = max(1, min(code_tiles, 256, _ceil(2 * chip.num_processors, row_tiles)))
    shares = _ceil(code_tiles, _ceil(code_tiles, shares))  # as many as the tiles fill, so that none is empty
    return TilePlan(block_r, block_v, block_k, shares, num_warps, num_stages)


def _ceil(number: int, size: int) -> int:
    return -(-number // size)


def launch_options(plan: TilePlan, dtype: torch.dtype) -> dict:
    """The constants every scanning kernel takes."""
    return dict(
        BLOCK_R=plan.block_r,
        BLOCK_V=plan.block_v,
        BLOCK_K=plan.block_k,
        PRECISION=dot_precision(dtype),
        num_warps=plan.num_warps,
        num_stages=plan.num_stages,
    )
