"""Examples: what a line must have, how faults in a file are reported, and what recordings become."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from roam.scenes.recorder import load_recording, record
from roam.viewer.cli import main
from roam.world.action import Action, parse_action
from roam.world.adaptation.checking import check_examples, refuse_faults
from roam.world.adaptation.examples import ExampleError, read_examples
from roam.world.adaptation.interleave import Interleaving, direction_of, interleave
from roam.world.adaptation.run import read_requests
from roam.world.adaptation.tuning import walk_of

AREA = 32 * 48
GOOD = {"task": "story", "question": "a day", "answer": [{"text": "Morning."}, {"image": "a.png"}]}


def write(folder, *rows):
    """A file of examples beside two pictures, a.png and tall.png."""
    for name, shape in (("a.png", (32, 48, 3)), ("tall.png", (96, 32, 3))):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    path = folder / "asked.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def faults_of(folder, *rows, **options):
    return check_examples(write(folder, *rows), **dict(area=AREA, longest=8192) | options).faults


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (dict(task="fly"), "unknown task 'fly'"),
        (dict(question=" "), "task story without a request"),
        (dict(question="<|extra_100|>"), "contains the control token '<|extra_100|>'"),
        (dict(images=["a.png"] * 4), "4 images for task story, which takes 0 to 3"),
        (dict(anwser=[]), "unknown keys anwser; known: task"),
        (dict(size="huge"), "a size of 'huge'"),
        (dict(ends="no"), "'ends' is 'no'; wanted true or false"),
        (dict(answer=[]), "its 'answer' is missing or empty"),
        (dict(answer=[{"text": "a"}, {"video": "b"}]), "part 2 of its answer is"),
        (dict(answer=[{"text": ""}, {"image": "a.png"}]), "part 1 of its answer is an empty 'text'"),
        (dict(answer=[{"thought": "<|image start|>"}, {"image": "a.png"}]), "control token '<|image start|>'"),
        (dict(answer=[{"text": "a"}]), "an answer to story without a picture"),
        (dict(answer=[{"image": "a.png"}]), "an answer to story without words"),
        (dict(task="t2i", answer=[{"image": "a.png"}] * 2), "an answer to t2i with 2 pictures"),
        (dict(task="t2i", answer=[{"image": "a.png"}, {"text": "so"}]), "the last part a text; wanted one, at the end"),
        (dict(task="x2i"), "0 images for task x2i, which takes 1 to 3"),
        (dict(answer=[{"turn": "left"}, {"text": "a"}, {"image": "a.png"}]), "story with turns, which explore alone"),
        (dict(task="explore", answer=[{"image": "a.png"}, {"turn": "left"}]), "turn 1 of its answer is followed by no"),
        (dict(answer=[{"text": "a"}, {"image": "none.png"}]), "none.png is not there"),
        (dict(answer=[{"text": "a"}, {"image": "asked.jsonl"}]), "asked.jsonl is no image that can be read"),
        (dict(answer=[{"text": "a"}, {"image": "a.png"}, {"image": "tall.png"}]), "tall.png has 32x96 pixels and the"),
    ],
)
def test_each_thing_that_is_wrong_gets_one_sentence_with_its_line(tmp_path, change, wanted):
    faults = faults_of(tmp_path, GOOD, GOOD | change)
    assert len(faults) == 1 and faults[0].startswith("line 2: ") and wanted in faults[0]


def test_two_things_that_are_wrong_get_two_sentences_and_reading_names_the_first(tmp_path):
    path = write(tmp_path, GOOD, "{", "[]", GOOD | dict(task="fly", answer=[{"turn": "left"}]))
    report = check_examples(path, longest=8192)
    assert [fault[:7] for fault in report.faults] == ["line 2:", "line 3:", *["line 4:"] * 4]
    assert "no JSON" in report.faults[0] and "list where an object" in report.faults[1]
    with pytest.raises(ExampleError, match=r"asked\.jsonl, line 2: no JSON .*; and \d more, which `roam data check"):
        refuse_faults(path, report)
    with pytest.raises(ExampleError, match=r"asked\.jsonl, line 2: no JSON"):
        [*read_examples(path)]


def test_a_file_without_examples_and_one_that_is_too_long_are_told(tmp_path):
    assert "there is no example" in faults_of(tmp_path, "\n")[0]
    assert "line 1: up to" in faults_of(tmp_path, GOOD, longest=30)[0]


def test_the_check_is_a_command_that_counts_and_fails_with_faults(tmp_path, capsys):
    path = write(tmp_path, GOOD, GOOD | dict(task="t2i"))
    assert code_of(["data", "check", str(path), "--area", str(AREA)]) == 0
    assert "2 examples (1 story, 1 t2i), 2 pictures" in capsys.readouterr().out
    path = write(tmp_path, GOOD, GOOD | dict(task="x2i"))
    assert code_of(["data", "check", str(path), "--area", str(AREA)]) == 1
    assert "missing or wrong: line 2: 0 images for task x2i" in capsys.readouterr().out


def code_of(args) -> int:
    with pytest.raises(SystemExit) as ended:
        main(args)
    return ended.value.code or 0


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    record(folder, "train", 2, frames=6, workers=1)
    return folder


def test_recordings_become_examples_that_pass_the_check(recorded, tmp_path, capsys):
    out = tmp_path / "walks.jsonl"
    options = ["--frames", "4", "--mode", "interactive", "--mode", "free", "--begin", "picture", "--begin", "words"]
    scene = ["--scene", "a painted place"]
    assert code_of(["data", "interleave", str(recorded), "--out", str(out), *options, *scene]) == 0
    held = load_recording(next(recorded.glob("train-*.safetensors")))
    examples = [*read_examples(out)]
    assert "16 examples with 12 pictures" in capsys.readouterr().out and len(examples) == 16
    assert not check_examples(out, area=AREA, longest=8192).faults
    led, led_by_words, free, _ = examples[:4]
    said = [action.text for action in held.actions[0][:3] if not action.known_motion.is_still]
    assert [part.value for part in led.answer if part.kind == "turn"] == said
    assert [part.value for part in free.answer if part.kind == "text"] == said
    assert led.question == "Under my instructions to explore a painted place"
    assert free.question == "Explore a painted place" and not led.ends
    assert not led_by_words.images and led_by_words.pictures == (*led.images, *led.pictures)
    shown = [np.asarray(Image.open(path)) for path in led_by_words.pictures]
    assert np.array_equal(shown, held.pixels[0, :4])
    # the next part begins with the frame at which the part before it ended
    assert examples[4].images == led.pictures[-1:] and len(examples[4].pictures) == 2
    assert code_of(["data", "interleave", str(recorded), "--out", str(out), *scene]) == 2
    assert "is there already" in capsys.readouterr().err


def test_words_between_key_frames_are_joined_and_standing_still_says_nothing():
    turn, ahead = parse_action("turn left 10 degrees"), parse_action("move forward 0.5 metres")
    assert direction_of([turn, turn, turn]) == "turn left 30 degrees"
    assert direction_of([turn, parse_action("wait"), ahead]) == "turn left 10 degrees, then move forward 0.5 metres"
    assert direction_of([parse_action("wait")]) == "" and direction_of([Action("open the door")]) == "open the door"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(begins=("words",)), "needs them, and world '.*' has none: give --scene"),
        (dict(modes=("flying",)), "unknown --mode 'flying'; known: interactive, free"),
        (dict(split="dev"), "no recordings of split 'dev'"),
        (dict(every=9), "has two frames"),
    ],
)
def test_recordings_that_give_no_examples_are_refused(recorded, tmp_path, change, message):
    with pytest.raises(ExampleError, match=message):
        interleave(Interleaving(recorded, tmp_path / "a.jsonl", **change))
    assert not (tmp_path / "a.jsonl").exists()


def test_a_walk_of_ours_has_a_frame_for_every_picture_and_waits_where_nothing_is_said(tmp_path):
    answer = [{"image": "a.png"}, {"turn": "turn left"}, {"image": "a.png"}, {"image": "a.png"}]
    row = {"task": "explore", "question": "a hall", "answer": answer}
    (example,) = read_examples(write(tmp_path, row))
    pixels, actions = walk_of(example, 16)
    assert pixels.shape == (3, 16, 16, 3) and [action.text for action in actions] == ["turn left", "wait"]
    (story,) = read_examples(write(tmp_path, GOOD))
    with pytest.raises(ExampleError, match=r"line 1: a model of ours learns walks .* and this is story"):
        walk_of(story, 16)


def test_pictures_of_examples_and_requests_are_read_like_all_others(tmp_path):
    """A dark picture of 16 bits, which Pillow alone would read as white; and a drawing on a
    transparent background, which is read as white."""
    Image.fromarray(np.full((32, 48), 20 * 257, np.uint16)).save(tmp_path / "a.png")
    (request,) = read_requests(write_requests(tmp_path, "a.png"), {})
    assert (request.images[0] == 20).all()
    Image.new("RGBA", (32, 48), (0, 0, 0, 0)).save(tmp_path / "a.png")
    (request,) = read_requests(write_requests(tmp_path, "a.png"), {})
    assert (request.images[0] == 255).all()


def write_requests(folder, name):
    path = folder / "requests.jsonl"
    path.write_text(json.dumps({"task": "x2i", "question": "more", "images": [str(folder / name)]}))
    return path
