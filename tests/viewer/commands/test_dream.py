"""The commands on a dream: an untrained tiny model walks, saves and replays, and a damaged save is refused."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from roam.viewer.opening.start import Opener, Start
from roam.viewer.play.player import Player
from roam.world.checkpoint import Checkpoint, save_checkpoint
from roam.world.config import DidaConfig, LayoutConfig, ModelConfig
from roam.world.tokens.text import TextTokenizer
from roam.world.tokens.vision import VisionConfig, VisionTokenizer
from roam.world.tokens.vocabulary import Vocabulary
from roam.world.transformer.model import Transformer


def make_model(folder, seed=0):
    torch.manual_seed(seed)
    text, vision = TextTokenizer(), VisionTokenizer(VisionConfig(widths=(8, 8, 12), heads=2))
    vocabulary = Vocabulary(text.size, vision.config.num_codes)
    sizes = dict(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    model = Transformer(ModelConfig(vocab_size=vocabulary.size, **sizes))
    save_checkpoint(Checkpoint(model, vision, text, vocabulary, LayoutConfig(window=4), DidaConfig()), folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def save(model, tmp_path):
    """A save of a dream walked for two steps."""
    player = Player(Opener(model), Start(seed=3), folder=tmp_path / "saves")
    player.say("move forward 0.6 m")
    while player.step():
        pass
    return player.save()


def refused(roam, *args):
    code, _, err = roam(*args)
    assert code == 2 and err.count("\n") == 1 and err.startswith("roam: "), (code, err)
    return err


def digests(log):
    lines = [json.loads(line) for line in Path(log).read_text().splitlines()]
    return [lines[0]["first"], *(line["digest"] for line in lines[1:])]


def test_a_dream_is_walked_without_a_display_and_replays_to_the_same_digests(roam, model):
    code, out, _ = roam("play", "--model", model, "--seed", 4, "--frames", 5)
    assert code == 0 and "5 frames of dream, scene 4" in out
    with av.open("roam-out/walk-001.mp4") as video:
        assert sum(1 for _ in video.decode(video=0)) == 5
    assert roam("replay", "roam-out/walk-001.jsonl")[0] == 0


def test_the_same_seed_and_actions_dream_the_same(roam, model):
    for _ in range(2):
        roam("play", "--model", model, "--frames", 4)
    assert digests("roam-out/walk-001.jsonl") == digests("roam-out/walk-002.jsonl")


def test_any_image_can_be_dreamed_on(roam, model):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 150, 3), np.uint8)).save("a.jpg")
    code, out, _ = roam("play", "--model", model, "--image", "a.jpg", "--frames", 3)
    assert code == 0 and "3 frames of a.jpg" in out


def test_a_dream_goes_on_from_its_save(roam, model, save):
    code, out, _ = roam("play", "--model", model, "--load", save, "--frames", 2)
    assert code == 0 and "2 frames" in out


def test_recordings_with_rewinds_replay(roam, model, tmp_path):
    player = Player(Opener(model), Start(), folder=tmp_path)
    path = player.record()
    for text in ("move forward", "turn left"):
        player.say(text)
        player.step()
    player.rewind()
    player.say("turn right")
    player.step()
    player.close()
    assert roam("replay", path.with_suffix(".jsonl"))[0] == 0


@pytest.mark.parametrize("name", ["model.safetensors", "vision.safetensors", "config.json"])
def test_torn_weights_are_refused(roam, tmp_path, name):
    folder = make_model(tmp_path / "torn")
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    assert name in refused(roam, "play", "--model", folder, "--frames", 2)
    assert not Path("roam-out").exists()


def test_foreign_weights_are_refused(roam, tmp_path):
    folder = make_model(tmp_path / "foreign")
    (folder / "digests.json").unlink()
    (folder / "model.safetensors").write_bytes((folder / "vision.safetensors").read_bytes())
    assert "belongs to another model" in refused(roam, "play", "--model", folder, "--frames", 2)


def test_a_folder_without_weights_is_refused(roam, tmp_path):
    assert "no checkpoint" in refused(roam, "play", "--model", tmp_path, "--frames", 2)


def test_a_save_of_another_model_is_refused(roam, tmp_path, save):
    other = make_model(tmp_path / "other", seed=1)
    assert "was saved with weights" in refused(roam, "play", "--model", other, "--load", save)


def test_a_torn_or_foreign_save_is_refused(roam, model, save):
    whole = save.read_bytes()
    for torn in (whole[: len(whole) // 2], b"", b"\x00" * 64, b"walls and floors"):
        save.write_bytes(torn)
        assert str(save) in refused(roam, "play", "--model", model, "--load", save)
