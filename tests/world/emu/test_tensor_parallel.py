"""A model split over two processes: the same tokens as whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PictureFile
from roam.viewer.commands.generate import generate
from roam.world.checkpoint import CheckpointError
from roam.world.emu.checkpoint import load_official, load_transformer
from roam.world.transformer.tensor_parallel import SplitError

from .conftest import tiny_model
from .one_of_two import answered


@pytest.mark.slow  # starts torch twice more; the command below is held to the same law
def test_two_processes_give_the_same_tokens_as_one(official, tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("one_of_two.py"))]
    pair = [
        subprocess.Popen([*command, str(rank), str(tmp_path), *map(str, official)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    wanted = answered(*map(str, official))
    for process in pair:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [wanted, wanted]


def test_fp8_weights_are_not_split(official):
    with pytest.raises(CheckpointError, match="fp8 weights cannot be split"):
        load_transformer(official[0], tiny_model().config, device="cpu", precision="fp8", mesh=object())


def test_one_command_over_two_devices_writes_the_picture_and_words_of_one_device(official, tmp_path):
    """From the command line, with a follower that it starts and ends itself."""
    model, vision = official
    generate(
        "t2i",
        "a red door",
        tmp_path / "one",
        model=model,
        vision=vision,
        size="2*3",
        max_tokens=40,
        seed=3,
        device="cpu",
    )
    command = [sys.executable, "-m", "roam.viewer.cli", "generate", "a red door", "--task", "t2i", "--size", "2*3"]
    command += ["--model", str(model), "--vision-tokenizer", str(vision), "--out", str(tmp_path / "two")]
    command += ["--max-tokens", "40", "--seed", "3", "--device", "cpu", "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "on each of 2 devices" in done.stdout, done.stdout + done.stderr
    one, two = (np.asarray(PictureFile.open(tmp_path / name / "01.png")) for name in ("one", "two"))
    assert np.array_equal(one, two) and one.shape == (32, 48, 3)
    words = [(tmp_path / name / "answer.txt").read_text() for name in ("one", "two")]
    assert words[0] == words[1]


def test_a_number_of_devices_that_does_not_divide_the_heads_is_refused_before_others_are_started(official):
    with pytest.raises(SplitError, match="3 processes for 4 query heads"):
        load_official(*official, devices=3)
