"""The transformer against an independent implementation: Qwen3 in transformers, with the same keys and the same
maths."""

from __future__ import annotations

import pytest
import torch
from roam.world.config import ModelConfig, PageConfig
from roam.world.emu.token_stream import StreamPasses, TokenStream
from roam.world.transformer.cache import KVCache
from roam.world.transformer.model import Transformer

CONFIGS = [
    ModelConfig(97, 32, 48, 2, 4, 2, 8, 1e-6, 1e6),
    # all heads together are wider than the model, and there is one key head
    ModelConfig(61, 24, 40, 3, 6, 1, 10, 1e-5, 1e4),
    ModelConfig(50, 48, 32, 1, 3, 3, 16, 1e-6, 1e6),
]


def both(config: ModelConfig) -> tuple[Transformer, torch.nn.Module]:
    """The same random weights in both; the norms are random too, or a missing one would not show."""
    # imported here, because it takes seconds and every process collects this file
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(7)
    theirs = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            **{name: value for name, value in vars(config).items() if name != "rope_theta"},
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            rope_theta=config.rope_theta,
            max_position_embeddings=512,
            tie_word_embeddings=False,
            attn_implementation="eager",
        )
    ).eval()
    for weight in theirs.parameters():
        torch.nn.init.normal_(weight, 0.5 if weight.ndim == 1 else 0.0, 0.3)
    ours = Transformer(config).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_logits_equal_those_of_qwen3_without_a_cache(config):
    ours, theirs = both(config)
    ids = torch.randint(0, config.vocab_size, (2, 65))
    positions = torch.arange(65).expand(2, -1)
    logits = ours.lm_head(ours(ours.embed(ids), positions, Alone()))
    assert (logits - theirs(ids).logits).abs().max() < 1e-4


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_logits_equal_those_of_qwen3_with_the_paged_cache_in_blocks_and_token_by_token(config):
    ours, theirs = both(config)
    ids = torch.randint(0, config.vocab_size, (1, 70))
    wanted = theirs(ids).logits[0]
    cache = KVCache(config, PageConfig(page_size=16), device=torch.device("cpu"), num_pages=1)
    stream = TokenStream(cache, context=70)
    for start, end in ((0, 40), (40, 59), *((k, k + 1) for k in range(59, 70))):
        stream.append(ids[0, start:end].tolist())
        hidden = StreamPasses(ours, cache).advance([stream])[0]
        assert (ours.lm_head(hidden)[0] - wanted[end - 1]).abs().max() < 1e-4


def test_the_official_configuration_has_34103460864_parameters_in_707_tensors():
    with torch.device("meta"):
        model = Transformer(ModelConfig(282_926, 5120, 25_600, 64, 64, 8, 128, 1e-6, 1e6))
    tensors = model.state_dict()
    assert (sum(tensor.numel() for tensor in tensors.values()), len(tensors)) == (34_103_460_864, 707)
    assert tuple(tensors["model.layers.63.self_attn.q_proj.weight"].shape) == (8192, 5120)
    assert tuple(tensors["model.layers.0.self_attn.k_norm.weight"].shape) == (128,)


class Alone:
    """Rows that see themselves and earlier rows, and write no cache."""

    def write(self, layer):
        return None

    def attend(self, layer, q, k, v):
        from roam.kernels.attention import attend

        return attend(q, k, v, causal=True)
