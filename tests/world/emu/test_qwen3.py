"""The transformer against an independent implementation: Qwen3 in transformers, with the same keys and the same
maths. Its logits are kept in qwen3.npz, because to import transformers takes longer than any other test; the slow test
makes them anew, and `python tests/world/emu/test_qwen3.py` writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from roam.world.config import ModelConfig, PageConfig
from roam.world.emu.token_stream import StreamPasses, TokenStream
from roam.world.transformer.cache import KVCache
from roam.world.transformer.model import Transformer
from torch import Tensor

KEPT = Path(__file__).with_name("qwen3.npz")
CONFIGS = [
    ModelConfig(97, 32, 48, 2, 4, 2, 8, 1e-6, 1e6),
    # all heads together are wider than the model, and there is one key head
    ModelConfig(61, 24, 40, 3, 6, 1, 10, 1e-5, 1e4),
    ModelConfig(50, 48, 32, 1, 3, 3, 16, 1e-6, 1e6),
]
LENGTH = 70
ROWS = [0, 1, 15, 16, 17, 39, *range(58, LENGTH)]  # those whose logits are kept


def drawn(config: ModelConfig) -> tuple[Transformer, Tensor]:
    """A model and two rows of ids, the same on every machine; norms are random too, or a missing one would not show."""
    draws, model = np.random.default_rng(7), Transformer(config).eval()
    weights = {
        name: torch.tensor((0.5 if weight.ndim == 1 else 0.0) + 0.3 * draws.standard_normal(weight.shape)).float()
        for name, weight in sorted(model.state_dict().items())
    }
    model.load_state_dict(weights)
    return model, torch.from_numpy(draws.integers(0, config.vocab_size, (2, LENGTH)))


def kept(config: ModelConfig) -> Tensor:
    """What Qwen3 answers to those ids, (2, ROWS, vocabulary)."""
    with np.load(KEPT) as logits:
        return torch.from_numpy(logits[str(CONFIGS.index(config))])


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_logits_equal_those_of_qwen3_without_a_cache(config):
    ours, ids = drawn(config)
    positions = torch.arange(LENGTH).expand(2, -1)
    logits = ours.lm_head(ours(ours.embed(ids), positions, Alone()))
    assert (logits[:, ROWS] - kept(config)).abs().max() < 1e-4


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_logits_equal_those_of_qwen3_with_the_paged_cache_in_blocks_and_token_by_token(config):
    ours, ids = drawn(config)
    wanted = dict(zip(ROWS, kept(config)[0], strict=True))
    cache = KVCache(config, PageConfig(page_size=16), device=torch.device("cpu"), num_pages=1)
    stream = TokenStream(cache, context=LENGTH)
    for start, end in ((0, 40), (40, 59), *((k, k + 1) for k in range(59, LENGTH))):
        stream.append(ids[0, start:end].tolist())
        hidden = StreamPasses(ours, cache).advance([stream])[0]
        assert (ours.lm_head(hidden)[0] - wanted[end - 1]).abs().max() < 1e-4


@pytest.mark.slow(reason="transformers is imported, which takes ten to thirty seconds")
@pytest.mark.parametrize("config", CONFIGS)
def test_the_logits_that_are_kept_are_what_qwen3_answers(config):
    pytest.importorskip("transformers")
    assert (answered(config) - kept(config)).abs().max() < 1e-5


@torch.no_grad()
def answered(config: ModelConfig) -> Tensor:
    import transformers  # here, because it takes seconds and every process collects this file

    ours, ids = drawn(config)
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
    theirs.load_state_dict(ours.state_dict())
    return theirs(ids).logits[:, ROWS]


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


if __name__ == "__main__":
    np.savez_compressed(KEPT, **{str(place): answered(config).numpy() for place, config in enumerate(CONFIGS)})
