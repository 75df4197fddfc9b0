"""Our own model as a row: a checkpoint through Engine and Session, whole or with a part of it taken away.

Specs: "embedded", "large", "doom" or a folder of weights with a slash in it, then ":" and any of
    memory=off         no remembered views: canvases start from the frame before, and only the window is read
    actions=shuffled   told other actions than those that are asked
    weights=untrained  the same tokenizer, and a transformer with random weights
"tokenizer" or "tokenizer:FOLDER/" is the truth through the vision tokenizer: what no model that uses it can exceed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ....world.checkpoint import Checkpoint, check_is_there, load_checkpoint
from ....world.engine import Engine
from ....world.frame import Frame
from ....world.session import Session
from ....world.tokens.vision import VisionTokenizer
from ....world.transformer.model import Transformer
from ..questions.episode import BenchError, Command
from ..questions.truth import Truth
from .adapters import Answer, Context, ShuffledActions, WorldModel
from .baselines import TruthRow

OPTIONS = {"memory": ("on", "off"), "actions": ("true", "shuffled"), "weights": ("trained", "untrained")}
LESS = tuple(f"{name}={values[1]}" for name, values in OPTIONS.items())


class Dream(WorldModel):
    """A world model of ours. Shown frames are observed with their poses; every answer is one `Session.step`.
    session: the walk of the question that is being asked, None between questions."""

    def __init__(self, checkpoint: Checkpoint, *, memory: bool = True):
        self.checkpoint, self.memory = checkpoint, memory
        self.engine = Engine(checkpoint)
        self.session: Session | None = None

    def reset(self, context: Context) -> None:
        side = self.engine.frame_side
        if context.frames.shape[1:3] != (side, side):
            raise BenchError(f"frames of {context.frames.shape[1:3]}; this model's are {side}x{side}")
        self.close()
        first = Frame(0, context.frames[0], pose=context.poses[0])
        self.session = self.engine.session(first, seed=context.seed, start="auto" if self.memory else "frame")
        for action, pixels, pose in zip(context.actions, context.frames[1:], context.poses[1:], strict=True):
            self.session.observe(action, pixels, pose)

    def step(self, command: Command) -> Answer:
        assert self.session is not None, "a model is reset before it is asked"
        frame = self.session.step(command.action)
        return Answer(frame.pixels, frame.depth)

    @property
    def about(self) -> dict:
        return {
            "weights": self.checkpoint.digest,
            "window": self.checkpoint.layout.window,
            "memory": "on" if self.memory else "off",
            "tokens_per_frame": self.checkpoint.layout.num_cells,
            "cache_bytes_per_frame": self.engine.cache.bytes_per_page,
        }

    def close(self) -> None:
        if self.session is not None:
            self.session.close()
        self.session = None


class Reconstruction(TruthRow):
    """The truth through the vision tokenizer, there and back."""

    def __init__(self, checkpoint: Checkpoint):
        if not isinstance(checkpoint.vision, VisionTokenizer):
            raise BenchError("a tokenizer without depth; wanted a checkpoint of ours")
        self._vision = checkpoint.vision
        self._digest = checkpoint.digest

    def take(self, truth: Truth) -> None:
        self.truth = truth

    @torch.inference_mode()
    def step(self, command: Command) -> Answer:
        picture = torch.from_numpy(np.ascontiguousarray(self.truth.at(command.pose).pixels))[None]
        pixels, depth = self._vision.decode(self._vision.encode(picture))
        return Answer(pixels[0].numpy(), depth[0].numpy())

    @property
    def about(self) -> dict:
        return {"weights": self._digest}


def check_embedded(spec: str) -> None:
    """Raise what `open_embedded` would raise for a spec, without reading weights."""
    name, _, rest = spec.partition(":")
    if name == "tokenizer":
        check_is_there(rest or None)
    else:
        _options(rest)
        check_is_there(name)


def open_embedded(spec: str) -> WorldModel:
    """The row that a spec names. Raises BenchError for an unknown option, CheckpointError for missing weights."""
    name, _, rest = spec.partition(":")
    torch.set_num_threads(1)  # a process a core is what the benchmark runs
    if name == "tokenizer":
        return Reconstruction(load_checkpoint(rest or None))
    chosen = _options(rest)
    checkpoint = load_checkpoint(name)
    if chosen["weights"] == "untrained":
        checkpoint = untrained(checkpoint)
    dream = Dream(checkpoint, memory=chosen["memory"] == "on")
    return ShuffledActions(dream) if chosen["actions"] == "shuffled" else dream


def rows_of(model: str) -> list[str]:
    """The specs of a model of ours, of itself with a part taken away, and of its tokenizer."""
    folder = "" if model == "embedded" else model
    return [model, *(f"{model}:{part}" for part in LESS), f"tokenizer:{folder}".rstrip(":")]


def untrained(checkpoint: Checkpoint, *, seed: int = 0) -> Checkpoint:
    """The same tokenizer and configuration, and a transformer that has learnt nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Transformer(checkpoint.model.config).eval().requires_grad_(False)
    return replace(checkpoint, model=model, digest=f"untrained-{seed}")


def _options(text: str) -> dict[str, str]:
    chosen = {name: values[0] for name, values in OPTIONS.items()}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if value not in OPTIONS.get(name, ()):
            known = "; ".join(f"{name}={'|'.join(values)}" for name, values in OPTIONS.items())
            raise BenchError(f"unknown model option '{part}'; known: {known}")
        chosen[name] = value
    return chosen
