"""Dreams what nobody has seen: holes of a carried view become tokens by DiDA, tokens become pixels and depth beside
what is known. Knows nothing of sessions: a dream is asked for with all that it depends on, so that it is the same
whenever it is dreamt.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..kernels.graph import CapturedStep
from .config import DidaConfig
from .pose import Motion, Pose
from .spatial.anew import in_its_place, left_out
from .spatial.planar.continuation import Memory, continued
from .spatial.planar.sky import with_even_sky
from .spatial.smoothing import parted, smoothed
from .spatial.warp import DREAMT, DREAMT_ANEW, View, Warp, widened
from .tokens.painter import Painter
from .tokens.vision import VisionTokenizer
from .transformer.dida import decode_holes, reveal_order
from .transformer.passes import Passes

AHEAD_DEG, AHEAD = 45.0, 1.0  # how far on, in degrees or metres, a keyframe is dreamt ahead of a step that needs one
SPECK = 0.01  # share of a view up to which holes are filled from beside, as no thing fits into them


@dataclass(frozen=True)
class Asked:
    """A dream to be dreamt: at a pose, with what is known there and its codes (1, N); words: ids that lead there; past:
    pages seen; page: where the words go; number: the page's place in the walk; seed; views: remembered ones, all of
    each of which was seen, whose walls and floors go on in the dream (spatial/planar/continuation.py)."""

    pose: Pose
    carried: Warp
    words: tuple[int, ...]
    past: tuple[int, ...]
    page: int
    number: int
    seed: int
    views: tuple[View, ...] = ()


@dataclass(frozen=True)
class Dream:
    """tokens (h, w) int32, and the view as it is remembered, fresh where it was dreamt."""

    tokens: np.ndarray
    view: View


class DreamStopped(Exception):
    """A dream that was given up because `stop` said so."""


def strides_ahead(motion: Motion) -> int:
    """How many times a motion is made to reach its keyframe. A turn of 15 degrees opens one column of cells and a bit;
    three of them open a hole that things fit into. On the way forward, holes open only beside things that are near."""
    turn, side = abs(motion.yaw_deg), max(abs(motion.right), -motion.forward)
    if not turn and (motion.pitch_deg or motion.forward > 0):
        return 1
    reaches = [AHEAD_DEG / turn] if turn else []
    reaches += [AHEAD / side] if side > 0 else []
    return max(1, round(min(reaches, default=1.0)))


class Dreamer:
    """Runs the passes and the painter of one model over asked dreams."""

    def __init__(self, passes: Passes, vision: VisionTokenizer, painter: Painter, dida: DidaConfig):
        """vision and painter as they are served; dida: its dream_* settings."""
        self.passes, self.vision, self.painter, self.dida = passes, vision, painter, dida
        self.grid = passes.layout.grid
        h, w = (vision.config.size // side for side in self.grid)
        self._middles = np.s_[h // 2 :: h, w // 2 :: w]
        self._see = CapturedStep(self._look)
        self._memory = Memory()

    def dream(self, asked: Sequence[Asked], *, stop: Callable[[], bool] | None = None) -> list[Dream]:
        """Dream together what was asked for; each comes out as it would alone. stop: asked before every pass, whether
        to give up with DreamStopped."""
        if not asked:
            return []
        tokens = self.decide(asked, stop=stop)
        _go_on_unless(stop)
        return [self._painted(one.pose, one.carried, one.seed, tokens[b], one.views) for b, one in enumerate(asked)]

    def decide(self, asked: Sequence[Asked], *, stop: Callable[[], bool] | None = None) -> Tensor:
        """Decide what stands in the views asked for, as tokens (B, N); nothing is painted. stop: as in `dream`."""
        codes = torch.cat([self._see("encode", self._tensor(one.carried.pixels)[None]).flatten(1) for one in asked])
        holes = torch.stack([self._tensor(one.carried.coverage(self.grid) <= 0.5).flatten() for one in asked])
        hinted = torch.zeros_like(holes)
        for b, one in enumerate(asked):
            if one.carried.before is not None:
                guessed = self._see("encode", self._tensor(one.carried.before.pixels)[None]).flatten(1)[0]
                hinted[b] = holes[b] & self._tensor(left_out(one.carried)[self._middles]).flatten()
                codes[b] = torch.where(hinted[b], guessed, codes[b])
        return self._decoded(asked, torch.where(holes & ~hinted, -1, codes), hinted, stop)

    def touch_up(self, pose: Pose, carried: Warp, seed: int, views: tuple[View, ...] = ()) -> Dream:
        """Paint the holes of a view in which nothing has room, or all of whose cells are mostly known: as `dream`, with
        nothing to decide, and as far as what is beside and behind (warp.fill)."""
        codes = self._see("encode", self._tensor(carried.pixels)[None]).flatten(1)
        return self._painted(pose, carried, seed, codes[0], views, is_thin=True)

    def is_decided(self, carried: Warp) -> bool:
        """Whether every cell of a view is mostly known."""
        return bool((carried.coverage(self.grid) > 0.5).all())

    def _decoded(
        self, asked: Sequence[Asked], canvas: Tensor, hinted: Tensor, stop: Callable[[], bool] | None
    ) -> Tensor:
        device, holes, dida = self.passes.device, canvas < 0, self.dida
        orders = torch.stack([torch.from_numpy(reveal_order(self.grid, one.seed)).to(device) for one in asked])
        turns = range(1, 1 + dida.dream_steps + dida.dream_corrections)
        seeds = [torch.tensor([one.seed + turn for one in asked], device=device) for turn in turns]
        numbers = torch.tensor([one.number for one in asked], device=device)
        past, pages = [one.past for one in asked], [one.page for one in asked]
        words = [one.words for one in asked]
        gathered, passes = self.passes.for_many(), itertools.count()

        def predict(tokens: Tensor, turn: Tensor, seeds: Tensor, temperature: float) -> Tensor:
            _go_on_unless(stop)
            is_first = next(passes) == 0
            return self.passes.denoise(
                words if is_first else None,
                numbers,
                past,
                pages,
                tokens,
                None,
                seeds,
                temperature=temperature,
                apart=torch.where(holes, tokens, -1),
                pull=dida.dream_guidance,
                asked=_listed(turn),
                gathered=None if is_first else gathered,
            )

        return decode_holes(
            predict,
            canvas,
            orders,
            seeds,
            temperature=dida.dream_temperature,
            at_once=dida.dream_holes,
            corrections=dida.dream_corrections,
            correcting=dida.dream_correction_temperature,
            hinted=hinted,
        )

    def _painted(
        self, pose: Pose, carried: Warp, seed: int, tokens: Tensor, views: tuple[View, ...], *, is_thin: bool = False
    ) -> Dream:
        (h, w), (H, W) = self.grid, carried.covered.shape
        noise = np.random.default_rng(seed).standard_normal((1, 1, H, W), dtype=np.float32)
        points = self.vision.points(tokens.view(1, h, w)).movedim(-1, 1)
        known = (self._tensor(part)[None] for part in (carried.pixels, carried.depth, carried.covered))
        pixels, depth = self._see("paint", points, *known, self._tensor(noise))
        pixels = _colourful(pixels[0].cpu().numpy(), carried.covered, self.dida.dream_chroma)
        depth = smoothed(depth[0].float().cpu().numpy(), pixels, ~carried.covered)
        depth = parted(depth, pixels, ~carried.covered)
        depth = in_its_place(depth, carried)
        if is_thin:  # what is uncovered beside an object is as far as what is behind it
            depth = np.where(carried.depth > 0, carried.depth, depth)
        if self.dida.dream_continues:
            pixels, depth = continued(pose, carried, pixels, depth, [self._memory.looks(view) for view in views])
            pixels, depth = with_even_sky(pose, pixels, depth, carried.covered, views)
        depth = np.where(carried.covered, carried.depth, depth).astype(np.float16).astype(np.float32)
        origin = DREAMT if carried.before is None else DREAMT_ANEW
        view = View(pixels, depth, pose, widened(~carried.covered), origin)
        return Dream(tokens.view(h, w).cpu().numpy().astype(np.int32), view)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.passes.device)

    def _look(self, kind: str, *inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.painter.paint(*inputs) if kind == "paint" else self.vision.encode(*inputs)


def _listed(cells: Tensor) -> Tensor:
    """(B, M) int64: the indices of the cells that are marked in (B, N) bool, padded with -1. M is a multiple of 16, so
    that on CUDA few shapes are captured."""
    most = max(1, int(cells.sum(1).max()))
    found = torch.argsort((~cells).int(), dim=1, stable=True)[:, : -(-most // 16) * 16]
    return torch.where(cells.gather(1, found), found, -1)


def _colourful(pixels: np.ndarray, covered: np.ndarray, chroma: float) -> np.ndarray:
    """Pixels (H, W, 3) uint8 with `chroma` times their distance from grey where they were painted, which is where they
    are not covered (H, W) bool. What is dreamt beside dreams is a little greyer than those, so without this a walk that
    goes on and on ends in grey rooms."""
    if chroma == 1.0:
        return pixels
    grey = pixels.mean(-1, keepdims=True, dtype=np.float32)
    painted = np.clip(grey + np.float32(chroma) * (pixels - grey) + 0.5, 0, 255).astype(np.uint8)
    return np.where(covered[..., None], pixels, painted)


def _go_on_unless(stop: Callable[[], bool] | None) -> None:
    if stop is not None and stop():
        raise DreamStopped


def without_specks(carried: Warp) -> Warp:
    """A carried view whose holes are filled already, with depth also where there was none to fill them from."""
    return Warp(carried.pixels, carried.covered, np.where(carried.depth > 0, carried.depth, np.float32(100.0)))
