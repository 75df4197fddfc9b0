"""A model split over two processes: the same tokens as whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from roam.world.checkpoint import CheckpointError
from roam.world.emu.checkpoint import load_transformer

from .conftest import tiny_model
from .one_of_two import answered


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
