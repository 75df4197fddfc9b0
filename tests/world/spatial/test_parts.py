"""Tokenizer, denoising path, pages and checkpoints, each one by itself."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from roam.world.checkpoint import CheckpointError, load_checkpoint
from roam.world.config import DidaConfig, LayoutConfig, ModelConfig
from roam.world.tokens.vision import VisionConfig, VisionTokenizer
from roam.world.transformer.dida import Canvas, MetricPath, decode_canvas, schedule, start_from_noise, start_from_warp
from roam.world.transformer.pages import CacheFull, PagePool

VISION = VisionTokenizer(VisionConfig(widths=(8, 8, 12), heads=2)).eval()
SEED = torch.tensor([11])


def test_codes_and_lattice_points_stand_for_each_other():
    codes = torch.arange(4096)
    bounded = VISION.points(codes).T[None, :, :, None]  # (1, D, V, 1)
    assert (VISION.codes(bounded)[0, :, 0] == codes).all()
    assert VISION.codebook.abs().max() == 1 and len(VISION.codebook.unique(dim=0)) == 4096


def test_the_tokenizer_takes_pictures_of_its_size_only_and_returns_pixels_and_depth():
    pixels = torch.randint(0, 256, (2, 128, 128, 3), dtype=torch.uint8)
    codes = VISION.encode(pixels)
    shown, depth = VISION.decode(codes)
    assert codes.shape == (2, 8, 8) and shown.shape == pixels.shape and depth.shape == (2, 128, 128)
    assert depth.min() >= 0.1 and depth.max() <= 100.01
    with pytest.raises(ValueError, match=r"wants \(B, 128, 128, 3\)"):
        VISION.encode(pixels[:, :64])


def test_noise_grows_as_the_level_falls_and_level_one_changes_nothing():
    path = MetricPath(VISION.codebook, DidaConfig())
    tokens = torch.randint(0, 4096, (1, 512))
    far = []
    for level in (1.0, 0.9, 0.5, 0.0):
        noised = path.noised(tokens, torch.full(tokens.shape, level), SEED)
        far.append((VISION.points(noised) - VISION.points(tokens)).square().sum(-1).mean().item())
    assert far[0] == 0 and far == sorted(far)
    assert far[3] == pytest.approx(4 * 2 * (63 / 49 / 3), rel=0.25)  # two uniform lattice points


def test_noise_is_the_same_for_the_same_seed_and_place():
    path = MetricPath(VISION.codebook, DidaConfig())
    tokens = torch.randint(0, 4096, (2, 64))
    level = torch.full(tokens.shape, 0.4)
    both = path.noised(tokens, level, torch.tensor([1, 2]))
    assert (both[1:] == path.noised(tokens[1:], level[1:], torch.tensor([2]))).all()
    assert (both != path.noised(tokens, level, torch.tensor([2, 1]))).any()


def test_a_carried_start_keeps_what_is_covered_and_marks_the_rest_as_holes():
    path = MetricPath(VISION.codebook, DidaConfig(warp_level=1.0))
    tokens = torch.randint(0, 4096, (1, 64))
    coverage = (torch.arange(64) % 2).float()[None]
    start = start_from_warp(path, tokens, coverage, SEED)
    covered = coverage[0] > 0.5
    assert (start.tokens[0, covered] == tokens[0, covered]).all() and (start.level[0] == covered).all()
    assert (start.tokens[0, ~covered] == -1).all()


def test_denoising_calls_the_model_once_a_step_and_ends_on_its_prediction():
    torch.manual_seed(0)
    path = MetricPath(VISION.codebook, DidaConfig())
    target = torch.randint(0, 4096, (1, 64))
    apart = []

    def predict(tokens, seeds, temperature):
        apart.append((VISION.points(tokens) - VISION.points(target)).square().sum(-1).mean().item())
        return target

    start = start_from_noise(path, (1, 64), SEED)
    assert (decode_canvas(predict, start, path, [SEED + k for k in range(4)]) == target).all()
    assert len(apart) == 4 and apart == sorted(apart, reverse=True) and apart[-1] < apart[0] / 2


def test_covered_tokens_at_level_one_stay_as_predicted_between_steps():
    path = MetricPath(VISION.codebook, DidaConfig())
    tokens = torch.randint(0, 4096, (1, 64))
    canvases = []
    predict = lambda canvas, seeds, temperature: canvases.append(canvas) or tokens  # noqa: E731
    decode_canvas(predict, Canvas(tokens, torch.ones(1, 64)), path, [SEED, SEED + 1])
    assert (canvases[1] == tokens).all()


@given(st.integers(1, 32), st.floats(0.2, 5))
def test_schedules_rise_within_zero_and_one(steps, shift):
    marks = schedule(steps, shift)
    assert len(marks) == steps - 1 and marks == sorted(marks) and all(0 < mark < 1 for mark in marks)


@given(st.lists(st.sampled_from(["allocate", "share", "release"]), max_size=60))
def test_pages_are_never_lost_and_never_given_twice(moves):
    pool, held = PagePool(4), []
    for move in moves:
        if move == "allocate" and pool.num_free:
            page = pool.allocate()
            assert page not in held
            held.append(page)
        elif move == "share" and held:
            held.append(pool.share(held[0]))
        elif move == "release" and held:
            pool.release(held.pop())
        assert pool.num_free == 4 - len(set(held))


def test_a_full_pool_says_so_and_growing_mends_it():
    pool = PagePool(1)
    assert pool.allocate() == 0
    with pytest.raises(CacheFull, match="all 1 pages"):
        pool.allocate()
    pool.grow(3)
    assert {pool.allocate(), pool.allocate()} == {1, 2}


def test_a_checkpoint_reads_back_and_its_digest_names_its_weights(checkpoint_folder):
    one, two = load_checkpoint(checkpoint_folder), load_checkpoint(checkpoint_folder)
    assert one.digest == two.digest and len(one.digest) == 16
    assert "model.layers.1.self_attn.q_norm.weight" in one.model.state_dict()


def _damaged(folder, tmp_path, change):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "digests.json").unlink()
    change(tmp_path)
    with pytest.raises(CheckpointError) as refusal:
        load_checkpoint(tmp_path)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def _edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    config.update(changes)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
        (lambda f: _edit_config(f, format=99), "is of format 99, this program reads format 1"),
        (lambda f: _edit_config(f, words=["a"]), "contradicts itself"),
        (lambda f: (f / "model.safetensors").write_bytes(b"torn"), "torn or no safetensors file"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "vision.safetensors").read_bytes()), "lacks 25 tensors"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused_in_one_sentence(checkpoint_folder, tmp_path, change, said):
    assert said in _damaged(checkpoint_folder, tmp_path, change)


def test_a_missing_folder_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match="name a folder that `roam train` wrote"):
        load_checkpoint(tmp_path / "nothing")


@pytest.mark.parametrize(
    "make",
    [lambda: ModelConfig(10, num_attention_heads=5), lambda: LayoutConfig(window=0), lambda: DidaConfig(steps=0)],
)
def test_impossible_settings_are_refused_when_made(make):
    with pytest.raises(ValueError, match="wanted"):
        make()


def test_images_are_unsigned_bytes_throughout(checkpoint_folder):
    shown, _ = load_checkpoint(checkpoint_folder).vision.decode(torch.zeros(1, 8, 8, dtype=torch.int64))
    assert shown.dtype == torch.uint8 and shown.numpy().dtype == np.uint8
