"""What the rows of a pass attend to, as the transformer asks for it. Knows nothing of caches or masks."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ...kernels.rope import PageWrite


class Attention(Protocol):
    """What the rows of one pass attend to."""

    def write(self, layer: int) -> PageWrite | None:
        """Where this pass leaves a layer's keys and values, or None."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, N, H, D); k, v (B, N, Hkv, D), normed and rotated -> (B, N, H, D)."""
