"""Fp8 layers and captured steps, as far as a CPU can test them."""

import pytest
import torch
from roam.kernels.graph import CapturedStep
from roam.kernels.linear import Fp8Linear, linear, quantise_rows


def error(got, exact):
    return ((got - exact).norm() / exact.norm()).item()


def test_fp8_keeps_a_row_to_its_three_bits():
    x = torch.randn(5, 512) * torch.logspace(-4, 4, 5)[:, None]
    codes, scale = quantise_rows(x)
    assert codes.dtype == torch.float8_e4m3fn
    for row, back in zip(x, codes.float() * scale[:, None], strict=True):
        assert error(back, row) < 0.03  # half a unit in the last of 3 mantissa bits, over a row


def test_a_row_of_zeros_stays_zero():
    codes, scale = quantise_rows(torch.zeros(2, 64))
    assert not codes.float().any() and scale.isfinite().all()


def test_an_fp8_layer_is_within_four_percent_of_the_exact_one():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 63, 256), torch.randn(128, 256) * torch.rand(128, 1)
    assert error(Fp8Linear.from_weight(weight)(x), x @ weight.t()) < 0.04
    assert error(linear(x.bfloat16(), weight.bfloat16()).float(), x @ weight.t()) < 0.005


def test_an_outlier_row_leaves_the_others_alone():
    torch.manual_seed(0)
    x, weight = torch.randn(8, 64), torch.randn(32, 64)
    layer = Fp8Linear.from_weight(weight)
    loud = x.clone()
    loud[0] *= 1e4
    torch.testing.assert_close(layer(loud)[1:], layer(x)[1:])


def test_the_dtype_that_comes_in_goes_out():
    layer = Fp8Linear.from_weight(torch.randn(32, 64))
    assert layer(torch.randn(3, 64).bfloat16()).dtype == torch.bfloat16
    assert layer(torch.randn(0, 64)).shape == (0, 32)


def test_sizes_that_fp8_products_cannot_take_are_refused():
    with pytest.raises(ValueError, match="keep this layer in bf16"):
        Fp8Linear.from_weight(torch.randn(33, 64))


def test_a_captured_step_is_a_plain_call_on_a_cpu():
    calls = []

    def step(kind, x):
        calls.append(kind)
        return x + 1

    captured = CapturedStep(step)
    assert torch.equal(captured("denoise", torch.ones(2)), torch.full((2,), 2.0))
    assert captured("commit", torch.ones(3)).shape == (3,)
    assert calls == ["denoise", "commit"] and len(captured) == 0
