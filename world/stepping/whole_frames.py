"""Decodes whole frames at once: by DiDA, token by token, or, without the model, from the carried view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..frame_codec import FrameCodec
from ..session import Plan, Session
from ..transformer.autoregressive import WINDOW, decode_autoregressive
from ..transformer.dida import Canvas, decode_canvas, start_from_frame, start_from_noise, start_from_warp
from ..transformer.passes import Evidence, Passes
from .seeds import seed_of


class WholeFrames:
    """The decoders of one model; they share its passes, its cache and its tokenizer."""

    def __init__(self, passes: Passes, codec: FrameCodec, *, sampler: str):
        """sampler: as in `decode_canvas`."""
        self.passes, self.codec, self.sampler = passes, codec, sampler
        self.cache, self.path, self.layout, self.device = passes.cache, passes.path, passes.layout, passes.device

    def decode(self, decoder: str, sessions: Sequence[Session], plans: Sequence[Plan], pages: Sequence[int]) -> Tensor:
        """The codes (B, N) of each session's next frame; its words are written into its new page. decoder: "dida",
        "autoregressive", "jacobi", which draws the same tokens with several per pass, or "carry", which uses the
        tokenizer's codes of the carried view or of the previous frame."""
        decoders: dict[str, Callable[..., Tensor]] = {
            "dida": self._denoise,
            "autoregressive": partial(self._in_turn, window=1),
            "jacobi": partial(self._in_turn, window=WINDOW),
            "carry": self._carry,
        }
        return decoders[decoder](sessions, plans, pages)

    def prefill(self, sessions: Sequence[Session], plans: Sequence[Plan], pages: Sequence[int]) -> None:
        """Write the words' keys and values into the new pages, for decoders that do not read a canvas with them."""
        past = [session.history() for session in sessions]
        self.passes.read_words([plan.text for plan in plans], numbers_of(sessions, 1, self.device), past, pages)

    def _denoise(self, sessions: Sequence[Session], plans: Sequence[Plan], pages: Sequence[int]) -> Tensor:
        starts = [self._start(session, plan) for session, plan in zip(sessions, plans, strict=True)]
        canvas = Canvas(torch.cat([start.tokens for start in starts]), torch.cat([start.level for start in starts]))
        past, index = [session.history() for session in sessions], numbers_of(sessions, 1, self.device)
        evidence = self._evidence(plans)
        unread: list[tuple[int, ...]] | None = [plan.text for plan in plans]  # until the first step reads them

        def predict(tokens: Tensor, seeds: Tensor, temperature: float) -> Tensor:
            nonlocal unread
            words, unread = unread, None
            return self.passes.denoise(words, index, past, pages, tokens, evidence, seeds, temperature=temperature)

        seeds = [seeds_of(sessions, 1 + step, self.device) for step in range(self.path.config.steps)]
        return decode_canvas(predict, canvas, self.path, seeds, sampler=self.sampler)

    def _evidence(self, plans: Sequence[Plan]) -> Evidence:
        """What the carried views say about each cell."""
        N = self.layout.num_cells
        codes = torch.zeros(len(plans), N, dtype=torch.int64, device=self.device)
        beta = torch.zeros(len(plans), N, device=self.device)
        for b, plan in enumerate(plans):
            if plan.carried is not None and plan.codes is not None:
                coverage = torch.from_numpy(plan.carried.coverage(self.layout.grid)).flatten().to(self.device)
                codes[b] = plan.codes[0]
                beta[b] = torch.where(coverage > 0.5, self.path.config.carried_trust, self.path.config.hole_trust)
        return Evidence(codes, beta)

    def _carry(self, sessions: Sequence[Session], plans: Sequence[Plan], pages: Sequence[int]) -> Tensor:
        """Without a model: the carried view, or the previous frame, in the tokenizer's codes."""
        self.prefill(sessions, plans, pages)
        before = [self._shown_codes(session) for session in sessions]
        return torch.cat([b if plan.codes is None else plan.codes for b, plan in zip(before, plans, strict=True)])

    def with_codes(self, plan: Plan) -> Plan:
        """A plan with the codes of its carried view, if it has one."""
        return plan if plan.carried is None else replace(plan, codes=self.codec.codes(plan.carried.pixels[None]))

    def _start(self, session: Session, plan: Plan) -> Canvas:
        seeds = seeds_of([session], 0, self.device)
        if plan.carried is not None and plan.codes is not None:
            coverage = torch.from_numpy(plan.carried.coverage(self.layout.grid)).flatten()[None].to(self.device)
            return start_from_warp(self.path, plan.codes, coverage, seeds)
        if session.start == "noise":
            return start_from_noise(self.path, (1, self.layout.num_cells), seeds)
        before = self._shown_codes(session)
        return start_from_frame(self.path, before, seeds)

    def _in_turn(
        self, sessions: Sequence[Session], plans: Sequence[Plan], pages: Sequence[int], *, window: int
    ) -> Tensor:
        self.prefill(sessions, plans, pages)
        past, index = [session.history() for session in sessions], numbers_of(sessions, 1, self.device)
        own = torch.tensor(pages, device=self.device)
        words, seeds = self.cache.lengths[own], seeds_of(sessions, 1, self.device)

        def next_tokens(before: Tensor, place: int) -> Tensor:
            return self.passes.next_tokens(
                before, place, words, index, past, pages, seeds, temperature=self.path.config.temperature
            )

        tokens = decode_autoregressive(
            next_tokens,
            self.layout.num_cells,
            batch=len(pages),
            width=self.layout.grid[1],
            window=window,
            device=self.device,
        )
        self.cache.lengths[own] = words  # the commit pass writes the frame again, including the last token's row
        return tokens

    def _shown_codes(self, session: Session) -> Tensor:
        """The codes (1, N) of the current frame, which has none yet if memory showed it."""
        if session.frame.tokens is None:
            return self.codec.codes(session.frame.pixels[None])
        return codes_of(session.frame.tokens)[None].to(self.device)


def numbers_of(sessions: Sequence[Session], ahead: int, device: torch.device) -> Tensor:
    """(B,) int64: the number of each session's newest keyframe, or of one `ahead` of it."""
    return torch.tensor([session.keyframes[-1].number + ahead for session in sessions], device=device)


def seeds_of(sessions: Sequence[Session], use: int, device: torch.device) -> Tensor:
    """(B,) int64: one seed for each session's next frame and each use within it."""
    return torch.tensor([seed_of(session, use) for session in sessions], dtype=torch.int64, device=device)


def codes_of(tokens: np.ndarray) -> Tensor:
    """A token grid's codes (N,) int64."""
    return torch.from_numpy(tokens.astype(np.int64)).flatten()
