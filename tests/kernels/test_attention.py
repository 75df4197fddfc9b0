"""Laws of attention over paged history, tested on the reference."""

import pytest
import torch
import torch.nn.functional as F
from roam.kernels import attention
from roam.kernels.attention import attend
from roam.kernels.history import GatheredHistory, PagedHistory, history_slots

S, HKV, D = 8, 2, 16
LENGTHS = [8, 3, 8, 1, 0, 5]


@pytest.fixture
def pages():
    """Six pages filled to LENGTHS, with NaN in every slot past a page's length."""
    torch.manual_seed(0)
    k_pages, v_pages = torch.randn(2, len(LENGTHS), S, HKV, D)
    for page, length in enumerate(LENGTHS):
        k_pages[page, length:] = torch.nan
        v_pages[page, length:] = torch.nan
    return k_pages, v_pages


def history(pages, table):
    return PagedHistory(*pages, torch.tensor(table, dtype=torch.int32), torch.tensor(LENGTHS, dtype=torch.int32))


def fresh(B, N, H=4):
    return torch.randn(B, N, H, D), torch.randn(B, N, HKV, D), torch.randn(B, N, HKV, D)


def plain_attention(q, k, v, past=((), ()), causal=False):
    """One sequence with torch's own attention: q (N, H, D); k, v (N, Hkv, D); past two lists of pages."""
    N, H, _ = q.shape
    keys, values = torch.cat([*past[0], k]), torch.cat([*past[1], v])
    mask = torch.ones(N, len(keys), dtype=torch.bool)
    if causal:
        mask[:, len(keys) - N :] = torch.ones(N, N, dtype=torch.bool).tril()
    keys, values = (x.repeat_interleave(H // HKV, 1).transpose(0, 1) for x in (keys, values))
    return F.scaled_dot_product_attention(q.transpose(0, 1), keys, values, attn_mask=mask).transpose(0, 1)


def valid(pages, listed):
    return [[x[page, : LENGTHS[page]] for page in listed if page >= 0] for x in pages]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("table", [[[0, 2]], [[1, -1, 3, 4, 5]], [[0, 1, 2], [5, -1, -1]], [[-1], [4]], [[], []]])
def test_history_and_canvas_equal_plain_attention_over_their_concatenation(pages, table, causal):
    q, k, v = fresh(len(table), 5)
    out = attend(q, k, v, history(pages, table), causal=causal)
    for b, listed in enumerate(table):
        expected = plain_attention(q[b], k[b], v[b], valid(pages, listed), causal)
        torch.testing.assert_close(out[b], expected, rtol=1e-5, atol=1e-5)


def test_a_prefill_in_two_parts_equals_one(pages):
    q, k, v = fresh(1, 2 * S)
    whole = attend(q, k, v, causal=True)
    first = PagedHistory(
        k[:, :S], v[:, :S], torch.tensor([[0]], dtype=torch.int32), torch.tensor([S], dtype=torch.int32)
    )
    second = attend(q[:, S:], k[:, S:], v[:, S:], first, causal=True)
    torch.testing.assert_close(whole[:, S:], second, rtol=1e-5, atol=1e-5)


def test_the_order_of_pages_does_not_matter(pages):
    q, k, v = fresh(1, 3)
    one, other = (attend(q, k, v, history(pages, [listed])) for listed in ([0, 5, 1], [1, 0, 5]))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_slots_listed_once_serve_every_layer(pages):
    q, k, v = fresh(2, 3)
    past = history(pages, [[0, 1], [5, -1]])
    slots = history_slots(past.page_table, past.page_lengths, S)
    shared = PagedHistory(past.k_pages, past.v_pages, past.page_table, past.page_lengths, slots)
    assert torch.equal(attend(q, k, v, past), attend(q, k, v, shared))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("causal", [False, True])
def test_a_sequence_gets_the_same_bits_alone_and_in_a_batch(pages, dtype, causal):
    table = [[0, 1, 5], [2, -1, -1], [4, 3, -1]]
    q, k, v = (x.to(dtype) for x in fresh(3, 7))
    pages = tuple(x.to(dtype) for x in pages)
    together = attend(q, k, v, history(pages, table), causal=causal)
    for b, listed in enumerate(table):
        row = slice(b, b + 1)
        alone = attend(q[row], k[row], v[row], history(pages, [[page for page in listed if page >= 0]]), causal=causal)
        assert torch.equal(together[row], alone)


@pytest.mark.parametrize("causal", [False, True])
def test_products_a_few_rows_at_a_time_equal_fused_attention(pages, monkeypatch, causal):
    q, k, v = fresh(2, 9)
    past = history(pages, [[0, 1], [5, -1]])
    fused = attend(q, k, v, past, causal=causal)
    monkeypatch.setattr(attention, "attend_fused", attention.attend_by_products)
    monkeypatch.setattr(attention, "SCORES_AT_ONCE", 300)
    torch.testing.assert_close(attend(q, k, v, past, causal=causal), fused, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("B, N", [(0, 3), (2, 0)])
def test_nothing_in_gives_nothing_out(pages, B, N):
    q, k, v = fresh(B, N)
    past = history(pages, [[0]] * 2)
    past = PagedHistory(past.k_pages, past.v_pages, past.page_table[:B], past.page_lengths)
    assert attend(q, k, v, past).shape == (B, N, 4, D)


def test_bf16_is_float32_to_bf16s_precision(pages):
    q, k, v = (x.bfloat16() for x in fresh(1, 6))
    past = history(tuple(x.bfloat16() for x in pages), [[0, 1]])
    out = attend(q, k, v, past)
    exact = attend(q.float(), k.float(), v.float(), history(tuple(x.bfloat16().float() for x in pages), [[0, 1]]))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, rtol=2e-2, atol=2e-2)  # 8 bits of mantissa in scores and result


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="H a multiple of Hkv"):
        attend(torch.randn(1, 2, 3, D), torch.randn(1, 2, 2, D), torch.randn(1, 2, 2, D))


def test_history_that_was_gathered_once_serves_all_passes_over_the_same_pages(pages):
    past = history(pages, [[0, 3, 1], [5, -1, -1]])
    kept = PagedHistory(past.k_pages, past.v_pages, past.page_table, past.page_lengths, gathered=GatheredHistory())
    for _ in range(3):
        rows = fresh(2, 6)
        assert torch.equal(attend(*rows, kept), attend(*rows, past))
