"""Token-by-token answers of an official checkpoint: words and pictures, as they come.

The conditional branch reads everything; the unconditional one, which only guides visual tokens, reads the images, or
all. Both go through the model in one batch. Tokens that the grammar forces cost neither a head nor a pass of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from .cache import KVCache
from .checkpoint import Checkpoint
from .ibq import smart_resize, smart_size
from .prompts import Preset, PromptError, preset, prompt, turn, unconditional_prompt
from .sampling import Sampling, draw
from .sequence import AnswerReader, Format, Grammar, Picture, Text
from .stream import ContextFull, TokenStream, advance


@dataclass(frozen=True)
class Request:
    """What is asked. images: (H, W, 3) uint8 each; preset None takes the task's own; size: cells (h, w) of the pictures
    to make, None to keep a reference's size or let the model choose; seed: same seed, same answer."""

    task: str
    question: str
    images: tuple[np.ndarray, ...] = ()
    preset: Preset | None = None
    size: tuple[int, int] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Image:
    """A picture of the answer. index counts from 0; codes (h, w) int32; pixels (16h, 16w, 3) uint8."""

    index: int
    codes: np.ndarray
    pixels: np.ndarray


@dataclass(frozen=True)
class Row:
    """Progress: `done` of the `height` rows of picture `index` are drawn."""

    index: int
    done: int
    height: int


@dataclass(frozen=True)
class End:
    """The answer, or this turn of it, is over. reason: "finished" (the model said so), "image" (a picture ended it) or
    "length" (no tokens left). num_tokens of the answer; num_passes of the model, prompt included."""

    reason: str
    num_tokens: int
    num_passes: int


Event = Text | Image | Row | End


def answer(checkpoint: Checkpoint, request: Request) -> Iterator[Event]:
    """Answer a request, event by event; the last is an End.

    Raises PromptError for a task, image count or request that no template takes, ContextFull for a prompt longer than
    the context, before the first event.
    """
    writer = AnswerWriter(checkpoint, request)
    try:
        yield from writer.events()
    finally:
        writer.close()


class AnswerWriter:
    """One conversation: `events` writes an answer, `instruct` gives the next instruction, and so on until `close`."""

    def __init__(self, checkpoint: Checkpoint, request: Request):
        self.checkpoint, self.request = checkpoint, request
        self.preset = request.preset or preset(request.task)
        self.form = Format(checkpoint.text, checkpoint.vocabulary)
        self.device = checkpoint.model.lm_head.weight.device
        self.tokens: list[int] = []  # the answer so far, of all turns
        self.num_passes = self.num_images = 0
        self._words_run = 0  # tokens of words since the last picture
        self._refuse_controls(request.question)
        question = prompt(request.task, request.question, len(request.images))
        grids = [self._encode(pixels) for pixels in request.images]
        self.grammar = self._grammar([grid.shape for grid in grids])
        self.reader = AnswerReader(self.form)
        self._open_streams(self._ids(question, grids), self._ids(unconditional_prompt(len(grids)), grids))

    def events(self) -> Iterator[Event]:
        """Write until the answer ends, a picture ends the turn, or no tokens are left."""
        left = self._budget()
        while left > 0:
            token = self._next(left)
            left -= 1
            yield from self._take(token)
            if token == self.form.end:
                return (yield self._end("finished"))
            if token == self.form.image_end and self.preset.stops_at_image:
                return (yield self._end("image"))
        yield from self.reader.flush()
        yield self._end("length")

    def instruct(self, instruction: str, *, form: str = "user") -> None:
        """Give the next instruction of an interactive exploration; the unconditional branch never reads it, unless it
        reads all. Raises PromptError for an empty one, ContextFull when the walk has become too long."""
        self._refuse_controls(instruction)
        ids = self.form.text.encode(turn(instruction, form=form))
        self.conditional.append(ids)
        if self.unconditional is not None and self.preset.unconditional == "all":
            self.unconditional.append(ids)
        self._words_run = 0

    def close(self) -> None:
        """Give the pages back."""
        for stream in self._branches:
            stream.close()

    @property
    def _branches(self) -> list[TokenStream]:
        return [stream for stream in (self.conditional, self.unconditional) if stream is not None]

    def _next(self, left: int) -> int:
        """The next token: forced, drawn among a few, a visual token under guidance, or a word."""
        grammar, form = self.grammar, self.form
        if (forced := grammar.forced()) is not None:
            return forced
        if grammar.wants_code:
            return self._draw_code()
        if grammar.in_image:
            return self._draw_among(grammar.choices(left))
        can_begin = grammar.can_begin_image(left)
        limit = self.preset.text_limit
        if limit is not None and self._words_run >= limit and can_begin:
            return form.image_begin
        return self._draw_word(can_begin)

    def _draw_code(self) -> int:
        first, head = self.form.vocabulary.first_code, self.checkpoint.model.lm_head.weight
        hidden = self._advance(self._branches)
        guided = dict(uncond=hidden[1], guidance=self.preset.guidance) if len(hidden) == 2 else {}
        return first + self._draw(hidden[0], head[self.form.vocabulary.visual], self.preset.image, **guided)

    def _draw_word(self, can_begin_image: bool) -> int:
        first = self.form.vocabulary.first_code
        allowed = torch.ones(first, dtype=torch.bool, device=self.device)
        allowed[list(self.form.outside_text)] = False
        allowed[self.form.image_begin] = can_begin_image
        hidden = self._advance([self.conditional])[0]
        return self._draw(hidden, self.checkpoint.model.lm_head.weight[:first], self.preset.text, allowed=allowed)

    def _draw_among(self, ids: list[int]) -> int:
        sampling = Sampling(temperature=self.preset.image.temperature)
        hidden = self._advance([self.conditional])[0]
        return ids[self._draw(hidden, self.checkpoint.model.lm_head.weight[ids], sampling)]

    def _draw(self, hidden, weight, sampling: Sampling, **options) -> int:
        return draw(hidden, weight, sampling, seed=self.request.seed, position=len(self.conditional), **options)

    def _advance(self, streams: list[TokenStream]):
        self.num_passes += 1
        return advance(self.checkpoint.model, streams)

    def _take(self, token: int) -> Iterator[Event]:
        """Append a token to the branches that read it, and say what it completes."""
        was_in_image = self.grammar.in_image
        self.grammar.accept(token)
        in_image = was_in_image or self.grammar.in_image
        self.tokens.append(token)
        self._words_run = 0 if in_image else self._words_run + 1
        self.conditional.append([token])
        if self.unconditional is not None and (in_image or self.preset.unconditional == "all"):
            self.unconditional.append([token])
        for part in self.reader.read(token):
            yield self._shown(part) if isinstance(part, Picture) else part
        if was_in_image and token == self.form.row_end:
            rows = len(self.reader.rows) - 1
            yield Row(self.num_images, rows, self.grammar.height)

    def _shown(self, picture: Picture) -> Image:
        codes = torch.from_numpy(picture.codes.astype(np.int64))[None].to(self.device)
        pixels = self.checkpoint.vision.decode(codes)[0][0].cpu().numpy()
        self.num_images += 1
        return Image(self.num_images - 1, picture.codes, pixels)

    def _end(self, reason: str) -> End:
        return End(reason, len(self.tokens), self.num_passes)

    def _budget(self) -> int:
        return min(self.preset.max_tokens, self.conditional.context - len(self.conditional))

    def _grammar(self, shapes: list[tuple[int, int]]) -> Grammar:
        """One reference fixes the size of what is made; of several, none does, and sizes may differ (official code)."""
        size = self.request.size or (shapes[0] if len(shapes) == 1 else None)
        return Grammar(self.form, size=size, keeps_size=len(shapes) <= 1)

    def _encode(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise PromptError(f"an image of shape {pixels.shape} and {pixels.dtype}; wanted (H, W, 3) uint8")
        vision, context = self.checkpoint.vision, self.checkpoint.pages.context
        cell, area = vision.config.cell, self.preset.area
        height, width = (side // cell for side in smart_size(*pixels.shape[:2], area=area, cell=cell))
        if (needed := self.form.block_length(height, width)) > context:
            raise ContextFull(
                f"an image of {height}x{width} cells takes {needed} tokens; the context holds {context}: use fewer or "
                f"smaller images, here of fewer than {area} pixels"
            )
        resized = smart_resize(pixels, area=area, cell=cell)
        return vision.encode(torch.tensor(resized)[None].to(self.device))[0].cpu().numpy()

    def _ids(self, pieces: list[str | int], grids: list[np.ndarray]) -> list[int]:
        ids: list[int] = []
        for piece in pieces:
            ids += self.form.image_block(grids[piece]) if isinstance(piece, int) else self.form.text.encode(piece)
        return ids

    def _open_streams(self, ids: list[int], unconditional: list[int]) -> None:
        """Both branches over one cache with pages for the whole answer; only one where nothing is guided."""
        model, pages = self.checkpoint.model, self.checkpoint.pages
        branches = 2 if self.preset.guidance != 1 else 1
        longest = min(pages.context, len(ids) + self.preset.max_tokens)
        most = branches * -(-pages.context // pages.page_size)
        cache = KVCache(model.config, pages, device=self.device, dtype=model.lm_head.weight.dtype,
                        num_pages=branches * -(-longest // pages.page_size), max_pages=most)  # fmt: skip
        self.conditional = TokenStream(cache, context=pages.context)
        self.unconditional = TokenStream(cache, context=pages.context) if branches == 2 else None
        self.conditional.append(ids)
        if self.unconditional is not None:
            self.unconditional.append(unconditional)

    def _refuse_controls(self, text: str) -> None:
        if found := self.form.text.controls_in(text):
            raise PromptError(f"the request contains the control token '{found[0]}'; write it without")
