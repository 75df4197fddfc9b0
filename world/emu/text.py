"""Emu3.5's text tokenizer: byte pairs from a tiktoken file, then the control tokens, then one token per visual code.

It has the methods of TextTokenizer (tokens/text.py). Ids are those of the official tokenizer: control tokens follow the
byte pairs in a fixed order, and the tokens listed in `emu3_vision_tokens.txt` follow them. Knows nothing of images or
prompts.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

BPE_FILE = "emu3.tiktoken"
VISION_FILE = "emu3_vision_tokens.txt"
CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{k}|>" for k in range(205)))
IMAGE_TOKEN, IMAGE_START, IMAGE_END = "<|image token|>", "<|image start|>", "<|image end|>"

# Qwen's pre-tokeniser, which the official tokenizer uses: one token per digit
_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CONTROL = re.compile(r"<\|[^<|>]*\|>")
_VISUAL = re.compile(r"<\|visual token \d{6}\|>")

SOURCE = Path("src/tokenizer_emu3_ibq")  # the folder of both files in the official repository
REPOSITORY = "github.com/baaivision/Emu3.5"


class TokenizerError(ValueError):
    """Tokenizer files that cannot be used; the message says which and what to do."""


def find_text_tokenizer(*near: str | Path) -> Path:
    """The folder that has both files: one of `near`, or `src/tokenizer_emu3_ibq` of a copy of the official
    repository above, below or beside them or the working folder. Raises TokenizerError, naming the source, if none
    has them."""
    folders = [Path(folder).absolute() for folder in near]
    above = [outer for folder in (*folders, Path.cwd()) for outer in (folder, *[*folder.parents][:3])]
    usual = [outer / inner / SOURCE for outer in above for inner in ("", "Emu3.5", "Emu3.5-main")]
    for folder in (*folders, *usual):
        if all((folder / name).is_file() for name in (BPE_FILE, VISION_FILE)):
            return folder
    raise TokenizerError(
        f"no text tokenizer: {BPE_FILE} and {VISION_FILE} are not in {' or '.join(map(str, near))}, nor in {SOURCE} "
        f"beside it; the official repository ({REPOSITORY}) has them in {SOURCE}: copy both into the weights' "
        "folder, or name theirs with --text-tokenizer"
    )


def controls_in(text: str) -> list[str]:
    """The surfaces of control and visual tokens in a text, which no request may have."""
    names = {*CONTROLS, IMAGE_TOKEN, IMAGE_START, IMAGE_END}
    found = _CONTROL.findall(unicodedata.normalize("NFC", text))
    return [name for name in found if name in names or _VISUAL.fullmatch(name)]


class EmuTextTokenizer:
    """Text to ids and back. ranks: byte pairs and their ids from 0; vision: the surfaces that follow the controls."""

    def __init__(self, ranks: Mapping[bytes, int], vision: Sequence[str]):
        if sorted(ranks.values()) != [*range(len(ranks))]:
            raise TokenizerError(f"{len(ranks)} byte pairs that are not numbered from 0 without gaps")
        self.vision = tuple(vision)
        self.specials = MappingProxyType({name: len(ranks) + k for k, name in enumerate((*CONTROLS, *self.vision))})
        self._pairs = _encoding(ranks)
        self._names = (*CONTROLS, *self.vision)
        self._num_ranks = len(ranks)

    @classmethod
    def from_folder(cls, folder: str | Path) -> EmuTextTokenizer:
        """Read emu3.tiktoken and emu3_vision_tokens.txt. Raises TokenizerError if either is missing or torn."""
        pairs, vision = Path(folder) / BPE_FILE, Path(folder) / VISION_FILE
        for path in (pairs, vision):
            if not path.is_file():
                raise TokenizerError(
                    f"no text tokenizer in {folder}: {path.name} is missing; the official repository ({REPOSITORY}) "
                    f"has it in {SOURCE}"
                )
        try:
            rows = [line.split() for line in pairs.read_bytes().splitlines() if line]
            ranks = {base64.b64decode(piece, validate=True): int(rank) for piece, rank in rows}
        except (binascii.Error, ValueError) as error:
            raise TokenizerError(f"{pairs} is torn or no tiktoken file ({error}); copy it again") from error
        if not ranks:
            raise TokenizerError(f"{pairs} is empty; copy it again")
        return cls(ranks, _lines(vision))

    @property
    def size(self) -> int:
        """How many ids stand for text or control: all before the image markers and visual tokens."""
        return self._num_ranks + len(CONTROLS)

    @cached_property
    def num_codes(self) -> int:
        """How many visual tokens there are."""
        return len(self.vision) - 3

    def encode(self, text: str) -> list[int]:
        """NFC-normalised text to ids; the surface of a control token becomes that token, as officially."""
        text, ids, start = unicodedata.normalize("NFC", text), [], 0
        for found in _CONTROL.finditer(text):
            if found.group() in self.specials:
                ids += [*self._pairs.encode_ordinary(text[start : found.start()]), self.specials[found.group()]]
                start = found.end()
        return ids + self._pairs.encode_ordinary(text[start:])

    def decode(self, ids: Sequence[int]) -> str:
        """ids to text, control tokens as their surfaces, broken UTF-8 as replacement characters."""
        return b"".join(map(self.bytes_of, ids)).decode(errors="replace")

    def bytes_of(self, token: int) -> bytes:
        """One token as bytes, which may be part of a character."""
        if token >= self._num_ranks:
            return self._names[token - self._num_ranks].encode()
        return self._pairs.decode_single_token_bytes(token)


def visual_surfaces(num_codes: int) -> list[str]:
    """The expected lines of emu3_vision_tokens.txt, for so many codes."""
    return [IMAGE_TOKEN, IMAGE_START, IMAGE_END, *(f"<|visual token {k:06d}|>" for k in range(num_codes))]


def _lines(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is torn or no text ({error}); copy it again") from error
    if names[:3] != [IMAGE_TOKEN, IMAGE_START, IMAGE_END] or len(names) < 4:
        raise TokenizerError(f"{path} begins with {names[:3]}; wanted the three image markers and then visual tokens")
    return names


def _encoding(ranks: Mapping[bytes, int]):
    try:
        import tiktoken
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Emu3.5's text tokenizer needs tiktoken: pip install 'roam-worlds[emu]'", name="tiktoken"
        ) from error
    return tiktoken.Encoding("emu3", pat_str=_PIECES, mergeable_ranks=dict(ranks), special_tokens={})
