"""Dreams in the viewers: the flags, the key that dreams again, what is prepared in the meantime, and photographs."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from roam.viewer.commands.play import replay_log
from roam.viewer.files.pictures import degrees_across
from roam.viewer.opening.start import Opener, Start, StartError, photograph
from roam.viewer.play.action_log import load_log
from roam.viewer.play.player import Player
from roam.viewer.play.script import DreamAnew, steps_of
from roam.viewer.window.sdl import pygame
from roam.viewer.window.window import Window
from roam.world.checkpoint import Checkpoint, save_checkpoint
from roam.world.config import DidaConfig, LayoutConfig, ModelConfig
from roam.world.options import DreamOptions
from roam.world.pose import Camera
from roam.world.tokens.painter import Painter, PainterConfig
from roam.world.tokens.text import TextTokenizer
from roam.world.tokens.vision import VisionConfig, VisionTokenizer
from roam.world.tokens.vocabulary import Vocabulary
from roam.world.transformer.model import Transformer

FOCAL_35MM, ORIENTATION = 0xA405, 0x0112


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model with a painter, of random weights."""
    torch.manual_seed(0)
    text, vision = TextTokenizer(), VisionTokenizer(VisionConfig(widths=(8, 8, 12), heads=2))
    vocabulary, painter = (
        Vocabulary(text.size, vision.config.num_codes),
        Painter(PainterConfig(widths=(8, 8, 12), heads=2)),
    )
    for weight in painter.parameters():
        weight.data.add_(torch.randn_like(weight) * 0.1)
    sizes = dict(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    transformer = Transformer(ModelConfig(vocab_size=vocabulary.size, **sizes))
    made = Checkpoint(transformer, vision, text, vocabulary, LayoutConfig(window=4), DidaConfig(dream_steps=2))
    folder = tmp_path_factory.mktemp("dreaming")
    save_checkpoint(replace(made, painter=painter), folder / "with")
    save_checkpoint(made, folder / "without")
    return folder / "with"


@pytest.fixture
def dreamer(model, tmp_path):
    player = Player(Opener(model), Start(seed=3), folder=tmp_path / "out")
    yield player
    player.close()


def walk(player):
    while player.step():
        pass


def refused(roam, *args):
    code, _, err = roam(*args)
    assert code == 2 and err.count("\n") == 1 and err.startswith("roam: "), (code, err)
    return err


def test_v_dreams_the_unseen_anew_and_the_walk_replays(dreamer):
    window = Window(dreamer, scale=2, steps_per_s=1e6, waits=True)
    log = dreamer.record().with_suffix(".jsonl")
    for key in (pygame.K_LEFT, pygame.K_s, pygame.K_v, pygame.K_LEFT):
        before = dreamer.frame
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key, scancode=0, mod=0))
        window.tick()
        pygame.event.post(pygame.event.Event(pygame.KEYUP, key=key, scancode=0, mod=0))
        window.tick()
        if key == pygame.K_v:
            assert dreamer.frame.index == before.index and dreamer.frame.digest != before.digest
            assert any("dreamt anew" in note for _, note in window.notes)
    assert dreamer.frame.index == 3 and len(dreamer.trail) == 4
    dreamer.stop_recording()
    window.close()
    assert sum("anew" in json.loads(line) for line in log.read_text().splitlines()) == 1
    assert replay_log(log, None, {})


def test_dreaming_anew_is_said_and_scripted_too(roam, model, dreamer, tmp_path):
    assert steps_of("Dream anew") == steps_of("dream it again") == [DreamAnew()]
    dreamer.say("turn left")
    walk(dreamer)
    shown = dreamer.frame.digest
    dreamer.say("dream anew")
    walk(dreamer)
    assert dreamer.frame.digest != shown
    (tmp_path / "walk.txt").write_text("turn left\ndream anew\nmove forward\n")
    code, _, err = roam("play", "--model", model, "--seed", 3, "--actions", tmp_path / "walk.txt", "--out", tmp_path)
    assert code == 0, err
    log = next(path for path in tmp_path.glob("walk-*.jsonl"))
    assert roam("replay", log)[0] == 0


def test_where_nothing_is_dreamt_dreaming_anew_is_a_note(player, dreamer, model):
    with pytest.raises(ValueError, match="no dream to dream anew"):
        player.dream_anew()
    dreamer.dream_anew()
    walk(dreamer)
    assert "nothing was dreamt" in dreamer.notes[-1]
    whole = Player(Opener(model.parent / "without"), Start(seed=3))
    whole.say("turn left")
    whole.say("dream anew")
    walk(whole)
    assert "nothing can be dreamt anew" in whole.notes[-1] and whole.frame.index == 1
    whole.close()


def test_a_walk_on_a_server_says_that_it_cannot_be_dreamt_anew(dreamer, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(dreamer, "connection", object())
        for ask in (dreamer.dream_anew, lambda: dreamer.say("dream anew")):
            with pytest.raises(ValueError, match="on a server cannot be dreamt anew"):
                ask()
    assert dreamer.queued == 0


def test_what_is_prepared_changes_no_frame_and_another_step_has_it_given_up(dreamer, model):
    twin = Player(Opener(engine=dreamer.opener.engine), Start(seed=3))
    stops, prepare = [], dreamer.branch.explorer.prepare
    dreamer.branch.explorer.prepare = lambda *, stop: (stops.append(stop), prepare(stop=stop))
    for sentence in ("step back", "step back", "turn left", "turn left"):
        for player in (twin, dreamer):
            player.say(sentence)
            player.step()
        dreamer.settle()
        assert dreamer.frame.digest == twin.frame.digest
    dreamer.rest(60)
    assert [stop() for stop in stops] == [False, True, False, False]
    twin.close()


def test_a_step_waits_for_no_more_than_a_pass_of_what_is_prepared(dreamer):
    begun, session = threading.Event(), dreamer.branch.explorer
    dreamer.say("step back")
    dreamer.step()

    def prepare(*, stop):
        begun.set()
        while not stop():
            pass

    session.prepare = prepare
    dreamer.settle()
    assert begun.wait(20)
    dreamer.say("turn left")
    assert dreamer.step().index == 2


def test_steps_temperature_and_the_seed_of_the_dream_are_in_the_log(roam, model, tmp_path):
    (tmp_path / "turn.txt").write_text("turn left\n")
    walk = ("play", "--model", model, "--seed", 3, "--actions", tmp_path / "turn.txt", "--out", tmp_path)
    digests = {}
    for name, flags in {"plain": (), "seed": ("--dream-seed", 9), "cold": ("--temperature", 0, "--steps", 1)}.items():
        code, _, err = roam(*walk, "--record", tmp_path / f"{name}.mp4", *flags)
        assert code == 0, err
        log = tmp_path / f"{name}.jsonl"
        digests[name] = [json.loads(line).get("digest") for line in log.read_text().splitlines()][1:]
        assert roam("replay", log)[0] == 0
    assert digests["plain"] != digests["seed"] != digests["cold"] != digests["plain"]
    assert load_log(tmp_path / "cold.jsonl").dreams == DreamOptions(1, 0.0)
    torn = json.loads((tmp_path / "cold.jsonl").read_text().splitlines()[0]) | {"dreams": {"dream_steps": "many"}}
    (tmp_path / "torn.jsonl").write_text(json.dumps(torn))
    assert "both numbers" in refused(roam, "replay", tmp_path / "torn.jsonl")


def test_flags_of_dreams_that_would_do_nothing_are_refused(roam, model, tmp_path):
    whole = ("play", "--model", model.parent / "without")
    assert "no painter" in refused(roam, *whole, "--steps", 4)
    assert "no painter" in refused(roam, *whole, "--dream-seed", 4)
    assert "not dreamt" in refused(roam, "play", "--truth", "--temperature", 1)
    assert "not dreamt" in refused(roam, "serve", "--truth", "--steps", 4)
    assert "no dream" in refused(roam, "play", "--truth", "--dream-seed", 4)
    assert "give --image" in refused(roam, "play", "--fov", 60)
    assert "no painter" in refused(roam, "serve", "--model", model.parent / "without", "--steps", 4)


def photo(path: Path, size=(120, 90), *, focal=None, turned=1) -> Path:
    width, height = size
    y, x = np.mgrid[:height, :width]
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    if focal:
        exif.get_ifd(0x8769)[FOCAL_35MM] = focal
    pixels = np.stack([x * 255 // width, y * 255 // height, (x + y) % 32 * 8], -1).astype(np.uint8)
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    return path


def test_the_focal_length_of_a_photograph_is_read_upright(tmp_path):
    # 24 mm is 84.1 degrees from corner to corner, of which 4:3 has 71.6 along its longer side
    assert degrees_across(photo(tmp_path / "a.jpg", focal=24)) == pytest.approx(71.6, abs=0.3)
    assert degrees_across(photo(tmp_path / "b.jpg", focal=24, turned=6)) == pytest.approx(56.8, abs=0.3)
    assert degrees_across(photo(tmp_path / "c.jpg")) is None
    assert degrees_across(photo(tmp_path / "d.jpg", focal=60000)) is None
    (tmp_path / "e.jpg").write_bytes(b"no picture")
    assert degrees_across(tmp_path / "e.jpg") is None


def test_a_photograph_stands_in_the_frame_at_its_true_scale(tmp_path):
    camera, path = Camera(), photo(tmp_path / "a.jpg")
    frame, seen = photograph(path, camera, 60.0)
    width = 2 * camera.focal * np.tan(np.radians(30))
    assert seen.any(0).sum() == pytest.approx(width, abs=1) and seen.any(1).sum() == pytest.approx(width * 3 / 4, abs=1)
    assert abs(int(frame.pixels[64, 64, 0]) - 127) < 12 and frame.pixels[64, 40, 0] < 90 < 160 < frame.pixels[64, 90, 0]
    edge = np.flatnonzero(seen.any(0))[0]
    assert (frame.pixels[64, :edge] == frame.pixels[64, edge]).all()
    whole, seen = photograph(path, camera, 110.0)
    assert seen.all() and whole.pixels[64, 0, 0] > 40  # what lies beyond the picture is cropped
    with pytest.raises(StartError, match="too little to begin with"):
        photograph(path, camera, 5.0)


def test_a_walk_begins_with_a_photograph_and_dreams_what_it_does_not_show(roam, model, tmp_path):
    path = photo(tmp_path / "a.jpg", focal=35)
    code, _, err = roam("play", "--model", model, "--image", path, "--frames", 3, "--record", tmp_path / "w.mp4")
    assert code == 0, err
    assert roam("replay", tmp_path / "w.jsonl")[0] == 0
    one, other = (Opener(model).open(Start(image=str(path), seed=seed)).explorer.frame.pixels for seed in (1, 2))
    _, seen = photograph(path, Camera(), degrees_across(path))
    assert 0.2 < seen.mean() < 0.9 and (one[seen] == other[seen]).all() and (one[~seen] != other[~seen]).any()
    whole = model.parent / "without"
    assert "leave out --fov" in refused(roam, "play", "--model", whole, "--image", path, "--fov", 50)
    assert roam("play", "--model", whole, "--image", path, "--frames", 2)[0] == 0
