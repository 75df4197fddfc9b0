"""A dream that learns from another model's predictions, and layers that are compiled for a GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from roam.viewer.commands.train import TrainOrder, recipe_of
from roam.viewer.files.outputs import OutputError
from roam.world.checkpoint import EMBEDDED, load_checkpoint
from roam.world.config import DidaConfig, LayoutConfig, ModelConfig
from roam.world.tokens.vision import VisionConfig, VisionTokenizer
from roam.world.tokens.vocabulary import Vocabulary
from roam.world.training import recipe as recipes
from roam.world.training import world_model
from roam.world.training.banded import MaskedAttention
from roam.world.training.canvases import Canvases, save_canvases
from roam.world.training.dream import DreamRecipe, dream_batch, dream_losses, evaluate_dream
from roam.world.training.guide import taught_by
from roam.world.training.recipe import Recipe, make_trainer, run_recipe
from roam.world.training.world_model import WorldTrainer


def canvases(rows: int, frames: int = 3) -> Canvases:
    rng = np.random.default_rng(rows)
    codes = lambda: rng.integers(0, 4096, (rows, frames, 64)).astype(np.int16)  # noqa: E731
    text = np.full((rows, frames, 15), -1, np.int16)
    text[:, 1:, :4] = rng.integers(0, 300, (rows, frames - 1, 4))
    return Canvases(codes(), codes(), rng.random((rows, frames, 64)).astype(np.float32), text)


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "dev"):
        save_canvases(canvases(2), tmp_path / f"keyframe-canvases-{split}.safetensors")
    return tmp_path


def test_a_model_that_is_its_own_teacher_has_nothing_to_learn(folder):
    run_recipe(folder, Recipe(), stages=(), begin=EMBEDDED)
    student, teacher = (make_trainer(folder, Recipe()) for _ in range(2))
    for trainer in (student, teacher):
        trainer.begin_as(load_checkpoint(EMBEDDED).model)
    batch = dream_batch(student, canvases(2), DreamRecipe(walks=1, copies=2), 0, "cpu")
    losses = taught_by(teacher, "cpu")
    asked, clean = losses(student, batch)
    assert asked.item() == pytest.approx(0, abs=1e-5) and clean.item() == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        student.codes.free_head.add_(torch.randn_like(student.codes.free_head))
    asked, _ = losses(student, batch)
    asked.backward()
    assert asked.item() > 0.1 and student.codes.free_head.grad.abs().max() > 0
    assert teacher.codes.free_head.grad is None


@pytest.mark.slow(reason="a training reads the embedded model and the large one")
def test_what_is_learnt_is_the_teachers_prediction(folder, monkeypatch):
    asked = []
    found = recipes.taught_by
    monkeypatch.setattr(recipes, "taught_by", lambda teacher, device: asked.append(teacher) or found(teacher, device))
    dream = DreamRecipe(steps=1, walks=1, copies=1, max_seconds=1e9)
    run_recipe(folder, replace(Recipe(), teacher="large", dream=dream), stages=("dream",), begin=EMBEDDED)
    (teacher,) = asked
    large = load_checkpoint("large").model
    assert teacher.transformer.config == large.config
    assert torch.equal(teacher.transformer.model.layers[0].mlp.up_proj.weight, large.model.layers[0].mlp.up_proj.weight)


def test_a_teacher_with_other_codes_is_refused(folder):
    with pytest.raises(ValueError, match="doom has another tokenizer: its codes mean other pictures"):
        run_recipe(folder, replace(Recipe(), teacher="doom"), stages=("dream",), begin=EMBEDDED)


def test_the_command_line_names_the_teacher_and_needs_a_model_to_begin_with(tmp_path):
    assert recipe_of(TrainOrder(tmp_path, begin="embedded", teacher="large")).teacher == "large"
    assert recipe_of(TrainOrder(tmp_path)).teacher == ""
    with pytest.raises(OutputError, match="add --begin"):
        TrainOrder(tmp_path, teacher="large")
    with pytest.raises(OutputError, match="add --stage dream"):
        TrainOrder(tmp_path, begin="embedded", teacher="large", stages=("painter",))
    with pytest.raises(OutputError, match="no checkpoint in"):
        TrainOrder(tmp_path, begin="embedded", teacher=str(tmp_path))


def test_compiled_layers_compute_what_they_did(monkeypatch):
    monkeypatch.setattr(world_model, "BandedAttention", MaskedAttention)  # as on a GPU
    torch.manual_seed(0)
    vocabulary, vision = Vocabulary(320, 4096), VisionTokenizer(VisionConfig(widths=(8, 8, 12), heads=2))
    sizes = dict(num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    config = ModelConfig(vocabulary.size, 32, 48, **sizes)
    plain, compiled = (WorldTrainer(config, LayoutConfig(), DidaConfig(), vocabulary, vision) for _ in range(2))
    plain.codes.free_head.data.normal_(std=0.3)
    compiled.load_state_dict(plain.state_dict())
    graphs = []
    # traced as for a GPU, and run as it was traced; an error where a layer is not one graph
    compiled.compile_layers(backend=lambda graph, _: graphs.append(graph) or graph.forward, fullgraph=True)
    data, recipe = canvases(4), DreamRecipe(walks=2, copies=2)
    for step in range(2):
        batch, slopes = dream_batch(plain, data, recipe, step, "cpu"), []
        for trainer in (plain, compiled):
            trainer.zero_grad()
            asked, clean = dream_losses(trainer, batch)
            (asked + clean).backward()
            slopes.append([asked, clean, *(p.grad for p in trainer.parameters() if p.grad is not None)])
        for ours, theirs in zip(*slopes, strict=True):
            torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-3)
    assert len(graphs) == 2  # the first layer's and the others', once
    assert evaluate_dream(compiled, data) == pytest.approx(evaluate_dream(plain, data), rel=1e-4)
