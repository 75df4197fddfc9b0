"""Variants of the recipe: a larger model, a GPU, or a given number of seconds of training in all."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from ..config import ModelConfig
from .recipe import FEWEST_DREAMS, Recipe

# a model that was trained long needs no guidance, and cells that are decided few at a time fit together
UNGUIDED: dict[str, Any] = dict(dream_steps=16, dream_temperature=1.1, dream_guidance=1.0, dream_holes=2)
# only a model that was trained long gains from deciding its cells again
CORRECTED: dict[str, Any] = UNGUIDED | dict(dream_steps=6, dream_corrections=6)


def large(recipe: Recipe) -> Recipe:
    """The recipe of a model of 19 M parameters for one large GPU: tokenizer, depth and painter are those of the
    model that it begins with, and the dreaming model is trained from nothing. A state fits eight files of 16 MiB."""
    model = ModelConfig(
        1, hidden_size=384, intermediate_size=1152, num_hidden_layers=9, num_attention_heads=12, num_key_value_heads=4
    )
    dream = replace(recipe.dream, max_seconds=1500.0, part_mb=15)
    guide = replace(recipe.guide, run=replace(recipe.guide.run, max_seconds=300.0, part_mb=15))
    return replace(recipe, model=model, dream=dream, guide=guide)


def learnt(recipe: Recipe) -> Recipe:
    """The recipe that goes on from a model in the worlds that it has learnt: tokenizer and depth at a fraction of the
    rates, so that little is unlearnt."""
    tokenizer = replace(recipe.tokenizer, peak=3e-4, polish_peak=3e-4)
    return replace(recipe, tokenizer=tokenizer, refiner=replace(recipe.refiner, peak=3e-4))


def going_on(recipe: Recipe) -> Recipe:
    """The recipe that continues from a model in other worlds: tokenizer and depth at about half the rates, so that
    less is unlearnt; a painter with a loss for textures, because at first its discriminators do not know those
    worlds."""
    return replace(
        recipe,
        tokenizer=replace(recipe.tokenizer, peak=7e-4, polish_peak=3e-4),
        refiner=replace(recipe.refiner, peak=7e-4),
        painting=replace(recipe.painting, texture_weight=1.0),
        dida=replace(recipe.dida, **UNGUIDED),
    )


def on_gpu(recipe: Recipe) -> Recipe:
    """The recipe with batches that fill a GPU, and with new walks, as many as the CPU cores can render, because a
    GPU has used all recordings within a minute."""
    batches = dict(walks=24, copies=4, look_every=1500)
    return replace(
        recipe,
        dream=replace(recipe.dream, steps=10**6, **batches),
        guide=replace(recipe.guide, run=replace(recipe.guide.run, steps=10**6, **batches)),
        painting=replace(recipe.painting, steps=10**6, batch=24, look_every=250),
        dida=replace(recipe.dida, **CORRECTED),
        fresh=0 if recipe.data else max(1, (os.cpu_count() or 1) - 4),
    )


def within(recipe: Recipe, seconds: float, stages: tuple[str, ...]) -> Recipe:
    """The recipe whose named stages train for `seconds` together, in their present proportions; if that is shorter,
    fewer dreams are made for the last stage, but at least FEWEST_DREAMS."""
    own = {
        "tokenizer": recipe.tokenizer.max_seconds,
        "depth": recipe.refiner.max_seconds,
        "world": recipe.world.max_seconds,
        "dream": recipe.dream.max_seconds,
        "guide": recipe.guide.run.max_seconds,
        "painter": recipe.painting.max_seconds,
        "finish": recipe.finishing.max_seconds,
    }
    share = seconds / max(1.0, sum(length for stage, length in own.items() if stage in stages))
    return replace(
        recipe,
        tokenizer=replace(recipe.tokenizer, max_seconds=share * own["tokenizer"]),
        refiner=replace(recipe.refiner, max_seconds=share * own["depth"]),
        world=replace(recipe.world, max_seconds=share * own["world"]),
        dream=replace(recipe.dream, max_seconds=share * own["dream"]),
        guide=replace(recipe.guide, run=replace(recipe.guide.run, max_seconds=share * own["guide"])),
        painting=replace(recipe.painting, max_seconds=share * own["painter"]),
        finishing=replace(recipe.finishing, max_seconds=share * own["finish"]),
        dreams=max(FEWEST_DREAMS, min(recipe.dreams, round(share * recipe.dreams))),
    )


SIZES = {"small": lambda recipe: recipe, "large": large}
