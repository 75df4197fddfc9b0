"""Layers as loops: what they give is what the layers themselves give, and belongs to whoever asked for it."""

import threading

import pytest
import torch
from roam.world.config import ModelConfig
from roam.world.transformer.model import Transformer

from .doubles import Alone


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(ModelConfig(60, 32, 64, 5, 4, 2, 8))
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(weight, 1, 0.3)
    return model.served("float32")


def states(model: Transformer, *, first: int = 0, wanted: torch.Tensor | None = None) -> torch.Tensor:
    ids = torch.arange(first, first + 40).view(2, 20)
    with torch.inference_mode():
        return model(model.embed(ids), torch.arange(20).expand(2, 20), Alone(), wanted=wanted)


def by_torch(model: Transformer, **given) -> torch.Tensor:
    """The same, by the layers themselves, as those of a model are run whose products are not always there."""
    for layer in model.model.layers:
        layer.is_resident = False
    found = states(model, **given)
    for layer in model.model.layers:
        layer.is_resident = True
    return found


def test_loops_give_what_the_layers_give(model):
    torch.testing.assert_close(states(model), by_torch(model))


def test_rows_that_are_wanted_are_what_they_are_among_all(model):
    wanted = torch.tensor([[3, 19, 0, 7] * 4, [5, 5, 18, 2] * 4])
    for run in (states, by_torch):
        assert torch.equal(run(model, wanted=wanted), run(model)[torch.arange(2)[:, None], wanted])


def test_what_a_pass_gave_is_not_written_over_by_the_next(model):
    first = states(model)
    kept = first.clone()
    states(model, first=20)
    assert torch.equal(first, kept)


def test_passes_on_several_threads_have_room_of_their_own(model):
    wanted, found = [states(model, first=k) for k in range(4)], {}

    def run(k):
        found[k] = [states(model, first=k) for _ in range(20)]

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(one, wanted[k]) for k in range(4) for one in found[k])
