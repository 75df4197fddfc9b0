"""Rows in training see the same rows on a GPU as on a CPU."""

import pytest
import torch
from roam.world.training.banded import BandedAttention, MaskedAttention

B, T, WORDS, FRESH, HEADS, KEYS, DIM = 2, 5, 3, 5, 4, 2, 8


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("window", [1, 2, 12])
def test_one_masked_product_is_what_the_pages_are_one_by_one(copies, window):
    torch.manual_seed(copies)
    counts = torch.randint(0, WORDS + 1, (B, T))
    words = torch.arange(WORDS) < counts[..., None]
    valid = torch.cat([words, torch.ones(B, T, FRESH, dtype=torch.bool)], -1)
    rows = T * (WORDS + FRESH * (1 + copies))
    given = [torch.randn(B, rows, heads, DIM, requires_grad=True) for heads in (HEADS, KEYS, KEYS)]
    used = torch.cat([valid, torch.ones(B, T, copies * FRESH, dtype=torch.bool)], -1).flatten(1)
    found = []
    for kind in (BandedAttention, MaskedAttention):
        out = kind(valid, words=WORDS, copies=copies, window=window).attend(0, *given)[used]
        slopes = torch.autograd.grad(out.square().sum(), given)
        found.append((out, slopes))
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-5, rtol=1e-4)
    for ours, theirs in zip(found[1][1], found[0][1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)
