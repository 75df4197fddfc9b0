"""Opens the model that a spec names: a baseline, a checkpoint of ours, videos made elsewhere, or a class of your
own."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from ....world.checkpoint import SHIPPED
from ..questions.episode import BenchError
from .adapters import WorldModel
from .baselines import BASELINES
from .videos import VideoFolder


def open_model(spec: str) -> WorldModel:
    """The model that a spec names.

    A baseline's name ("truth", "retrieval", ...); "embedded", "large" or "doom", which ship, or "FOLDER/", each with
    ":" and options like memory=off,actions=shuffled,weights=untrained if wanted; "videos:FOLDER"; or
    "package.module:Class" of your own.
    """
    name, _, rest = spec.partition(":")
    if spec in BASELINES:
        return BASELINES[spec]()
    if name == "videos":
        return VideoFolder(rest)
    if name == "tokenizer" or name in SHIPPED or "/" in name:
        from .embedded import open_embedded

        return open_embedded(spec)
    return _own(spec, name, rest)


def check_model(spec: str) -> None:
    """Raise the error of a spec that names no model, in no time: no weights are read, and nothing of yours is made."""
    name, _, rest = spec.partition(":")
    if spec in BASELINES:
        return
    if name == "videos":
        VideoFolder(rest)
    elif name == "tokenizer" or name in SHIPPED or "/" in name:
        from .embedded import check_embedded

        check_embedded(spec)
    else:
        _class_of(spec, name, rest)


def _class_of(spec: str, module: str, name: str) -> Callable[[], WorldModel]:
    if not name:
        raise BenchError(
            f"unknown model '{spec}'; known: {', '.join(BASELINES)}, tokenizer, {', '.join(SHIPPED)}[:OPTIONS], "
            "FOLDER/[:OPTIONS], videos:FOLDER, or your own package.module:Class"
        )
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BenchError(
            f"model '{spec}' cannot be made: {error}; wanted package.module:Class on the Python path"
        ) from error


def _own(spec: str, module: str, name: str) -> WorldModel:
    made = _class_of(spec, module, name)()
    if not isinstance(made, WorldModel):
        raise BenchError(f"model '{spec}' is no model; subclass {WorldModel.__module__}.{WorldModel.__qualname__}")
    return made
