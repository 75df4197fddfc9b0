"""Weights in 8 and 4 bits, as far as a CPU can test them; the kernel is tested in interpreted.py and compiled.py."""

import pytest
import torch
from roam.kernels import packed
from roam.kernels.linear import linear
from roam.kernels.packed import Packed, PackedEmbedding, PackedLinear


def error(got, exact):
    return ((got - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("bits, within", [(8, 0.006), (4, 0.11)])
@pytest.mark.parametrize("inputs", [256, 192, 96, 48])
def test_a_layer_is_as_near_the_exact_one_as_its_bits_allow(bits, within, inputs):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 63, inputs), torch.randn(128, inputs) * torch.rand(128, 1)
    layer = PackedLinear.from_weight(weight, bits)
    assert error(layer(x), x @ weight.t()) < within and error(layer(x), x @ layer.dequantised().t()) < 1e-5
    assert error(linear(x, layer), x @ weight.t()) < within


@pytest.mark.parametrize("bits", [8, 4])
def test_no_weight_is_off_by_more_than_its_step(bits):
    torch.manual_seed(1)
    weight = torch.randn(5000, 256) * torch.logspace(-4, 2, 5000)[:, None] + torch.randn(5000, 1)
    packed = Packed.of(weight, bits)
    groups = weight.unflatten(1, (-1, packed.group))
    span = groups.amax(-1) - groups.amin(-1)
    off = (packed.rows() - weight).abs().unflatten(1, (-1, packed.group)).amax(-1)
    # half a step, and what the offset loses where it is rounded and the scale where it is rounded down
    slack = groups.abs().amax(-1) * 2**-8
    assert (off <= 0.51 * span / (2**bits - 1) + span * 2**-8 + slack).all()


def test_packed_weights_take_the_bytes_that_they_say():
    weight = torch.randn(64, 1024)
    assert Packed.of(weight, 8).num_bytes == 64 * 1024 * (1 + 4 / 128)
    assert Packed.of(weight, 4).num_bytes == 64 * 1024 * (0.5 + 4 / 128)


def test_groups_that_are_constant_or_nothing_stay_so():
    weight = torch.zeros(4, 128)
    weight[1] = 0.5
    for bits in (8, 4):
        assert torch.equal(Packed.of(weight, bits).rows(), weight)


def test_an_embedding_gives_the_rows_that_are_asked_for():
    table = torch.randn(300, 64)
    embed = PackedEmbedding(Packed.of(table, 8), torch.bfloat16)
    ids = torch.tensor([[3, 299, 0]])
    assert embed(ids).dtype == torch.bfloat16 and error(embed(ids).float(), table[ids]) < 0.008


def test_the_dtype_that_comes_in_goes_out():
    layer = PackedLinear.from_weight(torch.randn(33, 64), 4)
    assert layer(torch.randn(3, 64).bfloat16()).dtype == torch.bfloat16
    assert layer(torch.randn(0, 64)).shape == (0, 33)


def test_only_a_part_of_a_large_weight_is_unpacked_at_once(monkeypatch):
    torch.manual_seed(2)
    layer, x = PackedLinear.from_weight(torch.randn(70, 64), 4), torch.randn(3, 64)
    wanted, rows, unpacked = layer(x), Packed.rows, []

    def watched(weight, which=slice(None)):
        found = rows(weight, which)
        unpacked.append(found.numel())
        return found

    monkeypatch.setattr(Packed, "rows", watched)
    monkeypatch.setattr(packed, "UNPACKED_AT_ONCE", 1000)
    torch.testing.assert_close(layer(x), wanted)
    assert max(unpacked) <= 1000 and sum(unpacked) == 70 * 64


@pytest.mark.parametrize("shape, bits", [((8, 64), 3), ((8, 40), 8)])
def test_what_cannot_be_packed_is_refused(shape, bits):
    with pytest.raises(ValueError, match="wanted 8 or 4"):
        Packed.of(torch.randn(*shape), bits)
