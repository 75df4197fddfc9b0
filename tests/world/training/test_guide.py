"""A model with guidance built in learns what two readings of its teacher say."""

import copy

import numpy as np
import pytest
import torch
from roam.world.config import DidaConfig, LayoutConfig, ModelConfig
from roam.world.tokens.text import TextTokenizer
from roam.world.tokens.vision import VisionConfig, VisionTokenizer
from roam.world.tokens.vocabulary import Vocabulary
from roam.world.training.canvases import Canvases
from roam.world.training.dream import DreamBatch, DreamRecipe, make_dream_batch
from roam.world.training.guide import guided, guided_losses
from roam.world.training.world_model import WorldTrainer, make_optimizers


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    text, vision = TextTokenizer(), VisionTokenizer(VisionConfig(widths=(8, 8, 12), heads=2))
    vocabulary = Vocabulary(text.size, vision.config.num_codes)
    size = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, head_dim=8)
    model = ModelConfig(vocabulary.size, num_key_value_heads=1, **size)
    made = WorldTrainer(model, LayoutConfig(), DidaConfig(), vocabulary, vision)
    for weight in (made.codes.head, made.codes.free_head, made.codes.free_embedding):
        torch.nn.init.normal_(weight, std=0.3)
    return made


@pytest.fixture(scope="module")
def batch(teacher) -> DreamBatch:
    rng = np.random.default_rng(1)
    codes = lambda: rng.integers(0, 4096, (3, 4, 64)).astype(np.int16)  # noqa: E731
    text = rng.integers(0, 20, (3, 4, 15)).astype(np.int16)
    data = Canvases(codes(), codes(), rng.random((3, 4, 64)).astype(np.float32), text)
    recipe = DreamRecipe(copies=2, hidden=0)
    return make_dream_batch(teacher, data, np.arange(3), recipe, torch.Generator().manual_seed(2))


@torch.no_grad()
def said(teacher, batch, guidance):
    known = teacher.hidden(batch.text, batch.canvases, batch.history, 12)[:, :, 1:][batch.asked]
    return teacher.codes.joint_logits(known), guided(teacher, batch, known, guidance)


def test_without_guidance_the_target_is_the_teacher_s_own_prediction(teacher, batch):
    plain, target = said(teacher, batch, 1.0)
    torch.testing.assert_close(target, plain, atol=1e-5, rtol=1e-4)
    loss, clean = guided_losses(teacher, batch, teacher=teacher, guidance=1.0)
    assert loss.item() == pytest.approx(0, abs=1e-5) and clean.item() == pytest.approx(0, abs=1e-6)


def test_the_second_reading_knows_neither_words_nor_history_nor_what_was_carried(teacher, batch):
    is_hole = (batch.canvases[..., 0] < 0)[batch.asked]
    other = copy.copy(batch)
    for name, value in (
        ("text", batch.text.flip(0)),
        ("history", batch.history.flip(1)),
        ("canvases", torch.where(batch.known[..., None], 0, batch.canvases)),
    ):
        object.__setattr__(other, name, value)
    (first, alone), (second, again) = said(teacher, batch, 0.0), said(teacher, other, 0.0)
    torch.testing.assert_close(alone[is_hole], again[is_hole], atol=1e-5, rtol=1e-4)
    assert (first - second)[is_hole].abs().max() > 1e-3
    plain, target = said(teacher, batch, 3.0)
    assert torch.equal(target[~is_hole], plain[~is_hole]) and not torch.equal(target[is_hole], plain[is_hole])


def test_a_student_comes_nearer_to_what_guides_it(teacher, batch):
    student = copy.deepcopy(teacher)
    optimizers = make_optimizers(student, 3e-3)
    found = []
    for _ in range(9):
        loss, clean = guided_losses(student, batch, teacher=teacher, guidance=3.0)
        for optimizer in optimizers:
            optimizer.zero_grad()
        (loss + clean).backward()
        for optimizer in optimizers:
            optimizer.step()
        found.append(loss.item())
    assert found[0] > 0.01 and found[-1] < 0.7 * found[0]
