"""Small stand-ins for the official files: a byte-pair table with the official first 256 ids, and tiny random
checkpoints."""

from __future__ import annotations

import base64
import json
from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from roam.world.config import ModelConfig
from roam.world.emu.ibq import IbqConfig, IbqTokenizer
from roam.world.emu.text import BPE_FILE, VISION_FILE, visual_surfaces
from roam.world.transformer.model import Transformer
from safetensors.torch import save_file

NUM_RANKS, NUM_CODES = 300, 64
# GPT-2's order of single bytes, in which '*' is id 9 and '0' is id 15
BYTES = [*range(33, 127), *range(161, 173), *range(174, 256), *range(33), *range(127, 161), 173]
IBQ = IbqConfig(ch=32, ch_mult=(1, 1, 1, 1, 1), num_res_blocks=1, z_channels=8, n_embed=NUM_CODES, embed_dim=8)


def byte_pairs(count: int) -> dict[bytes, int]:
    """`count` ranks: the single bytes, then pairs and triples of letters."""
    pieces = [bytes([byte]) for byte in BYTES]
    letters = range(97, 123)
    longer = (bytes(letter) for length in (2, 3, 4) for letter in product(letters, repeat=length))
    pieces += [piece for piece, _ in zip(longer, range(count - 256), strict=False)]
    return {piece: rank for rank, piece in enumerate(pieces)}


def write_text_tokenizer(folder: Path, ranks: int = NUM_RANKS, codes: int = NUM_CODES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"{base64.b64encode(piece).decode()} {rank}" for piece, rank in byte_pairs(ranks).items()]
    (folder / BPE_FILE).write_text("\n".join(rows) + "\n")
    (folder / VISION_FILE).write_text("\n".join(visual_surfaces(codes)) + "\n")


def tiny_model() -> Transformer:
    torch.manual_seed(3)
    size = NUM_RANKS + 208 + 3 + NUM_CODES
    return Transformer(ModelConfig(size, 32, 48, 2, 4, 2, 8, rope_theta=1e6))


def write_model(folder: Path, model: Transformer, *, context: int = 4096) -> None:
    """config.json, two shards and their index, as the official folder has them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        **vars(model.config),
        "model_type": "Emu3",
        "architectures": ["Emu3ForCausalLM"],
        "max_position_embeddings": context,
        "tie_word_embeddings": False,
        "rope_scaling": None,
    }
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    keys, where = sorted(tensors), {}
    for number, part in enumerate((keys[::2], keys[1::2]), 1):
        name = f"model-{number:05d}-of-00002.safetensors"
        save_file({key: tensors[key] for key in part}, folder / name, metadata={"format": "pt"})
        where |= dict.fromkeys(part, name)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_vision(folder: Path, *, ckpt: bool = True) -> None:
    """The autoencoder as config.yaml and model.ckpt, or as config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(4)
    weights = IbqTokenizer(IBQ).state_dict()
    parts = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(IBQ).items()}
    outer = {key: parts.pop(key) for key in ("n_embed", "embed_dim")}
    if ckpt:
        (folder / "config.yaml").write_text(yaml.safe_dump({**outer, "ddconfig": parts, "beta": 0.25}))
        torch.save({"state_dict": weights}, folder / "model.ckpt")
    else:
        (folder / "config.json").write_text(json.dumps({**parts, "codebook_size": outer["n_embed"], **outer}))
        save_file(weights, folder / "model.safetensors")


@pytest.fixture(scope="session")
def official(tmp_path_factory) -> tuple[Path, Path]:
    """Folders of a tiny random language model with its text tokenizer, and of a tiny IBQ autoencoder. That is in
    safetensors, which are read in a third of the time; test_checkpoint.py has it as it was published."""
    return write_official(tmp_path_factory.mktemp("official"), ckpt=False)


def write_official(root: Path, *, ckpt: bool) -> tuple[Path, Path]:
    write_model(root / "model", tiny_model())
    write_text_tokenizer(root / "model")
    write_vision(root / "vision", ckpt=ckpt)
    return root / "model", root / "vision"
