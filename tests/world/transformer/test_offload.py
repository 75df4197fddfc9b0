"""Layers in the host's memory: the model gives the same result, whenever their weights arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from roam.world.config import ModelConfig
from roam.world.transformer.model import Transformer
from roam.world.transformer.offload import Offload, offloaded

from .doubles import Alone


class LateLane:
    """Stands for a GPU's copies: a buffer is overwritten with nonsense as soon as a copy into it begins, the copy
    arrives when it is waited for and not before, and a buffer that is still read must not be copied into."""

    def __init__(self):
        self.coming, self.read, self.sent = {}, set(), 0

    def send(self, room, pairs):
        assert room not in self.read, "a room that is read is written over"
        self.coming[room] = [*pairs]
        for target, _ in self.coming[room]:
            target.view(torch.uint8).fill_(255)
        self.sent += 1

    def wait(self, room):
        for target, source in self.coming.pop(room, []):
            target.copy_(source)
        self.read.add(room)

    def free(self, room):
        self.read.discard(room)


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig(60, 32, 64, 5, 4, 2, 8))


def states(model: Transformer) -> torch.Tensor:
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        return model(model.embed(ids), ids, Alone()).clone()


@pytest.mark.parametrize("precision", ["float32", "fp8", "int8", "int4"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_an_offloaded_model_gives_the_same_states_in_every_pass(model, precision, count):
    served, lane = model.served(precision), LateLane()
    wanted = states(served)
    layers = [served.model.layers[number] for number in offloaded(count, 5)]
    hosts = [layer.joined for layer in layers]
    Offload(layers, torch.device("cpu"), lane=lane)
    assert all(torch.equal(states(served), wanted) for _ in range(3))
    assert all(layer.joined is host for layer, host in zip(layers, hosts, strict=True)) and not lane.read
    # a layer with a buffer of its own is copied once, and of three the second has one; the others are copied in every
    # pass
    assert lane.sent == {1: 1, 2: 2, 3: 7, 5: 15}[count]


def test_the_next_layers_weights_are_sent_for_before_a_layer_is_run(model):
    served, lane, seen = model.served("float32"), LateLane(), []
    layers = [served.model.layers[number] for number in (1, 3)]
    Offload(layers, torch.device("cpu"), lane=lane)
    served.model.layers[2].register_forward_pre_hook(lambda *_: seen.append(sorted(lane.coming)))
    states(served)
    assert seen == [[1]]  # while layer 2 runs, the weights of layer 3 are copied into the second buffer


def test_a_pass_that_broke_off_leaves_the_next_one_right(model):
    served = model.served("float32")
    wanted = states(served)
    Offload([served.model.layers[k] for k in range(5)], torch.device("cpu"), lane=(lane := LateLane()))
    broken = served.model.layers[2].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        states(served)
    broken.remove()
    lane.read.clear()
    assert torch.equal(states(served), wanted)


def test_layers_that_are_offloaded_lie_evenly_among_the_others():
    assert offloaded(0, 64) == [] and offloaded(1, 64) == [32] and offloaded(64, 64) == [*range(64)]
    places = offloaded(21, 64)
    assert len(places) == 21 and {b - a for a, b in pairwise(places)} <= {3, 4}
