"""Passes over streams that are captured and replayed: the same answers as without, from few captures."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from roam.kernels.graph import CapturedStep
from roam.world.emu import token_stream
from roam.world.emu.answer import AnswerWriter
from roam.world.emu.checkpoint import load_official

from .test_answer import ask, whole_state


@pytest.fixture(scope="module")
def checkpoint(official):
    return load_official(*official, context=1024, served=True)


def replayed(step, kind, buffers):
    """A double of CUDA's capture: it runs the step as often as warming up does, and later only on its own buffers."""
    for _ in range(2):
        step(kind, *buffers)
    outputs = step(kind, *buffers)
    return lambda: outputs.copy_(step(kind, *buffers)), outputs


@pytest.mark.parametrize("decoder", ["autoregressive", "jacobi", "dida"])
def test_an_answer_replayed_from_few_captures_is_the_answer_itself(checkpoint, monkeypatch, decoder):
    changes = dict(decoder=decoder, max_tokens=160, steps=3 if decoder == "dida" else None)
    request = replace(ask("story", **changes), size=(4, 5))
    plain, captured = AnswerWriter(checkpoint, request), None
    monkeypatch.setattr(token_stream, "CapturedStep", partial(CapturedStep, capture=replayed))
    captured = AnswerWriter(checkpoint, request)
    captured.passes.is_padded = True  # as on CUDA
    for writer in (plain, captured):
        [*writer.events()]
        writer.close()
    assert captured.tokens == plain.tokens and not len(plain.passes.step)
    # one branch and all together, in rows by 16; a canvas
    assert 0 < len(captured.passes.step) <= 8 and captured.num_passes == plain.num_passes


def test_captures_are_forgotten_when_the_pages_move_or_there_are_too_many(checkpoint, monkeypatch):
    monkeypatch.setattr(token_stream, "CapturedStep", partial(CapturedStep, capture=replayed))
    writer = AnswerWriter(checkpoint, ask("story"))
    passes, stream = writer.passes, writer.conditional
    passes.settle([stream], but=1)
    one = passes.advance([stream])
    stream.append([5])
    passes.advance([stream])
    passes.cache.grow(passes.cache.pool.num_pages + 1)
    count = len(passes.step)
    stream.append([6])
    state = passes.advance([stream])
    assert count and len(passes.step) == 1 and one.shape == state.shape
    torch.testing.assert_close(state[0, 0], whole_state(checkpoint, [*writer.prompt, 5, 6]), atol=1e-5, rtol=1e-5)
    writer.close()


def test_passes_that_others_follow_are_not_captured(checkpoint, monkeypatch):
    monkeypatch.setattr(token_stream, "CapturedStep", partial(CapturedStep, capture=replayed))
    monkeypatch.setattr(checkpoint.model, "is_alone", False)
    writer = AnswerWriter(checkpoint, ask("t2i"))
    [*writer.events()]
    writer.close()
    assert not len(writer.passes.step)
