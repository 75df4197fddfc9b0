"""The IBQ autoencoder: the official keys and shapes, and the laws of its blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from roam.world.emu.ibq import IbqConfig, IbqTokenizer, smart_resize, smart_size

from .conftest import IBQ

SHAPES = {
    "encoder.conv_in.weight": (256, 3, 3, 3), "encoder.down.2.block.0.nin_shortcut.weight": (512, 256, 1, 1),
    "encoder.down.4.block.0.conv1.weight": (1024, 512, 3, 3), "encoder.down.4.attn.3.k.weight": (1024, 1024, 1, 1),
    "encoder.down.3.downsample.conv.weight": (512, 512, 3, 3), "encoder.mid.block_2.norm1.bias": (1024,),
    "encoder.conv_out.weight": (256, 1024, 3, 3), "decoder.conv_in.weight": (1024, 256, 3, 3),
    "decoder.up.4.attn.4.q.weight": (1024, 1024, 1, 1), "decoder.up.4.upsample.conv.weight": (1024, 1024, 3, 3),
    "decoder.up.3.block.0.nin_shortcut.weight": (512, 1024, 1, 1), "decoder.up.1.upsample.conv.bias": (256,),
    "decoder.up.1.block.0.nin_shortcut.weight": (256, 512, 1, 1), "decoder.conv_out.weight": (3, 256, 3, 3),
    "quantize.embedding.weight": (131_072, 256), "quant_conv.weight": (256, 256, 1, 1), "post_quant_conv.bias": (256,),
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> IbqTokenizer:
    torch.manual_seed(0)
    return IbqTokenizer(IBQ).eval()


def test_the_official_autoencoder_has_455336963_parameters_in_543_tensors_of_the_official_shapes():
    with torch.device("meta"):
        tensors = IbqTokenizer(IbqConfig()).state_dict()
    assert (sum(tensor.numel() for tensor in tensors.values()), len(tensors)) == (455_336_963, 543)
    assert {key: tuple(tensors[key].shape) for key in SHAPES} == SHAPES
    assert "encoder.down.4.downsample.conv.weight" not in tensors and "decoder.up.0.upsample.conv.weight" not in tensors


def test_a_code_is_the_codebook_row_of_the_largest_dot_product(tokenizer):
    pixels = torch.randint(0, 256, (2, 32, 48, 3), dtype=torch.uint8, generator=torch.manual_seed(1))
    codes = tokenizer.encode(pixels)
    with torch.no_grad():
        z = tokenizer.quant_conv(tokenizer.encoder(pixels.movedim(-1, 1) / 127.5 - 1))
        products = torch.einsum("bdhw,nd->bhwn", z, tokenizer.codebook)
    assert codes.shape == (2, 2, 3) and codes.dtype == torch.int64
    assert torch.equal(codes, products.argmax(-1))


def test_decoding_gives_16_pixels_a_cell_and_no_depth(tokenizer):
    pixels, depth = tokenizer.decode(torch.tensor([[[0, 5, 63]]]))
    assert (pixels.shape, pixels.dtype, depth) == ((1, 16, 48, 3), torch.uint8, None)


def test_pictures_decoded_together_are_those_decoded_alone(tokenizer):
    codes = torch.randint(0, 64, (3, 2, 2), generator=torch.manual_seed(2))
    together = tokenizer.decode(codes)[0]
    alone = torch.cat([tokenizer.decode(one[None])[0] for one in codes])
    assert (together.int() - alone.int()).abs().max() <= 1


def test_a_side_that_16_does_not_divide_is_refused_with_what_to_do(tokenizer):
    with pytest.raises(ValueError, match=r"\(1, 20, 32, 3\).*smart_resize"):
        tokenizer.encode(torch.zeros(1, 20, 32, 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("given", "area", "wanted"),
    [((1080, 1920), 518_400, (544, 960)), ((300, 300), 518_400, (720, 720)), ((64, 64), 1_048_576, (1024, 1024))],
)
def test_smart_size_keeps_the_aspect_and_about_the_area(given, area, wanted):
    assert smart_size(*given, area=area) == wanted
    resized = smart_resize(np.zeros((*given, 3), np.uint8), area=area)
    assert resized.shape == (*wanted, 3)
