"""Official Emu3.5 folders as a Checkpoint: sharded safetensors, the tiktoken vocabulary, the IBQ autoencoder.

Everything is checked from the headers first: keys, shapes, memory. Then each shard streams straight to its device, one
tensor at a time. Nothing is unpickled but tensors.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...kernels.device import device_named
from ...kernels.linear import has_fp8_products
from ..checkpoint import Checkpoint, CheckpointError
from ..config import DidaConfig, LayoutConfig, ModelConfig, PageConfig
from ..files import let_read, whole, write_text_whole
from ..tokens.vocabulary import Vocabulary
from ..transformer.model import DTYPES, Transformer
from .ibq import IbqConfig, IbqTokenizer
from .memory_plan import DoesNotFit, Footprint
from .settings import DEFAULT_CONTEXT, json_of, read_config, read_dida, read_vision_config, refuse_swapped
from .text import BPE_FILE, VISION_FILE, EmuTextTokenizer, TokenizerError, find_text_tokenizer
from .weights import INDEX, checked, fill_shards, load_transformer, load_vision, on_meta

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from ..transformer.sharded import Sharding

log = logging.getLogger(__name__)


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
    served: bool = False,
    offload: int = 0,
    say: Callable[[str], None] | None = None,
) -> Checkpoint:
    """Load Emu3.5 from the official folders of the language model and the vision tokenizer.

    text: the folder of emu3.tiktoken, by default the model's or the official repository's (text.py); precision:
    float32, bfloat16, float16, fp8, int8 or int4, by default bfloat16 on a GPU and float32 elsewhere; context: the most
    tokens of a sequence, by default all that the weights were trained for, or the most that fit; available: bytes that
    may be used, by default all that are free; mesh: the processes to split the language model over, each of which calls
    this; devices: how many to split it over if this process leads and starts the others (followers.py); need: what the
    task needs; served: joined products, for a model that is only used and not trained (weights.py); offload: layers
    that stay in main memory and come to the device when they are run (transformer/offload.py). If the vision tokenizer
    does not fit with the model it stays on the CPU. The memory plan goes through `say` before anything is loaded.
    Raises CheckpointError or TokenizerError for files that are missing, incomplete or of another model, DoesNotFit for
    a device too small, NoDeviceError for one that is not here, PrecisionError for an unknown precision, SplitError for
    devices that do not divide a model.
    """
    device_named(device)
    folders, need, say = _opened(model, vision, text), need or Need(), say or log.info
    config, trained = folders.config, folders.trained
    pages = PageConfig(context=context or trained)
    precision = precision or ("bfloat16" if torch.device(device).type == "cuda" else "float32")
    num_vision = sum(tensor.numel() for tensor in on_meta(IbqTokenizer, folders.vision_config).parameters())
    free = free_bytes(device) if available is None else available
    plan = Footprint(
        config,
        pages,
        precision,
        vision=num_vision,
        vision_width=folders.vision_config.ch,
        area=need.area,
        streams=need.streams,
        budget=need.tokens,
        spare=need.spare,
        device=device,
        available=free,
        num_devices=mesh.size() if mesh else devices,
        offload=offload,
        has_fp8=torch.device(device).type == "cpu" or has_fp8_products(device),
    )
    if precision == "fp8" and not plan.has_fp8:
        raise DoesNotFit(
            f"{device} has no fp8 products, which Hopper and later cards have: --precision int8 is as small"
        )
    if offload and plan.num_devices > 1:
        raise CheckpointError("--offload is for a model that one device runs, and --devices split it: leave one out")
    if offload > config.num_hidden_layers:
        raise CheckpointError(f"{offload} layers to be offloaded, and the model has {config.num_hidden_layers}")
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
    if (room := free_bytes("cpu")) is not None and plan.host_bytes > room:
        raise DoesNotFit(
            f"--offload {offload} puts {plan.host_bytes} bytes into the host's memory, which has {room} free"
        )
    eyes = folders.load_vision(device if plan.vision else "cpu")  # first, for a torn file is noticed in seconds
    if devices > 1:
        transformer = _led(folders.model, config, device, precision, devices)
    else:
        transformer = load_transformer(
            folders.model, config, device=device, precision=precision, mesh=mesh, served=served, offload=offload
        )
    return folders.checkpoint(transformer, eyes, pages)


def load_to_learn(
    model: str | Path,
    vision: str | Path,
    *,
    text: str | Path | None = None,
    device: str = "cpu",
    precision: str = "float32",
    context: int | None = None,
    mesh: DeviceMesh | None = None,
) -> tuple[Checkpoint, Sharding | None]:
    """Load the same for training: without the plan of serving (learning_plan.py has that of training), and with the
    vision tokenizer on the CPU.

    mesh: the processes that hold the language model in shards, each of which calls this; its weights are on the meta
    device then, and the Sharding reads them. Raises CheckpointError or TokenizerError like load_official.
    """
    folders = _opened(model, vision, text)
    pages, eyes = PageConfig(context=context or folders.trained), folders.load_vision("cpu")
    if mesh is None:
        whole = load_transformer(folders.model, folders.config, device=device, precision=precision)
        return folders.checkpoint(whole, eyes, pages), None
    from ..transformer.sharded import Sharding

    empty = on_meta(Transformer, folders.config).to(DTYPES[precision])
    checked(folders.model, empty)
    fill = partial(fill_shards, folders.model, precision=precision)
    return folders.checkpoint(empty, eyes, pages), Sharding(mesh, fill)


@dataclass(frozen=True)
class _Opened:
    """Two folders whose settings agree, before any weights are read."""

    model: Path
    vision: Path
    config: ModelConfig
    trained: int  # tokens of context
    vision_config: IbqConfig
    words: EmuTextTokenizer
    vocabulary: Vocabulary

    def load_vision(self, device: str) -> IbqTokenizer:
        return load_vision(self.vision, self.vision_config, device=device)

    def checkpoint(self, transformer: Transformer, vision: IbqTokenizer, pages: PageConfig) -> Checkpoint:
        dida = read_dida(self.model)
        return Checkpoint(
            transformer,
            vision,
            self.words,
            self.vocabulary,
            LayoutConfig(grid=(45, 45), text_capacity=127),
            dida or DidaConfig(),
            _digest(self.model, self.vision),
            pages,
            is_adapted=dida is not None,
        )


def _opened(model: str | Path, vision: str | Path, text: str | Path | None) -> _Opened:
    model, vision = Path(model), Path(vision)
    refuse_swapped(model, vision)
    config, trained = read_config(model)
    vision_config = read_vision_config(vision)
    words = EmuTextTokenizer.from_folder(text or find_text_tokenizer(model, vision))
    return _Opened(model, vision, config, trained, vision_config, words, _vocabulary(config, vision_config, words))


@dataclass(frozen=True)
class Need:
    """How much memory a task needs, in Footprint's terms. tokens: of its longest sequence, None for the whole
    context."""

    tokens: int | None = None
    streams: int = Footprint.streams
    area: int = Footprint.area
    spare: int = 0
    longest: ClassVar[int] = DEFAULT_CONTEXT


@dataclass(frozen=True)
class OfficialParts:
    """The parts that only an official checkpoint has."""

    text: EmuTextTokenizer
    vision: IbqTokenizer
    pages: PageConfig


def parts_of(checkpoint: Checkpoint) -> OfficialParts:
    """The parts of an official checkpoint. Raises CheckpointError for a checkpoint of another kind."""
    text, vision, pages = checkpoint.text, checkpoint.vision, checkpoint.pages
    if not isinstance(text, EmuTextTokenizer) or not isinstance(vision, IbqTokenizer) or pages is None:
        raise CheckpointError("a checkpoint of ours where an official one is wanted: Engine is what runs it")
    return OfficialParts(text, vision, pages)


_METADATA = {"format": "pt"}


def save_official(
    model: Transformer,
    source: str | Path,
    folder: str | Path,
    dida: DidaConfig | None,
    *,
    text: str | Path | None = None,
    shard_bytes: int = 4 << 30,
    gather: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    is_writer: bool = True,
) -> None:
    """Write a model that began as the official folder `source` as such a folder, in shards of about `shard_bytes`.
    config.json says that it is adapted if `dida` says how it denoises; the text tokenizer's files are copied, from
    `text` if it is named. gather: makes a weight whole, if several processes hold it in parts; then all of them call
    this, and one is the writer."""
    source, folder = Path(source), Path(folder)
    shards: list[list[str]] = [[]]
    state, size = model.state_dict(), 0
    for key, tensor in state.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(key)
        size += tensor.nbytes
    where: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for number, keys in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        shard = {key: gather(state[key]) for key in keys}
        if is_writer:
            with whole(folder / name) as partial:
                save_file({key: tensor.contiguous().cpu() for key, tensor in shard.items()}, partial, _METADATA)
                let_read(partial)
        where |= dict.fromkeys(keys, name)
    if not is_writer:
        return
    write_text_whole(folder / INDEX, json.dumps({"metadata": {}, "weight_map": where}, indent=1))
    config = json_of(source / "config.json") | ({"dida": asdict(dida)} if dida else {})
    write_text_whole(folder / "config.json", json.dumps(config, indent=1))
    try:
        words = find_text_tokenizer(*([text] if text else []), source)
    except TokenizerError:  # it was named by hand, and will be named again
        return
    for name in (BPE_FILE, VISION_FILE):
        shutil.copy(words / name, folder / name)


def _led(folder: Path, config: ModelConfig, device: str, precision: str, count: int) -> Transformer:
    """This process's share of a model whose other processes follow, as long as somebody uses it."""
    from ..transformer.followers import Team, check_devices, device_of
    from ..transformer.tensor_parallel import check_split

    check_devices(count, device)
    check_split(config, count, precision)
    team = Team(count, device, load_share, folder, config, precision)
    transformer = load_share(team.mesh, device_of(0, device), folder, config, precision)
    team.lead(transformer)
    weakref.finalize(transformer, team.close)  # when nobody uses it any more, or this process ends
    return transformer


def load_share(mesh: DeviceMesh, device: str, folder: Path, config: ModelConfig, precision: str) -> Transformer:
    """Load the share of a model that one of several processes holds."""
    return load_transformer(folder, config, device=device, precision=precision, mesh=mesh)


def free_bytes(device: str) -> int | None:
    """Bytes free on a device, None if the system does not say."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    rows = dict(line.split(":") for line in meminfo.read_text(encoding="utf-8").splitlines() if ":" in line)
    return int(rows["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in rows else None


def _vocabulary(config: ModelConfig, vision: IbqConfig, words: EmuTextTokenizer) -> Vocabulary:
    vocabulary = Vocabulary(words.size, words.num_codes, num_markers=3)
    if config.vocab_size != vocabulary.size or vision.num_codes != vocabulary.num_codes:
        raise CheckpointError(
            f"the parts are of different models: config.json has a vocabulary of {config.vocab_size}, the text "
            f"tokenizer of {vocabulary.size} with {vocabulary.num_codes} visual tokens, the vision tokenizer has "
            f"{vision.num_codes} codes"
        )
    return vocabulary


def _digest(*folders: Path) -> str:
    """16 hex digits over configurations, indices and the sizes of weight files: hashing 68 GB would take minutes."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        if path.suffix in (".json", ".yaml"):
            digest.update(path.read_bytes())
        elif path.suffix in (".safetensors", ".ckpt"):
            digest.update(f"{path.name} {path.stat().st_size}".encode())
    return digest.hexdigest()[:16]
