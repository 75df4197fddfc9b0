"""DiDA's adaptation: teaches a model that draws token by token to denoise whole frames, without losing what it could
do.

Every batch holds clean sequences and noisy copies of their pictures (samples.py) under one mask (mask.py). Copies are
noised along the codebook's metric path with URSA's time shift, each at its own level; the model is not told the level.
The loss is plain cross-entropy on the clean tokens, with the next-token shift kept (Emu3.5, arXiv 2510.26583, section
4.3; URSA, arXiv 2510.24717). With no copies the same loop trains only token by token.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recompute

from ..tokens.vision import VisionTokenizer
from ..tokens.vocabulary import Vocabulary
from ..training.factored import FactoredCodes
from ..training.muon import Muon
from ..training.parallel import agreed, average_gradients
from ..training.run import Run, half_products, learning_rate
from ..transformer.dida import MetricPath
from ..transformer.model import Transformer
from ..transformer.sharded import Sharding, load_optimizer, load_parameters, reshard, whole
from .lora import add_low_rank, fold_low_rank
from .mask import CopyAttention
from .samples import Batch, SampleLayout, make_batch

log = logging.getLogger(__name__)
LOGITS_AT_ONCE = 1 << 25  # of a head's logits that are kept for the backward pass; more are recomputed
CLEAN = ("clean_nats", "word_nats", "code_nats")  # of all clean rows, of those before words, of those before codes
LEVELS = (0.0, 0.3, 0.6)  # noise levels at which held-out sequences are measured


@dataclass(frozen=True)
class AdaptRecipe:
    """Numbers of an adaptation; it ends after max_steps steps or max_seconds of training, whichever is first.

    batch: sequences a step, over all processes; copies: noisy copies of each picture, 0 to train token by token only;
    shift: URSA's time shift in training; clean_weight: of the clean rows' loss; peak: learning rate; rank: of low-rank
    adapters, 0 to train all weights; hole_share: copies with marked holes, for models whose canvases have them;
    prompt_dropout: share of sequences without words, for guidance needs the branch that reads none (URSA has a tenth);
    recompute: make each layer's activations again in the backward pass, for large models: a third slower, far smaller;
    code_weight: of a clean code's loss beside a word's; at_once: sequences that a process reads together, 0 for all:
    the step is the same, and large models have room for few; measured: held-out sequences that are measured, at the end
    and, unless it is 0, every measure_every steps; save_every: steps after which a run can go on from there.
    """

    batch: int = 4
    copies: int = 1
    shift: float = 3.0
    clean_weight: float = 0.25
    peak: float = 1e-3
    rank: int = 0
    hole_share: float = 0.0
    prompt_dropout: float = 0.0
    recompute: bool = False
    max_steps: int = 100_000
    max_seconds: float = 3600.0
    seed: int = 0
    code_weight: float = 1.0
    at_once: int = 0
    measured: int = 8
    measure_every: int = 0
    save_every: int = 200

    def __post_init__(self):
        if min(self.batch, self.max_steps, self.save_every) < 1 or self.shift <= 0:
            raise ValueError(f"{self}: wanted a batch and steps of at least 1 and a positive shift")
        if min(self.copies, self.rank, self.code_weight, self.at_once, self.measured, self.measure_every) < 0:
            raise ValueError(f"{self}: wanted no negative counts")


class Learner(nn.Module):
    """A transformer with its losses. vision: where its lattice is to factor the code tables (training/factored.py),
    which is how a small model learns them quickly from nothing; None learns the tables as they are."""

    def __init__(self, transformer: Transformer, vocabulary: Vocabulary, *, vision: VisionTokenizer | None = None):
        super().__init__()
        self.transformer, self.vocabulary = transformer, vocabulary
        self.codes = FactoredCodes(vision.config.levels, transformer.config.hidden_size) if vision else None
        self._vision = [vision]  # in a list, so that its weights are not ours

    def forward(self, batch: Batch, window: int | None) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats of every target, of noisy rows (M,) and of clean ones (K,)."""
        attention = CopyAttention(batch.places, window=window)
        hidden = self.transformer(self._embedded(batch.ids), batch.positions, attention)
        noisy, clean = (batch.targets >= 0) & batch.is_noisy, (batch.targets >= 0) & ~batch.is_noisy
        return self._losses(hidden[noisy], batch.targets[noisy]), self._losses(hidden[clean], batch.targets[clean])

    @torch.no_grad()
    def folded(self) -> Transformer:
        """The transformer as it is served: adapters and factored tables folded into ordinary weights, in place."""
        fold_low_rank(self.transformer)
        for layer in self.transformer.model.layers:
            vars(layer).pop("forward", None)  # added by `recompute_layers`
        if self.codes is not None:
            embedding, head = self.codes.folded()
            self.transformer.model.embed_tokens.weight[self.vocabulary.visual] = embedding
            self.transformer.lm_head.weight[self.vocabulary.visual] = head
            self.codes = None
        return self.transformer.eval().requires_grad_(False)

    def _embedded(self, ids: Tensor) -> Tensor:
        rows = self.transformer.embed(ids)
        if self.codes is None:
            return rows
        first = self.vocabulary.first_code
        codes = self.codes.embed(self._digits((ids - first).clamp_min(0)))
        return torch.where((ids >= first)[..., None], codes, rows)

    def _digits(self, codes: Tensor) -> Tensor:
        (vision,) = self._vision
        assert vision is not None, "factored codes come of a tokenizer's lattice"
        return vision.digits(codes)

    def _losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Codes among codes, as they are drawn; words among all tokens. hidden (M, C), targets (M,) -> (M,)."""
        first, head = self.vocabulary.first_code, self.transformer.lm_head.weight
        is_code = targets >= first
        losses = hidden.new_zeros(len(targets), dtype=torch.float32)
        if self.codes is not None:
            digits = self._digits(targets[is_code] - first)
            losses[is_code] = self.codes.loss(hidden[is_code], digits).float()
        else:
            losses[is_code] = _cross_entropy(hidden[is_code], head[self.vocabulary.visual], targets[is_code] - first)
        losses[~is_code] = _cross_entropy(hidden[~is_code], head, targets[~is_code])
        return losses


def _cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """(M,) float32. If all logits would not fit, they are computed in parts, and again in the backward pass."""
    if not len(targets):
        return hidden.new_zeros(0, dtype=torch.float32)
    part = max(1, LOGITS_AT_ONCE // len(head))
    if len(targets) <= part:
        return _cross_entropy_part(hidden, head, targets)
    parts = [
        recompute(_cross_entropy_part, h, head, t, use_reentrant=False)
        for h, t in zip(hidden.split(part), targets.split(part), strict=True)
    ]
    return torch.cat(parts)


def _cross_entropy_part(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden.to(head.dtype), head).float(), targets, reduction="none")


def recompute_layers(model: Transformer) -> None:
    """Make every layer keep only its inputs for the backward pass, in place."""
    for layer in model.model.layers:
        layer.forward = partial(recompute, layer.forward, use_reentrant=False)


def adapt(
    learner: Learner,
    sequences: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    layout: SampleLayout,
    path: MetricPath,
    recipe: AdaptRecipe,
    folder: str | Path,
    *,
    rank: int = 0,
    workers: int = 1,
    sharding: Sharding | None = None,
    progress=None,
) -> None:
    """Adapt `learner` in place on sequences of ids, or continue a stopped run in `folder`.

    With several workers each process calls this with its rank (training/parallel.py) and the same learner; gradients
    are averaged. sharding: if the workers hold one learner in shards; they share the steps of a single process then,
    and a run may continue with another number of them. progress: called with (share done, the log row) now and then, in
    the first process.
    """
    if recipe.rank:
        add_low_rank(learner.transformer, recipe.rank, seed=recipe.seed)
    if recipe.recompute:
        recompute_layers(learner.transformer)
    learner.train()
    if sharding:
        sharding.shard(learner, learner.transformer.model.layers)
    device = sharding.device if sharding else learner.transformer.lm_head.weight.device
    run, step = Run(folder), 0
    optimizers = make_optimizers(learner, recipe)
    if state := run.resume():
        load_parameters(learner, state["learnt"])
        step = state["step"]
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            load_optimizer(optimizer, saved)
    crew = _Crew(rank, workers, sharding)
    measure = partial(evaluate, learner, held_out, layout, path, recipe, count=recipe.measured)
    totals: list[tuple[float, float]] = []
    while (share := agreed(max(step / recipe.max_steps, run.seconds / recipe.max_seconds), workers, device=device)) < 1:
        if crew.measures and recipe.measure_every and step % recipe.measure_every == 0:
            measured = measure(keeps_weights=sharding is None)
            if rank == 0:
                run.record(step, **_means([], recipe), rate=math.nan, **measured)
            if rank == 0 and progress:
                progress(share, measured)
        rate = learning_rate(int(share * 10_000), 10_000, 1.0, warmup=0) * min(1.0, (step + 1) / 50)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = recipe.peak * rate
        totals.append(_train_step(learner, optimizers, sequences, layout, path, recipe, step, crew))
        step += 1
        if rank == 0 and step % 50 == 0:
            row = _means(totals, recipe) | {"rate": rate}
            totals = []
            run.record(step, **row, **dict.fromkeys(measures(recipe), math.nan))
            if progress:
                progress(share, row)
        if crew.measures and step % recipe.save_every == 0:
            _save(run, step, learner, optimizers, is_writer=rank == 0)
    if crew.measures:
        measured = measure(keeps_weights=sharding is None)
        _save(run, step, learner, optimizers, is_writer=rank == 0)
    if rank == 0:
        run.record(step, **_means(totals, recipe), rate=0.0, **measured)
        run.draw(*(("noisy", "clean") if recipe.copies else ("clean",)), *(["clean_nats"] * bool(recipe.measure_every)))


@dataclass(frozen=True)
class _Crew:
    """One of several processes that train together, each with a whole learner or all with one in shards."""

    rank: int
    workers: int
    sharding: Sharding | None

    @property
    def measures(self) -> bool:
        """Whether this process takes part in measuring and saving: for whole learners the first one is enough."""
        return self.rank == 0 or self.sharding is not None

    def parts(self, batch: Batch, at_once: int) -> Iterator[Batch]:
        """What this process reads of a step's batch, one part after the other. In shards all have the same batch,
        and each has equally many samples of it."""
        if self.sharding:
            count = len(batch.ids) // self.workers
            batch = batch.part(slice(self.rank * count, (self.rank + 1) * count))
        size = at_once or len(batch.ids)
        for first in range(0, len(batch.ids), size):
            yield batch.part(slice(first, first + size))


def make_optimizers(learner: Learner, recipe: AdaptRecipe) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices and AdamW for tables and norms; AdamW alone for adapters."""
    learnt = [(name, p) for name, p in learner.named_parameters() if p.requires_grad]
    matrices = [p for name, p in learnt if ".layers." in name and p.ndim == 2 and not recipe.rank]
    held = {id(p) for p in matrices}
    others = [p for _, p in learnt if id(p) not in held]
    adam = torch.optim.AdamW(others, lr=recipe.peak, betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(matrices, lr=recipe.peak), adam] if matrices else [adam]


def _train_step(learner, optimizers, sequences, layout, path, recipe, step, crew: _Crew) -> tuple[float, float]:
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    alone = crew.sharding is not None  # the batch is that of one process then
    rank, workers = (0, 1) if alone else (crew.rank, crew.workers)
    batch = step_batch(sequences, layout, path, recipe, step=step, rank=rank, workers=workers)
    sums = torch.zeros(2, device=batch.ids.device)
    for part in crew.parts(batch, recipe.at_once):
        loss, noisy, clean = loss_of(learner, part, batch, layout, recipe, keeps_weights=not alone)
        # shards have the mean over all processes of their gradients, but the sum is needed
        (loss * crew.workers if alone else loss).backward()
        sums += torch.stack([noisy.detach(), clean.detach()])
    learnt = [p for p in learner.parameters() if p.requires_grad]
    if crew.sharding:
        crew.sharding.summed(sums)
    else:
        average_gradients(learnt, crew.workers)
    torch.nn.utils.clip_grad_norm_(learnt, 1.0)
    for optimizer in optimizers:
        optimizer.step()
    noisy, clean = sums.tolist()
    return noisy, clean


def step_batch(
    sequences: Sequence[np.ndarray],
    layout: SampleLayout,
    path: MetricPath,
    recipe: AdaptRecipe,
    *,
    step: int,
    rank: int = 0,
    workers: int = 1,
) -> Batch:
    """What a process learns from in a step. The recipe's seed, the step and the process's rank decide which
    sequences are read and how they are noised."""
    rng = np.random.default_rng([recipe.seed, step, rank])
    count = max(1, recipe.batch // workers)
    chosen = rng.integers(len(sequences), size=count)
    samples = [layout.read(sequences[k], rng, drop=recipe.prompt_dropout) for k in chosen]
    return make_batch(
        samples, layout.vocabulary, path, rng, copies=recipe.copies, shift=recipe.shift, hole_share=recipe.hole_share
    )


def loss_of(
    learner: Learner,
    part: Batch,
    batch: Batch,
    layout: SampleLayout,
    recipe: AdaptRecipe,
    *,
    keeps_weights: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """What a part of a batch adds to its loss, and to the means over its noisy and clean rows."""
    with half_products(part.ids.device, keeps_weights=keeps_weights):
        noisy, clean = learner(part, layout.window)
    clean = clean_loss(clean, part, layout.vocabulary, recipe.code_weight, of=batch)
    noisy = noisy.sum() / ((batch.targets >= 0) & batch.is_noisy).sum().clamp_min(1)
    return noisy + recipe.clean_weight * clean if recipe.copies else clean, noisy, clean


def clean_loss(
    losses: Tensor, batch: Batch, vocabulary: Vocabulary, code_weight: float, *, of: Batch | None = None
) -> Tensor:
    """The mean of the clean rows' losses (K,), codes weighed against words; of: the batch that this is part of."""

    def weights(batch: Batch) -> Tensor:
        targets = batch.targets[(batch.targets >= 0) & ~batch.is_noisy]
        return torch.where(targets >= vocabulary.first_code, code_weight, 1.0)

    return (weights(batch) * losses).sum() / weights(of or batch).sum().clamp_min(1e-9)


def _means(totals: list[tuple[float, float]], recipe: AdaptRecipe) -> dict[str, float]:
    noisy, clean = np.mean(totals, 0) if totals else (math.nan, math.nan)
    return {"noisy": float(noisy) if recipe.copies else math.nan, "clean": float(clean)}


def measures(recipe: AdaptRecipe) -> tuple[str, ...]:
    return (*CLEAN, *(f"nats_at_{level}" for level in LEVELS if recipe.copies))


@torch.no_grad()
def evaluate(
    learner: Learner,
    held_out: Sequence[np.ndarray],
    layout: SampleLayout,
    path: MetricPath,
    recipe: AdaptRecipe,
    *,
    count: int = 8,
    keeps_weights: bool = True,
) -> dict[str, float]:
    """Held-out cross-entropy, nats a token: token by token, of which words and codes, and of whole pictures from each
    of LEVELS; nan for what no sequence has."""
    learner.eval()
    out: dict[str, list[float]] = {name: [] for name in measures(recipe)}
    for number, ids in enumerate(held_out[:count]):
        for level in LEVELS if recipe.copies else (None,):
            rng = np.random.default_rng([recipe.seed, number])
            batch = make_batch(
                [layout.read(ids, rng)], layout.vocabulary, path, rng, copies=int(level is not None), level=level
            )
            with half_products(batch.ids.device, keeps_weights=keeps_weights):
                noisy, clean = learner(batch, layout.window)
            if level is not None:
                out[f"nats_at_{level}"].append(noisy.mean().item())
        is_code = batch.targets[(batch.targets >= 0) & ~batch.is_noisy] >= layout.vocabulary.first_code
        for name, part in zip(CLEAN, (clean, clean[~is_code], clean[is_code]), strict=True):
            out[name] += [part.mean().item()] if len(part) else []
    learner.train()
    return {name: float(np.mean(values)) if values else math.nan for name, values in out.items()}


def _save(run: Run, step: int, learner: Learner, optimizers, *, is_writer: bool = True) -> None:
    """Save what is learnt as whole tensors, so that any number of processes can continue from it."""
    reshard(learner)
    learnt = {name: parameter.detach() for name, parameter in learner.named_parameters() if parameter.requires_grad}
    state = {"learnt": learnt, "optimizers": [optimizer.state_dict() for optimizer in optimizers]}
    state = whole(state, kept=is_writer)
    if is_writer:
        run.save(step, **state)
