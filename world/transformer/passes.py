"""The passes of a world model over its cache: words with a canvas, a commit, one token. Functions of tensors alone.

What changes from call to call comes in as tensors of a few fixed shapes: on CUDA each kind of pass is captured once as
a graph and replayed, on a CPU it is a plain call. Knows nothing of sessions, actions or pixels.

Same seed and same history give the same bits on one device. On a CPU a sequence gets the same bits alone and in a
batch: attention is sequence by sequence, and products give a row the same result whatever their number of rows (bf16
always; float32 on Intel, where kernels/device.py asks for it, and elsewhere from 12 rows on, so not for a token
alone). On CUDA the split of work depends on the batch, and sequences stepped together may differ in rounding from each
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...kernels.device import has_half_dots
from ...kernels.graph import CapturedStep
from ...kernels.history import GatheredHistory
from ...kernels.sample import head_sample
from ..config import LayoutConfig
from ..tokens.vocabulary import Vocabulary
from .cache import CachedAttention, KVCache, WordsThenCanvas
from .dida import MetricPath
from .joined import QUANTISED
from .looped import chosen_rows
from .model import Transformer

WORDS_AT_ONCE = 8  # on CUDA sentences are padded to multiples of this, so that few shapes are captured


@dataclass(frozen=True)
class Serving:
    """How weights are run; stored nowhere, because any checkpoint runs in any of these ways.

    precision: float32, bfloat16, or fp8, int8 or int4 (dense layers quantised at load), None: bfloat16 on CUDA and on
    CPUs that have bf16 products, else float32. guidance: 1 for none; else each canvas is also read without its words,
    and the prediction moved away from that one's, at twice the work. sampler: "direct" draws the next canvas around the
    prediction; "jump" takes URSA's kinetic-optimal jumps towards it, the exact process by which the direct one is
    judged.
    """

    precision: str | None = None
    guidance: float = 1.0
    sampler: str = "direct"

    def __post_init__(self):
        known = (None, "float32", "bfloat16", *QUANTISED)
        if self.precision not in known or self.sampler not in ("direct", "jump") or self.guidance < 0:
            raise ValueError(
                f"{self}: wanted a precision of float32, bfloat16, fp8, int8, int4 or None, a sampler of direct or "
                "jump, and a guidance of at least 0"
            )

    def precision_on(self, device: torch.device | str) -> str:
        """The precision that is used on a device."""
        probe = torch.empty(0, dtype=torch.bfloat16, device=device)
        return self.precision or ("bfloat16" if has_half_dots(probe) else "float32")


@dataclass(frozen=True)
class Evidence:
    """Further knowledge of each cell: codes (B, N) int64 that a carried view has, and how much it counts, the beta
    (B, N) float32 of a factor softmax(-beta d(v, code)); 0 for nothing."""

    codes: Tensor
    beta: Tensor


class Passes:
    """Runs a served model over a cache. Sequences are named by their pages; `index` (B,) is the number of the frame
    that a pass is about, which gives its positions. Functions that are captured must be repeatable with the same
    inputs to the same effect, because capturing repeats them."""

    def __init__(
        self,
        model: Transformer,
        cache: KVCache,
        path: MetricPath,
        layout: LayoutConfig,
        vocabulary: Vocabulary,
        *,
        guidance: float = 1.0,
    ):
        self.model, self.cache, self.path, self.layout, self.vocabulary = model, cache, path, layout, vocabulary
        self.guidance = guidance
        self.head = model.lm_head.weight[vocabulary.visual]
        self._columns: Tensor | None = None  # the head with the codebook's columns, made when evidence is first passed
        self.step = CapturedStep(self._run)
        self._moves = cache.num_moves

    @property
    def device(self) -> torch.device:
        return self.head.device

    def read_words(
        self, words: Sequence[Sequence[int]], index: Tensor, past: Sequence[Sequence[int]], own: Sequence[int]
    ) -> None:
        """Prefill: write the keys and values of each sequence's words into its own page, given the pages before it."""
        ids, slots, counts = self._words(words, own)
        table = self.cache.table(past, width=self.layout.window)
        if ids.shape[1]:
            self._call(("words",), ids, slots, counts, self._pages(own), index, table)

    def for_many(self) -> tuple[GatheredHistory, ...] | None:
        """What to hand to `denoise` in each of many passes over the same pages, so that on a CPU their keys and values
        are gathered once; nothing may be written into those pages meanwhile. None where pages are read as they lie."""
        if self.device.type != "cpu":
            return None
        return tuple(GatheredHistory() for _ in range(self.model.config.num_hidden_layers))

    def denoise(
        self,
        words: Sequence[Sequence[int]] | None,
        index: Tensor,
        past: Sequence[Sequence[int]],
        own: Sequence[int],
        canvas: Tensor,
        evidence: Evidence | None,
        seeds: Tensor,
        *,
        temperature: float,
        apart: Tensor | None = None,
        pull: float = 1.0,
        asked: Tensor | None = None,
        gathered: Sequence[GatheredHistory] | None = None,
    ) -> Tensor:
        """One denoising step: canvas (B, N) int64 codes, -1 in holes, to predicted codes (B, N); seeds (B,) int64.

        asked (B, M) int64: the cells to predict, -1 for none, M a multiple of 16; all others stay as they are. None for
        every cell. gathered: of `for_many`, in all passes over the same pages, from the one after the words were read.
        words are written into the sequences' own pages in the same pass; None says that they are there already.
        apart (B, N): the canvas without what was carried into it. With a pull other than 1 it is read as well, with no
        words and no pages before it, and the prediction is moved away from that one's (classifier-free guidance, Ho and
        Salimans 2022, arXiv 2207.12598), at twice the work; not together with evidence.
        """
        B = len(own)
        ids, slots, counts = self._words([()] * B if words is None else words, own)
        if words is None:
            counts = self.cache.lengths[self._pages(own)]
        pages = [[*seen, *[-1] * (self.layout.window - len(seen)), page] for seen, page in zip(past, own, strict=True)]
        inputs = [ids, slots, counts, self._pages(own), index, self.cache.table(pages), canvas, seeds]
        if evidence is not None:
            inputs += [evidence.codes, evidence.beta]
        elif apart is not None and pull != 1:
            inputs.append(apart)
        if asked is not None:
            inputs.append(asked)
        return self._call(("denoise", temperature, pull, asked is not None, gathered), *inputs)

    def commit(self, tokens: Tensor, index: Tensor, past: Sequence[Sequence[int]], own: Sequence[int]) -> None:
        """Write the keys and values of clean frames (B, N) behind the words in their own pages."""
        table = self.cache.table(
            [[*seen, page] for seen, page in zip(past, own, strict=True)], width=self.layout.window + 1
        )
        pages = self._pages(own)
        self._call(("commit",), tokens, self.cache.lengths[pages], pages, index, table)

    def next_tokens(
        self,
        before: Tensor,
        place: int,
        words: Tensor,
        index: Tensor,
        past: Sequence[Sequence[int]],
        own: Sequence[int],
        seeds: Tensor,
        *,
        temperature: float,
    ) -> Tensor:
        """Token by token: before (B, W) the codes at place - 1 and on (any at 0, where the marker stands), words (B,)
        int32 the number of words in each own page -> the code (B, W) after each, given those before it."""
        pages = [[*seen, *[-1] * (self.layout.window - len(seen)), page] for seen, page in zip(past, own, strict=True)]
        places = torch.full_like(words, place)
        return self._call(
            ("token", temperature), before, places, words, self._pages(own), index, self.cache.table(pages), seeds
        )

    def _call(self, kind: tuple, *inputs: Tensor) -> Tensor:
        if self._moves != self.cache.num_moves:  # graphs know the pages by their addresses
            self._moves = self.cache.num_moves
            self.step.forget()
        return self.step(kind, *inputs)

    def _run(self, kind: tuple, *inputs: Tensor) -> Tensor:
        name, *options = kind
        runs: dict[str, Callable[..., Tensor]] = {
            "words": self._read_words,
            "denoise": self._denoise,
            "commit": self._commit,
            "token": self._next_tokens,
        }
        return runs[name](*inputs, *options)

    def _read_words(self, ids, slots, counts, own, index, table):
        attention = CachedAttention(self.cache, table, causal=True, slots=slots)
        hidden = self.model(self.model.embed(ids), self._word_positions(index, ids.shape[1]), attention)
        self.cache.lengths.index_copy_(0, own, counts)
        return hidden[:, -1]

    def _denoise(self, ids, slots, counts, own, index, table, canvas, seeds, *rest):
        *others, temperature, pull, is_asked, gathered = rest
        asked = others.pop() if is_asked else None
        evidence, apart = (others, canvas) if len(others) != 1 else ((), others[0])
        shown = canvas
        self.cache.lengths.index_copy_(0, own, counts)
        B, L = ids.shape
        guidance = self.guidance if apart is canvas else pull
        is_guided = guidance != 1
        if is_guided:  # the second half reads no words, and writes none
            unread = torch.cat([table[:, :-1], torch.full_like(table[:, -1:], -1)], 1)
            if apart is not canvas:
                unread = torch.full_like(table, -1)
            table, slots = torch.cat([table, unread]), torch.cat([slots, torch.full_like(slots, -1)])
            ids, index, canvas = torch.cat([ids, ids]), torch.cat([index, index]), torch.cat([canvas, apart])
        rows = torch.cat([self.model.embed(ids), self._frame_rows(canvas)], 1)
        positions = torch.cat([self._word_positions(index, L), self._frame_positions(index)], 1)
        attention = WordsThenCanvas(self.cache, table, slots, rows.shape[1] - L, gathered)
        cells = None if asked is None else asked.clamp(min=0)
        if cells is None:
            hidden = self.model(rows, positions, attention)[:, L:-1]
        else:
            hidden = self.model(rows, positions, attention, wanted=L + cells.repeat(len(rows) // B, 1))
        head = self.head
        if evidence:
            known, head = self._known(*evidence), self._head_with_columns()
            known = known if cells is None else chosen_rows(known, cells)
            hidden = torch.cat([hidden, torch.cat([known, known]) if is_guided else known], -1)
        options = dict(uncond=hidden[B:], guidance=guidance) if is_guided else {}
        found, _ = head_sample(
            hidden[:B], head, seeds, positions=cells, temperature=temperature, has_confidence=False, **options
        )
        return found if asked is None else _with(shown, asked, found)

    def _commit(self, tokens, words, own, index, table):
        count = 1 + tokens.shape[1]
        self.cache.lengths.index_copy_(0, own, words)
        slots = (own * self.cache.page_size + words)[:, None] + torch.arange(count, device=own.device)
        attention = CachedAttention(self.cache, table, causal=True, slots=slots)
        last = torch.full_like(own, count - 1)[:, None]  # that keys and values are left is all that is wanted
        hidden = self.model(self._frame_rows(tokens), self._frame_positions(index), attention, wanted=last)
        self.cache.lengths.index_copy_(0, own, words + count)
        return hidden[:, 0]

    def _next_tokens(self, before, places, words, own, index, table, seeds, temperature):
        self.cache.lengths.index_copy_(0, own, words + places)
        ahead = places.long()[:, None] + torch.arange(before.shape[1], device=own.device)
        ids = torch.where(ahead == 0, self.vocabulary.image, before + self.vocabulary.first_code)
        slots = (own * self.cache.page_size + words)[:, None] + ahead
        positions = index[:, None] * self.layout.page_size + self.layout.text_capacity + ahead
        attention = CachedAttention(self.cache, table, causal=True, slots=slots)
        hidden = self.model(self.model.embed(ids), positions, attention)
        return head_sample(hidden, self.head, seeds, positions=ahead, temperature=temperature, has_confidence=False)[0]

    def _frame_rows(self, tokens: Tensor) -> Tensor:
        """The image marker and a grid's codes as rows, holes where they are -1: (B, N) -> (B, 1 + N, C)."""
        marker = torch.full((len(tokens), 1), self.vocabulary.image, device=tokens.device)
        cells = torch.where(tokens < 0, self.vocabulary.hole, tokens + self.vocabulary.first_code)
        return self.model.embed(torch.cat([marker, cells], 1))

    def _frame_positions(self, index: Tensor) -> Tensor:
        fresh = torch.arange(self.layout.text_capacity, self.layout.page_size, device=index.device)
        return index[:, None] * self.layout.page_size + fresh

    def _word_positions(self, index: Tensor, count: int) -> Tensor:
        return index[:, None] * self.layout.page_size + torch.arange(count, device=index.device)

    def _words(self, words: Sequence[Sequence[int]], own: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Padded ids (B, L) and the slots that they go to, -1 for padding, and how many there are (B,) int32."""
        longest = max(map(len, words), default=0)
        if self.device.type == "cuda":
            longest = min(-(-longest // WORDS_AT_ONCE) * WORDS_AT_ONCE, self.layout.text_capacity)
        ids = [[*row, *[0] * (longest - len(row))] for row in words]
        starts = [page * self.cache.page_size for page in own]
        slots = [
            [start + k if k < len(row) else -1 for k in range(longest)]
            for row, start in zip(words, starts, strict=True)
        ]
        make = lambda rows: torch.tensor(rows, device=self.device).view(len(own), longest)  # noqa: E731
        counts = torch.tensor([len(row) for row in words], dtype=torch.int32, device=self.device)
        return make(ids).long(), make(slots).long(), counts

    def _pages(self, own: Sequence[int]) -> Tensor:
        return torch.tensor(own, dtype=torch.int64, device=self.device)

    # Evidence joins the head as a few more columns, for -beta |e_v - e_c|^2 is linear in e_v and |e_v|^2. In bf16 each
    # number is split into a large and a small part, and large times large, large times small and small times large
    # are summed in the product: 16 bits of mantissa. The term of the row alone is kept, so that the sum is near the
    # model's own logits for the codes that matter, and rounding it costs little.
    def _head_with_columns(self) -> Tensor:
        if self._columns is None:
            codebook = self.path.codebook
            ones = codebook.new_ones(len(codebook), 1)
            columns = torch.cat([codebook, codebook.square().sum(-1, keepdim=True), ones], 1)
            self._columns = torch.cat([self.head, *self._split(columns, repeats="large")], 1)
        return self._columns

    def _known(self, codes: Tensor, beta: Tensor) -> Tensor:
        """(B, N, columns) that stand beside the hidden states."""
        vectors, beta = self.path.codebook[codes], beta[..., None]
        known = torch.cat([2 * beta * vectors, -beta, -beta * vectors.square().sum(-1, keepdim=True)], -1)
        return torch.cat(self._split(known, repeats="small"), -1)

    def _split(self, x: Tensor, *, repeats: str) -> list[Tensor]:
        """x in parts of the head's dtype: itself in float32, else (large, large, small) or (large, small, large)."""
        if self.head.dtype == torch.float32:
            return [x]
        large = x.to(self.head.dtype)
        small = (x - large).to(self.head.dtype)
        return [large, large, small] if repeats == "large" else [large, small, large]


def _with(canvas: Tensor, cells: Tensor, codes: Tensor) -> Tensor:
    """The canvas (B, N) with codes (B, M) in the cells (B, M), of which -1 are none."""
    N = canvas.shape[1]
    wide = torch.cat([canvas, canvas[:, :1]], 1)  # a place for the codes of no cell
    return wide.scatter(1, torch.where(cells < 0, N, cells), codes)[:, :N]
