"""Weights, configuration and vocabulary together: a folder that is read completely or refused with a reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..kernels.conv import channels_last
from .config import DidaConfig, LayoutConfig, ModelConfig, PageConfig
from .emu.ibq import IbqTokenizer
from .emu.text import EmuTextTokenizer
from .files import DIGESTS, let_read, parse_json, whole, why_damaged, write_digests, write_text_whole
from .tokens.depth import DepthConfig, DepthRefiner
from .tokens.painter import Painter, PainterConfig
from .tokens.text import TextTokenizer
from .tokens.vision import VisionConfig, VisionTokenizer
from .tokens.vocabulary import Vocabulary
from .transformer.model import Transformer

_FILLING = {"uniform_", "normal_", "fill_", "zero_", "constant_", "kaiming_uniform_"}  # of nn.init and of tensors
T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)

EMBEDDED = Path(__file__).parent / "weights"
LARGE = EMBEDDED / "large"
DOOM = EMBEDDED / "doom"
SHIPPED = {"embedded": EMBEDDED, "large": LARGE, "doom": DOOM}
FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says what came, what was wanted and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a world model consists of. digest: identifies the weights, 16 hex digits over the files. depth:
    corrects the tokenizer's depth by the pixels shown, None if that depth is used as it is. painter: shows dreamt
    tokens next to what was seen; without one nothing is dreamt, and whole frames are decoded.

    An official Emu3.5 checkpoint (emu/checkpoint.py) is the same class with that model's tokenizers, and with `pages`,
    which say how its plain sequences are cut and how long they may be. is_adapted: whether the weights can denoise a
    whole frame, which the released ones cannot before `roam adapt`.
    """

    model: Transformer
    vision: VisionTokenizer | IbqTokenizer
    text: TextTokenizer | EmuTextTokenizer
    vocabulary: Vocabulary
    layout: LayoutConfig
    dida: DidaConfig
    digest: str = ""
    pages: PageConfig | None = None
    is_adapted: bool = True
    depth: DepthRefiner | None = None
    painter: Painter | None = None

    @property
    def metric(self) -> Tensor:
        """(V, D): the codebook whose distances define the noise. IBQ's rows are normalised for it, as in URSA."""
        codebook = self.vision.codebook
        return F.normalize(codebook, dim=-1) if isinstance(self.vision, IbqTokenizer) else codebook


def is_official(folder: str | Path) -> bool:
    """Whether a folder holds a language model in the official format: a config.json with a model_type."""
    try:
        return "model_type" in parse_json((Path(folder) / "config.json").read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def save_checkpoint(checkpoint: Checkpoint, folder: str | Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write config.json, model.safetensors, vision.safetensors and, if there are any, depth.safetensors and
    painter.safetensors, and the digests of all of them; weights are rounded to `dtype`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(checkpoint.text, TextTokenizer):
        raise CheckpointError("an official checkpoint is no folder of ours: emu.checkpoint.save_official writes it")
    modules: dict[str, nn.Module] = {"model": checkpoint.model, "vision": checkpoint.vision}
    configs: dict[str, Any] = {"model": checkpoint.model.config, "vision": checkpoint.vision.config}
    if checkpoint.depth is not None:
        modules["depth"], configs["depth"] = checkpoint.depth, checkpoint.depth.config
    if checkpoint.painter is not None:
        modules["painter"], configs["painter"] = checkpoint.painter, checkpoint.painter.config
    for name, module in modules.items():
        tensors = {key: value.to(dtype).contiguous() for key, value in module.state_dict().items()}
        with whole(folder / f"{name}.safetensors") as partial:
            save_file(tensors, partial)
            let_read(partial)
    configs |= {"layout": checkpoint.layout, "dida": checkpoint.dida}
    parts = {"format": FORMAT, **{name: asdict(config) for name, config in configs.items()}}
    parts["words"] = checkpoint.text.words
    write_text_whole(folder / "config.json", json.dumps(parts, indent=1))
    write_digests(folder)  # last, so that a folder of which only a part was replaced is noticed


def load_checkpoint(folder: str | Path | None = None, *, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint in float32; folder: as for folder_of. A config.json can name parts that it shares with the
    parent folder. Raises CheckpointError for anything wrong."""
    folder = folder_of(folder)
    parts = _read_config(folder)
    try:
        model_config = ModelConfig(**parts["model"])
        vision_config, layout = config_from(VisionConfig, parts["vision"]), config_from(LayoutConfig, parts["layout"])
        depth_config = config_from(DepthConfig, parts["depth"]) if "depth" in parts else None
        painter_config = config_from(PainterConfig, parts["painter"]) if "painter" in parts else None
        dida = DidaConfig(**parts["dida"])
        text, shared = TextTokenizer(parts["words"]), set(parts.get("shared", ()))
        if unknown := shared - {"vision", "depth", "painter"}:
            raise ValueError(f"'{unknown.pop()}' is no part that can be shared with the folder above")
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'} has settings that cannot be used: {error}") from error
    vocabulary = Vocabulary(text.size, vision_config.num_codes)
    if model_config.vocab_size != vocabulary.size or layout.grid != vision_config.grid:
        raise CheckpointError(
            f"{folder / 'config.json'} contradicts itself: vocabulary or grid of model and tokenizer differ"
        )
    if depth_config is not None and depth_config.size != vision_config.size:
        raise CheckpointError(
            f"{folder / 'config.json'} contradicts itself: depth is for {depth_config.size} pixels a side, the "
            f"tokenizer for {vision_config.size}"
        )
    if painter_config is not None and (painter_config.size, painter_config.channels) != (
        vision_config.size,
        len(vision_config.levels),
    ):
        raise CheckpointError(f"{folder / 'config.json'} contradicts itself: its painter is for other pictures")
    digest = hashlib.sha256()

    def read(name: str, make: Callable[[], M]) -> M:
        module = _loaded(make, (folder.parent if name in shared else folder) / f"{name}.safetensors", digest)
        module.to(device).eval().requires_grad_(False)
        return module if name == "model" else channels_last(module)

    model = read("model", lambda: Transformer(model_config))
    vision = read("vision", lambda: VisionTokenizer(vision_config))
    depth = None if depth_config is None else read("depth", lambda: DepthRefiner(depth_config))
    painter = None if painter_config is None else read("painter", lambda: Painter(painter_config))
    return Checkpoint(
        model, vision, text, vocabulary, layout, dida, digest.hexdigest()[:16], depth=depth, painter=painter
    )


def folder_of(name: str | Path | None) -> Path:
    """The folder of a model: None or "embedded" for the one in the package, "large" for the larger one and "doom"
    for the one of Doom's levels, unless there is a folder of that name here."""
    if name is None:
        return EMBEDDED
    folder = Path(name)
    return folder if folder.exists() else SHIPPED.get(str(name), folder)


def check_is_there(name: str | Path | None) -> None:
    """Raise CheckpointError if a model's folder has no settings that can be read; its weights are not looked at."""
    _read_config(folder_of(name))


def _read_config(folder: Path) -> dict:
    path = folder / "config.json"
    try:
        data = path.read_bytes()
        parts = parse_json(data)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"no checkpoint in {folder}: config.json is missing; name a folder that `roam train` wrote"
        ) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{path} cannot be read ({why}); wanted the JSON that `roam train` writes") from error
    _check(path, data)
    if not isinstance(parts, dict) or parts.get("format") != FORMAT:
        found = parts.get("format") if isinstance(parts, dict) else None
        raise CheckpointError(
            f"{path} is of format {found}, this program reads format {FORMAT}; use the matching version"
        )
    return parts


def _loaded(make: Callable[[], M], path: Path, digest) -> M:
    """A network with the weights of a file. It is made without memory first and compared with the file: a damaged or
    foreign config.json may ask for any size, so memory is allocated only once the file is known to hold as much."""
    try:
        data = path.read_bytes()
        _check(path, data)
        tensors = load(data)
        digest.update(data)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is torn or no safetensors file ({error}); copy or train it again") from error
    try:
        with torch.device("meta"), Unfilled():
            wanted = make().state_dict()
    except (RuntimeError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: its config.json has settings that no network has: {error}") from error
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise CheckpointError(
            f"{path} lacks {len(missing)} tensors, the first is {missing[0]}; it belongs to another model"
        )
    if extra := sorted(tensors.keys() - wanted.keys()):
        raise CheckpointError(
            f"{path} has {len(extra)} unknown tensors, the first is {extra[0]}; it belongs to another model"
        )
    for key, value in tensors.items():
        if value.shape != wanted[key].shape:
            raise CheckpointError(
                f"{path}: {key} has shape {tuple(value.shape)}, the configuration wants {tuple(wanted[key].shape)}"
            )
    with Unfilled():
        module = make()
    module.load_state_dict({key: value.float() for key, value in tensors.items()})
    return module


def _check(path: Path, data: bytes) -> None:
    if damage := why_damaged(path, data):
        raise CheckpointError(f"{damage}; copy the folder again, or remove {DIGESTS} if a file was changed on purpose")


class Unfilled(TorchFunctionMode):
    """Leaves new weights unfilled, as those of a file replace them. To fill weights on the meta device, torch would
    import half of itself, for seconds. It would do so for `linspace` too, which is short (a side of a picture), and so
    is made on the CPU."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, given = getattr(function, "__name__", ""), kwargs or {}
        if name in _FILLING:
            return args[0] if args else given["tensor"]
        return function(*args, **(given | {"device": "cpu"} if name == "linspace" else given))


def config_from(kind: type[T], settings: dict[str, Any]) -> T:
    """A configuration from its JSON, which has lists for tuples."""
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})
