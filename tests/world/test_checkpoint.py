"""A folder of weights from strangers, or from a disk that has erred: a sentence, and no memory spent first."""

import json
import re
import shutil
from itertools import chain
from pathlib import Path
from random import Random

import pytest
import torch
from roam.world.checkpoint import EMBEDDED, SHIPPED, Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from roam.world.config import DidaConfig, LayoutConfig, ModelConfig
from roam.world.files import DIGESTS, why_damaged, write_digests
from roam.world.tokens.depth import DepthConfig, DepthRefiner
from roam.world.tokens.painter import Painter, PainterConfig
from roam.world.tokens.text import TextTokenizer
from roam.world.tokens.vision import VisionConfig, VisionTokenizer
from roam.world.tokens.vocabulary import Vocabulary
from roam.world.transformer.model import Transformer

DAMAGED = (-1, 10**6, 10**11, float("nan"), None, "x", [])
SIZES = [
    (part, name, place)
    for part, settings in json.loads((EMBEDDED / "config.json").read_text()).items()
    if isinstance(settings, dict)
    for name, value in settings.items()
    for place in (range(len(value)) if isinstance(value, list) else [None])
]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A checkpoint of every part, as small as they can be."""
    folder, text = tmp_path_factory.mktemp("small"), TextTokenizer()
    vision = VisionTokenizer(VisionConfig(32, (4, 4, 4, 4), (8, 8, 8), 2))
    vocabulary = Vocabulary(text.size, 256)
    model = Transformer(ModelConfig(vocabulary.size, 8, 8, 1, 2, 1, 4))
    depth, painter = DepthRefiner(DepthConfig(32, (8, 8, 8), 2)), Painter(PainterConfig(32, 4, (8, 8, 8), 2, 8))
    layout, dida = LayoutConfig((2, 2)), DidaConfig()
    save_checkpoint(Checkpoint(model, vision, text, vocabulary, layout, dida, "", depth=depth, painter=painter), folder)
    return folder


def test_a_checkpoint_is_read_back_as_it_was(small):
    held = load_checkpoint(small)
    assert held.painter is not None and held.painter.config.fine == 8
    assert all(not weight.is_meta for weight in chain(held.model.state_dict().values(), held.painter.buffers()))


FILES = ("config.json", "model.safetensors", "vision.safetensors", "depth.safetensors", "painter.safetensors", DIGESTS)


@pytest.mark.parametrize("name", FILES)
def test_a_bit_that_flips_anywhere_in_a_checkpoint_is_noticed(small, tmp_path, name):
    """A bit in the weights once changed what was dreamt, without a word."""
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    data, draw = (small / name).read_bytes(), Random(0)
    for place in {0, 9, len(data) // 2, len(data) - 2, *(draw.randrange(len(data) - 1) for _ in range(8))}:
        damaged = bytearray(data)
        damaged[place] ^= 1 << draw.randrange(8)
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=re.escape(str(tmp_path))) as refused:
            load_checkpoint(tmp_path)
        assert "\n" not in str(refused.value)


def test_a_checkpoint_of_which_a_part_was_replaced_is_refused_and_one_without_digests_is_not(small, tmp_path):
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"dida": config["dida"] | {"temperature": 0.5}}))
    with pytest.raises(CheckpointError, match=r"config\.json is not as it was written.*remove digests\.json if"):
        load_checkpoint(tmp_path)
    (tmp_path / DIGESTS).unlink()
    assert load_checkpoint(tmp_path).dida.temperature == 0.5
    write_digests(tmp_path)
    assert load_checkpoint(tmp_path).dida.temperature == 0.5


@pytest.mark.parametrize("folder", SHIPPED.values(), ids=SHIPPED)
def test_the_weights_that_ship_have_their_digests(folder):
    told = (folder / DIGESTS).read_text()
    assert set(json.loads(told)) == {"config.json", *(path.name for path in folder.glob("*.safetensors"))}
    assert not [path for path in folder.iterdir() if path.name in told and why_damaged(path, path.read_bytes())]


@pytest.mark.parametrize(("part", "name", "place"), SIZES, ids=["-".join(map(str, size)) for size in SIZES])
def test_any_number_of_its_settings_that_is_another_is_told_or_taken_and_takes_no_memory(
    small, tmp_path, part, name, place, monkeypatch
):
    made = []
    monkeypatch.setattr(torch.nn.Module, "register_parameter", noting(made))
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    (tmp_path / DIGESTS).unlink()
    for value in DAMAGED:
        settings = json.loads((small / "config.json").read_text())
        if place is None:
            settings[part][name] = value
        else:
            settings[part][name][place] = value
        (tmp_path / "config.json").write_text(json.dumps(settings))
        try:
            load_checkpoint(tmp_path)
        except CheckpointError as error:
            assert str(tmp_path) in str(error)
    assert max(made, default=0) < 10**6  # numbers, of any one tensor that was not on the meta device


def noting(made, register=torch.nn.Module.register_parameter):
    def noted(module, name, parameter):
        if parameter is not None and not parameter.is_meta:
            made.append(parameter.numel())
        register(module, name, parameter)

    return noted
