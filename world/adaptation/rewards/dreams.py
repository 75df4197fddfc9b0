"""Groups of dreams: drawn at a spot with the code that serves them, and the probability of each of their codes.

A dream's probability is that of the codes that its denoising steps decided, each given the canvas that its step read
(d1, arXiv 2504.12216; MMaDA's UniGRPO, arXiv 2505.15809). The canvases are kept while the dream is drawn, so that the
probabilities are those of the steps that were made, and not an estimate from other canvases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...checkpoint import Checkpoint
from ...dreamer import Asked, Dreamer
from ...tokens.vision import VisionTokenizer
from ...training.world_model import WorldTrainer
from ...transformer.cache import KVCache
from ...transformer.dida import MetricPath
from ...transformer.model import Transformer
from ...transformer.passes import Passes, Serving
from .spots import Spot
from .system import RewardError

TOGETHER = 24  # dreams drawn at once


class WatchedPasses(Passes):
    """Passes that keep every canvas which a denoising step reads."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.canvases: list[Tensor] = []

    def denoise(self, *args: Any, **options: Any) -> Tensor:
        self.canvases.append(args[4].cpu().clone())
        return super().denoise(*args, **options)


@dataclass(frozen=True)
class Group:
    """G dreams at a spot: canvases (K + 1, G, N) int64 before each of K steps, and the last, which has no hole; pixels
    (G, H, W, 3) uint8 and depth (G, H, W) float32 metres."""

    spot: Spot
    canvases: Tensor
    pixels: np.ndarray
    depth: np.ndarray

    @property
    def steps(self) -> int:
        return len(self.canvases) - 1

    def decided(self, step: int) -> Tensor:
        """(G, N) bool: the cells that a step decided."""
        return (self.canvases[step] < 0) & (self.canvases[step + 1] >= 0)


class Studio:
    """Draws dreams with a checkpoint in which other weights of its transformer are used."""

    def __init__(self, checkpoint: Checkpoint):
        """Raises RewardError for a checkpoint that does not dream, or whose dreams are guided."""
        if checkpoint.painter is None or not isinstance(checkpoint.vision, VisionTokenizer):
            raise RewardError("these weights have no painter, and dream nothing that could be rewarded")
        if checkpoint.dida.dream_guidance != 1:
            raise RewardError(
                f"these weights are guided ({checkpoint.dida.dream_guidance:g}), so that what is drawn is not what "
                "they say; teach them to be guided of themselves first: roam train --stage guide"
            )
        if not checkpoint.dida.dream_temperature:
            raise RewardError("these weights dream at temperature 0, and every dream of a group would be the same")
        self.checkpoint, self.layout = checkpoint, checkpoint.layout
        self.device = checkpoint.model.lm_head.weight.device
        self.precision = Serving().precision_on(self.device)
        self.dtype = checkpoint.model.served(self.precision).lm_head.weight.dtype
        self.vision, self.painter = checkpoint.vision.served(self.dtype), checkpoint.painter.served(self.dtype)

    @torch.inference_mode()
    def groups(self, model: Transformer, spots: Sequence[Spot], seeds: Sequence[Sequence[int]]) -> list[Group]:
        """A group at each spot, with its seeds; every dream comes out as it would in a walk."""
        passes, pages = self._passes(model), dict[tuple[int, int], int]()
        asked: list[Asked] = []
        for spot, own in zip(spots, seeds, strict=True):
            past = self._seen(passes, spot, pages)
            for seed in own:
                page = passes.cache.allocate()
                asked.append(Asked(spot.pose, spot.carried, spot.words[-1], past, page, spot.index, seed))
        parts = [self._dreamt(passes, asked[first : first + TOGETHER]) for first in range(0, len(asked), TOGETHER)]
        canvases, views = _even([part for part, _ in parts]), [view for _, part in parts for view in part]
        groups, first = [], 0
        for spot, own in zip(spots, seeds, strict=True):
            part = slice(first, first + len(own))
            pixels, depth = np.stack([v.pixels for v in views[part]]), np.stack([v.depth for v in views[part]])
            groups.append(Group(spot, _until_done(canvases[:, part]), pixels, depth))
            first += len(own)
        return groups

    def _passes(self, model: Transformer) -> WatchedPasses:
        checkpoint, served = self.checkpoint, model.served(self.precision)
        cache = KVCache(served.config, self.layout, device=self.device, dtype=self.dtype)
        path = MetricPath(self.vision.codebook, checkpoint.dida)
        return WatchedPasses(served, cache, path, self.layout, checkpoint.vocabulary)

    def _seen(self, passes: WatchedPasses, spot: Spot, pages: dict[tuple[int, int], int]) -> tuple[int, ...]:
        """The pages of what was seen before a spot, written if they are not yet; spots of a walk share them."""
        for index, codes in enumerate(spot.codes):
            if (spot.scene, index) not in pages:
                own = passes.cache.allocate()
                past = [pages[spot.scene, k] for k in range(max(0, index - self.layout.window), index)]
                number = torch.tensor([index], device=self.device)
                passes.read_words([spot.words[index]], number, [past], [own])
                passes.commit(torch.from_numpy(codes)[None].to(self.device), number, [past], [own])
                pages[spot.scene, index] = own
        return tuple(pages[spot.scene, k] for k in range(max(0, spot.index - self.layout.window), spot.index))

    def _dreamt(self, passes: WatchedPasses, asked: Sequence[Asked]):
        """The canvases (K + 1, B, N) and the B views of some dreams."""
        drawn = replace(self.checkpoint.dida, dream_guidance=1.0, dream_corrections=0)
        passes.canvases.clear()
        dreamer = Dreamer(passes, self.vision, self.painter, drawn)
        dreams = dreamer.dream(asked)
        last = torch.stack([torch.from_numpy(dream.tokens.astype(np.int64)).flatten() for dream in dreams])
        return torch.stack([*passes.canvases, last]), [dream.view for dream in dreams]


def _even(parts: Sequence[Tensor]) -> Tensor:
    """Canvases (K + 1, B, N) of several calls combined; a call with fewer steps repeats its last canvas."""
    most = max(map(len, parts))
    return torch.cat([torch.cat([part, part[-1:].expand(most - len(part), -1, -1)]) for part in parts], 1)


def _until_done(canvases: Tensor) -> Tensor:
    """Canvases (K + 1, G, N) up to the first without a hole."""
    open_ = (canvases < 0).any(-1).any(-1)
    return canvases[: int(open_.sum()) + 1]


@dataclass(frozen=True)
class Drawn:
    """What the chosen steps of a walk's groups decided: log probabilities (M, V) of all codes, at the temperature that
    they were drawn at; codes (M,) that were; group and member (M,): whose they are."""

    logs: Tensor
    codes: Tensor
    group: Tensor
    member: Tensor

    @property
    def own(self) -> Tensor:
        """(M,): the log probabilities of the codes that were drawn."""
        return self.logs.gather(1, self.codes[:, None])[:, 0]


def drawn(
    trainer: WorldTrainer, groups: Sequence[Group], steps: Sequence[Sequence[int]], *, temperature: float
) -> Drawn:
    """The probabilities, under a trainer's weights, of what the groups of one walk drew at the chosen steps: in one
    forward pass, because the groups share their history and every canvas is a copy of its frame."""
    device, spots = trainer.codes.head.device, [group.spot for group in groups]
    last, N = max(spots, key=lambda spot: spot.index), trainer.layout.num_cells
    T = last.index + 1
    G, S = groups[0].canvases.shape[1], max(map(len, steps))
    text = torch.full((1, T, trainer.layout.text_capacity), -1)
    for t, words in enumerate(last.words):
        text[0, t, : len(words)] = torch.tensor(words, dtype=torch.int64)
    history = torch.zeros(1, T, N, dtype=torch.int64)
    history[0, :-1] = torch.from_numpy(last.codes)
    canvases = torch.zeros(T, G, S, N, dtype=torch.int64)
    decided, codes = torch.zeros(T, G, S, N, dtype=torch.bool), torch.zeros(T, G, S, N, dtype=torch.int64)
    number_of = torch.zeros(T, dtype=torch.int64)
    for number, (group, chosen) in enumerate(zip(groups, steps, strict=True)):
        t = group.spot.index
        number_of[t] = number
        codes[t] = group.canvases[-1][:, None]
        for k, step in enumerate(chosen):
            canvases[t, :, k], decided[t, :, k] = group.canvases[step], group.decided(step)
    text, history, canvases, decided, codes = (x.to(device) for x in (text, history, canvases, decided, codes))
    shown = torch.where(canvases[..., None] < 0, -1, trainer.digits(canvases.clamp_min(0)))
    hidden = trainer.hidden(text, shown.flatten(1, 2)[None], trainer.digits(history), trainer.layout.window)
    rows = hidden[0, :, 1:].unflatten(1, (G, S))[decided]
    frame, member, _, _ = decided.nonzero().unbind(1)
    logs = (trainer.codes.joint_logits(rows) / temperature).log_softmax(-1)
    return Drawn(logs, codes[decided], number_of.to(device)[frame], member)


def steps_chosen(groups: Sequence[Group], count: int, rng: np.random.Generator) -> list[list[int]]:
    """So many steps of each group, drawn at random: every step is learnt from equally often."""
    return [sorted(rng.permutation(group.steps)[:count].tolist()) for group in groups]
