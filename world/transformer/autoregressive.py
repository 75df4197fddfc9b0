"""Token-by-token decoding of the same weights: one causal pass a token, to compare and for causal weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

NextToken = Callable[[Tensor | None, int], Tensor]  # (the token before (B,) or None at the marker, its place) -> (B,)


def decode_autoregressive(next_token: NextToken, num_tokens: int) -> Tensor:
    """Ask for each token in turn, given the one before: (B, num_tokens). Places count from 0, the image marker."""
    tokens: list[Tensor] = []
    for place in range(num_tokens):
        tokens.append(next_token(tokens[-1] if tokens else None, place))
    return torch.stack(tokens, 1)
