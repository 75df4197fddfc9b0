"""Official folders in the viewer: the same player, commands and server as for the embedded model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PictureFile
from roam.viewer.cli import main
from roam.viewer.commands.play import OPENING
from roam.viewer.opening.start import Opener, Start, StartError
from roam.viewer.opening.worlds import EXPLORE, DreamWorlds, OpenRequest
from roam.viewer.play.player import Player
from roam.viewer.play.script import load_script
from roam.world.emu.checkpoint import load_official
from roam.world.emu.engine import EmuEngine, explore_preset
from roam.world.emu.sampling import Sampling


@pytest.fixture(scope="module")
def engine(official) -> EmuEngine:
    preset = explore_preset(area=32 * 48, text_limit=4, text=Sampling(top_k=1))
    return EmuEngine(load_official(*official, context=1400), preset=preset, max_pages=200)


@pytest.fixture
def picture(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    PictureFile.fromarray(pixels).save(tmp_path / "hall.png")
    return tmp_path / "hall.png"


@pytest.fixture
def player(engine, picture, tmp_path):
    player = Player(Opener(engine=engine), Start(image=str(picture), text="a hall"), folder=tmp_path / "out")
    yield player
    player.close()


def test_keys_and_typed_words_become_directions_of_one_frame_each(player, engine):
    player.held.press("turn left")
    assert player.step().index == 1 and player.branch.explorer.actions[-1].text == "turn left"
    player.held.release_all()
    player.say("walk through the door, to the garden")
    assert player.queued == 1 and player.step().index == 2
    player.say("walk forward 3 metres")  # the embedded model would take ten steps
    assert player.queued == 1 and player.step().index == 3
    read = engine.text.decode(player.branch.explorer.moments[2].strands[0].ids)
    assert "USER: walk through the door, to the garden ASSISTANT:" in read


def test_a_walk_is_rewound_branched_and_saved_with_the_keys_of_every_world(player):
    player.say("turn left")
    frame = player.step()
    player.say("look at the ceiling")
    player.step()
    assert player.rewind().digest == frame.digest
    player.fork()
    player.say("turn right")
    player.step()
    path = player.save()
    shown = player.frame.digest
    player.load(path)
    assert player.frame.digest == shown


def test_a_script_for_a_model_that_reads_words_may_say_anything(tmp_path):
    path = tmp_path / "walk.txt"
    path.write_text("walk forward 3 metres\nopen the drawer  # free words\n")
    actions = load_script(path, is_free=True)
    assert [action.text for action in actions] == ["walk forward 3 metres", "open the drawer"]
    assert actions[0].motion is not None and actions[1].motion is None


def test_a_server_offers_it_under_a_name_of_its_own_and_opens_it_with_words_or_a_picture(engine, picture):
    worlds = DreamWorlds(engine)
    assert worlds.models == (EXPLORE, "scene")
    image = np.asarray(PictureFile.open(picture))
    session = worlds.open(OpenRequest(model=EXPLORE, text="a hall", image=image))
    assert session.frame.pixels.shape == (32, 48, 3)
    session.close()
    session = worlds.open(OpenRequest(seed=3))  # a true scene's first frame, at the model's size
    assert session.frame.tokens.shape == (2, 2) or session.frame.tokens.shape == (2, 3)
    session.close()


def test_roam_play_walks_an_official_folder_headless_and_replays_it(official, picture, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, vision = (["--model", str(official[0])], ["--vision-tokenizer", str(official[1]), "--area", "1536"])
    main_of("play", *model, *vision, "--image", str(picture), "--text", "a hall", "--headless", "--frames", "3")
    said = capsys.readouterr().out
    assert "free on cpu" in said and "walked 3 frames" in said and Path("roam-out/walk-001.mp4").stat().st_size > 0
    main_of("replay", "roam-out/walk-001.jsonl", *vision)
    assert "every digest is the same" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "MODEL"], "is an official model; name its vision tokenizer's folder"),
        (["--vision-tokenizer", "VISION"], "the embedded model is no official model, which alone takes vision"),
        (["--text", "a hall"], "it reads no words at the start"),
        (["--model", "VISION", "--vision-tokenizer", "MODEL"], "name them the other way round"),
        (["--model", "MODEL", "--vision-tokenizer", "VISION", "--decoder", "dida"], "were never adapted"),
        (
            ["--model", "NOWHERE", "--vision-tokenizer", "VISION", "--text", "a <|extra_1|>"],
            "control token '<|extra_1|>'",
        ),
        (["--model", "MODEL", "--vision-tokenizer", "VISION", "--turns", "chat"], "unknown form of turns 'chat'"),
        (["--model", "MODEL", "--vision-tokenizer", "VISION", "--precision", "int3"], "unknown precision 'int3'"),
    ],
)
def test_roam_play_refuses_what_cannot_be_in_one_sentence(official, tmp_path, capsys, options, message):
    folders = {"MODEL": str(official[0]), "VISION": str(official[1])}
    with pytest.raises(SystemExit):
        main(["play", "--headless", "--frames", "2", "--out", str(tmp_path), *(folders.get(o, o) for o in options)])
    # on a slow machine, a line before it says what it is waiting for
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if not line.startswith(OPENING)]
    assert len(lines) == 1 and message in lines[0]


def test_words_and_the_truth_or_a_save_contradict_each_other():
    with pytest.raises(StartError, match="words begin a dream"):
        Start(text="a hall", truth=True)


def main_of(*args: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*args])
    assert ended.value.code == 0
