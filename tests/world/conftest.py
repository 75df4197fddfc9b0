"""A tiny random world model: the laws of sessions must hold for any weights."""

from dataclasses import replace

import pytest
import torch
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.world.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from roam.world.config import DidaConfig, LayoutConfig, ModelConfig
from roam.world.engine import Engine
from roam.world.tokens.depth import DepthConfig, DepthRefiner
from roam.world.tokens.painter import Painter, PainterConfig
from roam.world.tokens.text import TextTokenizer
from roam.world.tokens.vision import VisionConfig, VisionTokenizer
from roam.world.tokens.vocabulary import Vocabulary
from roam.world.training.run import Run
from roam.world.transformer.model import Transformer


@pytest.fixture(scope="module", autouse=True)
def blank_curves():
    """Training runs leave an empty curve, because drawing costs more than their few steps (test_run.py draws one)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "draw", lambda run, *_columns: (run.folder / "curve.png").touch())
        yield


def tiny_checkpoint(window: int = 3) -> Checkpoint:
    torch.manual_seed(0)
    text = TextTokenizer()
    vision = VisionTokenizer(VisionConfig(widths=(8, 8, 12), heads=2))
    vocabulary = Vocabulary(text.size, vision.config.num_codes)
    model = Transformer(
        ModelConfig(
            vocabulary.size, 32, 48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8
        )
    )
    # untrained it gives the same grey picture for everything, and the laws need pictures that differ
    for weight in vision.parameters():
        weight.data.add_(torch.randn_like(weight) * 0.2)
    depth = DepthRefiner(DepthConfig(widths=(8, 8, 12), heads=2))
    torch.nn.init.normal_(depth.out.weight, std=0.1)  # untrained it changes nothing
    layout = LayoutConfig(grid=vision.config.grid, window=window)
    return Checkpoint(model, vision, text, vocabulary, layout, DidaConfig(), depth=depth)


def dreaming_checkpoint() -> Checkpoint:
    """The same with a painter, which changes every input."""
    tiny = tiny_checkpoint()
    painter = Painter(PainterConfig(widths=(8, 8, 12), heads=2))
    for weight in painter.parameters():
        weight.data.add_(torch.randn_like(weight) * 0.1)
    return replace(tiny, painter=painter, dida=DidaConfig(dream_steps=3))


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    save_checkpoint(tiny_checkpoint(), folder, dtype=torch.float32)
    return folder


@pytest.fixture(scope="session")
def dreaming_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dreaming")
    save_checkpoint(dreaming_checkpoint(), folder, dtype=torch.float32)
    return folder


@pytest.fixture(scope="session")
def loaded_checkpoint(checkpoint_folder) -> Checkpoint:
    """The tiny model as it is read from its folder, once: an engine makes copies of what it serves, and leaves the
    weights that it was given alone (test_a_served_model_is_the_model_and_leaves_it_alone)."""
    return load_checkpoint(checkpoint_folder)


@pytest.fixture(scope="session")
def loaded_dreaming(dreaming_folder) -> Checkpoint:
    """The same with a painter, read once."""
    return load_checkpoint(dreaming_folder)


@pytest.fixture
def engine(loaded_checkpoint):
    return Engine(loaded_checkpoint)


@pytest.fixture(scope="session")
def first_frame():
    return SceneSession(make_scene("test", 3)).frame
