"""Shared by the kernels' tests: a chi-square test of draws."""

import math
from collections.abc import Callable

import pytest
import torch


@pytest.fixture(scope="session")
def follows() -> Callable[[torch.Tensor, torch.Tensor], bool]:
    """Whether draws (any shape) of codes follow probabilities (V,): chi-square within 4 standard deviations."""

    def judge(draws: torch.Tensor, probabilities: torch.Tensor) -> bool:
        expected = probabilities.double() * draws.numel()
        seen = torch.bincount(draws.flatten(), minlength=len(expected)).double()
        assert not seen[probabilities == 0].any(), "a code of probability 0 was drawn"
        rare = expected < 8  # chi-square needs enough counts in a cell: rare codes are pooled into one
        expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
        seen = torch.cat([seen[~rare], seen[rare].sum()[None]])
        inside = expected > 0
        distance = ((seen - expected).square() / expected)[inside].sum().item()
        freedom = int(inside.sum()) - 1
        # Wilson and Hilferty: the cube root of chi-square over its freedom is close to normal
        spread = 2 / (9 * freedom)
        return ((distance / freedom) ** (1 / 3) - 1 + spread) / math.sqrt(spread) < 4

    return judge
