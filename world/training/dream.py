"""The recipe by which the world model learns to dream: it continues the trained model's training, on unseen places.

A sample is a keyframe: a view that shows much for the first time. Cells that earlier views cover hold what was carried
there; of the others some are given, as in the middle of decoding, and the rest are to be predicted. That is masked
diffusion (MaskGIT, arXiv 2202.04200, section 3.1; here with random orders), the metric path's two ends: level 0, where
nothing is known, and level 1. The loss is cross-entropy under the joint distribution of codes, of the cells to be
predicted. A keyframe is used in several canvases at once, which share its history. A share of the canvases and the
clean rows continue to train what the model could do before: whole frames from noise or from the previous frame, and
token by token.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .canvases import Canvases
from .fresh import Growing
from .run import Average, Run, learning_rate
from .world_model import WorldTrainer, make_optimizers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DreamRecipe:
    """steps and max_seconds: whichever ends first. walks: per batch; copies: canvases per keyframe, the last of
    which is a whole frame's with probability `whole`: pure noise if `unknown`, from the previous frame if
    `from_before`. Probabilities: hidden, that more of the carried view is removed, from one side; tired, that given
    cells of a canvas are corrupted, each with `hurt`, to `tired_level`, and that a history is. clean_weight: of the
    clean rows' loss, computed for one row in `clean_every`. part_mb: 0 for a state in one file; else it is kept in
    half precision, in files of at most so many MB, which can be moved one by one. look_every: steps between
    evaluations of held-out data, and between saved states."""

    steps: int = 40_000
    walks: int = 2
    copies: int = 4
    peak: float = 2e-3
    max_seconds: float = 5500.0
    seed: int = 5
    whole: float = 0.3
    unknown: float = 0.5
    from_before: float = 0.5
    hidden: float = 0.25
    tired: float = 0.4
    hurt: float = 0.1
    tired_level: float = 0.8
    clean_weight: float = 0.1
    clean_every: int = 4
    average: float = 0.995
    part_mb: int = 0
    look_every: int = 200


@dataclass(frozen=True)
class DreamBatch:
    """tokens (B, T, N) codes; text (B, T, L); canvases (B, T, copies, N, K) digits, -1 where asked; asked
    (B, T, copies, N) bool; known (B, T, copies, N) bool: cells that were carried there; history (B, T, N, K) digits;
    clean (B, T, N) bool: the clean rows whose loss is taken."""

    tokens: Tensor
    text: Tensor
    canvases: Tensor
    asked: Tensor
    known: Tensor
    history: Tensor
    clean: Tensor


Losses = Callable[[WorldTrainer, DreamBatch], tuple[Tensor, Tensor]]


def make_dream_batch(
    trainer: WorldTrainer, data: Canvases, rows: np.ndarray, recipe: DreamRecipe, generator: torch.Generator
) -> DreamBatch:
    """Canvases of the walks `rows`, as in the middle of decoding, made on the generator's device."""
    device = generator.device
    tokens, warped, text = (torch.from_numpy(x[rows]).to(device).long() for x in (data.tokens, data.warped, data.text))
    covered = torch.from_numpy(data.coverage[rows]).to(device) > 0.5
    draw = lambda *shape: torch.rand(*shape, generator=generator, device=device)  # noqa: E731
    (B, T, N), C, (h, w) = tokens.shape, recipe.copies, trainer.layout.grid
    digits, carried = trainer.digits(tokens), trainer.digits(warped)
    # one side of the carried view is hidden: everything beyond a column, left or right
    column = torch.arange(w, device=device).expand(h, w).flatten()
    edge, is_left = torch.floor(draw(B, T, C, 1) * (w + 1)), draw(B, T, C, 1) < 0.5
    gone = torch.where(is_left, column < edge, column >= edge) & (draw(B, T, C, 1) < recipe.hidden)
    known = covered[:, :, None] & ~gone
    # how much of the rest is to be predicted: MaskGIT's cosine of a uniform time
    share = torch.cos(draw(B, T, C, 1) * math.pi / 2)
    asked = (draw(B, T, C, N) < share) & ~known
    tired = draw(B, T, C, 1) < recipe.tired
    hurt = tired & (draw(B, T, C, N) < recipe.hurt)
    cells = torch.where(known[..., None], carried[:, :, None], digits[:, :, None])
    levels = lambda where: torch.full(where.shape, recipe.tired_level, device=device)  # noqa: E731
    tiring = lambda clean, where: trainer.noised(clean, levels(where), generator)  # noqa: E731
    cells = torch.where(hurt[..., None], tiring(cells, hurt), cells)
    cells = torch.where(asked[..., None], torch.tensor(-1, device=device), cells)
    # whole frames: from noise or from the previous frame
    before = torch.cat([digits[:, :1], digits[:, :-1]], 1)
    level = torch.where(draw(B, T, 1) < recipe.unknown, 0.0, draw(B, T, 1)).expand(B, T, N)
    whole = trainer.noised(torch.where(draw(B, T, 1, 1) < recipe.from_before, before, digits), level, generator)
    is_whole = draw(B, T, 1) < recipe.whole
    cells[:, :, -1] = torch.where(is_whole[..., None], whole, cells[:, :, -1])
    asked[:, :, -1] |= is_whole
    known[:, :, -1] &= ~is_whole
    worn = (draw(B, 1, 1) < recipe.tired) & (draw(B, T, N) < recipe.hurt)
    history = torch.where(worn[..., None], tiring(digits, worn), digits)
    clean = draw(B, T, N) < 1 / recipe.clean_every
    clean[:, 0] = False
    return DreamBatch(tokens, text, cells, asked, known, history, clean)


def train_dream(
    data: Canvases | Growing,
    held_out: Canvases,
    folder: str | Path,
    recipe: DreamRecipe,
    trainer: WorldTrainer,
    *,
    losses: Losses | None = None,
    device: str = "cpu",
    progress=None,
) -> None:
    """Train (or continue training) a trainer whose weights may already be those of a model. losses: of a batch, of
    the cells to be predicted and of clean rows; by default dream_losses. progress: called with (share done, the log
    row) now and then. Raises ValueError if the folder holds a run of another size."""
    run, config = Run(folder, part_mb=recipe.part_mb), asdict(trainer.transformer.config)
    ready_on(device, trainer)
    optimizers = make_optimizers(trainer, recipe.peak)
    average, step = Average(trainer, recipe.average), 0
    if state := run.resume():
        if (held := state.get("config", config)) != config:
            raise ValueError(f"{folder} holds a model of {held}; this recipe makes one of {config}: name the same size")
        trainer.load_state_dict(state["model"])
        average.take(state["average"])
        average.updates, step = state["updates"], state["step"]
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def save() -> None:
        run.save(
            step,
            model=trainer.state_dict(),
            average=average.weights,
            updates=average.updates,
            optimizers=[optimizer.state_dict() for optimizer in optimizers],
            config=config,
        )

    totals: list[Tensor] = []
    while (share := max(step / recipe.steps, run.seconds / recipe.max_seconds)) < 1:
        rate = learning_rate(int(share * recipe.steps), recipe.steps, 1.0, warmup=0) * min(1.0, (step + 1) / 50)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = group["peak"] * rate
        rows = data.canvases if isinstance(data, Growing) else data
        batch = dream_batch(trainer, rows, recipe, step, device)
        totals.append(_dream_step(trainer, optimizers, batch, recipe, losses or dream_losses))
        average.update(trainer)
        step += 1
        if step % 50 == 0:
            row = dict(zip(("asked", "clean"), torch.stack(totals).mean(0).tolist(), strict=True)) | {"rate": rate}
            if isinstance(data, Growing):
                row["walks"] = data.refresh()
            held = evaluate_dream(average.of(trainer), held_out) if step % recipe.look_every == 0 else {}
            run.record(step, **row, **{name: held.get(name, math.nan) for name in MEASURES})
            totals = []
            if held:
                save()
            if progress:
                progress(share, row | held)
    save()
    last = dict(asked=math.nan, clean=math.nan, rate=0.0)
    if isinstance(data, Growing):
        last["walks"] = len(data.canvases.tokens)
    run.record(step, **last, **evaluate_dream(average.of(trainer), held_out))
    run.draw("asked", "clean", *MEASURES)


def ready_on(device: str, trainer: WorldTrainer) -> None:
    """Move a trainer to the device on which it trains, or teaches; on CUDA, compile it."""
    trainer.to(device)
    if torch.device(device).type == "cuda":
        torch.set_float32_matmul_precision("high")
        trainer.compile_layers()


def dream_batch(
    trainer: WorldTrainer, data: Canvases, recipe: DreamRecipe, step: int, device: str | torch.device
) -> DreamBatch:
    """The batch of a step: it depends only on the data, the seed and the step, and on the kind of device that draws
    it."""
    rng = np.random.default_rng([recipe.seed, step])
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    return make_dream_batch(trainer, data, rng.integers(len(data.tokens), size=recipe.walks), recipe, generator)


def _dream_step(trainer: WorldTrainer, optimizers, batch: DreamBatch, recipe: DreamRecipe, losses: Losses) -> Tensor:
    """The two losses (2,), on their device: reading a number from them waits for it."""
    asked, clean = losses(trainer, batch)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    (asked + recipe.clean_weight * clean).backward()
    torch.nn.utils.clip_grad_norm_(trainer.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return torch.stack([asked, clean]).detach()


def dream_losses(trainer: WorldTrainer, batch: DreamBatch) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy in nats a token: of the cells asked for, and of clean rows that have a history."""
    hidden = trainer.hidden(batch.text, batch.canvases, batch.history, trainer.layout.window)
    tokens = batch.tokens[:, :, None].expand(batch.asked.shape)
    asked = trainer.codes.joint_loss(hidden[:, :, 1:][batch.asked], tokens[batch.asked]).mean()
    return asked, trainer.codes.joint_loss(hidden[:, :, 0][batch.clean], batch.tokens[batch.clean]).mean()


MEASURES = ("hole_nats", "half_nats", "first_nats")


@torch.no_grad()
def evaluate_dream(trainer: WorldTrainer, data: Canvases, *, walks: int = 24) -> dict[str, float]:
    """Held-out cross-entropy in nats a token, later keyframes: of holes with nothing in them given, and with half
    given; first_nats: of a frame of which nothing is known, half given."""
    generator = torch.Generator().manual_seed(0)
    tokens, warped = (torch.from_numpy(x[:walks]).long() for x in (data.tokens, data.warped))
    holes = torch.from_numpy(data.coverage[:walks]) <= 0.5
    text = torch.from_numpy(data.text[:walks]).long()
    half = holes & (torch.rand(holes.shape, generator=generator) < 0.5)
    digits, carried = trainer.digits(tokens), trainer.digits(warped)
    asked = torch.stack([holes, half], 2)
    cells = torch.where(holes[..., None], digits, carried)[:, :, None]
    canvases, device = torch.where(asked[..., None], torch.tensor(-1), cells), trainer.codes.head.device
    text, canvases, digits, asked, tokens = (x.to(device) for x in (text, canvases, digits, asked, tokens))
    # held-out data have another shape; torch's compiler, which takes seconds to import, is left alone where none runs
    with torch.compiler.set_stance("force_eager") if trainer.is_compiled else nullcontext():
        hidden = trainer.hidden(text, canvases, digits, trainer.layout.window)[:, :, 1:]
    nats = torch.full(asked.shape, math.nan, device=device)
    nats[asked] = trainer.codes.joint_loss(hidden[asked], tokens[:, :, None].expand(asked.shape)[asked])
    later, first = nats[:, 1:], nats[:, :1]
    parts = (later[:, :, 0], later[:, :, 1], first[:, :, 1])
    return dict(zip(MEASURES, (part.nanmean().item() for part in parts), strict=True))
