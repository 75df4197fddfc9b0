"""Token-by-token decoding of the same weights, for comparison and for causal weights: one token per pass, or several
per pass with exactly the same result.

A token is the likeliest under noise that depends on seed and place only, so the tokens before it decide it completely.
Guesses of the next tokens are read together with known ones; a token drawn after right guesses is right, and one drawn
after a wrong guess is the next guess (predictive sampling: Wiggers and Hoogeboom 2020, arXiv 2002.09928). Speculative
Jacobi decoding (arXiv 2410.01699) draws new noise and keeps guesses at random, which has the same distribution; here it
is the same draw.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WINDOW = 32  # tokens per pass, at most, if guesses are read (`roam bench guesses`)
NextTokens = Callable[[Tensor, int], Tensor]  # (the tokens before (B, W), the first one's place) -> (B, W)


def decode_autoregressive(
    next_tokens: NextTokens, num_tokens: int, *, batch: int, width: int, window: int, device: torch.device | str
) -> Tensor:
    """(batch, num_tokens) tokens of grids of `width` columns, `window` of them drawn in a pass, of which the right ones
    are kept; 1 guesses nothing. next_tokens is asked for the token after each of those given; places count from 0, the
    image marker, where the one given may be any."""
    tokens = torch.zeros(batch, 1, dtype=torch.int64, device=device)  # in the marker's place, then what is known
    guesses = tokens[:, :0]
    while (known := tokens.shape[1] - 1) < num_tokens:
        guesses = guessed(tokens[:, 1:], guesses, min(window, num_tokens - known) - 1, width=width)
        drawn = next_tokens(torch.cat([tokens[:, -1:], guesses], 1), known)
        right = num_right(guesses, drawn)
        tokens, guesses = torch.cat([tokens, drawn[:, :right]], 1), drawn[:, right:]
    return tokens[:, 1:]


def guessed(known: Tensor, guesses: Tensor, count: int, *, width: int) -> Tensor:
    """Guesses (B, count) of the tokens of a grid that come after `known` (B, n): first `guesses` (B, g), then for
    each further place the token above it, or the last known token if there is none."""
    n, row = known.shape[1], torch.cat([known, guesses[:, :count]], 1)
    while row.shape[1] < n + count:
        like = row[:, -width:] if row.shape[1] >= width else row[:, -1:]
        row = torch.cat([row, like[:, :1] if row.shape[1] else row.new_zeros(len(row), 1)], 1)
    return row[:, n:]


def num_right(guesses: Tensor, drawn: Tensor) -> int:
    """How many of the drawn tokens (B, G + 1) are right: the first, and each one before which all guesses (B, G)
    equal what was drawn there; for several sequences, the fewest."""
    agrees = (guesses == drawn[:, :-1]).all(0)
    return 1 + int(agrees.cumprod(0).sum())
