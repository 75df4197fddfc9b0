"""Official Emu3.5 folders as a Checkpoint: sharded safetensors, the tiktoken vocabulary, the IBQ autoencoder.

Everything is checked from the headers first: keys, shapes, memory. Then each shard streams straight to its device, one
tensor at a time. Nothing is unpickled but tensors.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import pickle
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ...kernels.packed import BITS, Packed, PackedEmbedding
from ..checkpoint import Checkpoint, CheckpointError
from ..config import DidaConfig, LayoutConfig, ModelConfig, PageConfig
from ..tokens.vocabulary import Vocabulary
from ..transformer.model import DTYPES, QUANTISED, Transformer, quantised
from .ibq import IbqConfig, IbqTokenizer
from .memory_plan import Footprint
from .settings import DEFAULT_CONTEXT, json_of, read_config, read_dida, read_vision_config, refuse_swapped
from .text import BPE_FILE, VISION_FILE, EmuTextTokenizer, TokenizerError, find_text_tokenizer

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

log = logging.getLogger(__name__)

C = TypeVar("C", ModelConfig, IbqConfig)
M = TypeVar("M", bound=nn.Module)

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
Shapes = Mapping[str, tuple[int, ...]]


def load_official(
    model: str | Path,
    vision: str | Path,
    *,
    text: str | Path | None = None,
    device: str = "cpu",
    precision: str | None = None,
    context: int | None = None,
    available: int | None = None,
    mesh: DeviceMesh | None = None,
    devices: int = 1,
    need: Need | None = None,
    say: Callable[[str], None] | None = None,
) -> Checkpoint:
    """Load Emu3.5 from the official folders of the language model and the vision tokenizer.

    text: the folder of emu3.tiktoken, by default the model's or the official repository's (text.py); precision:
    float32, bfloat16, float16, fp8, int8 or int4, by default bfloat16 on a GPU and float32 elsewhere; context: the most
    tokens of a sequence, by default all that the weights were trained for, or the most that fit; available: bytes that
    may be used, by default all that are free; mesh: the processes to split the language model over, each of which calls
    this; devices: how many to split it over where this process leads and starts the others (followers.py); need: what
    the task takes. Where the vision tokenizer does not fit beside the model it stays on the CPU. The memory plan goes
    through `say` before anything is loaded. Raises CheckpointError or TokenizerError
    for files that are missing, torn or of another model, DoesNotFit for a device too small, PrecisionError for an
    unknown precision.
    """
    model, vision, need, say = Path(model), Path(vision), need or Need(), say or log.info
    refuse_swapped(model, vision)
    config, trained = read_config(model)
    vision_config = read_vision_config(vision)
    words = EmuTextTokenizer.from_folder(text or find_text_tokenizer(model, vision))
    vocabulary = _vocabulary(config, vision_config, words)
    pages = PageConfig(context=context or trained)
    precision = precision or ("bfloat16" if torch.device(device).type == "cuda" else "float32")
    num_vision = sum(tensor.numel() for tensor in _on_meta(IbqTokenizer, vision_config).parameters())
    free = free_bytes(device) if available is None else available
    plan = Footprint(
        config,
        pages,
        precision,
        vision=num_vision,
        vision_width=vision_config.ch,
        area=need.area,
        streams=need.streams,
        budget=need.tokens,
        spare=need.spare,
        device=device,
        available=free,
        num_devices=mesh.size() if mesh else devices,
    )
    if context is None and (shorter := plan.shortened()) is not plan:
        plan, pages = shorter, shorter.pages
        say(f"a context of {pages.context} tokens, for {trained} do not fit; --context says another")
    if (beside := plan.apart()) is not plan:
        plan = beside
        say(f"pictures are read and drawn on the CPU, for {device} has no room for that beside the model")
    if pages.context > trained:
        say(
            f"a context of {pages.context} tokens, where the weights were trained for {trained}: positions go on, as "
            "in the official code, and nobody has measured how well"
        )
    say(plan.report())
    plan.check()
    if devices > 1:
        transformer = _led(model, config, device, precision, devices)
    else:
        transformer = load_transformer(model, config, device=device, precision=precision, mesh=mesh)
    tokenizer = load_vision(vision, vision_config, device=device if plan.vision else "cpu")
    dida = read_dida(model)
    return Checkpoint(
        transformer,
        tokenizer,
        words,
        vocabulary,
        LayoutConfig(grid=(45, 45), text_capacity=127),
        dida or DidaConfig(),
        _digest(model, vision),
        pages,
        is_adapted=dida is not None,
    )


@dataclass(frozen=True)
class Need:
    """What a task takes of memory, as Footprint has it. tokens: of its longest sequence, None for the whole context."""

    tokens: int | None = None
    streams: int = Footprint.streams
    area: int = Footprint.area
    spare: int = 0
    longest: ClassVar[int] = DEFAULT_CONTEXT


@dataclass(frozen=True)
class OfficialParts:
    """What an official checkpoint has of its own kind."""

    text: EmuTextTokenizer
    vision: IbqTokenizer
    pages: PageConfig


def parts_of(checkpoint: Checkpoint) -> OfficialParts:
    """Raises CheckpointError for a checkpoint of another kind."""
    text, vision, pages = checkpoint.text, checkpoint.vision, checkpoint.pages
    if not isinstance(text, EmuTextTokenizer) or not isinstance(vision, IbqTokenizer) or pages is None:
        raise CheckpointError("a checkpoint of ours where an official one is wanted: Engine is what runs it")
    return OfficialParts(text, vision, pages)


def save_official(
    model: Transformer,
    source: str | Path,
    folder: str | Path,
    dida: DidaConfig | None,
    *,
    text: str | Path | None = None,
    shard_bytes: int = 4 << 30,
) -> None:
    """Write a model that began as the official folder `source` as such a folder, in shards of about `shard_bytes`;
    config.json says that it is adapted, where `dida` says how it denoises, and the text tokenizer's files come along,
    from `text` if it is named."""
    source, folder = Path(source), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for key, tensor in model.state_dict().items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][key] = tensor
        size += tensor.nbytes
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file({key: tensor.contiguous().cpu() for key, tensor in shard.items()}, folder / name, {"format": "pt"})
        where |= dict.fromkeys(shard, name)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}, indent=1), encoding="utf-8")
    config = json_of(source / "config.json") | ({"dida": asdict(dida)} if dida else {})
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    try:
        words = find_text_tokenizer(*([text] if text else []), source)
    except TokenizerError:  # it was named by hand, and will be again
        return
    for name in (BPE_FILE, VISION_FILE):
        shutil.copy(words / name, folder / name)


def load_transformer(
    folder: Path, config: ModelConfig, *, device: str, precision: str, mesh: DeviceMesh | None = None
) -> Transformer:
    """Stream the shards onto the device, of split tensors only this process's share. Keys and shapes of every shard are
    checked before the first one is read. Raises CheckpointError; quantised weights cannot be split."""
    if mesh and precision in QUANTISED:
        raise CheckpointError(
            f"{precision} weights cannot be split over processes; use precision bfloat16, or one process"
        )
    model = _on_meta(Transformer, config)
    shards = shards_of(folder)
    found = {key: shape for path in sorted(set(shards.values())) for key, shape in _shapes_in(path).items()}
    _check(found, model, folder)
    share = _whole
    if mesh:
        from ..transformer.tensor_parallel import parallelise, share_of

        parallelise(model, mesh)
        share = share_of
    for path in sorted(set(shards.values())):
        with safe_open(path, "pt", device=str(device)) as shard:
            for key in shard.keys():  # noqa: SIM118
                if not _is_buffer(key):
                    _place(model, key, shard.get_tensor(key), precision, share)
    return model.eval().requires_grad_(False)


def _led(folder: Path, config: ModelConfig, device: str, precision: str, count: int) -> Transformer:
    """This process's share of a model whose others follow it, until it ends."""
    from ..transformer.followers import Team, check_devices, device_of
    from ..transformer.tensor_parallel import check_split

    if precision in QUANTISED:
        raise CheckpointError(
            f"{precision} weights cannot be split over devices; use --precision bfloat16, or one device"
        )
    check_devices(count, device)
    check_split(config, count)
    team = Team(count, device, load_share, folder, config, precision)
    atexit.register(team.close)
    transformer = load_share(team.mesh, device_of(0, device), folder, config, precision)
    team.lead(transformer)
    return transformer


def load_share(mesh: DeviceMesh, device: str, folder: Path, config: ModelConfig, precision: str) -> Transformer:
    """What one process of several holds of a model."""
    return load_transformer(folder, config, device=device, precision=precision, mesh=mesh)


def shards_of(folder: Path) -> dict[str, Path]:
    """Which file holds each tensor, by the index or, without one, the only file; CheckpointError if one is missing."""
    index = folder / INDEX
    if not index.is_file():
        whole = folder / WHOLE
        if not whole.is_file():
            raise CheckpointError(f"no weights in {folder}: wanted {INDEX} with its shards, or {WHOLE}")
        return dict.fromkeys(_shapes_in(whole), whole)
    where = json_of(index).get("weight_map", {})
    for name in sorted(set(where.values())):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing, and {INDEX} lists tensors in it; download it again")
    return {key: folder / name for key, name in where.items()}


def load_vision(folder: Path, config: IbqConfig, *, device: str) -> IbqTokenizer:
    """The autoencoder in float32, from model.safetensors or model.ckpt, which is read as tensors and never executed."""
    whole, pickled = folder / WHOLE, folder / "model.ckpt"
    model = _on_meta(IbqTokenizer, config)
    if whole.is_file():
        found = _shapes_in(whole)
        _check(found, model, whole)
        with safe_open(whole, "pt", device=str(device)) as file:
            weights = {key: file.get_tensor(key) for key in found}
    elif pickled.is_file():
        weights = _unpickled(pickled)
        _check({key: tuple(value.shape) for key, value in weights.items()}, model, pickled)
    else:
        raise CheckpointError(f"no vision tokenizer in {folder}: wanted {WHOLE} or model.ckpt beside its configuration")
    model.load_state_dict({key: value.to(device, torch.float32) for key, value in weights.items()}, assign=True)
    return model.eval().requires_grad_(False)


def free_bytes(device: str) -> int | None:
    """Bytes free on a device, None where the system does not say."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    rows = dict(line.split(":") for line in meminfo.read_text(encoding="utf-8").splitlines() if ":" in line)
    return int(rows["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in rows else None


def _whole(tensor: Tensor, parameter: nn.Parameter) -> Tensor:
    return tensor


def _place(model: Transformer, key: str, tensor: Tensor, precision: str, share: Callable) -> None:
    """Put a tensor where its key says, quantised where that is wanted: dense layers of the body, and of int8 and int4
    the embedding too. The head stays whole, for what is drawn is nearest to it."""
    owner, _, leaf = key.rpartition(".")
    dtype = DTYPES[precision]
    if precision in QUANTISED and owner.endswith("_proj"):
        _replace(model, owner, quantised(tensor.to(dtype), precision))
        return
    if precision in BITS and owner.endswith("embed_tokens"):
        _replace(model, owner, PackedEmbedding(Packed.of(tensor, 8), dtype))
        return
    module = model.get_submodule(owner)
    part = share(tensor.to(dtype), getattr(module, leaf))
    setattr(module, leaf, nn.Parameter(part, requires_grad=False))


def _replace(model: Transformer, owner: str, made: object) -> None:
    """Put what is no module in a module's place."""
    outer, _, name = owner.rpartition(".")
    holder = model.get_submodule(outer)
    delattr(holder, name)
    setattr(holder, name, made)


def _check(found: Shapes, model: nn.Module, where: Path) -> None:
    """Hold what files have against what the model wants, and name what differs."""
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    extra = sorted(key for key in found.keys() - wanted.keys() if not _is_buffer(key))
    for what, keys in (("lacks", sorted(wanted.keys() - found.keys())), ("has unknown", extra)):
        if keys:
            named = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
            raise CheckpointError(f"{where} {what} {len(keys)} tensors: {named}; it is of another model or incomplete")
    for key, shape in wanted.items():
        if found[key] != shape:
            raise CheckpointError(f"{where}: {key} has shape {found[key]}, the configuration wants {shape}")


def _shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(path, "pt") as shard:
            return {key: tuple(shard.get_slice(key).get_shape()) for key in shard.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is torn or no safetensors file ({error}); download it again") from error


def _unpickled(path: Path) -> dict[str, Tensor]:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(
            f"{path} is torn or holds more than tensors, and is not executed ({str(error).splitlines()[0]}); "
            "download it again"
        ) from error
    held = held.get("state_dict", held) if isinstance(held, dict) else {}
    return {key: value for key, value in held.items() if isinstance(value, Tensor)}


def _is_buffer(key: str) -> bool:
    return key.endswith("rotary_emb.inv_freq")  # older exports have it; angles are computed here


def _vocabulary(config: ModelConfig, vision: IbqConfig, words: EmuTextTokenizer) -> Vocabulary:
    vocabulary = Vocabulary(words.size, words.num_codes, num_markers=3)
    if config.vocab_size != vocabulary.size or vision.num_codes != vocabulary.num_codes:
        raise CheckpointError(
            f"the parts are of different models: config.json has a vocabulary of {config.vocab_size}, the text "
            f"tokenizer of {vocabulary.size} with {vocabulary.num_codes} visual tokens, the vision tokenizer has "
            f"{vision.num_codes} codes"
        )
    return vocabulary


def _on_meta(kind: Callable[[C], M], config: C) -> M:
    with torch.device("meta"):
        return kind(config)


def _digest(*folders: Path) -> str:
    """16 hex digits over configurations, indices and the sizes of weight files: hashing 68 GB would take minutes."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        if path.suffix in (".json", ".yaml"):
            digest.update(path.read_bytes())
        elif path.suffix in (".safetensors", ".ckpt"):
            digest.update(f"{path.name} {path.stat().st_size}".encode())
    return digest.hexdigest()[:16]
