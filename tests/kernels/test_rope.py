"""QK-norm, rotation and the page write, on the reference."""

import pytest
import torch
from roam.kernels.norm import rms_norm
from roam.kernels.rope import PageWrite, qk_norm_rope

D = 16


def angles(positions):
    speeds = 10000.0 ** (-torch.arange(0, D, 2) / D)
    angle = torch.cat([positions[..., None] * speeds] * 2, -1)
    return angle.cos(), angle.sin()


def run(q, k, positions, **options):
    return qk_norm_rope(q, k, k, torch.ones(D), torch.ones(D), *angles(positions), eps=1e-6, **options)


def test_it_is_the_written_out_formula():
    torch.manual_seed(0)
    q, k = torch.randn(2, 3, 4, D), torch.randn(2, 3, 2, D)
    weight = torch.randn(D)
    cos, sin = angles(torch.arange(6.0).view(2, 3))
    out, _ = qk_norm_rope(q, k, k, weight, weight, cos, sin, eps=1e-6)
    normed = q / (q.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight
    turned = torch.cat([-normed[..., D // 2 :], normed[..., : D // 2]], -1)
    expected = normed * cos[:, :, None] + turned * sin[:, :, None]
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


def test_products_depend_on_the_difference_of_positions_alone():
    torch.manual_seed(0)
    q, k = torch.randn(1, 2, 1, D), torch.randn(1, 2, 1, D)
    products = []
    for start in (0.0, 100.0):
        q_out, k_out = run(q, k, torch.tensor([start, start + 3]))
        products.append(torch.einsum("bnhd,bmhd->nm", q_out, k_out))
    torch.testing.assert_close(*products, rtol=1e-4, atol=1e-4)


def test_position_zero_only_normalises():
    q, k = torch.randn(1, 1, 2, D), torch.randn(1, 1, 1, D)
    torch.testing.assert_close(run(q, k, torch.zeros(1))[0], rms_norm(q, torch.ones(D), eps=1e-6))


def test_pages_receive_rotated_keys_and_bare_values_where_a_slot_is_named():
    q, k = torch.randn(1, 3, 2, D), torch.randn(1, 3, 1, D)
    k_pages, v_pages = torch.zeros(2, 2, 2, 1, D)
    _, k_out = run(q, k, torch.arange(3.0), pages=PageWrite(k_pages, v_pages, torch.tensor([[3, -1, 0]])))
    assert torch.equal(k_pages.view(4, 1, D)[[3, 0]], k_out[0, [0, 2]])
    assert torch.equal(v_pages.view(4, 1, D)[[3, 0]], k[0, [0, 2]])
    assert not k_pages.view(4, 1, D)[1:3].any()


def test_the_callers_rows_stay_as_they_were():
    q, k = torch.randn(1, 3, 2, D), torch.randn(1, 3, 1, D)
    before = q.clone(), k.clone()
    run(q, k, torch.arange(3.0))
    assert torch.equal(q, before[0]) and torch.equal(k, before[1])


def test_bf16_keeps_the_weights_product_after_the_cast_back():
    torch.manual_seed(0)
    q, k = torch.randn(1, 3, 2, D).bfloat16(), torch.randn(1, 3, 1, D).bfloat16()
    weight = torch.randn(D).bfloat16()
    out, _ = qk_norm_rope(q, k, k, weight, weight, *angles(torch.zeros(3)), eps=1e-6)
    wide = q.float()
    expected = weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).bfloat16()
    assert torch.equal(out, expected)


def test_angles_of_another_length_are_refused():
    with pytest.raises(ValueError, match="cos"):
        run(torch.randn(1, 3, 2, D), torch.randn(1, 3, 1, D), torch.arange(4.0))
