"""The rollout benchmark cannot be fooled: its baseline is the textbook method, and its check finds a wrong kernel."""

import json

import pytest
import torch
from roam.bench.rollout import against, frames
from roam.bench.rollout.check import CHECKED, check
from roam.bench.rollout.floor import Peaks, Work, step_work
from roam.bench.rollout.roofline import draw
from roam.bench.rollout.worlds import EMU, EMU_WORDS, random_model
from roam.world.emu.memory_plan import num_parameters
from roam.world.transformer import model as model_module

H200 = Peaks(4800.0, {"bfloat16": 800.0, "fp8": 1600.0})
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "tokens, history, precision, is_guided, expected_ms",
    [
        (256, 8192, "bfloat16", False, 26.1),
        (1024, 8192, "bfloat16", False, 106),
        (1024, 8192, "fp8", False, 53.2),
        (1024, 8192, "bfloat16", True, 213),
        (4096, 32768, "bfloat16", False, 722),
    ],
)
def test_the_floor_of_a_34b_step_is_the_rooflines(tokens, history, precision, is_guided, expected_ms):
    work = step_work(EMU, tokens, history, precision=precision, num_codes=131_072, is_guided=is_guided)
    assert work.floor_ms(H200, precision) == pytest.approx(expected_ms, rel=0.02)


def test_one_token_of_34b_waits_for_memory():
    work = step_work(EMU, 1, 8192, precision="bfloat16", num_codes=131_072)
    assert work.floor_ms(H200, "bfloat16") == pytest.approx(13.7, rel=0.02)
    assert work.operations / 800e9 < 0.1 * work.floor_ms(H200, "bfloat16")


def test_the_34b_shape_is_the_published_one():
    dense, rest = num_parameters(EMU)
    assert dense + rest == 34_103_460_864 and EMU_WORDS.size == EMU.vocab_size


def test_a_random_model_is_whole_and_served():
    model = random_model(CHECKED, "bfloat16", CPU)
    assert all(layer.joined is not None for layer in model.model.layers)
    assert all(not weight.is_meta and weight.isfinite().all() for weight in model.parameters())
    assert model.model.layers[0].joined.qkv.dtype == torch.bfloat16


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "fp8"])
def test_the_check_passes_and_its_error_is_that_of_the_precision(precision):
    with torch.inference_mode():
        error = check(CPU, precision)
    assert (error == 0) == (precision == "float32")


def test_the_check_sees_a_wrong_product(monkeypatch):
    right = model_module.linear
    wrong = lambda x, weight: right(x, weight) * (1.2 if x.dtype == torch.bfloat16 else 1)  # noqa: E731
    monkeypatch.setattr(model_module, "linear", wrong)
    with torch.inference_mode(), pytest.raises(AssertionError, match="bfloat16 on cpu"):
        check(CPU, "bfloat16")


@pytest.mark.slow(reason="the embedded model walks in every way that is measured")
def test_frames_and_tokens_of_the_embedded_model_are_measured_against_their_floors():
    peaks = Peaks(20.0, {"bfloat16": 0.5})
    rows = list(
        frames.rows_of(
            CPU,
            peaks,
            shapes=["embedded"],
            tokens=[],
            steps=[1, 2],
            guidances=[1.0, 2.0],
            precisions=("bfloat16",),
            seconds=0.0,
        )
    )
    assert [(r.decoder, r.steps, r.is_guided) for r in rows] == [
        ("dida", 1, False),
        ("dida", 2, False),
        ("token by token", 64, False),
        ("dida", 1, True),
        ("dida", 2, True),
    ]
    assert all(r.frame_ms > 0 and r.runs >= 3 and r.floor_ms > 0 for r in rows)
    assert rows[1].floor_ms > rows[0].floor_ms and rows[3].teraflop > rows[0].teraflop
    assert rows[0].history == 12 * 65


def test_the_roofline_is_drawn_from_the_files_of_every_machine(tmp_path):
    row = dict(decoder="dida", precision="bfloat16", gigabytes=1.0, teraflop=2.0, frame_ms=9.0)
    for name in ("one", "two"):
        report = dict(machine=dict(gpu=None, cpu=name), peaks=dict(bandwidth_gb_s=20.0, tflop_s=dict(bfloat16=0.5)))
        (tmp_path / f"rollout-{name}.json").write_text(json.dumps(report | dict(rows=[row])))
    draw(sorted(tmp_path.glob("rollout-*.json")), tmp_path / "rollout.png")
    assert (tmp_path / "rollout.png").stat().st_size > 10_000


def test_walking_against_a_folder_without_code_is_refused(tmp_path):
    with pytest.raises(ValueError, match="git worktree add"):
        against.against(tmp_path)


def test_work_adds_up():
    assert Work(1, 2) + Work(3, 4) == Work(4, 6)
