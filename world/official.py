"""Official Emu3.5 folders as a Checkpoint: sharded safetensors, the tiktoken vocabulary, the IBQ autoencoder.

Everything is checked from the headers first: keys, shapes, memory. Then each shard streams straight to its device, one
tensor at a time. Nothing is unpickled but tensors.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..kernels.linear import Fp8Linear
from .checkpoint import Checkpoint, CheckpointError
from .config import DidaConfig, LayoutConfig, ModelConfig, PageConfig
from .emu_text import EmuTextTokenizer
from .footprint import Footprint
from .ibq import IbqConfig, IbqTokenizer
from .model import Transformer
from .vocabulary import Vocabulary

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
# settings that config.json may leave out, at the values of the official code
_DEFAULTS = {"head_dim": 128, "rms_norm_eps": 1e-5, "rope_theta": 1e6}
_DEFAULT_CONTEXT = 32_768


@dataclass(frozen=True)
class OfficialFolders:
    """Where the parts are. text: the folder of emu3.tiktoken, by default the model's."""

    model: Path
    vision: Path
    text: Path | None = None


def load_official(model: str | Path, vision: str | Path, *, text: str | Path | None = None, device: str = "cpu",
                  precision: str | None = None, context: int | None = None, available: int | None = None,
                  say: Callable[[str], None] | None = None) -> Checkpoint:  # fmt: skip
    """Load Emu3.5 from the official folders of the language model and the vision tokenizer.

    precision: float32, bfloat16, float16 or fp8, by default bfloat16 on a GPU and float32 elsewhere; context: the most
    tokens that a sequence may have, by default all that the weights were trained for; available: bytes that may be
    used, by default all that are free. The memory plan goes through `say` before anything is loaded.
    Raises CheckpointError for files that are missing, torn or of another model, DoesNotFit for a device too small.
    """
    folders = OfficialFolders(Path(model), Path(vision), None if text is None else Path(text))
    config, trained_context = read_config(folders.model)
    vision_config = read_vision_config(folders.vision)
    words = EmuTextTokenizer.from_folder(folders.text or folders.model)
    vocabulary = _vocabulary(config, vision_config, words)
    pages = PageConfig(context=min(context or trained_context, trained_context))
    precision = precision or ("bfloat16" if torch.device(device).type == "cuda" else "float32")
    free = free_bytes(device) if available is None else available
    plan = Footprint(config, pages, precision, _IBQ_SIZE(vision_config), device=device, available=free)
    if say:
        say(plan.report())
    plan.check()
    transformer = load_transformer(folders.model, config, device=device, precision=precision)
    tokenizer = load_vision(folders.vision, vision_config, device=device)
    layout = LayoutConfig(grid=(45, 45), text_capacity=127)
    return Checkpoint(transformer, tokenizer, words, vocabulary, layout, DidaConfig(), _digest(folders), pages)
