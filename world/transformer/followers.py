"""One process leads and others follow: a model that is split over devices, used by a program that knows only the
leader.

The leader holds its share of the weights (tensor_parallel.py), and all sessions, sampling and windows. Before each pass
it sends the pass's inputs to the followers; they hold the other shares, with caches of their own for them, and run the
same pass. So only passes are the same in all processes, and two sums per layer combine the shares.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ..config import PageConfig
from ..side_by_side.processes import deaf, end_with
from .cache import CachedAttention, KVCache
from .model import Transformer

_END, _PASS = 0, 1
_PATIENCE = timedelta(days=365)  # a leader waits for people


class _Told(NamedTuple):
    """What followers are told of a pass besides its tensors. number: of the cache, counted from 0; oldest: that of
    the oldest one that is still in use."""

    number: int
    oldest: int
    num_sequences: int
    num_rows: int
    table_pages: int
    num_pages: int
    page_size: int
    causal: int
    has_slots: int


_FIELDS = 1 + len(_Told._fields)


class DeviceError(ValueError):
    """Devices that a model cannot be split over; the message says what is there."""


def check_devices(count: int, device: str) -> None:
    """Raise DeviceError if there are fewer."""
    if torch.device(device).type == "cuda" and torch.cuda.device_count() < count:
        raise DeviceError(f"{count} devices were asked for, and there are {torch.cuda.device_count()} GPUs here")


def device_of(rank: int, device: str) -> str:
    """The device of the process with that number."""
    return f"cuda:{rank}" if torch.device(device).type == "cuda" else device


class Team:
    """The followers of this process, which it starts and ends; `lead` makes them follow a model's passes.

    load: a function, importable by name, that is called with (mesh, device, *args) and returns a follower's share.
    """

    def __init__(self, count: int, device: str, load: Callable[..., Transformer], *args: Any):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        spawning = torch.multiprocessing.get_context("spawn")
        self._followers = [
            spawning.Process(target=_follow, args=(rank, count, address, device, load, args), daemon=True)
            for rank in range(1, count)
        ]
        self._is_over = False
        with deaf():
            for follower in self._followers:
                follower.start()
        threading.Thread(target=self._watch, daemon=True).start()
        self.mesh = _join(0, count, address, device)

    def lead(self, model: Transformer) -> None:
        """Send every pass of a model, over a cache, to the followers."""
        numbers: WeakKeyDictionary[KVCache, int] = WeakKeyDictionary()
        count = itertools.count()

        def tell(_module, given) -> None:
            rows, positions, attention = given
            assert isinstance(attention, CachedAttention), "what is served runs over a cache"
            if attention.cache not in numbers:
                numbers[attention.cache] = next(count)
            _tell(rows, positions, attention, numbers[attention.cache], min(numbers.values()))

        model.register_forward_pre_hook(tell)

    def close(self) -> None:
        """End the followers."""
        if self._is_over:
            return
        self._is_over = True
        with contextlib.suppress(RuntimeError):  # they have ended already
            dist.broadcast(torch.tensor([_END] * _FIELDS), 0)
        for follower in self._followers:
            follower.join(timeout=5)
            follower.terminate()  # one that was interrupted in a pass
        dist.destroy_process_group()

    def _watch(self) -> None:
        """End the leader if a follower ends unexpectedly: the next pass would wait for ever."""
        while not self._is_over:
            if any(follower.exitcode not in (None, 0) for follower in self._followers):
                print("roam: a process that holds a part of the model has ended; so must this one", flush=True)
                os._exit(2)
            time.sleep(0.5)


def _join(rank: int, count: int, address: str, device: str) -> DeviceMesh:
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // count))
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=address, rank=rank, world_size=count, timeout=_PATIENCE)
    return init_device_mesh(kind, (count,))


def _follow(rank: int, count: int, address: str, device: str, load: Callable[..., Transformer], args: tuple) -> None:
    """What a follower does: run the passes that it is sent, until it is told to end."""
    end_with(os.getppid())
    mesh, own = _join(rank, count, address, device), device_of(rank, device)
    model = load(mesh, own, *args)
    caches: dict[int, KVCache] = {}
    while (told := _received(torch.empty(_FIELDS, dtype=torch.int64)))[0] == _PASS:
        _run(model, caches, _Told(*told.tolist()[1:]))
    dist.destroy_process_group()


def _tell(rows: Tensor, positions: Tensor, attention: CachedAttention, number: int, oldest: int) -> None:
    """number: of the cache, counted from 0; oldest: that of the oldest that is still in use."""
    cache, slots = attention.cache, attention.write_slots
    (B, N, _), M = rows.shape, attention.table.shape[1]
    told = _Told(
        number=number,
        oldest=oldest,
        num_sequences=B,
        num_rows=N,
        table_pages=M,
        num_pages=len(cache.lengths),
        page_size=cache.page_size,
        causal=attention.causal,
        has_slots=slots is not None,
    )
    dist.broadcast(torch.tensor([_PASS, *told]), 0)
    parts = [rows, positions.expand(B, N), attention.table, cache.lengths, *([] if slots is None else [slots])]
    for part in parts:
        if part.numel():
            dist.broadcast(part.contiguous(), 0)


@torch.inference_mode()
def _run(model: Transformer, caches: dict[int, KVCache], told: _Told) -> None:
    """Run a follower's part of the pass that the leader has begun."""
    weight = model.model.norm.weight
    device, B, N, M = weight.device, told.num_sequences, told.num_rows, told.table_pages
    for gone in [known for known in caches if known < told.oldest]:
        del caches[gone]
    if told.number not in caches:
        pages = PageConfig(page_size=told.page_size)
        caches[told.number] = KVCache(model.config, pages, device=device, num_pages=told.num_pages, dtype=weight.dtype)
    cache = caches[told.number]
    if told.num_pages > len(cache.lengths):
        cache.grow(told.num_pages)
    rows = _received(torch.empty(B, N, model.config.hidden_size, dtype=weight.dtype, device=device))
    positions = _received(torch.empty(B, N, dtype=torch.int64, device=device))
    table = _received(torch.empty(B, M, dtype=torch.int32, device=device))
    cache.lengths.copy_(_received(torch.empty_like(cache.lengths)))
    slots = _received(torch.empty(B, N, dtype=torch.int64, device=device)) if told.has_slots else None
    model(rows, positions, CachedAttention(cache, table, causal=bool(told.causal), slots=slots))


def _received(room: Tensor) -> Tensor:
    if room.numel():
        dist.broadcast(room, 0)
    return room
