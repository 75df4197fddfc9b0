"""What stops a person with official folders the first time is said in one sentence, before the large model is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from roam.viewer.cli import main
from roam.world.checkpoint import CheckpointError
from roam.world.emu import checkpoint
from roam.world.emu.checkpoint import INDEX, load_official
from roam.world.emu.text import BPE_FILE, VISION_FILE, TokenizerError
from roam.world.opening import open_engine
from roam.world.options import OfficialOptions
from safetensors.torch import load_file, save_file

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4999\n"
SHARD = "model-00001-of-00002.safetensors"
NOISE = bytes([0x93, 0xA6, 0xFF, 0x00]) * 50


@pytest.fixture
def folders(official, tmp_path) -> Path:
    """Copies of both folders, to be damaged."""
    for folder in official:
        shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (f"model/{SHARD}", POINTER, r"is torn .*a pointer of Git LFS: `git lfs pull`"),
        (f"model/{INDEX}", POINTER, "a pointer of Git LFS"),
        ("model/config.json", POINTER, "a pointer of Git LFS"),
        ("vision/model.ckpt", POINTER, "a pointer of Git LFS"),
        ("vision/model.ckpt", b"", r"model\.ckpt is torn or holds more than tensors"),
        ("vision/model.ckpt", b"torn", r"is not executed \([^.]*\); download it again"),
        ("vision/config.yaml", b"", "holds no settings"),
        ("vision/config.yaml", b"- a\n- b", "holds no settings"),
        ("vision/config.yaml", NOISE, "is torn or no YAML"),
        (f"model/{INDEX}", b'{"weight_map": ["a"]}', "does not say which file holds which tensor"),
        (f"model/{INDEX}", b'{"weight_map": {"lm_head.weight": 3}}', "does not say which file holds which tensor"),
        (f"model/{BPE_FILE}", b"", "is empty; copy it again"),
        (f"model/{VISION_FILE}", NOISE, "is torn or no text"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(folders, name, content, message, monkeypatch):
    (folders / name).write_bytes(content)
    if name.startswith("vision"):
        monkeypatch.setattr(checkpoint, "load_transformer", lambda *args, **options: pytest.fail("read for nothing"))
    with pytest.raises((CheckpointError, TokenizerError), match=message):
        load_official(folders / "model", folders / "vision")


def test_weights_that_another_program_quantised_are_refused(folders):
    shard = folders / "model" / SHARD
    save_file({key: weight.to(torch.int8) for key, weight in load_file(shard).items()}, shard)
    with pytest.raises(CheckpointError, match=r"tensors that are no F32 or F16 or BF16, .* name the original weights"):
        load_official(folders / "model", folders / "vision")


def test_a_setting_that_is_no_number_is_named(folders):
    path = folders / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": "2"}))
    with pytest.raises(CheckpointError, match="sets num_hidden_layers to '2', where a number is wanted"):
        load_official(folders / "model", folders / "vision")


def test_a_folder_that_is_not_there_is_not_called_another_model(folders):
    for call in (
        lambda: open_engine(folders / "nowhere", official=OfficialOptions(vision=folders / "vision")),
        lambda: load_official(folders / "nowhere", folders / "vision"),
    ):
        with pytest.raises(CheckpointError, match=r"nowhere.* is (not there|missing); name a folder .*download"):
            call()


def test_a_full_gpu_ends_a_command_with_a_sentence(official, tmp_path, monkeypatch, capsys):
    def full(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation")

    monkeypatch.setattr(checkpoint, "load_transformer", full)
    folders = ["--model", str(official[0]), "--vision-tokenizer", str(official[1])]
    with pytest.raises(SystemExit) as ended:
        main(["generate", "a hall", "--task", "t2i", *folders, "--device", "cpu", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "Tried to allocate 2.00 GiB" in said and "--precision" in said
    assert "documentation" not in said
