"""Our own model in the benchmark, with random weights: it takes part, and each option switches off what it names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from roam.bench.consistency.models.embedded import Dream, Reconstruction, open_embedded, untrained
from roam.bench.consistency.questions.truth import Truth
from roam.world.checkpoint import Checkpoint, save_checkpoint
from roam.world.config import DidaConfig, LayoutConfig, ModelConfig
from roam.world.tokens.text import TextTokenizer
from roam.world.tokens.vision import VisionConfig, VisionTokenizer
from roam.world.tokens.vocabulary import Vocabulary
from roam.world.transformer.model import Transformer

from ..doubles import answers_of, episode

ASKED = episode("T1")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    vision = VisionTokenizer(VisionConfig(levels=(4, 4), widths=(8, 8, 16), heads=2)).eval()
    text = TextTokenizer()
    vocabulary = Vocabulary(text.size, vision.config.num_codes)
    config = ModelConfig(vocabulary.size, 32, 48, 1, 2, 1, 16)
    model = Transformer(config).eval().requires_grad_(False)
    return Checkpoint(model, vision, text, vocabulary, LayoutConfig(vision.config.grid, window=3), DidaConfig(), "abc")


def test_the_dream_answers_every_command_with_a_picture_and_depth(checkpoint):
    model = Dream(checkpoint)
    answers = answers_of(model, Truth(ASKED))
    assert len(answers) == len(ASKED.commands)
    assert answers[0].pixels.shape == (128, 128, 3) and answers[0].depth.shape == (128, 128)
    assert model.about["cache_bytes_per_frame"] > 0 and model.about["weights"] == "abc"


def test_the_same_seed_dreams_the_same_and_pages_are_given_back(checkpoint):
    model = Dream(checkpoint)
    first = answers_of(model, Truth(ASKED))
    free = model.engine.cache.pool.num_free
    again = answers_of(model, Truth(ASKED))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, again, strict=True))
    assert model.engine.cache.pool.num_free == free


def test_without_memory_canvases_start_from_the_frame_before(checkpoint):
    model = Dream(checkpoint, memory=False)
    answers_of(model, Truth(ASKED))
    assert model.session.start == "frame" and model.about["memory"] == "off"


def test_untrained_weights_keep_the_tokenizer_and_forget_the_rest(checkpoint):
    fresh = untrained(checkpoint)
    assert fresh.vision is checkpoint.vision
    assert not torch.equal(fresh.model.lm_head.weight, checkpoint.model.lm_head.weight)
    assert torch.equal(fresh.model.lm_head.weight, untrained(checkpoint).model.lm_head.weight)


def test_the_tokenizer_row_is_the_truth_through_the_tokenizer(checkpoint):
    truth = Truth(ASKED)
    answers = answers_of(Reconstruction(checkpoint), truth)
    pixels = torch.from_numpy(truth.at(ASKED.commands[0].pose).pixels)[None]
    with torch.inference_mode():
        wanted, _ = checkpoint.vision.decode(checkpoint.vision.encode(pixels))
    assert np.array_equal(answers[0].pixels, wanted[0].numpy())


def test_a_folder_of_weights_is_opened_with_its_options(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "w", dtype=torch.float32)
    model = open_embedded(f"{tmp_path}/w:memory=off,actions=shuffled")
    assert model.about["actions"] == "shuffled" and model.about["memory"] == "off"
