"""Weights, a cache pool and batching: runs the passes of one or many sessions. Knows nothing of sockets or windows.

A step is: prefill the words, denoise the canvas over frozen pages, decode; then, after the frame has been shown, one
causal commit pass writes the frame's keys and values.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..kernels.sample import head_sample
from .action import Action
from .autoregressive import decode_autoregressive
from .cache import CachedAttention, KVCache
from .checkpoint import Checkpoint, load_checkpoint
from .config import DidaConfig
from .detail import restore_detail
from .dida import Canvas, MetricPath, decode_canvas, start_from_frame, start_from_noise, start_from_warp
from .frame import Frame, Timing
from .geometry import View
from .memory import ViewMemory
from .pose import Camera, Pose
from .session import Moment, Plan, Session


class Engine:
    """One world model, ready to dream: `engine.session(first_frame)`, then `session.step(action)`."""

    def __init__(self, checkpoint: Checkpoint, *, dida: DidaConfig | None = None):
        self.checkpoint = checkpoint
        self.model, self.vision, self.text = checkpoint.model, checkpoint.vision, checkpoint.text
        self.layout, self.vocabulary = checkpoint.layout, checkpoint.vocabulary
        self.dida = dida or checkpoint.dida
        self.device = next(self.model.parameters()).device
        self.cache = KVCache(self.model.config, self.layout, device=self.device)
        self.path = MetricPath(self.vision.codebook, self.dida)
        self.head = self.model.lm_head.weight[self.vocabulary.visual]
        # -beta |e_v - e_c|^2 is linear in (e_v, |e_v|^2), so evidence joins the head as a few more columns
        codebook = self.path.codebook
        self.head_and_metric = torch.cat([self.head, codebook, codebook.square().sum(-1, keepdim=True)], 1)

    @classmethod
    def from_checkpoint(cls, folder: str | Path | None = None, *, device: str | None = None,
                        dida: DidaConfig | None = None) -> Engine:  # fmt: skip
        """Load a checkpoint folder, or the embedded one, onto a device: CUDA where there is one unless told otherwise.

        Raises CheckpointError for a folder that cannot be used.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(load_checkpoint(folder, device=device), dida=dida)

    def session(
        self, first: Frame | np.ndarray, *, seed: int = 0, start: str = "auto", decoder: str = "dida"
    ) -> Session:
        """A walk that begins at a frame, or at pixels (H, W, 3) uint8 of unknown place, taken to be the origin."""
        if not isinstance(first, Frame):
            first = Frame(0, np.asarray(first), pose=Pose.at(0, 0, 1.5))
        tokens = self._encode(first.pixels[None])
        pixels, depth = self._decode(tokens)
        pixels = np.asarray(first.pixels) if self.dida.detail_tolerance else pixels
        camera = Camera(self.vision.config.size, self.vision.config.size)
        frame = Frame(0, pixels, tokens[0].view(self.layout.grid).cpu().numpy().astype(np.int32), depth, first.pose)
        memory = ViewMemory(camera)
        if first.pose is not None:
            memory = memory.with_view(0, View(pixels, depth, first.pose, frame.tokens))
        session = Session(
            self, [Moment(frame, self.cache.allocate(), memory)], [], seed=seed, start=start, decoder=decoder
        )
        session.is_committed = False
        return session

    def load_session(self, path: str | Path) -> Session:
        """Go on from what `Session.save` wrote. Raises SnapshotError for a file that is torn or of other weights."""
        from .snapshot import load_session

        return load_session(self, path)

    @torch.inference_mode()
    def step_many(self, sessions: Sequence[Session], actions: Sequence[Action]) -> list[Frame]:
        """One step of each session in shared passes: the same frames as each alone."""
        clock = _Clock()
        plans = [self._with_codes(session.plan(action)) for session, action in zip(sessions, actions, strict=True)]
        warp_ms = clock.lap_ms()
        self.settle(sessions)
        commit_ms = clock.lap_ms()
        pages = [self.cache.allocate() for _ in sessions]
        self._prefill(sessions, plans, pages)
        if len({session.decoder for session in sessions}) > 1:
            raise ValueError("sessions with different decoders cannot be stepped together")
        decoders = {"dida": self._denoise, "autoregressive": self._token_by_token, "carry": self._carry}
        tokens = decoders[sessions[0].decoder](sessions, plans, pages)
        denoise_ms = clock.lap_ms()
        frames = []
        for b, (session, action, plan) in enumerate(zip(sessions, actions, plans, strict=True)):
            pixels, depth = self._decode(tokens[b : b + 1])
            if plan.carried is not None and self.dida.detail_tolerance:
                pixels = self._with_detail(pixels, plan, tokens[b])
            grid = tokens[b].view(self.layout.grid).cpu().numpy().astype(np.int32)
            timing = Timing(warp_ms, denoise_ms, clock.lap_ms(), commit_ms)
            frame = Frame(session.frame.index + 1, pixels, grid, depth, plan.pose, timing)
            session.accept(action, frame, pages[b])
            frames.append(frame)
        return frames

    @torch.inference_mode()
    def observe(self, session: Session, action: Action, pixels: np.ndarray, pose: Pose | None = None) -> Frame:
        """Take a true frame into a session's history: what `step` would have dreamt is given instead."""
        plan = session.plan(action)
        session.settle()
        page = self.cache.allocate()
        self._prefill([session], [plan], [page])
        tokens = self._encode(pixels[None])
        shown, depth = self._decode(tokens)
        grid = tokens[0].view(self.layout.grid).cpu().numpy().astype(np.int32)
        shown = np.asarray(pixels) if self.dida.detail_tolerance else shown
        frame = Frame(session.frame.index + 1, shown, grid, depth, pose or plan.pose)
        session.accept(action, frame, page)
        return frame

    @torch.inference_mode()
    def settle(self, sessions: Sequence[Session]) -> None:
        """Commit: one causal clean pass over the newest frame of every session that has one outstanding."""
        waiting = [session for session in sessions if not session.is_committed]
        if not waiting:
            return
        moments = [session.moments[-1] for session in waiting]
        pages = [moment.page for moment in moments]
        tokens = torch.stack([torch.from_numpy(moment.frame.tokens.astype(np.int64)).flatten() for moment in moments])
        words = [int(self.cache.lengths[page]) for page in pages]
        count = 1 + self.layout.num_cells
        slots = torch.stack([self.cache.slots(page, first, count) for page, first in zip(pages, words, strict=True)])
        # one page more than a step sees: its own, whose words are already there
        table = self.cache.table([session.pages[-self.layout.window - 1 :] for session in waiting])
        attention = CachedAttention(self.cache, table, causal=True, slots=slots)
        self.model(self._frame_rows(tokens.to(self.device)), self._frame_positions(waiting, 0), attention)
        for page, first, session in zip(pages, words, waiting, strict=True):
            self.cache.lengths[page] = first + count
            session.is_committed = True

    def _prefill(self, sessions: Sequence[Session], plans: Sequence[Plan], pages: Sequence[int]) -> None:
        """Write the words' keys and values into the new pages; padding of shorter sentences goes nowhere."""
        L = max(len(plan.text) for plan in plans)
        if not L:
            return
        ids = torch.zeros(len(plans), L, dtype=torch.int64, device=self.device)
        slots = torch.full_like(ids, -1)
        for b, (plan, page) in enumerate(zip(plans, pages, strict=True)):
            ids[b, : len(plan.text)] = torch.tensor(plan.text, device=self.device)
            slots[b, : len(plan.text)] = self.cache.slots(page, 0, len(plan.text))
        table = self.cache.table([session.history() for session in sessions])
        base = (
            torch.tensor([session.frame.index + 1 for session in sessions], device=self.device) * self.layout.page_size
        )
        attention = CachedAttention(self.cache, table, causal=True, slots=slots)
        self.model(self.model.embed(ids), base[:, None] + torch.arange(L, device=self.device), attention)
        for plan, page in zip(plans, pages, strict=True):
            self.cache.lengths[page] = len(plan.text)

    def _denoise(self, sessions: Sequence[Session], plans: Sequence[Plan], pages: Sequence[int]) -> Tensor:
        starts = [self._start(session, plan) for session, plan in zip(sessions, plans, strict=True)]
        canvas = Canvas(torch.cat([start.tokens for start in starts]), torch.cat([start.level for start in starts]))
        table = self.cache.table([[*session.history(), page] for session, page in zip(sessions, pages, strict=True)])
        positions = self._frame_positions(sessions, 1)
        attention = CachedAttention(self.cache, table, causal=False)
        evidence = torch.cat([self._evidence(plan) for plan in plans])

        def predict(tokens: Tensor, seeds: Tensor, temperature: float) -> Tensor:
            hidden = self.model(self._frame_rows(tokens), positions, attention)[:, :-1]
            rows = torch.cat([hidden, evidence], -1)
            return head_sample(rows, self.head_and_metric, seeds, temperature=temperature)[0]

        seeds = [self._seeds(sessions, 1 + step) for step in range(self.dida.steps)]
        return decode_canvas(predict, canvas, self.path, seeds)

    def _evidence(self, plan: Plan) -> Tensor:
        """What the carried view says of each cell: (1, N, D + 1) columns beside the hidden state, 2 beta e_c, -beta."""
        N, D = self.layout.num_cells, self.path.codebook.shape[1]
        if plan.carried is None:
            return torch.zeros(1, N, D + 1, device=self.device)
        coverage = torch.from_numpy(plan.carried.coverage(self.layout.grid)).flatten()[None, :, None].to(self.device)
        beta = torch.where(coverage > 0.5, self.dida.carried_trust, self.dida.hole_trust)
        return torch.cat([2 * beta * self.path.codebook[plan.codes], -beta], -1)

    def _carry(self, sessions: Sequence[Session], plans: Sequence[Plan], pages: Sequence[int]) -> Tensor:
        """No model: the carried view, or the frame before, as the tokenizer has it."""
        before = [torch.from_numpy(session.frame.tokens.astype(np.int64)).flatten()[None] for session in sessions]
        return torch.cat([b if plan.codes is None else plan.codes for b, plan in zip(before, plans, strict=True)])

    def _with_codes(self, plan: Plan) -> Plan:
        return plan if plan.carried is None else replace(plan, codes=self._encode(plan.carried.pixels[None]))

    def _start(self, session: Session, plan: Plan) -> Canvas:
        seeds = self._seeds([session], 0)
        if plan.carried is not None:
            coverage = torch.from_numpy(plan.carried.coverage(self.layout.grid)).flatten()[None].to(self.device)
            return start_from_warp(self.path, plan.codes, coverage, seeds)
        if session.start == "noise":
            return start_from_noise(self.path, (1, self.layout.num_cells), seeds)
        before = torch.from_numpy(session.frame.tokens.astype(np.int64)).flatten()[None].to(self.device)
        return start_from_frame(self.path, before, seeds)

    def _with_detail(self, decoded: np.ndarray, plan: Plan, tokens: Tensor) -> np.ndarray:
        apart = self.path.codebook[tokens] - self.path.codebook[plan.codes[0]]
        distance = apart.square().sum(-1).view(self.layout.grid).cpu().numpy()
        carried = plan.carried
        return restore_detail(decoded, carried.pixels, carried.covered, distance, tolerance=self.dida.detail_tolerance)

    def _token_by_token(self, sessions: Sequence[Session], plans: Sequence[Plan], pages: Sequence[int]) -> Tensor:
        tables = self.cache.table([[*session.history(), page] for session, page in zip(sessions, pages, strict=True)])
        positions = self._frame_positions(sessions, 1)
        index = torch.tensor(pages, device=self.device)
        words = self.cache.lengths[index].clone()

        def next_token(before: Tensor | None, place: int) -> Tensor:
            ids = torch.full((len(sessions),), self.vocabulary.image, device=self.device)
            row = self.model.embed((ids if before is None else before + self.vocabulary.first_code)[:, None])
            slots = (index * self.layout.page_size + words + place)[:, None]
            attention = CachedAttention(self.cache, tables, causal=True, slots=slots)
            hidden = self.model(row, positions[:, place : place + 1], attention)
            self.cache.lengths[index] = (words + place + 1).int()
            places = torch.full((len(sessions), 1), place, device=self.device)
            return head_sample(hidden, self.head, self._seeds(sessions, 1), positions=places,
                               temperature=self.dida.temperature)[0][:, 0]  # fmt: skip

        tokens = decode_autoregressive(next_token, self.layout.num_cells)
        self.cache.lengths[index] = words  # the commit pass writes the frame again, the last token's row with it
        return tokens

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (H, W, 3) uint8 as a token grid (h, w) int32."""
        return self._encode(pixels[None])[0].view(self.layout.grid).cpu().numpy().astype(np.int32)

    def show(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A token grid (h, w) as pixels (H, W, 3) uint8 and depth (H, W) float32 metres."""
        return self._decode(torch.from_numpy(tokens.astype(np.int64)).to(self.device))

    def _frame_rows(self, tokens: Tensor) -> Tensor:
        """The image marker and a grid's codes as rows, holes where they are -1: (B, N) -> (B, 1 + N, C)."""
        marker = torch.full((len(tokens), 1), self.vocabulary.image, device=tokens.device)
        cells = torch.where(tokens < 0, self.vocabulary.hole, tokens + self.vocabulary.first_code)
        return self.model.embed(torch.cat([marker, cells], 1))

    def _frame_positions(self, sessions: Sequence[Session], ahead: int) -> Tensor:
        index = torch.tensor([session.frame.index + ahead for session in sessions], device=self.device)
        fresh = torch.arange(self.layout.text_capacity, self.layout.page_size, device=self.device)
        return index[:, None] * self.layout.page_size + fresh

    def _seeds(self, sessions: Sequence[Session], use: int) -> Tensor:
        """(B,) int64: one seed for each session's next frame and each use within it."""
        seeds = [_mix(session.seed, session.frame.index + 1, use) for session in sessions]
        return torch.tensor(seeds, dtype=torch.int64, device=self.device)

    @torch.inference_mode()
    def _encode(self, pixels: np.ndarray) -> Tensor:
        return self.vision.encode(torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)).flatten(1)

    @torch.inference_mode()
    def _decode(self, tokens: Tensor) -> tuple[np.ndarray, np.ndarray]:
        pixels, depth = self.vision.decode(tokens.view(1, *self.layout.grid))
        return pixels[0].cpu().numpy(), depth[0].cpu().numpy()


class _Clock:
    def __init__(self):
        self._then = time.perf_counter()

    def lap_ms(self) -> float:
        now = time.perf_counter()
        lap, self._then = (now - self._then) * 1e3, now
        return lap


def _mix(*parts: int) -> int:
    """Integers to one 62-bit integer, by splitmix64 over each in turn."""
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 2
