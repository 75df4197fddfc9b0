"""The metric path of discrete diffusion: clean codes back to a noise level, and URSA's exact step along the path.

    d(v, x1) = |e_v - e_x1|^2 over codebook rows e;  beta_t = c * (t / (1 - t))^alpha
    p_t(v | x1) = softmax_v(-beta_t * d(v, x1)): uniform at t = 0, x1 itself at t = 1
    x_t = argmax_v (-beta_t * d(v, x1) + g_v), g Gumbel noise of (seed, position, code)

The codebook is taken as it comes: a checkpoint whose path is defined on normalised rows passes normalised rows.
"""

import math
from typing import overload

import torch

from .device import backend, tl, triton
from .gumbel import (
    JUMP_STREAM,
    LANDING_STREAM,
    RENOISE_STREAM,
    gumbel,
    gumbel_reference,
    row_keys,
    row_keys_reference,
    seeds_and_positions,
    uniform_reference,
)
from .tiles import keep_best, launch_options, plan_tiles, tile_products, winners

# Distances are made this many elements at a time on the CPU: with their noise they stay in a core's cache.
_DISTANCES_AT_ONCE = 1 << 17


@overload
def beta_of(t: float, *, alpha: float, c: float) -> float: ...
@overload
def beta_of(t: torch.Tensor, *, alpha: float, c: float) -> torch.Tensor: ...
def beta_of(t: float | torch.Tensor, *, alpha: float, c: float) -> float | torch.Tensor:
    """c * (t / (1 - t)) ** alpha for a noise level t in [0, 1]: 0 at 0 (all noise), inf at 1 (clean)."""
    if isinstance(t, torch.Tensor):
        return c * (t / (1 - t)) ** alpha
    return math.inf if t >= 1 else c * (t / (1 - t)) ** alpha


def renoise_reference(tokens, beta, codebook, seed, *, positions, squares=None):
    """`renoise` in plain torch, a few rows of distances at a time."""
    V = codebook.shape[0]
    keys = row_keys_reference(seed, positions, RENOISE_STREAM).reshape(-1)
    codes = torch.arange(V, dtype=torch.int32, device=tokens.device)
    table = codebook.float()
    squares = squared_norms(codebook) if squares is None else squares
    flat = tokens.reshape(-1)
    out = flat.clone()
    betas = beta.reshape(-1)
    moving = (betas != math.inf).nonzero()[:, 0]
    for rows in moving.split(max(1, _DISTANCES_AT_ONCE // V)):
        scores = _distances(table, squares, flat[rows]).mul_(-betas[rows, None])
        out[rows] = scores.add_(gumbel_reference(keys[rows], codes)).argmax(-1)
    return out.view_as(tokens)


def _distances(table, squares, tokens):
    """Squared distances from the rows of tokens (R,) to all codes: (R, V), at least 0 and exactly 0 to themselves."""
    distances = torch.addmm(squares, table[tokens], table.t(), alpha=-2).add_(squares[tokens, None])
    return distances.clamp_(min=0).scatter_(1, tokens[:, None], 0)


@triton.jit
def _renoise_kernel(
    tokens_ptr,
    beta_ptr,
    codebook_ptr,
    squares_ptr,
    seeds_ptr,
    positions_ptr,
    best_ptr,
    code_ptr,
    num_rows,
    N,
    num_codes,
    width,
    code_stride,
    tiles_a_share,
    STREAM: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    inside = rows < num_rows
    share = tl.program_id(1)
    tokens = tl.load(tokens_ptr + rows, mask=inside, other=0)
    beta = tl.load(beta_ptr + rows, mask=inside, other=0.0)
    squares = tl.load(squares_ptr + tokens, mask=inside, other=0.0)
    seeds = tl.load(seeds_ptr + rows // N, mask=inside, other=0)
    keys = row_keys(seeds, tl.load(positions_ptr + rows, mask=inside, other=0), STREAM)
    kept = beta == float("inf")
    beta = tl.where(kept, 0.0, beta)
    best = tl.full((BLOCK_R,), float("-inf"), tl.float32)
    best_code = tl.zeros((BLOCK_R,), tl.int32)
    for tile in range(share * tiles_a_share, (share + 1) * tiles_a_share):
        codes = tile * BLOCK_V + tl.arange(0, BLOCK_V)
        products = tile_products(
            codebook_ptr,
            tokens * code_stride,
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
        code_squares = tl.load(squares_ptr + codes, mask=codes < num_codes, other=0.0)
        distances = tl.maximum(code_squares[None, :] + squares[:, None] - 2.0 * products, 0.0)
        distances = tl.where(codes[None, :] == tokens[:, None], 0.0, distances)
        scores = gumbel(keys[:, None], codes[None, :]) - beta[:, None] * distances
        scores = tl.where((codes < num_codes)[None, :], scores, float("-inf"))
        best, best_code = keep_best(best, best_code, scores, codes, BLOCK_V)
    place = rows * tl.num_programs(1) + share
    tl.store(best_ptr + place, best, mask=inside)
    tl.store(code_ptr + place, tl.where(kept, tokens.to(tl.int32), best_code), mask=inside)


def renoise_triton(tokens, beta, codebook, seed, *, positions, squares=None, plan=None):
    """`renoise` as one scan of the codebook; `plan` overrides the choice of tiles."""
    B, N = tokens.shape
    V, E = codebook.shape
    if tokens.numel() == 0:
        return torch.empty(B, N, dtype=torch.int64, device=tokens.device)
    codebook = codebook.contiguous()
    plan = plan or plan_tiles(B * N, V, E, tokens.device, codebook.dtype)
    best = torch.empty(B * N, plan.shares, dtype=torch.float32, device=tokens.device)
    code = torch.empty(B * N, plan.shares, dtype=torch.int32, device=tokens.device)
    _renoise_kernel[(triton.cdiv(B * N, plan.block_r), plan.shares)](
        tokens.contiguous(),
        beta.contiguous(),
        codebook,
        squared_norms(codebook) if squares is None else squares,
        seed.contiguous(),
        positions.contiguous(),
        best,
        code,
        B * N,
        N,
        V,
        E,
        codebook.stride(0),
        plan.tiles_a_share(V),
        STREAM=RENOISE_STREAM,
        **launch_options(plan, codebook.dtype),
    )
    return winners(best, code)[0].view(B, N)


def squared_norms(codebook: torch.Tensor) -> torch.Tensor:
    """|e_v|^2 of every row of codebook (V, E): (V,) float32, for a caller of `renoise` to keep."""
    return torch.linalg.vector_norm(codebook, dim=1, dtype=torch.float32).square()


def renoise(
    tokens: torch.Tensor,
    beta: torch.Tensor,
    codebook: torch.Tensor,
    seed: int | torch.Tensor,
    *,
    positions: torch.Tensor | None = None,
    squares: torch.Tensor | None = None,
) -> torch.Tensor:
    """Draw every token from the metric path around its clean code.

    tokens (B, N) int64, the clean codes; beta (B, N) float32 >= 0, where 0 draws from the whole codebook and inf keeps
    the token; codebook (V, E) float; seed an int or (B,) int64; positions (B, N) or (N,) int64, default 0 .. N-1. A
    row's draw depends on its seed and position alone. squares (V,) is `squared_norms(codebook)` where the caller keeps
    it. Returns tokens (B, N) int64.
    """
    B, N = tokens.shape
    if beta.shape != (B, N) or codebook.ndim != 2:
        raise ValueError(
            f"renoise: tokens {tuple(tokens.shape)}, beta {tuple(beta.shape)}, codebook {tuple(codebook.shape)}; "
            f"wanted (B, N), (B, N) and (V, E)"
        )
    seed, positions = seeds_and_positions(seed, positions, B, N, tokens.device)
    run = renoise_triton if backend(tokens.device) == "triton" else renoise_reference
    return run(tokens, beta.float(), codebook, seed, positions=positions, squares=squares)


def kinetic_jump(
    tokens: torch.Tensor,
    x1: torch.Tensor,
    t: float | torch.Tensor,
    dt: float | torch.Tensor,
    codebook: torch.Tensor,
    seed: int | torch.Tensor,
    *,
    alpha: float,
    c: float,
    positions: torch.Tensor | None = None,
) -> torch.Tensor:
    """One Euler step of the kinetic-optimal jump process that follows the metric path (URSA), from t to t + dt.

    tokens, x1 (B, N) int64: the canvas now and the predicted clean codes; t and dt floats, or (B, N) for a time of each
    token's own. The rate of jumping to v is p_t(v | x1) * beta'_t * max(0, d(x_t, x1) - d(v, x1)): only towards codes
    nearer to x1. A token jumps with probability 1 - exp(-dt * sum of its rates), to v in proportion to v's rate; a step
    that reaches 1 takes x1. Plain torch on every device: this is the sampler that faster ones are judged by. Returns
    tokens (B, N) int64.
    """
    B, N = tokens.shape
    seed, positions = seeds_and_positions(seed, positions, B, N, tokens.device)
    # beta' has a pole at 0 for alpha < 1, where nothing depends on x1 yet, and one at 1, which is taken apart
    time = torch.as_tensor(t, dtype=torch.float32, device=tokens.device).expand(B, N).reshape(-1, 1)
    lapse = torch.as_tensor(dt, dtype=torch.float32, device=tokens.device).expand(B, N).reshape(-1, 1)
    arrives = time + lapse >= 1 - 1e-6
    time = time.clamp(1e-4, 1 - 1e-4)
    beta = beta_of(time, alpha=alpha, c=c)
    log_slope = (beta * alpha / (time * (1 - time))).log()
    table = codebook.float()
    squares = squared_norms(codebook)
    codes = torch.arange(table.shape[0], dtype=torch.int32, device=tokens.device)
    jump_keys = row_keys_reference(seed, positions, JUMP_STREAM).reshape(-1)
    landing_keys = row_keys_reference(seed, positions, LANDING_STREAM).reshape(-1)
    now, clean = tokens.reshape(-1), x1.reshape(-1)
    out = now.clone()
    at_once = _DISTANCES_AT_ONCE if tokens.device.type == "cpu" else _DISTANCES_AT_ONCE << 8
    for rows in torch.arange(B * N, device=tokens.device).split(max(1, at_once // len(table))):
        distances = _distances(table, squares, clean[rows])
        gain = (distances.gather(1, now[rows, None]) - distances).clamp_(min=0)
        log_rates = torch.log_softmax(-beta[rows] * distances, -1) + log_slope[rows] + gain.log()
        stay = torch.exp(-lapse[rows, 0] * log_rates.logsumexp(-1).exp())
        jumps = uniform_reference(jump_keys[rows], codes[:1])[:, 0] >= stay
        landing = (log_rates + gumbel_reference(landing_keys[rows], codes)).argmax(-1)
        out[rows] = torch.where(jumps, landing, now[rows])
    return torch.where(arrives[:, 0], clean, out).view_as(tokens)
