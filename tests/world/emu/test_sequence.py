"""Image blocks, the grammar of answers and their parts; prompts and presets as in the official code."""

from __future__ import annotations

import numpy as np
import pytest
from roam.world.emu.prompts import PromptError, exploration, preset, prompt, turn, unconditional_prompt
from roam.world.emu.sampling import Sampling
from roam.world.emu.sequence import Format, Grammar, Picture, Text, parse_answer
from roam.world.emu.text import EmuTextTokenizer, visual_surfaces
from roam.world.tokens.vocabulary import Vocabulary

from .conftest import byte_pairs

CODES = np.arange(6).reshape(2, 3)


@pytest.fixture(scope="module")
def form() -> Format:
    text = EmuTextTokenizer(byte_pairs(300), visual_surfaces(64))
    return Format(text, Vocabulary(text.size, 64, num_markers=3))


def test_an_image_block_is_header_rows_and_row_ends_with_none_after_the_last(form):
    surfaces = form.text.decode(form.image_block(CODES))
    row = "<|visual token 00000{}|>".format
    first, second = (row(0) + row(1) + row(2)), (row(3) + row(4) + row(5))
    assert surfaces == f"<|image start|>2*3<|image token|>{first}<|extra_200|>{second}<|image end|>"


@pytest.mark.parametrize(("size", "length"), [((45, 45), 2077), ((34, 60), 2081), ((64, 64), 4167), ((32, 32), 1063)])
def test_block_lengths_are_the_published_ones(form, size, length):
    assert form.block_length(*size) == length == len(form.image_block(np.zeros(size)))


def test_a_block_written_by_the_grammar_is_the_block_of_its_codes(form):
    grammar, cells = Grammar(form, size=(2, 3)), iter(CODES.ravel() + form.vocabulary.first_code)
    written = [form.image_begin]
    grammar.accept(form.image_begin)
    while grammar.in_image:
        assert grammar.wants_code == (grammar.forced() is None)
        written.append(int(next(cells)) if grammar.wants_code else grammar.forced())
        grammar.accept(written[-1])
    assert written == form.image_block(CODES)


def test_a_size_left_to_the_model_has_two_digits_a_side_and_its_block_fits_the_tokens_left(form):
    assert legal_digits(form, "", 10**6) == "123456789"
    assert legal_digits(form, "1", 10**6) == "0123456789"
    assert legal_digits(form, "10", 10**6) == "*"
    assert legal_digits(form, "10*", 10**6) == "123456789"
    assert legal_digits(form, "", form.block_length(19, 10)) == "1"
    assert legal_digits(form, "", form.block_length(10, 10)) == "1"
    assert legal_digits(form, "10*1", form.block_length(10, 11) - 5) == "01"
    assert Grammar(form).can_begin_image(117) and not Grammar(form).can_begin_image(116)


def legal_digits(form: Format, begun: str, left: int) -> str:
    grammar = Grammar(form)
    for token in (form.image_begin, *form.text.encode(begun)):
        grammar.accept(token)
    return form.text.decode(grammar.choices(left))


def test_later_pictures_have_the_first_ones_size_unless_sizes_may_differ(form):
    for keeps_size, forced in ((True, form.header(2, 3)[1]), (False, None)):
        grammar = Grammar(form, keeps_size=keeps_size)
        for token in (*form.image_block(CODES), form.image_begin):
            grammar.accept(token)
        assert grammar.forced() == forced


def test_an_answer_splits_into_plan_words_thoughts_and_whole_pictures(form):
    encode, block = form.text.encode, form.image_block(CODES)
    ids = [
        *encode("<|extra_60|>two steps<|extra_61|>First, é.<|extra_50|>a red<|extra_51|>"),
        *block,
        *encode("Done.<|extra_101|>"),
        form.end,
        *block[:-3],
    ]
    plan, words, thought, picture, done = parse_answer(ids, form)
    assert (plan, words, thought) == (Text("plan", "two steps"), Text("text", "First, é."), Text("thought", "a red"))
    assert isinstance(picture, Picture) and np.array_equal(picture.codes, CODES) and done == Text("text", "Done.")


def test_prompts_are_the_official_templates():
    assert prompt("t2i", "a cat") == [
        "<|extra_203|>You are a helpful assistant for t2i task. USER: a cat ASSISTANT: <|extra_100|>"
    ]
    assert prompt("x2i", "make it red", 2) == [
        "<|extra_203|>You are a helpful assistant for x2i task. USER: ",
        0,
        1,
        "make it red ASSISTANT: <|extra_100|>",
    ]
    assert prompt("howto", "fold it", 1) == [
        "<|extra_203|>You are a helpful assistant for howto task. Please generate a response with interleaved text and "
        "images. USER: fold it",
        0,
        " ASSISTANT: <|extra_100|>",
    ]
    assert prompt("vla", "open the drawer", 1)[0].endswith("how to perform the following task? open the drawer")


def test_the_unconditional_prompt_keeps_images_and_has_two_spaces_without():
    assert unconditional_prompt() == ["<|extra_203|>You are a helpful assistant. USER:  ASSISTANT: <|extra_100|>"]
    assert unconditional_prompt(1)[1:] == [0, " ASSISTANT: <|extra_100|>"]


def test_presets_are_the_official_ones_and_can_be_changed():
    assert preset("explore").text == Sampling(200, 0.5, 0.7) and preset("howto").image == Sampling(10_240, 1.0, 1.0)
    assert (preset("t2i").guidance, preset("t2i").area, preset("story").max_tokens) == (5.0, 1_048_576, 32_768)
    assert preset("t2i", guidance=2.0).guidance == 2.0


def test_both_forms_of_turns_and_modes_of_exploration_can_be_chosen():
    assert turn("turn left") == "<|extra_101|> USER: turn left ASSISTANT: <|extra_100|>"
    assert turn("turn left", form="span") == "<|extra_101|>turn left<|extra_100|>"
    assert exploration("a hall") == "Under my instructions to explore a hall" and exploration("a hall", "free")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: prompt("t2v", "x"), "unknown task 't2v'; known tasks: t2i, x2i, howto, story, explore, vla"),
        (lambda: prompt("x2i", "x", 4), "4 images for task x2i, which takes 1 to 3"),
        (lambda: prompt("t2i", "x", 1), "1 images for task t2i, which takes 0"),
        (lambda: prompt("story", "  "), "story without a request"),
        (lambda: preset("story", unconditional="some"), "unknown unconditional branch 'some'"),
        (lambda: turn("x", form="chat"), "unknown form of turns 'chat'"),
        (lambda: exploration("x", "fly"), "unknown mode 'fly'"),
    ],
)
def test_what_no_template_takes_is_refused_in_one_sentence(ask, message):
    with pytest.raises(PromptError, match=message):
        ask()
