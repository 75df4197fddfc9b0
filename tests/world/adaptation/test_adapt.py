"""DiDA's adaptation: which rows see which, what is learnt from what, and that a run gives weights that can be
served."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from roam.scenes.recorder import record
from roam.world.action import parse_action
from roam.world.adaptation.lora import LowRank, add_low_rank, fold_low_rank
from roam.world.adaptation.mask import CLEAN, PADDING, CopyAttention, Places
from roam.world.adaptation.run import AdaptError, AdaptOrder, run_adaptation
from roam.world.adaptation.samples import (
    SampleError,
    WalkLayout,
    load_sequences,
    make_batch,
    noise_levels,
    save_sequences,
)
from roam.world.adaptation.train import AdaptRecipe, Learner, adapt, loss_of, make_optimizers, step_batch
from roam.world.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from roam.world.config import DidaConfig, LayoutConfig, ModelConfig
from roam.world.engine import Engine
from roam.world.tokens.text import TextTokenizer
from roam.world.tokens.vision import VisionConfig, VisionTokenizer
from roam.world.tokens.vocabulary import Vocabulary
from roam.world.training.banded import BandedAttention
from roam.world.training.parallel import ProcessError, agreed, launch
from roam.world.transformer.dida import MetricPath
from roam.world.transformer.model import Transformer
from roam.world.transformer.passes import Serving
from torch.multiprocessing.spawn import ProcessRaisedException

LAYOUT = LayoutConfig(window=2)
TEXT = TextTokenizer()
VISION = VisionConfig(levels=(4, 4), widths=(8, 8, 12), heads=2)
VOCABULARY = Vocabulary(TEXT.size, VISION.num_codes)
MODEL = ModelConfig(VOCABULARY.size, 32, 48, 2, 4, 2, 16)
QUICK = AdaptRecipe(batch=2, max_steps=3, max_seconds=1e9)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    model, vision = Transformer(MODEL), VisionTokenizer(VISION)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, 1.0 if weight.ndim == 1 else 0.0, 0.2)
    return Checkpoint(model.eval().requires_grad_(False), vision.eval(), TEXT, VOCABULARY, LAYOUT, DidaConfig())


@pytest.fixture(scope="module")
def layout() -> WalkLayout:
    return WalkLayout(LAYOUT, VOCABULARY, frames=4)


@pytest.fixture(scope="module")
def path(checkpoint) -> MetricPath:
    return MetricPath(checkpoint.metric, checkpoint.dida)


@pytest.fixture(scope="module")
def walks(layout) -> list[np.ndarray]:
    """Ten walks of six frames, each two stripes of one code: easy to learn."""
    rng = np.random.default_rng(0)
    words = [(), *[TEXT.encode("turn left")[: 1 + k % 2] for k in range(5)]]
    return [layout.ids_of(np.repeat(rng.integers(16, size=(1, 2)), 32, 1).repeat(6, 0), words) for _ in range(10)]


def batch_of(walks, layout, path, seed=0, **options):
    rng = np.random.default_rng(seed)
    return make_batch([layout.read(ids, rng) for ids in walks], VOCABULARY, path, rng, **dict(copies=1) | options)


def test_flex_attention_and_the_dense_mask_give_the_same(walks, layout, path):
    batch = batch_of(walks[:2], layout, path, copies=2)
    B, R = batch.ids.shape
    torch.manual_seed(0)
    q, k, v = torch.randn(B, R, 4, 16), torch.randn(B, R, 2, 16), torch.randn(B, R, 2, 16)
    for window in (None, 0, 2):
        dense, blocks = (CopyAttention(batch.places, window=window, is_blocked=kind) for kind in (False, True))
        torch.testing.assert_close(blocks.attend(0, q, k, v), dense.attend(0, q, k, v), atol=1e-5, rtol=1e-4)


def test_a_row_sees_what_figure_9_says():
    # two words, a picture of marker and two codes, a word, and one noisy copy of the picture; then padding
    place = torch.tensor([[0, 1, 2, 3, 4, 5, 2, 3, 4, 0]])
    limit = torch.tensor([[1, 2, 3, 4, 5, 6, 2, 2, 2, 0]])
    copy = torch.tensor([[CLEAN] * 6 + [0] * 3 + [PADDING]])
    seen = Places(place, limit, place * 0, copy).seen(None)[0]
    assert torch.equal(seen[:6, :6], torch.ones(6, 6).tril().bool()) and not seen[:6, 6:].any()
    assert seen[6:9].tolist() == [[True] * 2 + [False] * 4 + [True] * 3 + [False]] * 3
    assert seen[9].nonzero().tolist() == [[9]]


def test_the_mask_is_that_of_the_embedded_models_training(walks, layout, path):
    """The banded attention of world_model.py lets the same rows see the same, in its own order of rows."""
    rng = np.random.default_rng(3)
    sample = WalkLayout(LAYOUT, VOCABULARY, frames=5).read(walks[0], rng)
    batch = make_batch([sample], VOCABULARY, path, rng, copies=2)
    words, T, fresh = 2, 5, 65
    valid = torch.zeros(1, T, words + fresh, dtype=torch.bool)
    ours = []  # the row of the batch at each row of theirs; unused ones take row 0
    begins = np.flatnonzero(np.diff(sample.page, prepend=-1))
    marker = {page: start for page, (start, _) in enumerate(sample.spans, 1)} | {0: int(np.argmax(sample.ids == 297))}
    marker[0] = int(np.flatnonzero(sample.ids == VOCABULARY.image)[0])
    copies = {(page, k): len(sample.ids) + (2 * (page - 1) + k) * fresh for page in range(1, T) for k in range(2)}
    for page in range(T):
        count = marker[page] - begins[page]
        valid[0, page] = torch.tensor([*[True] * count, *[False] * (words - count), *[True] * fresh])
        ours += [*range(begins[page], marker[page]), *[0] * (words - count), *range(marker[page], marker[page] + fresh)]
        for k in range(2):
            ours += [*range(copies[page, k], copies[page, k] + fresh)] if page else [0] * fresh
    ours = torch.tensor(ours)
    used = torch.cat([valid, torch.ones(1, T, 2 * fresh, dtype=torch.bool)], -1)
    used[0, 0, words + fresh :] = False  # the first page's picture has no copies here
    torch.manual_seed(1)
    q, k, v = (torch.randn(1, len(ours), heads, 16) for heads in (4, 2, 2))
    theirs = BandedAttention(valid, words=words, copies=2, window=2).attend(0, q, k, v)[0, used.flatten()]
    place = torch.zeros(batch.ids.shape[1], dtype=torch.long)
    place[ours[used.flatten()]] = torch.arange(len(ours))[used.flatten()]
    out = CopyAttention(batch.places, window=2).attend(0, q[:, place], k[:, place], v[:, place])
    torch.testing.assert_close(out[0, ours[used.flatten()]], theirs, atol=1e-5, rtol=1e-4)


def test_training_gives_a_canvas_the_states_that_serving_gives_it(checkpoint, layout, path):
    """Frames are committed to pages and a canvas is denoised over them; the training pass over the same rows gives
    the same states."""
    engine = Engine(checkpoint, dida=DidaConfig(steps=2, detail_tolerance=0.0), serving=Serving("float32"))
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (4, 128, 128, 3), dtype=np.uint8)
    actions = [parse_action(text) for text in ("turn left", "move forward 0.2 metres", "wait")]
    session = engine.session(pixels[0], start="noise", seed=3)
    for action, picture in zip(actions[:2], pixels[1:3], strict=True):
        session.observe(action, picture)
    served = []
    hook = engine.model.register_forward_hook(lambda _, given, out: served.append((given[0].clone(), out.clone())))
    last = session.step(actions[2])
    hook.remove()
    tokens = [moment.frame.tokens.ravel() for moment in session.moments]
    assert np.array_equal(tokens[-1], last.tokens.ravel())
    ids = layout.ids_of(np.stack(tokens), [(), *(TEXT.encode(action.text) for action in actions)])
    batch = make_batch([layout.read(ids, rng)], VOCABULARY, path, rng, copies=1)
    canvas_in, canvas_out = (x[:, -65:].float() for x in served[-1])  # the second denoising step; words may come first
    own = batch.places.copy[0] == batch.places.copy.max()
    rows = checkpoint.model.embed(batch.ids)
    rows[0, own] = canvas_in[0]
    hidden = checkpoint.model(rows, batch.positions, CopyAttention(batch.places, window=LAYOUT.window))
    torch.testing.assert_close(hidden[0, own], canvas_out[0], atol=2e-4, rtol=1e-3)


def test_every_row_of_a_picture_learns_the_code_after_it_and_the_first_frame_is_not_learnt(walks, layout, path):
    sample = layout.read(walks[0], np.random.default_rng(0))
    batch = make_batch([sample], VOCABULARY, path, np.random.default_rng(0), copies=2)
    clean, noisy = (batch.targets[0][rows[0]] for rows in (~batch.is_noisy, batch.is_noisy))
    first = VOCABULARY.first_code
    assert (clean[:-1] >= 0).sum() == 3 * 64 and noisy.view(6, 65)[:, -1].eq(-1).all()
    for (start, stop), copies in zip(sample.spans, noisy.view(3, 2, 65), strict=True):
        assert sample.ids[start] == VOCABULARY.image and (sample.ids[start + 1 : stop] >= first).all()
        for copy in copies:
            assert copy[:-1].tolist() == sample.ids[start + 1 : stop].tolist()
        assert clean[start : stop - 1].tolist() == sample.ids[start + 1 : stop].tolist()
    assert (clean[: int(np.flatnonzero(sample.page == 1)[0])] == -1).all()


def test_noise_follows_the_level_and_leaves_markers_and_clean_rows_alone(walks, layout, path):
    levels = noise_levels(np.random.default_rng(0), 4000, 3.0)
    assert 0.18 < (levels == 0).mean() < 0.22 and levels.max() < 1
    assert np.median(levels[levels > 0]) < 0.3  # a shift of 3 spends more steps at high noise
    for level, share in ((0.0, 1 / 16), (1.0, 1.0)):
        batch = batch_of(walks, layout, path, level=level)
        follows = torch.roll(batch.targets, 1, 1)
        noisy = batch.is_noisy & (batch.ids >= VOCABULARY.first_code)
        kept = (batch.ids == follows)[noisy].float().mean().item()
        assert abs(kept - share) < 0.05
        assert (batch.ids[batch.is_noisy & ~noisy] == VOCABULARY.image).all()
    holes = batch_of(walks, layout, path, hole_share=1.0)
    assert 0.2 < (holes.ids[holes.is_noisy] == VOCABULARY.hole).float().mean() < 0.8
    assert not (holes.ids[~holes.is_noisy] == VOCABULARY.hole).any()


@pytest.mark.slow(reason="sixty steps of learning")
def test_a_walk_learns_to_be_drawn_at_once_and_goes_on_where_it_stopped(walks, layout, path, tmp_path):
    torch.manual_seed(0)
    recipe = AdaptRecipe(batch=4, peak=1e-2, max_steps=60, max_seconds=1e9)
    learner, rows = Learner(Transformer(MODEL), VOCABULARY), []
    before = loss_at(learner, walks, layout, path, 0.6)
    adapt(learner, walks, walks[:2], layout, path, recipe, tmp_path, progress=lambda share, row: rows.append(row))
    assert loss_at(learner, walks, layout, path, 0.6) < before - 1.0 and rows[0]["noisy"] > 0
    again = Learner(Transformer(MODEL), VOCABULARY)
    adapt(again, walks, walks[:2], layout, path, recipe, tmp_path)  # nothing is left to do
    assert all(torch.equal(a, b) for a, b in zip(learner.parameters(), again.parameters(), strict=True))


def test_a_batch_that_is_read_one_sequence_after_the_other_gives_the_same_steps(
    walks, layout, path, tmp_path, monkeypatch
):
    from roam.world.adaptation import train as module

    # in float32: gradients that were rounded to 16 bits are summed in another order, and Muon turns that into
    # directions
    monkeypatch.setattr(module, "half_products", lambda device, **options: nullcontext())
    held, logs = [], []
    for at_once in (0, 1, 2):
        torch.manual_seed(0)
        learner = Learner(Transformer(MODEL), VOCABULARY)
        recipe = replace(QUICK, batch=3, at_once=at_once, max_steps=2, peak=0.1)
        adapt(learner, walks, walks[:1], layout, path, recipe, tmp_path / str(at_once))
        held.append(learner.transformer.state_dict())
        logs.append(float((tmp_path / str(at_once) / "log.csv").read_text().splitlines()[-1].split(",")[2]))
    torch.manual_seed(0)
    start = Transformer(MODEL).state_dict()
    for name, weight in held[0].items():
        change = (weight - start[name]).norm()
        assert change > 0 and all((other[name] - weight).norm() < 0.02 * change for other in held[1:]), name
    np.testing.assert_allclose(logs[1:], logs[0], rtol=1e-3)


def loss_at(learner, walks, layout, path, level) -> float:
    with torch.no_grad():
        return learner(batch_of(walks, layout, path, level=level), LAYOUT.window)[0].mean().item()


def test_recomputed_layers_and_parts_of_the_head_give_the_same_gradients(walks, layout, path, monkeypatch):
    from roam.world.adaptation import train as module

    gradients = []
    for is_small in (False, True):
        torch.manual_seed(0)
        learner = Learner(Transformer(MODEL), VOCABULARY)
        if is_small:
            module.recompute_layers(learner.transformer)
            monkeypatch.setattr(module, "LOGITS_AT_ONCE", 400)
        sum(part.mean() for part in learner(batch_of(walks[:2], layout, path), 2)).backward()
        gradients.append([p.grad.clone() for p in learner.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_kernels_without_a_backward_pass_are_not_used_where_gradients_are_wanted(monkeypatch):
    from roam.kernels import norm, rope, swiglu

    for module in (norm, rope, swiglu):
        monkeypatch.setattr(module, "backend", lambda *tensors: "triton")
        monkeypatch.setattr(module, next(name for name in vars(module) if name.endswith("_triton")), None)
    model = Transformer(MODEL)
    places = Places(*(torch.zeros(1, 1, dtype=torch.long) for _ in range(4)))
    hidden = model(model.embed(torch.tensor([[3]])), torch.tensor([[0]]), CopyAttention(places))
    hidden.sum().backward()
    assert model.model.layers[0].self_attn.v_proj.weight.grad.abs().sum() > 0


def test_low_rank_adapters_begin_at_nothing_leave_the_weights_alone_and_fold_in():
    torch.manual_seed(0)
    model, x = Transformer(MODEL), torch.randn(3, 5, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    add_low_rank(model, 2)
    layer = model.model.layers[0].self_attn.q_proj
    assert isinstance(layer, LowRank) and torch.equal(layer(x), layer.dense(x))
    learnt = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learnt and all(name.endswith((".up", ".down")) for name in learnt)
    torch.nn.init.normal_(layer.up)
    wanted = layer(x)
    fold_low_rank(model)
    torch.testing.assert_close(model.model.layers[0].self_attn.q_proj(x), wanted, atol=1e-5, rtol=1e-4)
    after = model.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert after.keys() == before.keys() and changed == ["model.layers.0.self_attn.q_proj.weight"]


def test_sequences_survive_the_disk_and_a_torn_file_is_named(walks, tmp_path):
    save_sequences(walks, tmp_path / "a.safetensors")
    assert all(np.array_equal(a, b) for a, b in zip(load_sequences(tmp_path / "a.safetensors"), walks, strict=True))
    (tmp_path / "a.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(SampleError, match="is torn or holds no sequences"):
        load_sequences(tmp_path / "a.safetensors")


def test_a_walk_that_is_cut_off_is_refused(walks, layout):
    with pytest.raises(SampleError, match="no whole number of frames of 64 cells"):
        layout.read(walks[0][:-3], np.random.default_rng(0))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    record(folder, "train", 8, frames=5, workers=1)
    return folder


def test_a_checkpoint_is_adapted_on_recordings_and_its_own_walks_and_then_dreams(checkpoint, recorded, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "model")
    order = AdaptOrder(
        tmp_path / "out", tmp_path / "model", data=recorded, distil=2, limit=4, recipe=QUICK, frames=3, decode_steps=3
    )
    parts = []
    folder = run_adaptation(order, show=lambda part, share, row: parts.append(part))
    assert "drawing its own" in parts and len(load_sequences(tmp_path / "out" / "sequences.safetensors")) == 6
    adapted = load_checkpoint(folder)
    assert adapted.dida.steps == 3 and adapted.dida.shift == QUICK.shift
    assert not torch.equal(adapted.model.lm_head.weight, checkpoint.model.lm_head.weight)
    session = Engine(adapted).session(np.zeros((128, 128, 3), np.uint8), start="noise")
    assert session.step(parse_action("turn left")).tokens.shape == (8, 8)


@pytest.mark.slow(reason="two processes that import torch and learn")
def test_two_processes_take_the_step_that_the_mean_of_their_gradients_asks_for(checkpoint, recorded, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "model")
    recipe = replace(QUICK, max_steps=1, peak=0.05)
    order = AdaptOrder(tmp_path / "two", tmp_path / "model", data=recorded, limit=6, frames=3, recipe=recipe, workers=2)
    together = load_checkpoint(run_adaptation(order)).model.state_dict()

    sequences = load_sequences(tmp_path / "two" / "sequences.safetensors")[1:]
    learner = Learner(load_checkpoint(tmp_path / "model").model.requires_grad_(True), VOCABULARY)
    layout, path = WalkLayout(LAYOUT, VOCABULARY, frames=3), MetricPath(checkpoint.metric, DidaConfig())
    for rank in range(2):
        batch = step_batch(sequences, layout, path, recipe, step=0, rank=rank, workers=2)
        (loss_of(learner, batch, batch, layout, recipe)[0] / 2).backward()
    torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
    for optimizer in make_optimizers(learner, recipe):
        for group in optimizer.param_groups:
            group["lr"] = recipe.peak / 50  # the first step of the warm-up
        optimizer.step()
    for name, weight in learner.transformer.state_dict().items():
        torch.testing.assert_close(together[name], weight, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [(dict(), "nothing to learn from"), (dict(distil=3), "name a folder that `roam record` wrote")],
)
def test_an_order_that_cannot_be_done_says_what_is_wanted(checkpoint, tmp_path, change, message):
    save_checkpoint(checkpoint, tmp_path / "model")
    with pytest.raises(AdaptError, match=message):
        run_adaptation(AdaptOrder(tmp_path / "out", tmp_path / "model", recipe=QUICK, **change))


class Reached(Exception):
    pass


def test_processes_on_gpus_agree_over_tensors_of_theirs(monkeypatch):
    """A stand-in for NCCL, which refuses what lies on a CPU; meta tensors stand for those of a GPU."""

    def broadcast(tensor, source):
        if tensor.device.type == "cpu":
            raise RuntimeError("No backend type associated with device type cpu")
        raise Reached

    monkeypatch.setattr(torch.distributed, "broadcast", broadcast)
    with pytest.raises(Reached):
        agreed(0.5, 2, device="meta")
    with pytest.raises(RuntimeError, match="device type cpu"):
        agreed(0.5, 2)


def test_the_training_agrees_on_the_device_that_it_trains_on(walks, layout, path, tmp_path, monkeypatch):
    from roam.world.adaptation import train as module

    asked = []
    monkeypatch.setattr(module, "agreed", lambda value, workers, **where: asked.append(where) or value)
    adapt(Learner(Transformer(MODEL), VOCABULARY), walks, walks[:1], layout, path, QUICK, tmp_path)
    assert asked == [dict(device=torch.device("cpu"))] * 4


@pytest.mark.parametrize(
    ("kind", "said"),
    [("roam.world.training.run.StateError", "make room"), ("OSError", "[Errno 28] No space left on device")],
)
def test_what_a_person_can_mend_in_one_of_several_processes_is_a_sentence(monkeypatch, kind, said):
    class Joined:
        processes = ()

        def join(self):
            raise ProcessRaisedException(f"-- Process 1 terminated:\nTraceback\n  File x\n{kind}: {said}\n", 1, 2)

    monkeypatch.setattr(torch.multiprocessing, "spawn", lambda *args, **options: Joined())
    with pytest.raises(ProcessError) as failed:
        launch(2, print)
    assert str(failed.value) == said
    kind = "KeyError"  # a bug of ours keeps its traceback
    with pytest.raises(ProcessRaisedException):
        launch(2, print)


def test_prompts_are_dropped_of_official_models_alone(tmp_path):
    with pytest.raises(AdaptError, match="of official models alone"):
        run_adaptation(AdaptOrder(tmp_path, recipe=replace(QUICK, prompt_dropout=0.1)))
