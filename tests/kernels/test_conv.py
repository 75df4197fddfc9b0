"""Convolutions as served: the same in every precision on every CPU, whether or not it has products in that
precision."""

import pytest
import torch
from roam.kernels import conv
from roam.kernels.conv import serve_convolutions
from torch import nn


def served_and_trained(dtype):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.SiLU(), nn.Conv2d(8, 5, 3, 2, 1, bias=False))
    return serve_convolutions(module, dtype), module


@pytest.mark.parametrize("is_fast", [True, False])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
def test_every_precision_is_served_whatever_the_cpu_has(dtype, close, is_fast, monkeypatch):
    has = conv.has_half_dots
    monkeypatch.setattr(conv, "has_half_dots", lambda tensor: is_fast and has(tensor))
    served, trained = served_and_trained(dtype)
    x = torch.randn(2, 3, 9, 7)
    with torch.inference_mode():
        seen = served(x)
    assert seen.dtype == dtype and not any(p.requires_grad for p in served.parameters())
    torch.testing.assert_close(seen.float(), trained(x).detach(), atol=close, rtol=close)


def test_a_cpu_without_products_of_a_precision_multiplies_in_float32(monkeypatch):
    monkeypatch.setattr(conv, "has_half_dots", lambda tensor: tensor.dtype == torch.float32)
    asked = []
    monkeypatch.setattr(torch, "mkldnn_convolution", lambda x, *rest: asked.append(x.dtype) or x)
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda x, *rest: asked.append(x.dtype) or x)
    served, _ = served_and_trained(torch.bfloat16)
    served[0](torch.randn(1, 3, 8, 8))
    assert asked == [torch.float32]
