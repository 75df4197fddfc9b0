"""The official text tokenizer: ids as in the published table, and text that comes back unchanged."""

from __future__ import annotations

import pytest
from roam.world.emu.text import (
    BPE_FILE,
    SOURCE,
    VISION_FILE,
    EmuTextTokenizer,
    TokenizerError,
    controls_in,
    find_text_tokenizer,
    visual_surfaces,
)
from roam.world.tokens.vocabulary import Vocabulary

from .conftest import byte_pairs, write_text_tokenizer

TABLE = {
    "<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<|extra_50|>": 151696,
    "<|extra_51|>": 151697, "<|extra_60|>": 151706, "<|extra_61|>": 151707, "<|extra_100|>": 151746,
    "<|extra_101|>": 151747, "<|extra_200|>": 151846, "<|extra_201|>": 151847, "<|extra_202|>": 151848,
    "<|extra_203|>": 151849, "<|extra_204|>": 151850, "<|image token|>": 151851, "<|image start|>": 151852,
    "<|image end|>": 151853, "<|visual token 000000|>": 151854, "<|visual token 131071|>": 282925,
}  # fmt: skip


@pytest.fixture(scope="module")
def full() -> EmuTextTokenizer:
    return EmuTextTokenizer(byte_pairs(151_643), visual_surfaces(131_072))


@pytest.fixture(scope="module")
def tiny() -> EmuTextTokenizer:
    return EmuTextTokenizer(byte_pairs(300), visual_surfaces(64))


def test_control_and_visual_ids_are_those_of_the_published_table_at_full_size(full):
    assert {name: full.encode(name) for name in TABLE} == {name: [token] for name, token in TABLE.items()}
    assert [full.decode([token]) for token in TABLE.values()] == list(TABLE)
    assert full.encode("0123456789*") == [*range(15, 25), 9]


def test_the_vocabulary_at_full_size_has_282926_ids_and_begins_its_codes_at_151854(full):
    vocabulary = Vocabulary(full.size, full.num_codes, num_markers=3)
    assert (vocabulary.size, vocabulary.first_code, vocabulary.image) == (282_926, 151_854, 151_851)


@pytest.mark.parametrize("text", ["a red door, 12 m away", "Ünïcödé 木の扉\n\n  two spaces", "", "<|not a token|> <|"])
def test_text_survives_encoding_and_decoding(tiny, text):
    assert tiny.decode(tiny.encode(text)) == text


def test_composed_and_decomposed_letters_have_the_same_ids(tiny):
    assert tiny.encode("e\u0301") == tiny.encode("é")


def test_controls_inside_text_become_single_tokens_and_are_named(tiny):
    text = "ab<|extra_203|>cd<|nothing|><|image start|>"
    assert tiny.specials["<|extra_203|>"] in tiny.encode(text)
    assert controls_in(text) == ["<|extra_203|>", "<|image start|>"]
    assert controls_in("a<|visual token 000012|>b<|visual token 12|>") == ["<|visual token 000012|>"]
    assert tiny.decode(tiny.encode(text)) == text


def test_a_folder_reads_back_what_was_written_and_names_what_is_missing_or_torn(tmp_path, tiny):
    write_text_tokenizer(tmp_path)
    assert EmuTextTokenizer.from_folder(tmp_path).specials == tiny.specials
    (tmp_path / BPE_FILE).write_bytes(b"!!! 0\n")
    with pytest.raises(TokenizerError, match=r"emu3\.tiktoken is torn"):
        EmuTextTokenizer.from_folder(tmp_path)
    (tmp_path / VISION_FILE).unlink()
    with pytest.raises(TokenizerError, match=r"emu3_vision_tokens\.txt is missing"):
        EmuTextTokenizer.from_folder(tmp_path)


def test_the_tokenizer_is_found_in_the_weights_folder_or_in_a_copy_of_the_official_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "repository" / "weights" / "Emu3.5"
    weights.mkdir(parents=True)
    with pytest.raises(
        TokenizerError, match=r"baaivision/Emu3\.5\) has them in src/tokenizer_emu3_ibq.*--text-tokenizer"
    ):
        find_text_tokenizer(weights)
    write_text_tokenizer(tmp_path / "repository" / SOURCE)
    assert find_text_tokenizer(weights) == tmp_path / "repository" / SOURCE
    write_text_tokenizer(weights)
    assert find_text_tokenizer(weights) == weights
