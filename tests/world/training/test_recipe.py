"""The recipe from end to end at a toy size, what resuming keeps, and which rows the training passes may see."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.viewer.commands.train import TrainOrder, recipe_of
from roam.world.action import parse_action
from roam.world.checkpoint import load_checkpoint
from roam.world.config import DidaConfig, LayoutConfig, ModelConfig
from roam.world.engine import Engine
from roam.world.tokens.depth import DepthConfig
from roam.world.tokens.painter import PainterConfig
from roam.world.tokens.vision import VisionConfig, VisionTokenizer
from roam.world.tokens.vocabulary import Vocabulary
from roam.world.training import fresh, painter
from roam.world.training.canvases import Canvases
from roam.world.training.depth import DepthRecipe
from roam.world.training.dream import DreamRecipe, make_dream_batch
from roam.world.training.factored import FactoredCodes
from roam.world.training.guide import GuideRecipe
from roam.world.training.muon import orthogonal
from roam.world.training.painter import PainterRecipe
from roam.world.training.recipe import STAGES, Recipe, load_tokenizer, make_trainer, run_recipe
from roam.world.training.run import Run, learning_rate
from roam.world.training.sizes import large
from roam.world.training.tokenizer import TokenizerRecipe
from roam.world.training.world_model import Stage, WorldRecipe, WorldTrainer, make_batch
from torch import multiprocessing

TINY = Recipe(
    walks=4,
    held_out_walks=2,
    frames=5,
    canvas_walks=4,
    workers=1,
    model=ModelConfig(1, 32, 48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8),
    vision=VisionConfig(widths=(8, 8, 12), heads=2),
    depth=DepthConfig(widths=(8, 8, 12), heads=2),
    tokenizer=TokenizerRecipe(steps=3, batch=2, max_seconds=1e9),
    refiner=DepthRecipe(steps=3, batch=2, max_seconds=1e9),
    world=WorldRecipe(steps=3, stages=(Stage(0.5, 2, 4, 2), Stage(1.0, 1, 5, 12)), max_seconds=1e9),
    keyframe_walks=4,
    keyframe_canvas_walks=4,
    keyframes=3,
    dreams=9,
    painter=PainterConfig(widths=(8, 8, 12), heads=2, fine=4),
    painting=PainterRecipe(steps=3, batch=2, max_seconds=1e9, adversarial_from=0.5),
    finishing=PainterRecipe(steps=9, stop_at=2, batch=2, dreamt=2, max_seconds=1e9),
    dream=DreamRecipe(steps=3, walks=2, copies=2, max_seconds=1e9),
    guide=GuideRecipe(run=DreamRecipe(steps=2, walks=1, copies=2, max_seconds=1e9)),
)


@pytest.fixture(scope="module", autouse=True)
def measured_quickly():
    """A painter of three steps is measured on eight frames: none of these tests asks how good it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(painter, "HELD_OUT", 1)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, loaded):
    folder = tmp_path_factory.mktemp("run")
    return folder, run_recipe(folder, TINY, stages=STAGES)


def test_the_recipe_ends_in_a_checkpoint_that_dreams_with_its_log_beside_it(trained):
    _, checkpoint = trained
    engine = Engine.from_checkpoint(checkpoint, device="cpu")
    session = engine.session(SceneSession(make_scene("dev", 0)).frame)
    assert session.step(parse_action("turn left")).pixels.shape == (128, 128, 3)
    assert engine.dreamer is not None
    for name in (
        "recipe.json",
        "tokenizer-log.csv",
        "tokenizer-curve.png",
        "depth-log.csv",
        "world-log.csv",
        "painter-log.csv",
        "painter-curve.png",
        "dream-log.csv",
        "dream-curve.png",
        "finish-log.csv",
    ):
        assert (checkpoint / name).exists(), name


def test_training_goes_on_where_it_stopped(trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    longer = replace(
        TINY,
        tokenizer=replace(TINY.tokenizer, steps=5),
        refiner=replace(TINY.refiner, steps=5),
        world=replace(TINY.world, steps=5),
        painting=replace(TINY.painting, steps=5),
        dream=replace(TINY.dream, steps=5),
    )
    run_recipe(folder, longer, stages=("tokenizer", "depth", "world", "painter", "dream"))
    for name in ("tokenizer", "depth", "painter", "dream"):
        with open(folder / name / "log.csv") as file:
            assert [int(row["step"]) for row in csv.DictReader(file)] == [3, 5]
    assert torch.load(folder / "world" / "state.pt", weights_only=True)["step"] == 5


def keyframes_of(folder, target):
    """The keyframes of a run, recorded and as canvases, to be used by another one."""
    shutil.copytree(folder / "keyframes", target / "keyframes")
    for path in folder.glob("keyframe-canvases-*"):
        shutil.copy(path, target)


def test_a_run_that_begins_with_a_checkpoint_has_its_last_stages_alone(trained, tmp_path):
    folder, checkpoint = trained
    keyframes_of(folder, tmp_path)
    again = run_recipe(tmp_path, TINY, stages=("dream", "dreams", "finish", "pack"), begin=checkpoint)
    begun, done = load_checkpoint(checkpoint), load_checkpoint(again)
    for name, weight in begun.vision.state_dict().items():
        torch.testing.assert_close(done.vision.state_dict()[name], weight, atol=0, rtol=0)
    assert done.painter is not None and done.digest != begun.digest


def test_minutes_on_the_command_line_are_those_of_the_recipe():
    recipe = recipe_of(TrainOrder(Path("run"), tokenizer_minutes=1, depth_minutes=2, world_minutes=3, walks=16))
    assert (recipe.tokenizer.max_seconds, recipe.refiner.max_seconds, recipe.world.max_seconds) == (60, 120, 180)
    short = recipe_of(TrainOrder(Path("run"), painter_minutes=1, walks=16))
    assert short.painting.max_seconds == short.finishing.max_seconds == 60 and short.dreams == 16
    assert recipe_of(TrainOrder(Path("run"), painter_minutes=999)).finishing == Recipe().finishing
    assert recipe.canvas_walks == 16 and recipe_of(TrainOrder(Path("run"))) == Recipe()


def test_an_unknown_stage_or_one_out_of_order_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown stage 'cook'"):
        run_recipe(tmp_path, TINY, stages=("cook",))
    with pytest.raises(FileNotFoundError, match="run the stage 'tokenizer' first"):
        run_recipe(tmp_path, TINY, stages=("canvases",))


def test_the_exported_tables_give_every_code_the_logits_that_training_saw(trained):
    folder, _ = trained
    trainer = make_trainer(folder, TINY)
    hidden = torch.randn(1, 3, trainer.transformer.config.hidden_size)
    trainer.codes.head.data.normal_()
    codes = torch.randint(0, 4096, (1, 3))
    exported = trainer.exported()
    logits = hidden @ exported.lm_head.weight[trainer.vocabulary.visual].T
    direct = torch.nn.functional.cross_entropy(logits[0], codes[0], reduction="none")
    torch.testing.assert_close(trainer.codes.loss(hidden, trainer.digits(codes))[0], direct, atol=1e-3, rtol=1e-4)
    rows = exported.model.embed_tokens.weight[trainer.vocabulary.visual][codes]
    torch.testing.assert_close(trainer.codes.embed(trainer.digits(codes)), rows)


@pytest.fixture
def trainer():
    torch.manual_seed(0)
    vision = VisionTokenizer(VisionConfig(widths=(8, 8, 12), heads=2))
    vocabulary = Vocabulary(320, 4096)
    sizes = dict(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    config = ModelConfig(vocabulary.size, 32, 48, **sizes)
    trainer = WorldTrainer(config, LayoutConfig(), DidaConfig(), vocabulary, vision)
    trainer.codes.head.data.normal_()
    return trainer


def random_batch(trainer, frames=5):
    rng = np.random.default_rng(0)
    codes = lambda: rng.integers(0, 4096, (2, frames, 64)).astype(np.int16)  # noqa: E731
    text = np.full((2, frames, 15), -1, np.int16)
    text[:, :, :3] = rng.integers(0, 320, (2, frames, 3))
    data = Canvases(codes(), codes(), rng.random((2, frames, 64)).astype(np.float32), text)
    generator = torch.Generator().manual_seed(1)
    return make_batch(trainer, data, np.arange(2), np.zeros(2, int), frames, generator, WorldRecipe())


def changed(trainer, batch, other, window=2):
    """Which (frame, copy) losses of the first walk differ between two batches; copy 2 is the clean rows."""
    with torch.no_grad():
        losses = [trainer.losses(b.tokens, b.text, b.canvases, b.history, window) for b in (batch, other)]
    noisy, clean = ((a - b).abs().amax(-1) > 1e-4 for a, b in zip(*losses, strict=True))
    return {(t, c) for t in range(noisy.shape[1]) for c in range(2) if noisy[0, t, c]} | {
        (t, 2) for t in range(clean.shape[1]) if clean[0, t]
    }


def test_a_noisy_copy_is_seen_by_itself_alone(trainer):
    batch = random_batch(trainer)
    canvases = batch.canvases.clone()
    canvases[0, 2, 1] = (canvases[0, 2, 1] + 1) % 8
    assert changed(trainer, batch, replace(batch, canvases=canvases)) == {(2, 1)}


def test_a_frame_is_seen_by_the_frames_of_the_window_after_it_and_causally_by_itself(trainer):
    batch = random_batch(trainer)
    history = batch.history.clone()
    history[0, 0] = (history[0, 0] + 1) % 8
    seen = changed(trainer, batch, replace(batch, history=history), window=1)
    # two layers reach twice the window through the frame between
    assert seen == {(0, 2)} | {(t, c) for t in (1, 2) for c in range(3)}


def test_words_reach_their_own_frame_and_later_ones(trainer):
    batch = random_batch(trainer)
    text = batch.text.clone()
    text[0, 1, 0] = (text[0, 1, 0] + 1) % 320
    assert {(1, 0), (1, 1), (1, 2)} <= changed(trainer, batch, replace(batch, text=text), window=1)
    assert not {(0, c) for c in range(3)} & changed(trainer, batch, replace(batch, text=text))


def test_training_noise_follows_the_metric_path_exactly(trainer):
    """Chi-square of 40,000 draws against softmax(-beta d) on one dimension's eight levels."""
    digits = torch.full((10000, 4), 5)
    level = torch.full((10000,), 0.6)
    drawn = trainer.noised(digits, level, torch.Generator().manual_seed(3)).flatten()
    points = torch.linspace(-1, 1, 8)
    beta = 3.0 * (0.6 / 0.4) ** 0.9
    expected = torch.softmax(-beta * (points - points[5]) ** 2, 0) * len(drawn)
    counts = torch.bincount(drawn, minlength=8)
    assert ((counts - expected) ** 2 / expected).sum() < 24.3  # 0.1% point of 7 degrees of freedom
    kept = trainer.noised(digits[:5], torch.ones(5), torch.Generator())
    assert (kept == 5).all()


def test_the_joint_distribution_is_that_of_the_folded_head():
    torch.manual_seed(0)
    codes = FactoredCodes((3, 2, 4), 10)
    for weight in codes.parameters():
        torch.nn.init.normal_(weight)
    hidden, wanted = torch.randn(5, 10), torch.tensor([0, 3, 7, 20, 23])
    _, head = codes.folded()
    direct = torch.nn.functional.cross_entropy(hidden @ head.T, wanted, reduction="none")
    torch.testing.assert_close(codes.joint_loss(hidden, wanted), direct)
    codes.free_head.data.zero_()  # factored alone, it is the sum over digits
    digits = codes.digits[wanted]
    torch.testing.assert_close(codes.joint_loss(hidden, wanted), codes.loss(hidden, digits), atol=1e-4, rtol=1e-4)


def test_tables_that_are_unfolded_fold_to_the_same_rows():
    torch.manual_seed(0)
    codes, rows = FactoredCodes((3, 2, 4), 10), (torch.randn(24, 10), torch.randn(24, 10))
    codes.unfold(*rows)
    for made, wanted in zip(codes.folded(), rows, strict=True):
        torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-4)
    # the free part is what no factored table can say: it is orthogonal to all that one could
    chosen = torch.nn.functional.one_hot(codes.digits + codes.offsets, 9).sum(1).float()
    assert (chosen.T @ codes.free_head).abs().max() < 1e-4


def test_a_dream_asks_for_what_nothing_covers_and_is_given_the_rest(trainer):
    rng, recipe = np.random.default_rng(0), DreamRecipe(whole=0, tired=0, hidden=0, copies=3)
    codes = lambda: rng.integers(0, 4096, (2, 4, 64)).astype(np.int16)  # noqa: E731
    text = np.full((2, 4, 15), -1, np.int16)
    data = Canvases(codes(), codes(), rng.random((2, 4, 64)).astype(np.float32), text)
    batch = make_dream_batch(trainer, data, np.arange(2), recipe, torch.Generator().manual_seed(1))
    covered = (torch.from_numpy(data.coverage) > 0.5)[:, :, None].expand(batch.asked.shape)
    carried, own = (
        trainer.digits(torch.from_numpy(x).long())[:, :, None].expand(batch.canvases.shape)
        for x in (data.warped, data.tokens)
    )
    assert not (batch.asked & covered).any() and batch.asked.any() and (~batch.asked & ~covered).any()
    assert (batch.canvases[batch.asked] == -1).all()
    assert (batch.canvases[covered] == carried[covered]).all()
    given = ~batch.asked & ~covered
    assert (batch.canvases[given] == own[given]).all()
    assert (batch.history == trainer.digits(batch.tokens)).all()


def test_of_whole_frames_every_cell_is_asked_for_and_none_is_a_hole(trainer):
    rng, recipe = np.random.default_rng(0), DreamRecipe(whole=1, copies=2)
    codes = lambda: rng.integers(0, 4096, (2, 4, 64)).astype(np.int16)  # noqa: E731
    data = Canvases(codes(), codes(), rng.random((2, 4, 64)).astype(np.float32), np.full((2, 4, 15), -1, np.int16))
    batch = make_dream_batch(trainer, data, np.arange(2), recipe, torch.Generator().manual_seed(1))
    assert batch.asked[:, :, -1].all() and (batch.canvases[:, :, -1] >= 0).all()


@pytest.fixture
def forked(monkeypatch):
    """Processes that render new walks are forked where possible; those of test_fresh.py import everything
    themselves."""
    if "fork" in multiprocessing.get_all_start_methods():
        forking = SimpleNamespace(get_context=lambda _: multiprocessing.get_context("fork"))
        monkeypatch.setattr(fresh, "multiprocessing", forking)


@pytest.mark.slow(reason="three stages of training, and a process that renders")
def test_a_recipe_that_asks_for_new_walks_trains_on_them(trained, forked, tmp_path):
    folder, begin = trained
    for target in (tmp_path, tmp_path / "recorded"):
        keyframes_of(folder, target)
    recipe = replace(TINY, fresh=1, painting=replace(TINY.painting, steps=2))
    run_recipe(tmp_path, recipe, stages=("dream", "painter", "pack"), begin=begin)
    assert (tmp_path / "fresh").is_dir()  # where the dream's walks come to
    recorded = run_recipe(tmp_path / "recorded", replace(recipe, fresh=0), stages=("painter",), begin=begin)
    ours, theirs = (torch.load(f / "painter" / "state.pt", weights_only=True) for f in (tmp_path, recorded.parent))
    assert ours["step"] == theirs["step"] == 2
    assert any((weight != theirs["model"][name]).any() for name, weight in ours["model"].items())


@pytest.mark.slow(reason="a larger model is trained twice, and refused twice")
def test_a_larger_dream_beside_the_same_tokenizer_goes_on_in_parts_and_is_packed(trained, tmp_path):
    folder, begin = trained
    keyframes_of(folder, tmp_path)
    recipe = large(replace(TINY, dream=replace(TINY.dream, steps=2)))
    model = replace(recipe.model, hidden_size=64, intermediate_size=64, num_hidden_layers=2)
    recipe = replace(recipe, model=model, dream=replace(recipe.dream, walks=1, part_mb=1))
    checkpoint = run_recipe(tmp_path, recipe, stages=("dream", "pack"), begin=begin)
    assert load_checkpoint(checkpoint).model.config.hidden_size == 64
    parts = sorted((tmp_path / "dream").glob("*.part"))
    assert len(parts) > 1 and all(part.stat().st_size <= 1_000_000 for part in parts)
    longer = replace(recipe, dream=replace(recipe.dream, steps=3))
    run_recipe(tmp_path, longer, stages=("dream",))
    assert Run(tmp_path / "dream").resume()["step"] == 3
    with pytest.raises(ValueError, match="name the same size"):
        run_recipe(tmp_path, replace(longer, model=replace(model, hidden_size=32)), stages=("dream",))
    sorted((tmp_path / "dream").glob("*.part"))[0].unlink()
    with pytest.raises(ValueError, match="bring the missing ones"):
        run_recipe(tmp_path, longer, stages=("dream",))


def test_muon_makes_matrices_nearly_orthogonal():
    for shape in ((3, 8, 20), (2, 20, 8)):
        made = orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
        values = torch.linalg.svdvals(made)
        assert values.min() > 0.3 and values.max() < 1.3


def test_rates_rise_then_fall():
    rates = [learning_rate(step, 100, 1.0, warmup=10) for step in range(101)]
    assert rates[0] == 0.1 and max(rates) == rates[10] == 1.0 and rates[-1] == pytest.approx(0.02)


def test_the_tokenizer_that_later_stages_use_is_the_one_that_ships(trained):
    folder, checkpoint = trained
    shipped = load_checkpoint(checkpoint).vision.state_dict()
    for name, weight in load_tokenizer(folder).state_dict().items():
        torch.testing.assert_close(weight, shipped[name], atol=0, rtol=0)
