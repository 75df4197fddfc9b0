"""An official model that is trained in shards by two processes, for cards that are too small: it learns what one
process learns."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from roam.world.adaptation import run as running
from roam.world.adaptation.lora import add_low_rank
from roam.world.adaptation.mask import CopyAttention, Places
from roam.world.adaptation.run import AdaptError, AdaptOrder, Lesson, learn, run_adaptation
from roam.world.adaptation.samples import AnswerLayout
from roam.world.adaptation.train import AdaptRecipe
from roam.world.adaptation.tuning import TuneOrder, run_tuning
from roam.world.config import ModelConfig
from roam.world.emu.checkpoint import load_official
from roam.world.emu.learning_plan import LearningPlan
from roam.world.emu.memory_plan import DoesNotFit
from roam.world.emu.sequence import Format
from roam.world.emu.weights import on_meta
from roam.world.training.run import read_state
from roam.world.transformer.followers import DeviceError
from roam.world.transformer.model import Transformer, rotary_angles

OFFICIAL = ModelConfig(282_926, 5120, 25_600, 64, 64, 8, 128, 1e-6, 1e6)
GIB = 2**30
AREA = 32 * 48
STORY = {"task": "story", "question": "a red door", "answer": [{"text": "Open."}, {"image": "a.png"}]}
PICTURE = {"task": "t2i", "question": "a hall", "answer": [{"thought": "dim"}, {"image": "b.png"}]}
ROAM = [sys.executable, "-m", "roam.viewer.cli"]


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    for picture in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)).save(tmp_path / picture)
    path = tmp_path / "examples.jsonl"
    path.write_text("\n".join(map(json.dumps, [STORY, PICTURE] * 3)))
    return path


@pytest.mark.slow(reason="a command and its two processes learn beside one that learns alone")
def test_all_weights_learn_over_two_devices_what_they_learn_on_one(official, tmp_path):
    """From the command line; the trained weights also draw over two devices."""
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"task": "t2i", "question": "a hall", "size": "2*3"}))
    recipe = AdaptRecipe(batch=2, max_steps=3, peak=0.2, prompt_dropout=0.1, hole_share=0.2, recompute=True, at_once=1)
    changes = dict(max_tokens=40)
    order = AdaptOrder(tmp_path / "one", *official, distil=3, requests=asked, changes=changes, recipe=recipe)
    one = run_adaptation(order)
    said = ["--distil", "3", "--requests", str(asked), "--steps", "3", "--batch", "2", "--rate", "0.2"]
    said += ["--max-tokens", "40", "--device", "cpu", "--devices", "2", "--out", str(tmp_path / "two")]
    command = [*ROAM, "adapt", "--model", str(official[0]), "--vision-tokenizer", str(official[1]), *said]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "on each of 2 devices" in done.stdout, done.stdout + done.stderr
    folders = (one, tmp_path / "two" / "checkpoint", official[0])
    held, other, start = (load_official(folder, official[1]).model.state_dict() for folder in folders)
    for name, weight in held.items():
        torch.testing.assert_close(weight, other[name], atol=2e-4, rtol=0)
        assert (weight - start[name]).abs().max() > 4e-3, name


@pytest.mark.slow(reason="two processes learn twice beside one that learns alone")
def test_a_run_over_two_devices_that_was_killed_goes_on_to_what_one_device_learns(official, data, tmp_path):
    """Adapters in float32 beside weights in bfloat16; the saved state is complete."""
    recipe = AdaptRecipe(batch=2, max_steps=16, peak=0.05, rank=2, recompute=True, at_once=1, save_every=1)
    recipe = replace(recipe, prompt_dropout=0.1, hole_share=0.2)
    order = TuneOrder(
        tmp_path / "one", *official, data, recipe=recipe, longest=128, area=AREA, precision="bfloat16", device="cpu"
    )
    run_tuning(order)
    command = [*ROAM, "tune", "sft", "--model", str(official[0]), "--vision-tokenizer", str(official[1])]
    command += ["--data", str(data), "--out", str(tmp_path / "two"), "--steps", "16", "--rank", "2", "--batch", "2"]
    command += ["--rate", "0.05", "--area", str(AREA), "--longest", "128", "--save-every", "1", "--measure-every", "0"]
    command += ["--precision", "bfloat16", "--devices", "2"]
    kept = tmp_path / "two" / "run" / "state.pt"
    stopped = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not kept.exists() and stopped.poll() is None:
        time.sleep(0.02)
    stopped.kill()
    assert 0 < read_state(kept.parent)["step"] < 16, stopped.communicate()[0]
    run_tuning(replace(order, out=tmp_path / "two", devices=2))
    one, two = (read_state(tmp_path / name / "run") for name in ("one", "two"))
    assert one["step"] == two["step"] == 16 and one["learnt"].keys() == two["learnt"].keys()
    for name, adapter in one["learnt"].items():
        torch.testing.assert_close(two["learnt"][name], adapter, atol=2e-3, rtol=0)
    assert max(adapter.abs().max() for name, adapter in one["learnt"].items() if name.endswith("up")) > 0.03
    assert load_official(tmp_path / "two" / "checkpoint", official[1]).model.lm_head.weight.shape[1] == 32


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(workers=2), AdaptError, "leave one of the two out"),
        (dict(devices=3), AdaptError, "a batch of 4 over 3 devices; wanted a --batch that they divide"),
        (dict(model=None, vision=None), AdaptError, "--workers, not --devices"),
        (dict(device="cuda"), DeviceError, "2 devices were asked for"),
    ],
)
def test_devices_that_cannot_share_are_refused_before_anything_is_read(official, tmp_path, change, error, message):
    if change.get("device") == "cuda" and torch.cuda.device_count() > 1:
        pytest.skip("there are so many here")
    options = dict(model=official[0], vision=official[1], devices=2) | change
    with pytest.raises(error, match=message):
        run_adaptation(AdaptOrder(tmp_path, **options))


def test_noise_is_made_where_the_weights_learn_and_not_where_pictures_are_read(official, tmp_path, monkeypatch):
    """Pictures are read on the CPU; a training whose codebook was there would pass CPU tensors to NCCL."""
    checkpoint, seen = load_official(*official), []
    monkeypatch.setattr(running, "adapt", lambda *args, **options: seen.append(args[4].codebook.device.type))
    order = AdaptOrder(tmp_path, *official, device="meta")
    layout = AnswerLayout(Format(checkpoint.text, checkpoint.vocabulary), longest=9)
    learn(order, Lesson([], [], layout, checkpoint), 1, 2, None, part="adapting")
    assert seen == ["meta"]


def test_adapters_of_34b_are_planned_to_learn_on_two_cards_of_80_gb():
    plan = LearningPlan(OFFICIAL, "bfloat16", rank=64, rows=2 * 8192, device="cuda:0", available=79 * GIB)
    one = replace(OFFICIAL, num_hidden_layers=1, vocab_size=1)
    adapted = on_meta(Transformer, one)
    add_low_rank(adapted, 64)
    assert plan.num_adapters == 64 * sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    with pytest.raises(DoesNotFit, match=r"needs 99\.7 GiB, for training adapters of rank 64 .* --devices 2 such"):
        plan.check()
    both = replace(plan, num_devices=2)
    assert both.fits and both.weights == 34_103_460_864 and "on each of 2 devices" in both.report()
    with pytest.raises(DoesNotFit, match=r"all weights .*fit: --rank 64 --precision bfloat16 --devices 2 such"):
        replace(plan, rank=0, precision="float32").check()


def test_a_layer_keeps_no_more_for_its_way_back_than_is_planned():
    config = ModelConfig(50, 256, 640, 1, 8, 4, 32)
    model = Transformer(config).to(torch.bfloat16)
    add_low_rank(model, 8)
    count, held = 64, {}
    places = torch.arange(count)[None]
    attention = CopyAttention(Places(places, places + 1, places * 0, places * 0 - 1))
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    rows, delta = (torch.randn(1, count, 256, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.model.layers[0](0, rows, delta, *rotary_angles(places, config), attention)
    kept = sum(storage.nbytes() for pointer, storage in held.items() if pointer not in own)
    plan = LearningPlan(config, "bfloat16", rank=8, rows=count)
    planned = plan.activations - replace(plan, rows=0).activations
    assert kept < planned < 2.5 * kept
