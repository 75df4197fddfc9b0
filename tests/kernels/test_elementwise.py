"""RMSNorm, SwiGLU, the nearest code, and which implementation each device uses."""

import pytest
import torch
import torch.nn.functional as F
from roam.kernels import backend
from roam.kernels.nearest import nearest_code
from roam.kernels.norm import rms_norm
from roam.kernels.swiglu import swiglu


def test_rms_norm_gives_rows_of_unit_mean_square():
    y = rms_norm(torch.randn(3, 500) * 7, torch.ones(500), eps=0.0)
    torch.testing.assert_close(y.square().mean(-1), torch.ones(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm_hands_on_the_sum_that_it_normalised(dtype):
    x, residual = torch.randn(2, 63).to(dtype), torch.randn(2, 63).to(dtype)
    weight = torch.randn(63).to(dtype)
    y, total = rms_norm(x, weight, eps=1e-6, residual=residual)
    assert torch.equal(total, x + residual)
    assert torch.equal(y, rms_norm(total, weight, eps=1e-6))
    assert y.dtype == dtype


def test_swiglu_is_silu_of_the_gate_times_up():
    gate, up = torch.randn(2, 5, 63), torch.randn(2, 5, 63)
    torch.testing.assert_close(swiglu(gate, up), F.silu(gate) * up)


@pytest.mark.parametrize("metric", ["dot", "l2"])
@pytest.mark.parametrize("num_codes", [1, 500, 9000])  # 9000 is more than one tile holds
def test_the_nearest_code_is_the_best_of_all_of_them(metric, num_codes):
    torch.manual_seed(0)
    z, codebook = torch.randn(3, 7, 12), torch.randn(num_codes, 12)
    scores = z @ codebook.t() if metric == "dot" else -torch.cdist(z, codebook)
    assert torch.equal(nearest_code(z, codebook, metric=metric), scores.argmax(-1))


def test_a_code_is_nearest_to_itself():
    codebook = torch.randn(300, 8)
    assert torch.equal(nearest_code(codebook, codebook, metric="l2"), torch.arange(300))


def test_no_vectors_have_no_codes():
    assert nearest_code(torch.randn(0, 4, 8), torch.randn(5, 8)).shape == (0, 4)


def test_an_unknown_metric_is_named_in_the_error():
    with pytest.raises(ValueError, match="'cosine'; known metrics: dot, l2"):
        nearest_code(torch.randn(1, 8), torch.randn(5, 8), metric="cosine")


def test_the_backend_follows_the_device():
    pytest.importorskip("triton")
    assert backend("cpu") == "reference"
    assert backend(torch.device("cuda", 0)) == "triton"
