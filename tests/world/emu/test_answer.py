"""Answers of a tiny random checkpoint in the official format, for all six tasks."""

from __future__ import annotations

import re
import shutil
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as PictureFile
from roam.viewer.commands.generate import GenerateError, generate, read_image
from roam.world.config import PageConfig
from roam.world.emu.answer import AnswerWriter, End, Image, Request, Row, Text, answer
from roam.world.emu.checkpoint import load_official
from roam.world.emu.prompts import MAX_IMAGES, TASKS, PromptError, cells_of, preset, prompt
from roam.world.emu.sampling import Sampling, draw, nucleus
from roam.world.emu.token_stream import ContextFull, StreamPasses, TokenStream

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
# the likeliest word each time, because a random model would soon draw the end
SHORT = dict(area=32 * 48, max_tokens=120, text_limit=3, text=Sampling(top_k=1))
NUM_IMAGES = {"t2i": 0, "x2i": MAX_IMAGES}


@pytest.fixture(scope="module")
def checkpoint(official):
    return load_official(*official, context=1024)


def ask(task: str, **changes) -> Request:
    images = (PIXELS,) * NUM_IMAGES.get(task, 1)
    return Request(task, "a red door", images, preset(task, **SHORT | changes), size=(2, 3))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_answers_with_pictures_of_the_wanted_size_and_an_end(checkpoint, task):
    events = [*answer(checkpoint, replace(ask(task, max_tokens=40, text=preset(task).text), question="a hall"))]
    pictures = [event for event in events if isinstance(event, Image)]
    assert pictures and all(picture.codes.shape == (2, 3) for picture in pictures[: 1 if task == "x2i" else None])
    assert pictures[0].pixels.shape == (32, 48, 3) and isinstance(events[-1], End)
    if task in ("t2i", "x2i"):
        assert events[-1].reason == "image" and len(pictures) == 1
    assert any(isinstance(event, Row) for event in events)


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(checkpoint):
    one, same, other = (words_and_codes(checkpoint, replace(ask("story"), seed=seed)) for seed in (1, 1, 2))
    assert one == same != other


def words_and_codes(checkpoint, request: Request) -> list:
    events = answer(checkpoint, request)
    return [
        event.text if isinstance(event, Text) else event.codes.tolist()
        for event in events
        if isinstance(event, Text | Image)
    ]


@pytest.mark.parametrize("unconditional", ["images", "all"])
def test_the_unconditional_branch_reads_pictures_alone_or_everything(checkpoint, unconditional):
    writer = AnswerWriter(checkpoint, ask("story", unconditional=unconditional))
    before = len(writer.unconditional)
    events = [*writer.events()]
    pictures = [event for event in events if isinstance(event, Image)]
    blocks = sum(writer.form.block_length(*picture.codes.shape) for picture in pictures)
    begun = writer.reader.rows is not None  # a picture that the limit of tokens cut off
    read = len(writer.unconditional) - before
    assert read == events[-1].num_tokens if unconditional == "all" else (read > blocks if begun else read == blocks)
    assert len(writer.conditional) > len(writer.unconditional)
    writer.close()


def test_guidance_by_batched_branches_equals_guidance_computed_from_whole_sequences(checkpoint):
    request = ask("t2i", image=Sampling(temperature=0.0), guidance=4.0)
    writer, model = AnswerWriter(checkpoint, request), checkpoint.model
    both = [[*writer.conditional.pending], [*writer.unconditional.pending]]
    picture = next(event for event in writer.events() if isinstance(event, Image))
    block = writer.form.image_block(picture.codes)
    writer.close()
    first = writer.form.vocabulary.first_code
    head_end = block.index(writer.form.codes_begin) + 1
    spoken = writer.tokens[: -len(block)]
    for place in range(head_end, len(block)):
        if block[place] < first:
            continue
        states = [
            whole_state(checkpoint, [*prefix, *part, *block[:place]])
            for prefix, part in zip(both, (spoken, []), strict=True)
        ]
        cond, uncond = ((model.lm_head(state)).log_softmax(-1) for state in states)
        assert int((uncond + 4.0 * (cond - uncond))[first:].argmax()) == block[place] - first


def whole_state(checkpoint, ids: list[int]) -> torch.Tensor:
    """The last hidden state of a sequence that is read at once, with a cache of its own."""
    from roam.world.transformer.cache import KVCache

    cache = KVCache(checkpoint.model.config, PageConfig(page_size=512), device=torch.device("cpu"), num_pages=2)
    stream = TokenStream(cache, context=1024)
    stream.append(ids)
    return StreamPasses(checkpoint.model, cache).advance([stream])[0, 0]


def test_streams_read_together_have_the_states_of_streams_read_alone(checkpoint):
    from roam.world.transformer.cache import KVCache

    cache = KVCache(checkpoint.model.config, PageConfig(page_size=8), device=torch.device("cpu"), num_pages=1)
    long, short = TokenStream(cache, context=99), TokenStream(cache, context=99)
    long.append(range(30))
    short.append(range(40, 53))
    hidden = StreamPasses(checkpoint.model, cache).advance([long, short])[:, 0]
    wanted = torch.stack([whole_state(checkpoint, [*range(30)]), whole_state(checkpoint, [*range(40, 53)])])
    assert torch.allclose(hidden, wanted, atol=1e-5)
    long.close()
    short.close()
    assert cache.pool.num_free == cache.pool.num_pages


def test_guesses_that_are_read_with_a_stream_leave_nothing_behind(checkpoint):
    from roam.world.transformer.cache import KVCache

    cache = KVCache(checkpoint.model.config, PageConfig(page_size=8), device=torch.device("cpu"), num_pages=8)
    stream = TokenStream(cache, context=99)
    stream.append(range(10))
    passes = StreamPasses(checkpoint.model, cache)
    hidden = passes.advance([stream], [10, 11, 12])[0]
    wanted = torch.stack([whole_state(checkpoint, [*range(10 + k)]) for k in range(4)])
    assert torch.allclose(hidden, wanted, atol=1e-5) and stream.end == len(stream) == 10
    stream.append([30])
    assert torch.allclose(passes.advance([stream])[0, 0], whole_state(checkpoint, [*range(10), 30]), atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        dict(image=Sampling()),
        dict(image=Sampling(top_k=50), guidance=1.0),
        pytest.param(
            dict(image=Sampling(top_k=300, top_p=0.8, temperature=0.7), image_guidance=2.0),
            marks=pytest.mark.slow(reason="a third of such answers, each drawn in three ways"),
        ),
    ],
)
def test_several_codes_a_pass_are_those_of_one_a_pass(checkpoint, changes):
    found = {}
    for decoder in ("autoregressive", "jacobi", "auto"):
        request = replace(ask("story", decoder=decoder, max_tokens=160, **changes), size=(4, 5))
        events = [*answer(checkpoint, request)]
        pictures = [event.codes.tolist() for event in events if isinstance(event, Image)]
        found[decoder] = pictures, [event for event in events if isinstance(event, Text)], events[-1].num_tokens
    assert found["jacobi"] == found["auto"] == found["autoregressive"] and len(found["jacobi"][0]) > 1


def test_codes_that_are_easy_to_guess_come_several_a_pass(checkpoint):
    plain, several = (
        [*answer(checkpoint, replace(ask("t2i", decoder=decoder, image=Sampling(top_k=1)), size=(4, 6)))]
        for decoder in ("autoregressive", "jacobi")
    )
    assert plain[-1].num_passes == SHORT["text_limit"] + 24
    assert several[-1].num_passes < plain[-1].num_passes


def test_ids_that_stand_in_pictures_or_prompts_alone_are_never_said(checkpoint, monkeypatch):
    """The official code allows them in text, where its own parser cannot read them."""
    model = deepcopy(checkpoint.model)
    loud, outside, said = replace(checkpoint, model=model), [], []
    for banned in (True, False):
        writer = AnswerWriter(loud, ask("story", max_tokens=12, text_limit=None))
        outside = outside or [*writer.form.outside_text]
        torch.manual_seed(0)
        model.lm_head.weight[outside] = 50 * torch.randn(len(outside), model.config.hidden_size)
        if not banned:
            monkeypatch.setattr(type(writer.form), "outside_text", ())
        [*writer.events()]
        said.append(set(writer.tokens) & set(outside))
        writer.close()
    assert not said[0] and said[1]


def test_forced_tokens_cost_no_pass_of_their_own(checkpoint):
    end = [*answer(checkpoint, ask("t2i", decoder="autoregressive"))][-1]
    # one pass for each word and each code; header, row ends and image end share those passes
    assert end.num_passes == SHORT["text_limit"] + 6 and end.num_tokens == SHORT["text_limit"] + len("<2*3>012|345>")


def test_an_exploration_goes_on_with_each_instruction_until_it_is_closed(checkpoint):
    writer = AnswerWriter(checkpoint, ask("explore", stops_at_image=True))
    seen = []
    for instruction in (None, "turn left", "walk to the window"):
        if instruction:
            writer.instruct(instruction, form="span" if seen else "user")
        seen += [event.index for event in writer.events() if isinstance(event, Image)]
    writer.close()
    assert seen == [0, 1, 2]


def test_a_size_left_to_the_model_is_kept_for_later_pictures(checkpoint):
    request = replace(ask("story", max_tokens=450), images=(), size=None)
    shapes = {event.codes.shape for event in answer(checkpoint, request) if isinstance(event, Image)}
    assert len(shapes) == 1 and min(shapes.pop()) >= 10


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(task="fly"), PromptError, "unknown task 'fly'"),
        (dict(question="x<|image start|>"), PromptError, r"control token '<\|image start\|>'"),
        (dict(question="so much " * 300), ContextFull, r"a sequence of \d+ tokens; the context holds 1024"),
        (dict(images=(np.zeros((40, 40, 4), np.uint8),)), PromptError, r"an image of shape \(40, 40, 4\)"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_sentence_before_the_first_event(checkpoint, change, error, message):
    with pytest.raises(error, match=message):
        next(answer(checkpoint, replace(ask("story"), **change)))


def test_an_image_too_large_for_the_context_is_refused(checkpoint):
    with pytest.raises(ContextFull, match="fewer or smaller images"):
        next(answer(checkpoint, ask("story", area=1024 * 1024)))


def test_the_nucleus_is_the_fewest_likeliest_tokens_that_reach_top_p():
    logits = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05]).log()[torch.tensor([3, 0, 4, 1, 2])]
    assert nucleus(logits, Sampling(top_p=0.69)).tolist() == [False, True, False, True, False]
    assert nucleus(logits, Sampling(top_p=0.71)).tolist() == [False, True, False, True, True]
    assert nucleus(logits, Sampling(top_k=1, top_p=0.99)).sum() == 1


def test_draws_keep_to_top_k_and_to_what_is_allowed():
    hidden, head = torch.randn(8, generator=torch.manual_seed(0)), torch.randn(20, 8, generator=torch.manual_seed(1))
    best = (head @ hidden).topk(4).indices.tolist()
    allowed = torch.ones(20, dtype=torch.bool)
    allowed[best[0]] = False
    options = dict(seed=3, allowed=allowed)
    for sampling in (Sampling(top_k=3), Sampling(top_k=3, top_p=0.999)):
        drawn = draw(hidden.expand(60, -1), head, sampling, positions=range(60), **options).tolist()
        alone = [int(draw(hidden[None], head, sampling, positions=[k], **options)) for k in range(60)]
        assert {*drawn} <= {*best[1:]} and drawn == alone and len({*drawn}) > 1


def test_generate_writes_pictures_words_and_one_page(official, tmp_path, capsys):
    PictureFile.fromarray(PIXELS).save(tmp_path / "a.png")
    out, options = tmp_path / "out", SHORT | dict(max_tokens=40)
    generate(
        "story",
        "a <red> door",
        out,
        model=official[0],
        vision=official[1],
        images=[tmp_path / "a.png"],
        size="2*3",
        device="cpu",
        **options,
    )
    page = (out / "index.html").read_text()
    assert "a &lt;red&gt; door" in page and 'src="01.png"' in page
    assert "GiB  language model" in capsys.readouterr().out
    assert PictureFile.open(out / "01.png").size == (48, 32)
    assert {"answer.txt", "thoughts.txt"} <= {path.name for path in out.iterdir()}
    with pytest.raises(GenerateError, match="already holds an answer"):
        generate("story", "again", out, model=official[0], vision=official[1])


def test_the_page_of_an_exploration_shows_its_directions_and_what_it_went_by(official, tmp_path, capsys):
    PictureFile.fromarray(PIXELS).save(tmp_path / "a.png")
    out, options = tmp_path / "out", SHORT | dict(max_tokens=60)
    generate(
        "explore",
        "a hall",
        out,
        model=official[0],
        vision=official[1],
        images=[tmp_path / "a.png"],
        instructions=["go <left>"],
        mode="interactive",
        size="2*3",
        device="cpu",
        **options,
    )
    page = (out / "index.html").read_text()
    first, direction, second = (page.index(what) for what in ('src="01.png"', "go &lt;left&gt;", 'src="02.png"'))
    assert page.index('src="given-01.png"') < first < direction < second
    assert "> go <left>" in (out / "answer.txt").read_text() and "picture 2: 48x32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "cells"), [("47*85", (47, 85)), ("16:9", (47, 85)), ("9:16", (85, 47)), ("auto", None)]
)
def test_sizes_are_written_in_cells_or_as_a_ratio(size, cells):
    assert cells_of(size, "t2i") == cells


def test_the_default_size_is_the_official_configurations_for_t2i_and_the_models_for_the_rest():
    assert cells_of("default", "t2i") == (55, 73) and cells_of("default", "story") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(task="story", mode="free"), "--mode is of the task explore"),
        (dict(task="t2i", size="3x"), "a size of '3x'; wanted height"),
        (dict(task="t2i", question="x<|image start|>"), "the control token '<|image start|>'"),
        (dict(task="story", instructions=["go <|extra_101|> on"]), "the control token '<|extra_101|>'"),
        (dict(task="t2i", decoder="dida"), "these weights were never adapted"),
        (dict(task="t2i", steps=4), "--steps and --sampler are of denoising"),
        (dict(task="t2i", decoder="dida", sampler="leap"), "unknown sampler 'leap'"),
    ],
)
def test_generate_refuses_what_cannot_be_before_loading(official, tmp_path, options, message):
    shutil.copy(official[0] / "config.json", tmp_path)  # the weights are missing, so reading them would fail
    options = dict(question="x") | options
    with pytest.raises((GenerateError, PromptError), match=re.escape(message)):
        generate(options.pop("task"), options.pop("question"), tmp_path, model=tmp_path, vision=official[1], **options)


def test_unadapted_weights_denoise_in_the_steps_that_were_asked_for_and_the_temperature_counts(checkpoint):
    ends = {steps: [*answer(checkpoint, ask("t2i", decoder="dida", steps=steps))][-1] for steps in (2, 5)}
    assert ends[5].num_passes - ends[2].num_passes == 3
    cold = [picture_of(checkpoint, ask("t2i", decoder="dida", steps=4, temperature=0.0), seed) for seed in (1, 2)]
    hot = picture_of(checkpoint, ask("t2i", decoder="dida", steps=4, temperature=9.0), 1)
    jumped = picture_of(checkpoint, ask("t2i", decoder="dida", steps=4, temperature=0.0, sampler="jump"), 1)
    assert hot != cold[0] != jumped


def picture_of(checkpoint, request: Request, seed: int) -> list:
    events = answer(checkpoint, replace(request, seed=seed))
    return next(event for event in events if isinstance(event, Image)).codes.tolist()


@pytest.mark.parametrize("task", [task for task in TASKS if task != "t2i"])
def test_every_task_but_t2i_takes_several_references_and_keeps_the_last_ones_size(checkpoint, task):
    wide = np.zeros((32, 64, 3), np.uint8)
    request = replace(ask(task, area=32 * 64), images=(PIXELS, wide), size=None)
    assert len(next(event for event in answer(checkpoint, request) if isinstance(event, Image)).codes[0]) == 4


def height_of_picture(checkpoint, request: Request) -> int:
    """How many rows the first picture has, as its first row tells; the others need not be drawn."""
    return next(event for event in answer(checkpoint, request) if isinstance(event, Row)).height


def test_of_several_references_the_size_is_the_likeliest_or_drawn_where_that_is_asked(checkpoint):
    heights = {}
    for how in ("greedy", "drawn"):
        request = replace(ask("x2i", references=how, max_tokens=600), size=None)
        heights[how] = [height_of_picture(checkpoint, replace(request, seed=seed)) for seed in (1, 2)]
    assert heights["greedy"][0] == heights["greedy"][1] and heights["drawn"][0] != heights["drawn"][1]


def test_the_template_of_vla_can_be_the_plain_one():
    assert "how to perform the following task? fold it" in prompt("vla", "fold it")[0]
    assert prompt("vla", "fold it", vla="plain")[0].endswith("for vla task. USER: fold it ASSISTANT: <|extra_100|>")


def test_three_branches_are_mixed_as_the_official_code_has_it(checkpoint):
    """The third branch reads neither words nor other pictures; checked by computing it from whole sequences."""
    request = ask("x2i", image=Sampling(temperature=0.0), guidance=3.0, image_guidance=2.0)
    writer, model = AnswerWriter(checkpoint, request), checkpoint.model
    prefixes = [[*stream.pending] for stream in writer.branches]
    picture = next(event for event in writer.events() if isinstance(event, Image))
    block = writer.form.image_block(picture.codes)
    first, spoken = writer.form.vocabulary.first_code, writer.tokens[: -len(block)]
    writer.close()
    assert len(prefixes) == 3 and len(prefixes[2]) < len(prefixes[1])
    for place in (place for place, token in enumerate(block) if token >= first):
        states = [
            whole_state(checkpoint, [*prefix, *part, *block[:place]])
            for prefix, part in zip(prefixes, (spoken, [], []), strict=True)
        ]
        c, u, n = (model.lm_head(state).log_softmax(-1) for state in states)
        assert int((n + 2.0 * (u - n) + 3.0 * (c - u))[first:].argmax()) == block[place] - first


def test_each_instruction_after_a_picture_edits_the_last_one(official, tmp_path, capsys):
    out, options = tmp_path / "out", SHORT | dict(max_tokens=40)
    generate(
        "t2i",
        "a red door",
        out,
        model=official[0],
        vision=official[1],
        instructions=["make it blue", "open it"],
        size="2*3",
        device="cpu",
        **options,
    )
    assert [PictureFile.open(out / f"0{number}.png").size for number in (1, 2, 3)] == [(48, 32)] * 3
    page = (out / "index.html").read_text()
    assert page.index('src="01.png"') < page.index("make it blue") < page.index('src="02.png"') < page.index("open it")


def test_a_story_goes_on_after_its_end_and_says_no_second_end(checkpoint):
    writer = AnswerWriter(checkpoint, ask("story", max_tokens=5))
    form = writer.form
    writer.conditional.append([form.answer_end, form.end])
    writer.instruct("and then?")
    said = form.text.decode(writer.conditional.ids[-60:])
    assert "<|extra_101|> USER: and then? ASSISTANT:" in said
    assert "<|extra_204|>" not in said and said.count("<|extra_101|>") == 1
    writer.close()


def test_generate_refuses_a_file_that_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_text("words")
    with pytest.raises(GenerateError, match="is no image that can be read"):
        read_image(tmp_path / "a.png")


def test_without_guidance_there_is_one_branch(checkpoint):
    writer = AnswerWriter(checkpoint, ask("t2i", guidance=1.0))
    assert writer.unconditional is None and any(isinstance(event, Image) for event in writer.events())
