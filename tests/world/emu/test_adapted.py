"""An official model that has been adapted: it learns from its own answers, is saved in shards, and draws whole
pictures at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from roam.world.adaptation import keeping
from roam.world.adaptation import run as running
from roam.world.adaptation.mask import CopyAttention
from roam.world.adaptation.run import AdaptError, AdaptOrder, read_requests, run_adaptation
from roam.world.adaptation.samples import AnswerLayout, SampleError, load_sequences, make_batch, save_sequences
from roam.world.adaptation.train import AdaptRecipe
from roam.world.checkpoint import CheckpointError
from roam.world.config import DidaConfig
from roam.world.emu.answer import AnswerWriter, End, Image, Request, answer
from roam.world.emu.checkpoint import load_official, save_official
from roam.world.emu.prompts import preset
from roam.world.emu.sampling import Sampling
from roam.world.transformer.dida import MetricPath

SHORT = dict(area=32 * 48, max_tokens=60, text_limit=3, text=Sampling(top_k=1))


@pytest.fixture(scope="module")
def checkpoint(official):
    return replace(load_official(*official, context=1024), is_adapted=True, dida=DidaConfig(steps=3, shift=2.0))


def ask(task: str = "story", **changes) -> Request:
    return Request(task, "a red door", preset=preset(task, **SHORT | changes), size=(2, 3), seed=4)


def test_a_picture_denoised_whole_costs_its_steps_and_one_pass_for_all_that_came_before(checkpoint):
    events = [*answer(checkpoint, ask("t2i"))]
    picture = next(event for event in events if isinstance(event, Image))
    assert picture.codes.shape == (2, 3) and isinstance(events[-1], End)
    # three words, the pass that reads the header, three steps
    assert events[-1].num_passes == SHORT["text_limit"] + 1 + checkpoint.dida.steps
    token_by_token = [*answer(checkpoint, ask("t2i", decoder="autoregressive"))][-1]
    assert token_by_token.num_passes == SHORT["text_limit"] + 6


def test_whole_pictures_depend_on_the_seed_and_on_the_guidance(checkpoint):
    codes = [
        next(event for event in answer(checkpoint, request) if isinstance(event, Image)).codes.tolist()
        for request in (ask(), ask(), replace(ask(), seed=5), ask(guidance=1.0))
    ]
    assert codes[0] == codes[1] and codes[0] != codes[2] and codes[0] != codes[3]


def test_training_gives_a_canvas_of_an_answer_the_states_that_serving_gives_it(checkpoint):
    served = []
    hook = checkpoint.model.register_forward_hook(lambda _, given, out: served.append((given[0].clone(), out.clone())))
    writer = AnswerWriter(checkpoint, ask(guidance=1.0, max_tokens=40))
    pictures = [event for event in writer.events() if isinstance(event, Image)]
    writer.close()
    hook.remove()
    canvases = [pair for pair in served if pair[0].shape[1] == 8]  # marker, six codes and a row end
    layout = AnswerLayout(writer.form, longest=1024)
    ids = np.array([*writer.prompt, *writer.tokens])
    sample = layout.read(ids, np.random.default_rng(0))
    assert len(sample.spans) == len(pictures) >= 2
    path = MetricPath(checkpoint.metric, checkpoint.dida)
    batch = make_batch([sample], checkpoint.vocabulary, path, np.random.default_rng(0), copies=1)
    own = batch.places.copy[0] == len(pictures) - 1
    rows = checkpoint.model.embed(batch.ids)
    rows[0, own] = canvases[-1][0][0]
    hidden = checkpoint.model(rows, batch.positions, CopyAttention(batch.places))
    torch.testing.assert_close(hidden[0, own], canvases[-1][1][0], atol=1e-4, rtol=1e-3)


def test_row_ends_are_neither_noised_nor_learnt_and_words_are(checkpoint):
    writer = AnswerWriter(checkpoint, ask(max_tokens=20))
    [*writer.events()]
    form = writer.form
    ids = np.array([*writer.prompt, *writer.tokens])
    writer.close()
    sample = AnswerLayout(form, longest=1024).read(ids, np.random.default_rng(0))
    path = MetricPath(checkpoint.metric, checkpoint.dida)
    batch = make_batch([sample], checkpoint.vocabulary, path, np.random.default_rng(0), copies=1, level=0.0)
    noisy = batch.is_noisy[0] & (batch.places.copy[0] == 0)
    kept = batch.ids[0, noisy]
    assert kept[0] == form.codes_begin and kept[4] == form.row_end and len(kept) == 8
    assert (batch.targets[0, noisy] >= 0).tolist() == [True, True, True, False, True, True, True, False]
    clean = batch.targets[0, ~batch.is_noisy[0]]
    assert clean[len(writer.prompt) - 1] == ids[len(writer.prompt)] and (clean[: len(writer.prompt) - 1] == -1).all()


def test_an_answer_is_cut_before_a_picture_that_does_not_fit(checkpoint):
    writer = AnswerWriter(checkpoint, ask(max_tokens=60))
    [*writer.events()]
    ids = np.array([*writer.prompt, *writer.tokens])
    writer.close()
    layout = AnswerLayout(writer.form, longest=len(writer.prompt) + 20)
    sample = layout.read(ids, np.random.default_rng(0))
    assert len(sample.spans) == 1 and sample.ids[-1] == writer.form.image_end
    with pytest.raises(SampleError, match="without a picture in an answer within 9"):
        AnswerLayout(writer.form, longest=9).read(ids, np.random.default_rng(0))


def test_an_official_folder_is_adapted_on_its_own_answers_and_then_draws_whole_pictures(official, tmp_path):
    asked = tmp_path / "asked.jsonl"
    rows = [{"task": "t2i", "question": "a hall", "size": "10*10"}, {"task": "story", "question": "a day"}]
    asked.write_text("\n".join(map(json.dumps, rows)))
    recipe = AdaptRecipe(batch=2, max_steps=3, rank=2)
    order = AdaptOrder(
        tmp_path / "out",
        *official,
        distil=4,
        requests=asked,
        recipe=recipe,
        decode_steps=2,
        longest=512,
        changes=SHORT | dict(area=160 * 160, max_tokens=200),
    )
    folder = run_adaptation(order)
    assert len(load_sequences(tmp_path / "out" / "sequences.safetensors")) == 4
    before, after = load_official(*official), load_official(folder, official[1])
    assert after.is_adapted and after.dida.steps == 2 and not before.is_adapted
    changed = [
        name
        for name, value in before.model.state_dict().items()
        if not torch.equal(value, after.model.state_dict()[name])
    ]
    assert changed and all("_proj" in name for name in changed)
    assert [*answer(after, ask("t2i"))][-1].num_passes == SHORT["text_limit"] + 1 + 2


@pytest.fixture
def asking(official, tmp_path):
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"task": "t2i", "question": "a hall", "size": "2*3"}))
    recipe = AdaptRecipe(batch=1, max_steps=1, rank=2)
    changes = SHORT | dict(area=160 * 160, max_tokens=40)
    return AdaptOrder(tmp_path / "out", *official, distil=3, requests=asked, recipe=recipe, longest=64, changes=changes)


def test_answers_that_were_drawn_before_a_stop_are_not_drawn_again(asking, monkeypatch):
    drawn, draw = [], running.distilled_answers

    def stopped_after_two(checkpoint, requests):
        for request, ids in zip(requests, draw(checkpoint, requests), strict=True):
            if len(drawn) == 2:
                raise KeyboardInterrupt
            drawn.append(request.seed)
            yield ids

    monkeypatch.setattr(running, "distilled_answers", stopped_after_two)
    monkeypatch.setattr(running, "launch", lambda *args: None)
    with pytest.raises(KeyboardInterrupt):
        run_adaptation(asking)
    drawn.remove(1)  # so that one more may be drawn
    run_adaptation(asking)
    assert drawn == [0, 2] and len(load_sequences(asking.out / "sequences.safetensors")) == 3
    assert not (asking.out / "drawn").exists()
    with pytest.raises(AdaptError, match=r"a run with another 'distil' \(3, now 4\): go on with what it had"):
        run_adaptation(replace(asking, distil=4))
    (asking.out / "order.json").write_text("")
    with pytest.raises(AdaptError, match=r"order\.json is damaged"):
        run_adaptation(asking)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(recipe=AdaptRecipe(rank=64)), "adapters of rank 64; .* give a smaller --rank"),
        (dict(precision="fp12"), "unknown precision 'fp12'; known: bfloat16, float16, float32"),
        (dict(data=Path("nowhere")), "nowhere is not there"),
        (dict(model=None), "the embedded model is no official model, which alone takes a --vision-tokenizer"),
    ],
)
def test_what_cannot_be_adapted_is_said_before_anything_is_drawn(asking, monkeypatch, change, message):
    monkeypatch.setattr(running, "distilled_answers", lambda *args: pytest.fail("drawn for nothing"))
    with pytest.raises(AdaptError, match=message):
        run_adaptation(replace(asking, **change))
    assert not (asking.out / "order.json").exists()  # mended, the same command begins


def test_folders_that_were_swapped_are_said_to_be(asking):
    with pytest.raises(CheckpointError, match="name them the other way round"):
        run_adaptation(replace(asking, model=asking.vision, vision=asking.model))


def test_a_disk_without_room_for_the_result_is_told_before_anything_is_drawn(asking, monkeypatch):
    monkeypatch.setattr(keeping.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setattr(running, "distilled_answers", lambda *args: pytest.fail("drawn for nothing"))
    with pytest.raises(AdaptError, match=r"of disk for the checkpoint and states, .* make room"):
        run_adaptation(asking)


def test_a_model_saved_in_shards_loads_as_it_was(official, tmp_path):
    model = load_official(*official).model
    save_official(model, official[0], tmp_path, DidaConfig(), shard_bytes=20_000)
    assert len([*tmp_path.glob("*.safetensors")]) > 2
    loaded = load_official(tmp_path, official[1]).model.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(vision=None), "name its vision tokenizer's folder"),
        (dict(distil=2), "need requests: a file with a JSON object a line"),
        (dict(), "nothing to learn from"),
        (dict(precision="fp8"), "fp8 weights cannot be adapted"),
    ],
)
def test_an_order_that_cannot_be_done_says_what_is_wanted(official, tmp_path, change, message):
    options = dict(model=official[0], vision=official[1]) | change
    with pytest.raises(AdaptError, match=message):
        run_adaptation(AdaptOrder(tmp_path / "out", **options))


def test_a_request_that_cannot_be_read_is_named_by_its_line(tmp_path):
    path = tmp_path / "asked.jsonl"
    path.write_text('{"task": "t2i", "question": "x"}\n{"task": "fly", "question": "x"}\n')
    with pytest.raises(AdaptError, match=r"asked\.jsonl, line 2: .*unknown task 'fly'"):
        [*read_requests(path, {})]


def test_a_dida_that_cannot_be_used_is_refused(official, tmp_path):
    save_official(load_official(*official).model, official[0], tmp_path, DidaConfig())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"dida": {"steps": 0}}))
    with pytest.raises(CheckpointError, match="has a 'dida' that cannot be used"):
        load_official(tmp_path, official[1])


def test_an_answer_without_a_picture_is_left_out_and_does_not_end_the_training(official, tmp_path, checkpoint, caplog):
    writer = AnswerWriter(checkpoint, ask("story"))
    [*writer.events()]
    good, words = np.array([*writer.prompt, *writer.tokens]), np.array([*writer.prompt, *writer.form.text.encode("no")])
    save_sequences([good, words, good], tmp_path / "own.safetensors")
    recipe = AdaptRecipe(batch=2, max_steps=1, rank=2)
    order = AdaptOrder(tmp_path / "out", *official, data=tmp_path / "own.safetensors", recipe=recipe, longest=512)
    assert load_official(run_adaptation(order), official[1]).is_adapted
    assert "1 of 3 sequences are left out" in caplog.text
    save_sequences([words], tmp_path / "words.safetensors")
    with pytest.raises(AdaptError, match=r"nothing in .* can be learnt from .*without a picture"):
        run_adaptation(replace(order, out=tmp_path / "none", data=tmp_path / "words.safetensors"))


def test_a_picture_that_was_never_finished_is_cut_off(checkpoint):
    writer, ids = answered_story(checkpoint)
    begun = np.array([*ids, *writer.form.image_block(np.zeros((2, 3), int))[:6]])
    layout = AnswerLayout(writer.form, longest=512)
    whole, cut = (layout.read(each, np.random.default_rng(0)) for each in (ids, begun))
    assert np.array_equal(whole.ids, cut.ids) and whole.spans == cut.spans


def answered_story(checkpoint) -> tuple[AnswerWriter, np.ndarray]:
    """An answer that ends with a picture."""
    writer = AnswerWriter(checkpoint, ask("story", stops_at_image=True))
    [*writer.events()]
    return writer, np.array([*writer.prompt, *writer.tokens])


def test_a_dropped_prompt_leaves_what_the_unconditional_branch_reads_and_codes_alone_to_learn(checkpoint):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    request = replace(ask("story", max_tokens=60), images=(pixels,))
    writer = AnswerWriter(checkpoint, request)
    [*writer.events()]
    ids, read = np.array([*writer.prompt, *writer.tokens]), writer.unconditional.ids
    layout = AnswerLayout(writer.form, longest=512)
    dropped = layout.read(ids, np.random.default_rng(0), drop=1.0)
    assert dropped.ids.tolist() == read[: len(dropped.ids)] and len(dropped.ids) > len(read) - 20
    assert (dropped.ids[dropped.learnt] >= checkpoint.vocabulary.first_code).all() and len(dropped.spans) >= 2
    shares = [len(layout.read(ids, np.random.default_rng(k), drop=0.1).ids) == len(dropped.ids) for k in range(200)]
    assert 8 <= sum(shares) <= 36


def test_the_commands_options_reach_the_order_with_rates_and_dropout_by_the_kind_of_model(monkeypatch, tmp_path):
    from roam.viewer.cli import main
    from roam.viewer.commands import adapt as module

    orders: list[AdaptOrder] = []
    monkeypatch.setattr(module, "adapt", orders.append)
    official = ["--model", "m", "--vision-tokenizer", "v"]
    said = ["--context", "999", "--guidance", "2", "--area", "1024", "--size", "1:1", "--text-tokenizer", "t"]
    for options in ([], [*official, "--rank", "64", *said], [*official, "--rate", "0.5", "--drop", "0.3"]):
        with pytest.raises(SystemExit):
            main(["adapt", "--out", str(tmp_path), *options])
    assert [(order.recipe.peak, order.recipe.prompt_dropout) for order in orders] == [
        (1e-3, 0),
        (1e-4, 0.1),
        (0.5, 0.3),
    ]
    assert orders[1].changes == dict(guidance=2.0, area=1024) and orders[1].size == "1:1"
    assert orders[1].context == 999 and str(orders[1].text) == "t"
