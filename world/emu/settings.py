"""The settings in official folders: the numbers of their models, whether they are adapted, which model they hold.

Reads configurations only, and no weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checkpoint import CheckpointError, config_from
from ..config import DidaConfig, ModelConfig
from ..files import parse_json
from .ibq import IbqConfig

# settings that config.json may leave out, with the values of the official code
_DEFAULTS = {"head_dim": 128, "rms_norm_eps": 1e-5, "rope_theta": 1e6}
DEFAULT_CONTEXT = 32_768
_POINTER = b"version https://git-lfs"
_MODEL_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)


def is_adapted(folder: str | Path) -> bool:
    """Whether a folder's weights denoise whole pictures, by its config.json."""
    return read_dida(Path(folder)) is not None


def refuse_swapped(model: str | Path, vision: str | Path) -> None:
    """Raises CheckpointError if the two folders were swapped, or are the same."""
    kinds = [_kind_of(Path(folder)) for folder in (model, vision)]
    if kinds == ["vision", "model"]:
        raise CheckpointError(
            f"{model} is a vision tokenizer and {vision} a language model: name them the other way round"
        )
    if kinds[0] == "vision":
        raise CheckpointError(f"{model} is a vision tokenizer, and stands where the language model's folder is wanted")
    if kinds[1] == "model":
        raise CheckpointError(f"{vision} is a language model, and stands where the vision tokenizer's folder is wanted")


def _kind_of(folder: Path) -> str:
    """Which model a folder's settings are of, "" if that cannot be told."""
    try:
        parts = json_of(folder / "config.json")
    except CheckpointError:
        return "vision" if (folder / "config.yaml").is_file() else ""
    if "num_hidden_layers" in parts:
        return "model"
    return "vision" if {"ch_mult", "codebook_size", "n_embed", "ddconfig"} & parts.keys() else ""


def read_dida(folder: Path) -> DidaConfig | None:
    """How an adapted model denoises; None for one that draws token by token, as the released ones do."""
    parts = json_of(folder / "config.json").get("dida")
    try:
        return None if parts is None else DidaConfig(**parts)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'} has a 'dida' that cannot be used: {error}") from error


def read_config(folder: Path) -> tuple[ModelConfig, int]:
    """The model's numbers and its context from config.json. Raises CheckpointError for a model that this engine
    cannot run."""
    path = folder / "config.json"
    parts = json_of(path)
    for name in ("rope_scaling", "attention_bias", "tie_word_embeddings"):
        if parts.get(name):
            raise CheckpointError(f"{path} sets {name} to {parts[name]}; this engine runs Emu3.5, which has none")
    if missing := [name for name in _MODEL_SIZES if name not in parts]:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; wanted that of an Emu3.5 language model")
    wanted = {name: parts[name] for name in (*_MODEL_SIZES, *_DEFAULTS) if name in parts}
    if wrong := [name for name, value in wanted.items() if type(value) not in (int, float)]:
        raise CheckpointError(f"{path} sets {wrong[0]} to {wanted[wrong[0]]!r}, where a number is wanted")
    try:
        return ModelConfig(**{**_DEFAULTS, **wanted}), int(parts.get("max_position_embeddings", DEFAULT_CONTEXT))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has settings that cannot be used: {error}") from error


def read_vision_config(folder: Path) -> IbqConfig:
    """The autoencoder's numbers from config.yaml (ddconfig at any depth) or a flat config.json."""
    path = folder / "config.yaml"
    if path.is_file():
        import yaml

        try:
            parts = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} is torn or no YAML ({error}); copy it again") from error
        if not isinstance(parts, dict):
            raise CheckpointError(f"{path} holds no settings; {again(path)}")
    else:
        path = folder / "config.json"
        parts = json_of(path)
    outer = _holder_of("ddconfig", parts) or parts
    flat = {**outer, **outer.get("ddconfig", {})}
    flat["n_embed"] = flat.get("n_embed", flat.get("codebook_size", IbqConfig.n_embed))
    known: dict[str, Any] = {name: value for name, value in flat.items() if name in IbqConfig.__dataclass_fields__}
    try:
        return config_from(IbqConfig, known)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has settings that cannot be used: {error}") from error


def _holder_of(name: str, parts: object) -> dict | None:
    """The first mapping, at any depth, that has the key."""
    if not isinstance(parts, dict):
        return None
    if name in parts:
        return parts
    return next((held for value in parts.values() if (held := _holder_of(name, value))), None)


def json_of(path: Path) -> dict:
    try:
        parts = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing; name a folder in the official format, for nothing is downloaded here"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); {again(path)}") from error
    if not isinstance(parts, dict):
        raise CheckpointError(f"{path} holds no settings; {again(path)}")
    return parts


def again(path: Path) -> str:
    """How to get a file that is not what it should be: what git clones without Git LFS is a pointer to it."""
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(_POINTER)) == _POINTER
    except OSError:
        is_pointer = False
    if is_pointer:
        return "it is a pointer of Git LFS: `git lfs pull` in its folder gets the file itself"
    return "download it again"
