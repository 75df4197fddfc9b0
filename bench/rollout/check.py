"""The check before any figure: a small model on the device against the float32 references on a CPU."""

from __future__ import annotations

import copy

import torch

from ...world.config import ModelConfig
from ...world.tokens.vocabulary import Vocabulary
from ...world.transformer.model import Transformer
from .worlds import random_world

CHECKED = ModelConfig(600, 256, 512, 2, 8, 2, 64)
# how far keys and values may be from the references', and how many tokens must be the same: 3 bits of mantissa in fp8
WITHIN = {"float32": (1e-4, 0.98), "bfloat16": (0.03, 0.8), "fp8": (0.12, 0.4)}


def check(device: torch.device, precision: str) -> float:
    """A small model through the passes of the device, captured where it captures, against the float32 references on a
    CPU: the relative error of the keys and values that words and a frame leave. Raises AssertionError where that or the
    tokens of a denoising step are further off than WITHIN, or where a replay differs from the pass itself."""
    torch.manual_seed(0)
    origin, vocabulary = Transformer(CHECKED), Vocabulary(86, 512)
    kept, drawn = [], []
    for where, named in ((torch.device("cpu"), "float32"), (device, precision)):
        model = copy.deepcopy(origin).to(where).served(named)
        world = random_world("check", CHECKED, vocabulary, 64, 160, 8, precision=named, device=where, model=model)
        passes, cache, generator = world.passes, world.passes.cache, torch.Generator().manual_seed(1)
        for tensor in (cache.k, cache.v):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        tokens, index, seed = (x.to(where) for x in (torch.arange(64)[None] * 7, torch.tensor([2]), torch.tensor([5])))
        runs = []
        for _ in range(3):
            cache.lengths[world.own] = 0
            found = passes.denoise([(1, 2, 3)], index, [world.past], [world.own], tokens, None, seed, temperature=0.0)
            passes.commit(found, index, [world.past], [world.own])
            runs.append((found.cpu(), torch.stack([x[:, world.own, :3] for x in (cache.k, cache.v)]).float().cpu()))
        for found, left in runs[1:]:
            assert torch.equal(found, runs[0][0]), f"{named} on {where}: replayed, a step gives other tokens"
            assert torch.equal(left, runs[0][1]), f"{named} on {where}: replayed, a step leaves other keys and values"
        cache.lengths[world.own] = 3  # the same frame for both, whatever they have predicted
        passes.commit(tokens, index, [world.past], [world.own])
        kept.append(torch.stack([x[:, world.own, :68] for x in (cache.k, cache.v)]).float().cpu())
        drawn.append(runs[0][0])
    error, same = ((kept[1] - kept[0]).norm() / kept[0].norm()).item(), (drawn[0] == drawn[1]).float().mean().item()
    most, least = WITHIN[precision]
    assert error <= most, f"{precision} on {device} is {error:.4f} off the references; at most {most}"
    assert same >= least, f"{precision} on {device} predicts {same:.2f} of the references' tokens; at least {least}"
    return error
