"""An official model that learns from examples: their ids are those that serving has, only answers are learnt, packed
sequences do not see each other, and a resumed run is the same bit for bit."""

from __future__ import annotations

import csv
import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from roam.world.action import Action, parse_action
from roam.world.adaptation import train as training
from roam.world.adaptation.checking import check_examples, num_tokens, shape_of
from roam.world.adaptation.examples import ExampleError, read_examples
from roam.world.adaptation.mask import CopyAttention
from roam.world.adaptation.packing import PackedLayout, answer_sequences, packed
from roam.world.adaptation.run import AdaptError
from roam.world.adaptation.samples import AnswerLayout, load_sequences, make_batch
from roam.world.adaptation.train import AdaptRecipe, Learner, clean_loss
from roam.world.adaptation.tuning import TuneOrder, run_tuning
from roam.world.checkpoint import load_checkpoint
from roam.world.emu.answer import AnswerWriter, Request
from roam.world.emu.checkpoint import load_official, parts_of, save_official
from roam.world.emu.engine import EmuEngine, explore_preset
from roam.world.emu.prompts import exploration, preset
from roam.world.emu.sequence import Format, Picture, Text, parse_answer
from roam.world.transformer.dida import MetricPath

AREA, WINDOW = 32 * 48, PackedLayout.window
STORY = {"task": "story", "question": "a red door", "answer": [{"text": "Open."}, {"image": "a.png"}]}
PICTURE = {"task": "t2i", "question": "a hall", "answer": [{"thought": "dim"}, {"image": "b.png"}]}
QUICK = AdaptRecipe(batch=2, copies=1, max_steps=4, max_seconds=1e9, peak=1e-2)


@pytest.fixture(scope="module")
def checkpoint(official):
    return load_official(*official, context=1024)


@pytest.fixture(scope="module")
def form(checkpoint) -> Format:
    return Format(parts_of(checkpoint).text, checkpoint.vocabulary)


def write(folder, *rows, name="examples.jsonl"):
    rng = np.random.default_rng(0)
    for picture in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)).save(folder / picture)
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def ids_of(examples, checkpoint) -> list[np.ndarray]:
    parts = parts_of(checkpoint)
    return [*answer_sequences(examples, Format(parts.text, checkpoint.vocabulary), parts.vision, area=AREA)]


@pytest.fixture
def sequences(checkpoint, tmp_path) -> list[np.ndarray]:
    return ids_of([*read_examples(write(tmp_path, STORY, PICTURE))], checkpoint)


def test_an_example_is_the_ids_of_the_prompt_and_of_its_answer(checkpoint, form, sequences, tmp_path):
    story, _ = sequences
    writer = AnswerWriter(checkpoint, Request("story", "a red door", preset=preset("story", area=AREA)))
    writer.close()
    assert story[: len(writer.prompt)].tolist() == writer.prompt
    words, picture = parse_answer(story[len(writer.prompt) :], form)
    assert words == Text("text", "Open.") and isinstance(picture, Picture) and picture.codes.shape == (2, 3)
    pixels = torch.tensor(np.asarray(Image.open(tmp_path / "a.png")))[None]
    assert np.array_equal(picture.codes, checkpoint.vision.encode(pixels)[0])
    assert story[-2:].tolist() == [form.answer_end, form.end]
    assert parse_answer(sequences[1], form)[1] == Text("thought", "dim")


def test_the_check_counts_the_tokens_that_an_example_has(checkpoint, sequences, tmp_path):
    path, text = tmp_path / "examples.jsonl", parts_of(checkpoint).text
    lengths = [len(ids) for ids in sequences]
    assert check_examples(path, area=AREA, longest=512, text=text).tokens == lengths
    assert all(
        num_tokens(e, shape_of, AREA, None) >= length for e, length in zip(read_examples(path), lengths, strict=True)
    )


@pytest.mark.parametrize("begins_at_picture", [True, False])
def test_a_led_walk_is_the_ids_that_a_session_reads_while_it_is_walked(checkpoint, tmp_path, begins_at_picture):
    """The session is told which pictures come, so that both have the same; the words are those of the turns."""
    engine = EmuEngine(checkpoint, preset=explore_preset(area=AREA, text_limit=0))
    steps = [{"turn": "turn left"}, {"image": "b.png"}, {"image": "a.png"}, {"turn": "go in"}, {"image": "b.png"}]
    given = ["a.png"] if begins_at_picture else []
    answer = steps if begins_at_picture else [{"image": "a.png"}, *steps]
    row = {"task": "explore", "question": exploration("a hall"), "images": given, "answer": answer, "ends": False}
    path = write(tmp_path, row)
    a, b = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    (ids,) = ids_of([*read_examples(path)], checkpoint)
    if begins_at_picture:
        session = engine.session(a, words="a hall")
        for action, pixels in ((parse_action("turn left"), b), (parse_action("wait"), a), (Action("go in"), b)):
            session.observe(action, pixels)
        read = [i for moment in session.moments for i in moment.strands[0].ids]
        assert ids.tolist() == [*read, session.moments[-1].strands[0].next]
        session.close()
    else:
        words = parts_of(checkpoint).text.decode(ids)
        assert "ASSISTANT: <|extra_100|><|image start|>2*3" in words
        assert "<|image end|><|extra_101|> USER: turn left ASSISTANT: <|extra_100|><|image start|>" in words


def learner_of(checkpoint) -> Learner:
    torch.manual_seed(0)
    return Learner(deepcopy(checkpoint.model).requires_grad_(True), checkpoint.vocabulary)


def batch_of(checkpoint, form, rows, **options):
    layout, rng = PackedLayout(AnswerLayout(form, longest=512)), np.random.default_rng(0)
    path = MetricPath(checkpoint.metric, checkpoint.dida)
    samples = [layout.read(ids, rng, **options) for ids in rows]
    return make_batch(samples, checkpoint.vocabulary, path, rng, copies=0)


def test_answers_alone_are_learnt_with_all_that_ends_them(checkpoint, form, sequences):
    story = sequences[0]
    begin = int(np.flatnonzero(story == form.answer_begin)[0])
    targets = batch_of(checkpoint, form, [story]).targets[0]
    assert (targets[:begin] == -1).all() and targets[begin:-1].tolist() == story[begin + 1 :].tolist()
    learner, kept = learner_of(checkpoint), []
    learner.transformer.register_forward_hook(lambda _, given, out: out.retain_grad() or kept.append(out))
    batch = batch_of(checkpoint, form, [story])
    clean_loss(learner(batch, WINDOW)[1], batch, checkpoint.vocabulary, 1.0).backward()
    asked_for = kept[0].grad[0].abs().sum(-1) > 0  # rows whose prediction counts in the loss
    assert asked_for.tolist() == [begin <= row < len(story) - 1 for row in range(len(story))]


def test_the_turns_of_a_walk_are_read_and_not_learnt(checkpoint, form, tmp_path):
    answer = [{"image": "a.png"}, {"turn": "turn left"}, {"image": "b.png"}]
    row = {"task": "explore", "question": "a hall", "answer": answer}
    (ids,) = ids_of([*read_examples(write(tmp_path, row))], checkpoint)
    sample = AnswerLayout(form, longest=512).read(ids, np.random.default_rng(0))
    read = parts_of(checkpoint).text.decode(sample.ids[~sample.learnt])
    assert read.count("<|extra_100|>") == 2 and "USER: turn left ASSISTANT: <|extra_100|>" in read
    assert "<|extra_101|>" not in read and "image" not in read and "<|extra_204|>" not in read


def test_the_weight_of_codes_is_theirs_alone(checkpoint, form, sequences):
    batch = batch_of(checkpoint, form, sequences)
    targets = batch.targets[batch.targets >= 0]
    losses = torch.arange(len(targets), dtype=torch.float32)
    words = targets < checkpoint.vocabulary.first_code
    vocabulary = checkpoint.vocabulary
    torch.testing.assert_close(clean_loss(losses, batch, vocabulary, 0.0), losses[words].mean())
    torch.testing.assert_close(clean_loss(losses, batch, vocabulary, 1.0), losses.mean())


def test_sequences_in_a_row_are_read_as_if_each_were_alone(checkpoint, form, sequences):
    (row,) = packed(sequences, 512)
    learner = learner_of(checkpoint)
    with torch.no_grad():
        together = learner(batch_of(checkpoint, form, [row]), WINDOW)[1]
        alone = [
            learner(batch_of(checkpoint, form, [ids]), WINDOW)[1] for ids in sorted(sequences, key=len, reverse=True)
        ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)
    batch = batch_of(checkpoint, form, [row])
    hidden = hidden_of(learner, batch)
    first = max(map(len, sequences))
    ids = batch.ids.clone()
    ids[0, 3:first] = 7  # all but the beginning of the first sequence
    changed = hidden_of(learner, replace(batch, ids=ids))
    assert torch.equal(hidden[0, first:], changed[0, first:]) and not torch.equal(hidden[0, :first], changed[0, :first])


def hidden_of(learner, batch) -> torch.Tensor:
    with torch.no_grad():
        model = learner.transformer
        return model(model.embed(batch.ids), batch.positions, CopyAttention(batch.places, window=WINDOW))


def test_rows_are_filled_and_none_is_too_long():
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 9, size) for size in rng.integers(5, 60, size=40)]
    rows = packed(sequences, 64)
    assert sorted(np.concatenate(rows).tolist()) == sorted(np.concatenate(sequences).tolist())
    assert max(map(len, rows)) <= 64 and len(rows) <= 1.2 * sum(map(len, sequences)) / 64 + 1


def test_a_dropped_prompt_is_dropped_of_each_sequence_alone(checkpoint, form, sequences):
    (row,) = packed(sequences, 512)
    layout = PackedLayout(AnswerLayout(form, longest=512))
    lengths = {len(layout.read(row, np.random.default_rng(k), drop=0.5).ids) for k in range(20)}
    assert len(lengths) == 4  # the prompt of neither, of the first, of the second, of both


def order_of(official, folder, data, **changes) -> TuneOrder:
    return TuneOrder(folder, *official, data, **dict(recipe=QUICK, longest=128, area=AREA) | changes)


def test_a_tuned_folder_is_served_as_before_and_its_measured_loss_has_fallen(official, tmp_path):
    data = write(tmp_path, *[STORY, PICTURE] * 4)
    held_out = write(tmp_path, STORY, PICTURE, name="eval.jsonl")
    recipe = replace(QUICK, max_steps=20, peak=4e-2, measure_every=10)
    order = order_of(official, tmp_path / "out", data, recipe=recipe, evaluation=held_out, longest=512)
    folder = run_tuning(order)
    with (tmp_path / "out" / "run" / "log.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["clean_nats"] != "nan"]
    for name in ("clean_nats", "word_nats", "code_nats"):
        measured = [float(row[name]) for row in rows]
        assert len(measured) == 3 and measured[-1] < measured[0] - 1, name
    tuned = load_official(folder, official[1])
    assert not tuned.is_adapted and len(load_sequences(tmp_path / "out" / "sequences.safetensors")) < 8


def test_a_run_that_was_stopped_gives_the_weights_of_one_that_was_not(official, tmp_path, monkeypatch):
    data = write(tmp_path, *[STORY, PICTURE] * 4)
    recipe = replace(QUICK, max_steps=6, save_every=2, rank=2, prompt_dropout=0.3)
    whole = run_tuning(order_of(official, tmp_path / "whole", data, recipe=recipe))
    order = order_of(official, tmp_path / "stopped", data, recipe=recipe)
    step_batch, steps = training.step_batch, []

    def stopping(*args, step, **options):
        if step == 5 and steps.count(5) == 0:
            steps.append(5)
            raise KeyboardInterrupt
        steps.append(step)
        return step_batch(*args, step=step, **options)

    monkeypatch.setattr(training, "step_batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_tuning(order)
    stopped = run_tuning(order)
    assert steps == [0, 1, 2, 3, 4, 5, 4, 5]
    one, other, before = (
        load_official(folder, official[1]).model.state_dict() for folder in (whole, stopped, official[0])
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    changed = [name for name, value in before.items() if not torch.equal(value, one[name])]
    assert changed and all("_proj" in name for name in changed)
    with pytest.raises(AdaptError, match=r"holds a run with another 'rank' \(2, now 4\)"):
        run_tuning(replace(order, recipe=replace(recipe, rank=4)))


def test_weights_that_denoise_go_on_denoising(official, checkpoint, tmp_path):
    adapted = tmp_path / "adapted"
    save_official(checkpoint.model, official[0], adapted, replace(checkpoint.dida, steps=3))
    order = order_of((adapted, official[1]), tmp_path / "out", write(tmp_path, *[STORY] * 4))
    tuned = load_official(run_tuning(order), official[1])
    assert tuned.is_adapted and tuned.dida.steps == 3
    log = (tmp_path / "out" / "run" / "log.csv").read_text()
    assert "nats_at_0.6" in log and "nan" not in log.splitlines()[-1]


def test_a_bad_line_stops_before_the_weights_are_loaded_and_can_then_be_mended(official, tmp_path, monkeypatch):
    data = write(tmp_path, STORY, STORY | {"task": "fly"})
    order = order_of(official, tmp_path / "out", data, recipe=replace(QUICK, max_steps=1))
    with pytest.raises(ExampleError, match=r"examples\.jsonl, line 2: unknown task 'fly'"):
        run_tuning(order)
    with pytest.raises(ExampleError, match=r"line 1: \d+ tokens, and 64 are learnt at once"):
        run_tuning(replace(order, data=write(tmp_path, STORY | {"question": "a red door " * 9}), longest=64))
    write(tmp_path, STORY, STORY)
    assert (run_tuning(order) / "config.json").exists()


def test_a_checkpoint_of_ours_learns_walks(tmp_path, checkpoint_folder):
    answer = [{"image": "a.png"}, {"turn": "turn left"}, {"image": "b.png"}, {"image": "a.png"}]
    data = write(tmp_path, *[{"task": "explore", "question": "a hall", "answer": answer}] * 2)
    recipe = replace(QUICK, max_steps=2)
    order = TuneOrder(tmp_path / "out", checkpoint_folder, data=data, recipe=recipe, frames=3)
    with pytest.raises(AdaptError, match="leave --area out"):
        run_tuning(replace(order, area=AREA))
    folder = run_tuning(order)
    before, after = load_checkpoint(checkpoint_folder), load_checkpoint(folder)
    assert not torch.equal(before.model.lm_head.weight, after.model.lm_head.weight) and after.dida == before.dida


def test_the_commands_options_reach_the_order(monkeypatch, tmp_path):
    from roam.viewer.cli import main
    from roam.viewer.commands import examples as module

    orders: list[TuneOrder] = []
    monkeypatch.setattr(module, "tune", orders.append)
    monkeypatch.chdir(tmp_path)
    for name in ("d.jsonl", "e.jsonl"):
        Path(name).write_text("{}")
    for name in ("m", "v", "out"):
        Path(name).mkdir()
    official = ["--model", "m", "--vision-tokenizer", "v", "--eval", "e.jsonl", "--area", "1024", "--rank", "64"]
    said = ["--code-weight", "0.5", "--measure-every", "7", "--save-every", "9", "--longest", "999", "--context", "998"]
    for options in ([], [*official, *said]):
        with pytest.raises(SystemExit):
            main(["tune", "sft", "--data", "d.jsonl", "--out", "out", *options])
    ours, theirs = orders
    assert (ours.recipe.peak, ours.recipe.prompt_dropout, ours.recipe.rank) == (1e-3, 0, 0)
    assert (theirs.recipe.peak, theirs.recipe.prompt_dropout, theirs.recipe.rank) == (1e-4, 0.1, 64)
    assert [str(path) for path in theirs.files] == ["d.jsonl", "e.jsonl"] and theirs.area == 1024
    assert (theirs.recipe.code_weight, theirs.recipe.measure_every, theirs.recipe.save_every) == (0.5, 7, 9)
    assert (theirs.longest, theirs.context) == (999, 998)
