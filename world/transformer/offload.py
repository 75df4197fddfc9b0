"""Layers that lie in the host's memory and come to the device one after the other, for models larger than it.

    before layer k of those:  wait until its weights have come; send for those of the next one, into the other room
    after it:                 its room may be written again, once the device has come so far

On CUDA weights travel on a stream of their own, from memory that is never paged out, while the layers between are
computed: where more than every other layer stays on the device, a layer has the time of at least one to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from .joined import Joined, tensors_of, with_tensors
from .model import Layer

ROOMS = 2  # on the device: one is read while the other is filled


class Lane(Protocol):
    """How weights are copied into rooms, which are numbered from 0."""

    def send(self, room: int, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Begin to copy pairs of (target, source), once computation with the room's old contents is done."""

    def wait(self, room: int) -> None:
        """Make later computation wait until the copy has arrived."""

    def free(self, room: int) -> None:
        """Note that later computation does not read the room any more."""


class DirectLane:
    """Copies at once, on a CPU."""

    def send(self, room: int, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        for target, source in pairs:
            target.copy_(source)

    def wait(self, room: int) -> None:
        pass

    def free(self, room: int) -> None:
        pass


class CudaLane:
    """Copies on a stream of its own, in parallel to computation; each waits for the other's events, and the host for
    neither."""

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.Stream(device)
        self._stream.wait_stream(torch.cuda.current_stream(device))  # rooms may lie where loading has still to read
        self._come, self._done = ([torch.cuda.Event() for _ in range(ROOMS)] for _ in range(2))

    def send(self, room: int, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        self._stream.wait_event(self._done[room])
        with torch.cuda.stream(self._stream):
            for target, source in pairs:
                target.copy_(source, non_blocking=True)
            self._come[room].record(self._stream)

    def wait(self, room: int) -> None:
        torch.cuda.current_stream().wait_event(self._come[room])

    def free(self, room: int) -> None:
        self._done[room].record(torch.cuda.current_stream())


def lane_for(device: torch.device) -> Lane:
    return CudaLane(device) if device.type == "cuda" else DirectLane()


def offloaded(count: int, num_layers: int) -> list[int]:
    """Which layers are kept in main memory if `count` of them are: spread evenly, so that others are between them."""
    return [(2 * k + 1) * num_layers // (2 * count) for k in range(count)]


def host_room(shape: Sequence[int], like: Tensor) -> Tensor:
    """An empty tensor in main memory, from which a GPU copies while it computes."""
    return torch.empty(*shape, dtype=like.dtype, pin_memory=torch.cuda.is_available())


class Offload:
    """Gives layers their products just before they are run, in place; nothing else changes. layers: those whose
    products are in main memory, in the order in which they are run."""

    def __init__(self, layers: Sequence[Layer], device: torch.device, *, lane: Lane | None = None):
        self._hosts = [joined for layer in layers if (joined := layer.joined) is not None]
        assert len(self._hosts) == len(layers) > 0, "products are joined before they are offloaded"
        self._rooms = [_map(lambda part: torch.empty_like(part, device=device), self._hosts[0]) for _ in range(ROOMS)]
        self._lane = lane or lane_for(device)
        self._held: list[int | None] = [None] * ROOMS  # which layer's weights are in a room, or being copied there
        for place, layer in enumerate(layers):
            layer.is_resident = False
            layer.register_forward_pre_hook(partial(self._begin, place))
            layer.register_forward_hook(partial(self._end, place))

    def _begin(self, place: int, layer: Layer, given: tuple) -> None:
        room = self._room_of(place)
        if self._held[room] != place:  # the first of all passes
            self._send(place)
        self._lane.wait(room)
        layer.joined = self._rooms[room]
        following = (place + 1) % len(self._hosts)  # after the last layer, the first of the next pass
        if self._room_of(following) != room and self._held[self._room_of(following)] != following:
            self._send(following)

    def _end(self, place: int, layer: Layer, given: tuple, out: object) -> None:
        self._lane.free(self._room_of(place))
        layer.joined = self._hosts[place]

    def _room_of(self, place: int) -> int:
        return place % ROOMS

    def _send(self, place: int) -> None:
        room = self._room_of(place)
        sources, targets = (_tensors(joined) for joined in (self._hosts[place], self._rooms[room]))
        self._held[room] = place
        self._lane.send(room, zip(targets, sources, strict=True))


def _tensors(joined: Joined) -> list[Tensor]:
    return [part for dense in vars(joined).values() for part in tensors_of(dense)]


def _map(make: Callable[[Tensor], Tensor], joined: Joined) -> Joined:
    dense = {name: with_tensors(old, [make(part) for part in tensors_of(old)]) for name, old in vars(joined).items()}
    return Joined(**dense)
