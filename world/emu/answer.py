"""Answers of an official checkpoint, words and pictures, as they come: token by token, or whole pictures by DiDA.

The conditional branch reads everything; the unconditional one, which only guides visual tokens, reads the images, or
all. Both go through the model in one batch. Tokens that the grammar forces cost neither a head nor a pass of their own,
and a pass over a picture's next code also tries guesses of those after it (transformer/autoregressive.py).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...kernels.sample import head_sample
from ..checkpoint import Checkpoint
from ..config import DidaConfig
from ..transformer.autoregressive import WINDOW, guessed, num_right
from ..transformer.cache import KVCache
from ..transformer.dida import MetricPath, decode_canvas, start_from_noise
from .checkpoint import parts_of
from .ibq import CELL, smart_resize, smart_size
from .prompts import Preset, PromptError, decoder_of, preset, prompt, turn, unconditional_prompt
from .sampling import Sampling, draw
from .sequence import AnswerReader, Format, Grammar, Picture, Text
from .token_stream import ContextFull, StreamPasses, TokenStream


@dataclass(frozen=True)
class Request:
    """A request. images: (H, W, 3) uint8 each; preset None uses the task's own; size: cells (h, w) of the pictures
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


TEMPLATE_TOKENS = 160  # bytes of a prompt or a turn besides the request, at most
HEADER_TOKENS = 8  # tokens of a picture's block besides its codes and row ends, at most

Event = Text | Image | Row | End


def answer(checkpoint: Checkpoint, request: Request) -> Iterator[Event]:
    """Answer a request, event by event; the last is an End.

    Raises PromptError for a task, image count or request that no template accepts, ContextFull for a prompt longer than
    the context, before the first event.
    """
    writer = AnswerWriter(checkpoint, request)
    try:
        yield from writer.events()
    finally:
        writer.close()


def planned_tokens(request: Request, instructions: Sequence[str] = ()) -> int:
    """An upper bound on the tokens of a conversation, estimated without a tokenizer: a byte is at most one token."""
    drawn = request.preset or preset(request.task)
    words = sum(len(text.encode()) + TEMPLATE_TOKENS for text in (request.question, *instructions))
    given = 0
    for pixels in request.images:
        height, width = (side // CELL for side in smart_size(*pixels.shape[:2], area=drawn.area))
        given += height * width + height + HEADER_TOKENS
    return words + given + drawn.max_tokens * (1 + len(instructions))


class AnswerWriter:
    """One conversation: `events` writes an answer, `instruct` gives the next instruction, and so on until `close`.

    passes: over the cache for its keys and values, by default one made for this answer. streams: branches that hold the
    conversation so far, if it continues one; then the request's task, question and images are not read. largest: tokens
    of a picture whose size the model chooses, at most.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        request: Request,
        *,
        passes: StreamPasses | None = None,
        streams: Sequence[TokenStream] | None = None,
        largest: int | None = None,
    ):
        self.checkpoint, self.request = checkpoint, request
        self.preset = request.preset or preset(request.task)
        self.parts = parts_of(checkpoint)
        self.decoder = decoder_of(self.preset, is_adapted=checkpoint.is_adapted)
        self.form = Format(self.parts.text, checkpoint.vocabulary)
        self.device = checkpoint.model.lm_head.weight.device
        self.prompt: list[int] = []  # the prompt, and the input images
        self.grids: list[np.ndarray] = []
        self.tokens: list[int] = []  # the answer so far, of all turns
        self.num_passes = self.num_images = 0
        self._words_run = 0  # tokens of words since the last picture
        self._drawn: deque[int] = deque()  # codes of a picture that are known and still to be used
        self._guesses = torch.zeros(1, 0, dtype=torch.int64)  # guesses of the codes after those
        self.reader = AnswerReader(self.form)
        if streams is None:
            question = prompt(request.task, request.question, len(request.images), vla=self.preset.vla)
            self.grids = [self._encode(pixels) for pixels in request.images]
            self.prompt = self._ids(question)
            unguided = [self._ids(unconditional_prompt(count)) for count in (len(self.grids), 0)]
            prompts = [self.prompt, *unguided][: self.preset.num_branches]
            passes = passes or self._own_passes(prompts)
            streams = self._streams(passes.cache, prompts)
        assert passes is not None, "streams have a cache, and passes over it"
        self.passes = passes
        self.conditional = streams[0]
        self.unconditional = streams[1] if len(streams) > 1 else None
        # reads neither words nor pictures except the one just begun
        self.blank = streams[2] if len(streams) > 2 else None
        self.grammar = self._grammar([grid.shape for grid in self.grids], largest)

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

    def instruct(self, instruction: str, *, form: str | None = None) -> None:
        """Give the next instruction of an interactive exploration; the unconditional branch reads it only if it
        reads all. form: how turns are distinguished, by default the preset's. Raises PromptError for an impossible
        instruction, ContextFull when the walk has become too long."""
        ids = self.form.text.encode(turn(instruction, form=form or self.preset.turns))
        if self.grammar.in_image:
            raise PromptError(
                "the answer before ended within a picture, and nothing can be said there: give it more tokens"
            )
        reads_all = self.preset.unconditional == "all"
        for stream in (self.conditional, *([self.unconditional] if self.unconditional and reads_all else [])):
            is_unanswered = stream.pending[-1:] == [self.form.answer_begin]
            if is_unanswered or stream.pending[-1:] == [self.form.end]:
                stream.take_back()
            # where no answer was begun, or the model ended it itself, none has to be ended
            stream.append(ids[is_unanswered or stream.ids[-1:] == [self.form.answer_end] :])
        self._words_run = 0

    def close(self) -> None:
        """Free the pages."""
        for stream in self.branches:
            stream.close()

    @property
    def branches(self) -> list[TokenStream]:
        return [stream for stream in (self.conditional, self.unconditional, self.blank) if stream is not None]

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
        is_due = limit is not None and self._words_run >= limit
        is_last_chance = self.preset.stops_at_image and not grammar.can_begin_image(left - 1)
        if can_begin and (is_due or is_last_chance):
            return form.image_begin
        return self._draw_word(can_begin)

    def _draw_code(self) -> int:
        if not self._drawn:
            self._drawn.extend(self._denoised() if self.decoder == "dida" else self._drawn_ahead())
        return self.form.vocabulary.first_code + self._drawn.popleft()

    def _drawn_ahead(self) -> list[int]:
        """The next code, and those after it that the same pass gives."""
        grammar, visual = self.grammar, self.form.vocabulary.visual
        window = 1 if self.decoder == "autoregressive" else WINDOW
        ahead = grammar.places_ahead(window)
        known = torch.tensor([grammar.codes()], dtype=torch.int64)
        guesses = guessed(known, self._guesses, sum(ahead) - 1, width=grammar.width)
        codes = iter((guesses[0] + self.form.vocabulary.first_code).tolist())
        between = [next(codes) if is_code else self.form.row_end for is_code in ahead[:-1]]
        rows = [row for row, is_code in enumerate(ahead) if is_code]
        hidden, guided = self._guided(self._advance(self.branches, between)[:, rows])
        head = self.checkpoint.model.lm_head.weight[visual]
        drawn = self._draw(hidden, head, self.preset.image, ahead=rows, **guided)[None].cpu()
        right = num_right(guesses, drawn)
        self._guesses = drawn[:, right:]
        return drawn[0, :right].tolist()

    def _guided(self, hidden: torch.Tensor) -> tuple[torch.Tensor, dict]:
        """States of all branches, (B, ..., C), in the form that `draw` mixes. With three branches: blank +
        image_guidance (unconditional - blank) + guidance (conditional - unconditional)."""
        if len(hidden) == 1:
            return hidden[0], {}
        if len(hidden) == 2:
            return hidden[0], dict(uncond=hidden[1], guidance=self.preset.guidance)
        words, pictures, nothing = hidden.float()
        assert self.preset.image_guidance is not None, "what the third branch is for"
        mixed = nothing + self.preset.image_guidance * (pictures - nothing) + self.preset.guidance * (words - pictures)
        return mixed.to(hidden.dtype), {}

    def _denoised(self) -> list[int]:
        """The codes of the picture whose header has just been written."""
        form, dida, model = self.form, self._dida, self.checkpoint.model
        head, height, width = model.lm_head.weight[form.vocabulary.visual], self.grammar.height, self.grammar.width
        self.passes.settle(self.branches, but=1)  # the marker is the canvas's first row, as in training
        self.num_passes += 1
        rows = torch.tensor(form.image_block(np.zeros((height, width)))[-height * (width + 1) - 1 : -1])
        rows = rows.to(self.device).repeat(len(self.branches), 1)
        is_code = rows[0] >= form.vocabulary.first_code
        before = is_code.nonzero()[:, 0] - 1  # a row predicts the code after it

        def predict(tokens: torch.Tensor, seeds: torch.Tensor, temperature: float) -> torch.Tensor:
            rows[:, is_code] = tokens + form.vocabulary.first_code
            hidden = self.passes.canvas_states(self.branches, rows)[:, before]
            self.num_passes += 1
            mixed, guided = self._guided(hidden)
            if guided:
                guided["uncond"] = guided["uncond"][None]
            return head_sample(
                mixed[None].contiguous(), head, seeds, temperature=temperature, top_k=self.preset.image.top_k, **guided
            )[0]

        path = MetricPath(self.checkpoint.metric.to(self.device), dida)
        seeds = [self._seed(step) for step in range(dida.steps + 1)]
        canvas = start_from_noise(path, (1, height * width), seeds[0])
        return decode_canvas(predict, canvas, path, seeds[1:], sampler=self.preset.sampler or "direct")[0].tolist()

    @property
    def _dida(self) -> DidaConfig:
        """How pictures are denoised: as the weights say, except where the preset says otherwise."""
        dida, asked = self.checkpoint.dida, self.preset
        return replace(
            dida,
            steps=asked.steps or dida.steps,
            step_temperature=dida.step_temperature if asked.heat is None else asked.heat,
        )

    def _seed(self, step: int) -> torch.Tensor:
        """(1,) int64 of this picture's place in the conversation and a step of its denoising."""
        text = f"{self.request.seed} {self.conditional.end} {step}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
        return torch.tensor([number], device=self.device)

    def _draw_word(self, can_begin_image: bool) -> int:
        first = self.form.vocabulary.first_code
        allowed = torch.ones(first, dtype=torch.bool, device=self.device)
        allowed[list(self.form.outside_text)] = False
        if self.preset.stops_at_image:  # an answer that is to end with a picture does not end before it
            allowed[[self.form.end, self.form.answer_end]] = False
        allowed[self.form.image_begin] = can_begin_image
        hidden = self._advance([self.conditional])[0]
        return int(self._draw(hidden, self.checkpoint.model.lm_head.weight[:first], self.preset.text, allowed=allowed))

    def _draw_among(self, ids: list[int]) -> int:
        is_greedy = len(self.grids) > 1 and self.preset.references == "greedy"
        sampling = Sampling(temperature=0.0 if is_greedy else self.preset.image.temperature)
        hidden = self._advance([self.conditional])[0]
        return ids[int(self._draw(hidden, self.checkpoint.model.lm_head.weight[ids], sampling))]

    def _draw(self, hidden, weight, sampling: Sampling, *, ahead: Sequence[int] = (0,), **options) -> torch.Tensor:
        """Draws at positions counted from the next token's, of hidden states (N, C): (N,) rows of the weight."""
        positions = [self.conditional.end + place for place in ahead]
        return draw(hidden, weight, sampling, seed=self.request.seed, positions=positions, **options)

    def _advance(self, streams: list[TokenStream], guesses: Sequence[int] = ()) -> torch.Tensor:
        self.num_passes += 1
        return self.passes.advance(streams, guesses)

    def _take(self, token: int) -> Iterator[Event]:
        """Append a token to the branches that read it, and return the events that it completes."""
        was_in_image = self.grammar.in_image
        self.grammar.accept(token)
        in_image = was_in_image or self.grammar.in_image
        self.tokens.append(token)
        self._words_run = 0 if in_image else self._words_run + 1
        self.conditional.append([token])
        if self.unconditional is not None and (in_image or self.preset.unconditional == "all"):
            self.unconditional.append([token])
        if self.blank is not None and in_image:
            if token == self.form.image_begin:
                self.blank = self._anew(self.blank)
            self.blank.append([token])
        for part in self.reader.read(token):
            yield self._shown(part) if isinstance(part, Picture) else part
        if was_in_image and token == self.form.row_end and self.reader.rows is not None:
            rows = len(self.reader.rows) - 1
            yield Row(self.num_images, rows, self.grammar.height)

    def _shown(self, picture: Picture) -> Image:
        codes = torch.from_numpy(picture.codes.astype(np.int64))[None]
        pixels = self.checkpoint.vision.decode(codes)[0][0].cpu().numpy()
        self.num_images += 1
        return Image(self.num_images - 1, picture.codes, pixels)

    def _end(self, reason: str) -> End:
        return End(reason, len(self.tokens), self.num_passes)

    def _budget(self) -> int:
        return min(self.preset.max_tokens, self.conditional.context - len(self.conditional))

    def _anew(self, stream: TokenStream) -> TokenStream:
        """A stream that has read only the unconditional prompt without pictures, replacing another."""
        stream.close()
        stream = TokenStream(stream.cache, context=stream.context)
        stream.append(self._ids(unconditional_prompt(0)))
        return stream

    def _grammar(self, shapes: list[tuple[int, int]], largest: int | None) -> Grammar:
        """One reference fixes the size of what is made; of several, the last does, or none, as the preset says."""
        is_fixed = len(shapes) == 1 or self.preset.references == "last"
        size = self.request.size or (shapes[-1] if shapes and is_fixed else None)
        return Grammar(self.form, size=size, keeps_size=is_fixed, largest=largest)

    def _encode(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise PromptError(f"an image of shape {pixels.shape} and {pixels.dtype}; wanted (H, W, 3) uint8")
        vision, context = self.parts.vision, self.parts.pages.context
        cell, area = vision.config.cell, self.preset.area
        height, width = (side // cell for side in smart_size(*pixels.shape[:2], area=area, cell=cell))
        if (needed := self.form.block_length(height, width)) > context:
            raise ContextFull(
                f"an image of {height}x{width} cells takes {needed} tokens; the context holds {context}: use fewer or "
                f"smaller images, here of fewer than {area} pixels"
            )
        resized = smart_resize(pixels, area=area, cell=cell)
        return vision.encode(torch.tensor(resized)[None])[0].cpu().numpy()

    def _ids(self, pieces: list[str | int]) -> list[int]:
        ids: list[int] = []
        for piece in pieces:
            ids += self.form.image_block(self.grids[piece]) if isinstance(piece, int) else self.form.text.encode(piece)
        return ids

    def _own_passes(self, prompts: list[list[int]]) -> StreamPasses:
        """Passes over a cache with pages for the whole answer to these prompts."""
        model, pages = self.checkpoint.model, self.parts.pages
        longest = min(pages.context, len(prompts[0]) + self.preset.max_tokens)
        cache = KVCache(
            model.config,
            pages,
            device=self.device,
            dtype=model.lm_head.weight.dtype,
            num_pages=len(prompts) * -(-longest // pages.page_size),
            max_pages=len(prompts) * -(-pages.context // pages.page_size),
        )
        return StreamPasses(model, cache)

    def _streams(self, cache: KVCache, prompts: list[list[int]]) -> list[TokenStream]:
        """A branch for each prompt, the conditional one first."""
        streams = [TokenStream(cache, context=self.parts.pages.context) for _ in prompts]
        for stream, prompt_ids in zip(streams, prompts, strict=True):
            stream.append(prompt_ids)
        return streams
