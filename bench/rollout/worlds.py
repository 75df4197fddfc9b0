"""Models at the end of a full history, which frames are timed from: the embedded one, and the shape of Emu3.5."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ...world.checkpoint import load_checkpoint
from ...world.config import DidaConfig, LayoutConfig, ModelConfig
from ...world.engine import Engine
from ...world.tokens.vocabulary import Vocabulary
from ...world.transformer.cache import KVCache
from ...world.transformer.dida import MetricPath
from ...world.transformer.model import DTYPES, Layer, Transformer
from ...world.transformer.passes import Passes, Serving

EMU = ModelConfig(282_926, 5120, 25_600, 64, 64, 8, 128, 1e-6, 1e6)
EMU_WORDS = Vocabulary(151_851, 131_072, num_markers=3)
EMU_CODE_DIM = 256


@dataclass
class World:
    """A model with a full history: what a frame is made from."""

    name: str
    precision: str
    passes: Passes
    past: list[int]
    own: int

    @property
    def history(self) -> int:
        return sum(int(self.passes.cache.lengths[page]) for page in self.past)

    @property
    def tokens(self) -> int:
        return self.passes.layout.num_cells


def random_model(config: ModelConfig, precision: str, device: torch.device, *, seed: int = 0) -> Transformer:
    """A served model of random weights, made on the device a layer at a time, so that it is never there twice."""
    generator = torch.Generator(device).manual_seed(seed)
    with torch.device("meta"):
        model = Transformer(config).to(DTYPES[precision])

    @torch.no_grad()
    def fill(module) -> None:
        module.to_empty(device=device)
        for weight in module.parameters():
            if weight.ndim == 1:
                weight.fill_(1.0)
            else:
                weight.normal_(generator=generator).mul_(weight.shape[1] ** -0.5)

    for layer in model.model.layers:
        fill(layer)
        assert isinstance(layer, Layer)
        layer.join(layer, precision)
    for module in (model.model.embed_tokens, model.model.norm, model.lm_head):
        fill(module)
    return model.eval().requires_grad_(False)


def random_world(
    name: str,
    config: ModelConfig,
    vocabulary: Vocabulary,
    tokens: int,
    history: int,
    code_dim: int,
    *,
    precision: str,
    device: torch.device,
    guidance: float = 1.0,
    model: Transformer | None = None,
) -> World:
    """A model at the end of a history of about so many tokens, whose keys and values are random."""
    side = int(tokens**0.5)
    layout = LayoutConfig(grid=(side, tokens // side))
    layout = replace(layout, window=max(1, round(history / layout.page_size)))
    dtype = DTYPES[precision]
    model = model or random_model(config, precision, device)
    cache = KVCache(config, layout, device=device, dtype=dtype, num_pages=layout.window + 1)
    codebook = torch.nn.functional.normalize(torch.randn(vocabulary.num_codes, code_dim, device=device), dim=1)
    path = MetricPath(codebook.to(dtype), DidaConfig(step_temperature=1.0))
    passes = Passes(model, cache, path, layout, vocabulary, guidance=guidance)
    past = [cache.allocate() for _ in range(layout.window)]
    for tensor in (cache.k, cache.v):
        tensor.normal_()
    cache.lengths[past] = layout.page_size
    return World(name, precision, passes, past, cache.allocate())


def embedded_world(device: torch.device, precision: str, guidance: float) -> World:
    """The embedded model with a full window of random frames behind it."""
    engine = Engine(load_checkpoint(None, device=device), serving=Serving(precision=precision, guidance=guidance))
    passes, window = engine.passes, engine.layout.window
    generator = torch.Generator().manual_seed(0)
    pages: list[int] = []
    with torch.inference_mode():
        for frame in range(window):
            pages.append(engine.cache.allocate())
            tokens = torch.randint(engine.vocabulary.num_codes, (1, engine.layout.num_cells), generator=generator)
            passes.commit(tokens.to(device), torch.tensor([frame], device=device), [pages[:-1]], [pages[-1]])
    return World("embedded", precision, passes, pages, engine.cache.allocate())
