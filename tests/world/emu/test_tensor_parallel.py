"""A model that is split over two processes gives the same tokens as a whole one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PictureFile
from roam.world.config import ModelConfig, PageConfig
from roam.world.emu.checkpoint import load_official
from roam.world.emu.memory_plan import DoesNotFit, Footprint
from roam.world.transformer.model import Transformer
from roam.world.transformer.tensor_parallel import SplitError, check_split

from .conftest import tiny_model, write_model, write_text_tokenizer
from .one_of_two import PRECISIONS, answered, states


@pytest.fixture(scope="module")
def wide(official, tmp_path_factory) -> tuple[Path, Path]:
    """A model whose heads' and inner rows have two groups of packed inputs."""
    folder = tmp_path_factory.mktemp("wide")
    torch.manual_seed(5)
    write_model(folder, Transformer(ModelConfig(tiny_model().config.vocab_size, 32, 256, 2, 4, 2, 64, rope_theta=1e6)))
    write_text_tokenizer(folder)
    return folder, official[1]


@pytest.mark.slow(reason="two processes read and apply a model in every precision")
def test_two_processes_apply_the_weights_that_one_applies_and_draw_its_tokens(wide, tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("one_of_two.py"))]
    pair = [
        subprocess.Popen([*command, str(rank), str(tmp_path), *map(str, wide)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    tokens, wanted = answered(*map(str, wide)), {kind: states(*map(str, wide), kind) for kind in PRECISIONS}
    for process in pair:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    for rank in range(2):
        drawn, found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert drawn == tokens
        for kind, state in found.items():
            state, whole = torch.tensor(state), torch.tensor(wanted[kind])
            error = ((state - whole).norm() / whole.norm()).item()
            # in 16 bits the two shares of a sum are rounded separately; all weights are the same
            assert error < (1e-5 if kind == "float32" else 0.02), kind


@pytest.mark.slow(reason="a command and the process that follows it import torch and draw a picture")
def test_one_command_over_two_devices_writes_a_picture_by_quantised_weights(wide, tmp_path):
    """From the command line, with a second process that the command itself starts and ends."""
    model, vision = map(str, wide)
    command = [sys.executable, "-m", "roam.viewer.cli", "generate", "a red door", "--task", "t2i", "--size", "2*3"]
    command += ["--model", model, "--vision-tokenizer", vision, "--out", str(tmp_path), "--max-tokens", "40"]
    command += ["--device", "cpu", "--devices", "2", "--precision", "int8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "on each of 2 devices" in done.stdout, done.stdout + done.stderr
    assert np.asarray(PictureFile.open(tmp_path / "01.png")).shape == (32, 48, 3)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(devices=3), "3 processes for 4 query heads"),
        (dict(devices=2, precision="fp8"), "each wants multiples of 16"),
        (dict(devices=2, precision="int4"), "int4 weights of 1 and 3 groups of inputs over 2 processes"),
    ],
)
def test_devices_that_do_not_divide_a_model_are_refused_before_others_are_started(official, options, message):
    with pytest.raises(SplitError, match=message):
        load_official(*official, **options)


def test_the_official_model_is_split_over_two_four_and_eight_devices_in_every_precision():
    official = ModelConfig(282_926, 5120, 25_600, 64, 64, 8, 128, 1e-6, 1e6)
    for count in (2, 4, 8):
        for precision in PRECISIONS:
            check_split(official, count, precision)
    plan = Footprint(official, PageConfig(), "int4", budget=5_600, available=14 << 30)
    assert not plan.apart().fits and replace(plan, num_devices=2).apart().fits
    with pytest.raises(DoesNotFit, match="--devices 2 such"):
        plan.check()
