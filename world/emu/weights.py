"""The weights of official folders: compared with the configuration, then streamed onto devices, one tensor at a time.

Keys and shapes are checked from the headers of all shards before anything is read. Nothing is unpickled but tensors.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ...kernels.packed import BITS, Packed, PackedEmbedding
from ..checkpoint import CheckpointError, Unfilled
from ..config import ModelConfig
from ..transformer.joined import PRODUCTS, QUANTISED, Assembly, dense_of
from ..transformer.model import DTYPES, Layer, Transformer
from ..transformer.offload import Offload, host_room, offloaded
from .ibq import IbqConfig, IbqTokenizer
from .settings import again, json_of

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

C = TypeVar("C", ModelConfig, IbqConfig)
M = TypeVar("M", bound=nn.Module)

FLOATS = ("F32", "F16", "BF16")  # what weights come in, by the names of safetensors
INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
Shapes = Mapping[str, tuple[int, ...]]


def load_transformer(
    folder: Path,
    config: ModelConfig,
    *,
    device: str,
    precision: str,
    mesh: DeviceMesh | None = None,
    served: bool = False,
    offload: int = 0,
) -> Transformer:
    """Stream the shards onto the device, a tensor at a time; of a model that is split over a mesh, this process's share
    alone. Keys and shapes of every shard are checked before the first one is read. served: products that read the same
    rows are joined, as they always are of split and of quantised weights; such a model cannot be trained or saved.
    offload: layers that stay in the host's memory, and come when they are run (transformer/offload.py), of a model that
    is not split. Raises CheckpointError, and SplitError for a mesh that does not divide the model.
    """
    model = on_meta(Transformer, config)
    files = checked(folder, model)
    split = None
    if mesh:
        from ..transformer.tensor_parallel import Split, check_split

        check_split(config, mesh.size(), precision)
        split = Split.of(mesh)
        model.config, model.is_alone = split.share(config), False
    away = {f"model.layers.{number}" for number in offloaded(offload, config.num_hidden_layers)}
    assemblies: dict[str, Assembly] = {}
    if served or mesh or away or precision in QUANTISED:
        for number in range(config.num_hidden_layers):
            owner = f"model.layers.{number}"
            assemblies[owner] = Assembly(model.config, room=host_room if owner in away else None)
    for path in files:
        with safe_open(path, "pt", device=str(device)) as shard:
            for key in shard.keys():  # noqa: SIM118
                owner, name = key.rpartition(".")[0].rpartition(".")[::2]
                if assemblies and name in PRODUCTS:
                    dense = dense_of(shard.get_tensor(key), precision, DTYPES[precision])
                    own = split.product(name, dense) if split else dense
                    assemblies[owner.rpartition(".")[0]].put(name, own)
                elif not _is_buffer(key):
                    _place(model, key, shard.get_tensor(key), precision)
    streamed: list[Layer] = []
    for owner, assembly in assemblies.items():
        layer = model.get_submodule(owner)
        assert isinstance(layer, Layer)
        layer.take(assembly.joined(), model.config)
        streamed += [layer] if owner in away else []
    if streamed:
        Offload(streamed, torch.device(device))
        model.is_alone = False
    return model.eval().requires_grad_(False)


def checked(folder: Path, model: Transformer) -> list[Path]:
    """The files that hold a model's weights, whose keys and shapes are those that it wants. Raises CheckpointError."""
    files = sorted(set(shards_of(folder).values()))
    _check({key: shape for path in files for key, shape in _shapes_in(path).items()}, model, folder)
    return files


@torch.no_grad()
def fill_shards(folder: Path, model: nn.Module, *, precision: str) -> None:
    """Read into a model in shards (transformer/sharded.py), on the meta device, only those rows of each weight that
    this process has."""
    from ..transformer.sharded import filled, rows_here

    empty = {_key_of(name): name for name, weight in model.named_parameters() if weight.is_meta}
    for path in sorted(set(shards_of(folder).values())):
        with safe_open(path, "pt") as shard:
            for key in set(shard.keys()) & empty.keys():
                weight = model.get_parameter(empty[key])
                start, stop = rows_here(weight)
                rows = shard.get_slice(key)[start:stop] if start < stop else torch.empty(0, *weight.shape[1:])
                owner, _, leaf = empty[key].rpartition(".")
                setattr(model.get_submodule(owner), leaf, filled(weight, rows.to(DTYPES[precision])))


def _key_of(name: str) -> str:
    """A parameter's name in official files, also if a Learner or an adapter wraps it."""
    return name.removeprefix("transformer.").replace("_proj.dense.", "_proj.")


def shards_of(folder: Path) -> dict[str, Path]:
    """Which file holds each tensor, by the index or, without one, the only file; CheckpointError if one is missing."""
    index = folder / INDEX
    if not index.is_file():
        whole = folder / WHOLE
        if not whole.is_file():
            raise CheckpointError(f"no weights in {folder}: wanted {INDEX} with its shards, or {WHOLE}")
        return dict.fromkeys(_shapes_in(whole), whole)
    where = json_of(index).get("weight_map", {})
    if not isinstance(where, dict) or not all(isinstance(name, str) for name in where.values()):
        raise CheckpointError(f"{index} does not say which file holds which tensor; {again(index)}")
    for name in sorted(set(where.values())):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing, and {INDEX} lists tensors in it; download it again")
    return {key: folder / name for key, name in where.items()}


def load_vision(folder: Path, config: IbqConfig, *, device: str) -> IbqTokenizer:
    """The autoencoder in float32, from model.safetensors or model.ckpt, which is read as tensors and never executed."""
    whole, pickled = folder / WHOLE, folder / "model.ckpt"
    model = on_meta(IbqTokenizer, config)
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


def _place(model: Transformer, key: str, tensor: Tensor, precision: str) -> None:
    """Put a tensor where its key says; with int8 and int4 the embedding is packed too. The head stays whole, because
    it is closest to what is drawn."""
    owner, _, leaf = key.rpartition(".")
    dtype = DTYPES[precision]
    if precision in BITS and owner.endswith("embed_tokens"):
        outer, _, name = owner.rpartition(".")
        holder = model.get_submodule(outer)
        delattr(holder, name)
        setattr(holder, name, PackedEmbedding(Packed.of(tensor, 8), dtype))  # not a module, but replacing one
        return
    setattr(model.get_submodule(owner), leaf, nn.Parameter(tensor.to(dtype), requires_grad=False))


def _check(found: Shapes, model: nn.Module, where: Path) -> None:
    """Compare what files have with what the model wants, and name the differences."""
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
            slices = {key: shard.get_slice(key) for key in shard.keys()}  # noqa: SIM118
            found = {key: tuple(part.get_shape()) for key, part in slices.items()}
            integers = [key for key, part in slices.items() if part.get_dtype() not in FLOATS]
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is torn or no safetensors file ({error}); {again(path)}") from error
    if integers:
        raise CheckpointError(
            f"{path} holds {len(integers)} tensors that are no {' or '.join(FLOATS)}, as {integers[0]}: another "
            "program quantised it; name the original weights, which --precision int8 or int4 packs here"
        )
    return found


def _unpickled(path: Path) -> dict[str, Tensor]:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        # without torch's advice to execute it
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". In PyTorch")[0]
        raise CheckpointError(
            f"{path} is torn or holds more than tensors, and is not executed ({reason}); {again(path)}"
        ) from error
    held = held.get("state_dict", held) if isinstance(held, dict) else {}
    return {key: value for key, value in held.items() if isinstance(value, Tensor)}


def _is_buffer(key: str) -> bool:
    return key.endswith("rotary_emb.inv_freq")  # older exports have it; angles are computed here


def on_meta(kind: Callable[[C], M], config: C) -> M:
    with torch.device("meta"), Unfilled():
        return kind(config)
