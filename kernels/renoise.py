"""The metric path of discrete diffusion: clean codes back to a noise level, and URSA's exact step along the path.

    d(v, x1) = |e_v - e_x1|^2 over codebook rows e;  beta_t = c * (t / (1 - t))^alpha
    p_t(v | x1) = softmax_v(-beta_t * d(v, x1)): uniform at t = 0, x1 itself at t = 1
    x_t = argmax_v (-beta_t * d(v, x1) + g_v), g Gumbel noise of (seed, position, code)

The codebook is taken as it comes: a checkpoint whose path is defined on normalised rows passes normalised rows.
"""

import math

import torch

from .device import backend
from .gumbel import (
    JUMP_STREAM,
    LANDING_STREAM,
    RENOISE_STREAM,
    gumbel_reference,
    row_keys_reference,
    seeds_and_positions,
    uniform_reference,
)

# Distances are made this many elements at a time on the CPU: with their noise they stay in a core's cache.
_DISTANCES_AT_ONCE = 1 << 17


def beta_of(t: float | torch.Tensor, *, alpha: float, c: float) -> float | torch.Tensor:
    """c * (t / (1 - t)) ** alpha for a noise level t in [0, 1]: 0 at 0 (all noise), inf at 1 (clean)."""
    if isinstance(t, torch.Tensor):
        return c * (t / (1 - t)) ** alpha
    return math.inf if t >= 1 else c * (t / (1 - t)) ** alpha


def renoise_reference(tokens, beta, codebook, seed, *, positions):
    """`renoise` in plain torch, a few rows of distances at a time."""
    V = codebook.shape[0]
    keys = row_keys_reference(seed, positions, RENOISE_STREAM).reshape(-1)
    codes = torch.arange(V, dtype=torch.int32, device=tokens.device)
    table = codebook.float()
    squares = table.square().sum(-1)
    flat = tokens.reshape(-1)
    out = flat.clone()
    betas = beta.reshape(-1)
    moving = (betas != math.inf).nonzero()[:, 0]
    for rows in moving.split(max(1, _DISTANCES_AT_ONCE // V)):
        scores = _distances(table, squares, flat[rows]).mul_(-betas[rows, None])
        out[rows] = scores.add_(gumbel_reference(keys[rows], codes)).argmax(-1)
    return out.view_as(tokens)


def _distances(table, squares, tokens):
    """Squared distances from the rows of tokens (R,) to all codes: (R, V), never below 0 and exactly 0 to themselves."""
    distances = torch.addmm(squares, table[tokens], table.t(), alpha=-2).add_(squares[tokens, None])
    return distances.clamp_(min=0).scatter_(1, tokens[:, None], 0)


def renoise(
    tokens: torch.Tensor,
    beta: torch.Tensor,
    codebook: torch.Tensor,
    seed: int | torch.Tensor,
    *,
    positions: torch.Tensor | None = None,
) -> torch.Tensor:
    """Draw every token from the metric path around its clean code.

    tokens (B, N) int64, the clean codes; beta (B, N) float32 >= 0, where 0 draws from the whole codebook and inf keeps the
    token; codebook (V, E) float; seed an int or (B,) int64; positions (B, N) or (N,) int64, default 0 .. N-1. A row's draw
    depends on its seed and position alone. Returns tokens (B, N) int64.
    """
    B, N = tokens.shape
    if beta.shape != (B, N) or codebook.ndim != 2:
        raise ValueError(
            f"renoise: tokens {tuple(tokens.shape)}, beta {tuple(beta.shape)}, codebook {tuple(codebook.shape)}; wanted "
            f"(B, N), (B, N) and (V, E)"
        )
    seed, positions = seeds_and_positions(seed, positions, B, N, tokens.device)
    return renoise_reference(tokens, beta.float(), codebook, seed, positions=positions)


def kinetic_jump(
    tokens: torch.Tensor,
    x1: torch.Tensor,
    t: float,
    dt: float,
    codebook: torch.Tensor,
    seed: int | torch.Tensor,
    *,
    alpha: float,
    c: float,
    positions: torch.Tensor | None = None,
) -> torch.Tensor:
    """One Euler step of the kinetic-optimal jump process that follows the metric path (URSA), from t to t + dt.

    tokens, x1 (B, N) int64: the canvas now and the predicted clean codes. The rate of jumping to v is
    p_t(v | x1) * beta'_t * max(0, d(x_t, x1) - d(v, x1)): only towards codes nearer to x1. A token jumps with probability
    1 - exp(-dt * sum of its rates), to v in proportion to v's rate; a step that reaches 1 takes x1. Plain torch on every
    device: this is the exact sampler that faster ones are judged by. Returns tokens (B, N) int64.
    """
    B, N = tokens.shape
    if t + dt >= 1:
        return x1.clone()
    seed, positions = seeds_and_positions(seed, positions, B, N, tokens.device)
    t = max(t, 1e-4)  # beta' has a pole at 0 for alpha < 1, where nothing depends on x1 yet
    beta = beta_of(t, alpha=alpha, c=c)
    log_slope = math.log(beta * alpha / (t * (1 - t)))
    table = codebook.float()
    squares = table.square().sum(-1)
    codes = torch.arange(table.shape[0], dtype=torch.int32, device=tokens.device)
    jump_keys = row_keys_reference(seed, positions, JUMP_STREAM).reshape(-1)
    landing_keys = row_keys_reference(seed, positions, LANDING_STREAM).reshape(-1)
    now, clean = tokens.reshape(-1), x1.reshape(-1)
    out = now.clone()
    for rows in torch.arange(B * N, device=tokens.device).split(max(1, _DISTANCES_AT_ONCE // len(table))):
        distances = _distances(table, squares, clean[rows])
        gain = (distances.gather(1, now[rows, None]) - distances).clamp_(min=0)
        log_rates = torch.log_softmax(-beta * distances, -1) + log_slope + gain.log()
        stay = torch.exp(-dt * log_rates.logsumexp(-1).exp())
        jumps = uniform_reference(jump_keys[rows], codes[:1])[:, 0] >= stay
        landing = (log_rates + gumbel_reference(landing_keys[rows], codes)).argmax(-1)
        out[rows] = torch.where(jumps, landing, now[rows])
    return out.view_as(tokens)
