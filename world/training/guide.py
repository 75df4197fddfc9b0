"""Teaches a dreaming model what another one predicts: a larger one, or itself with guidance, in one reading of a
canvas instead of two.

A guided pass reads each canvas twice, with and without what is known, and moves the prediction away from the second
(classifier-free guidance; Passes.denoise). Here a student learns the guided prediction of a teacher from one reading
(Meng et al. 2023, arXiv 2210.03142, section 3.1, here at one strength and over codes): the loss is the divergence
KL(teacher, student) of the cells to be predicted. Whole frames and clean rows are not guided in service, and stay as
they were.

Without guidance the same loss teaches a small model what a large one has learnt (Hinton et al. 2015, arXiv 1503.02531):
a cell has one true code, but thousands that could stand there, and the teacher says how likely each of them is.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..checkpoint import load_checkpoint
from .canvases import Canvases
from .dream import DreamBatch, DreamRecipe, Losses, ready_on, train_dream
from .fresh import Growing
from .world_model import WorldTrainer


def teacher_for(trainer: WorldTrainer, name: str | Path) -> WorldTrainer:
    """The model of a checkpoint as the teacher of a trainer. Raises ValueError if its codes mean other pictures."""
    found, vision = load_checkpoint(name), trainer.vision
    theirs = found.vision.state_dict()
    if any(not torch.equal(weight, theirs.get(key, weight[:0])) for key, weight in vision.state_dict().items()):
        raise ValueError(f"{name} has another tokenizer: its codes mean other pictures; begin with it")
    teacher = WorldTrainer(found.model.config, found.layout, found.dida, found.vocabulary, vision)
    teacher.begin_as(found.model)
    return teacher


def taught_by(teacher: WorldTrainer, device: str) -> Losses:
    """The losses of a model that learns from another one, which is moved to that device."""
    ready_on(device, teacher.eval().requires_grad_(False))
    return partial(guided_losses, teacher=teacher, guidance=1.0)


@dataclass(frozen=True)
class GuideRecipe:
    """guidance: the teacher's; run: batches, rates and time, as of a dream's."""

    guidance: float = 3.0
    run: DreamRecipe = field(
        default_factory=lambda: DreamRecipe(walks=3, copies=3, peak=5e-4, max_seconds=1500.0, seed=8, average=0.99)
    )


def train_guided(
    data: Canvases | Growing,
    held_out: Canvases,
    folder: str | Path,
    recipe: GuideRecipe,
    trainer: WorldTrainer,
    *,
    device: str = "cpu",
    progress=None,
) -> None:
    """Train (or continue training) a trainer that has the teacher's weights when it begins. The log's nats rise,
    because a guided prediction is more certain than the true distribution."""
    teacher = copy.deepcopy(trainer).to(device).eval().requires_grad_(False)
    losses = partial(guided_losses, teacher=teacher, guidance=recipe.guidance)
    train_dream(data, held_out, folder, recipe.run, trainer, losses=losses, device=device, progress=progress)


def guided_losses(
    trainer: WorldTrainer, batch: DreamBatch, *, teacher: WorldTrainer, guidance: float
) -> tuple[Tensor, Tensor]:
    """Mean divergence from the teacher in nats a token: of the cells asked for, guided where they are holes, and of
    clean rows."""
    window = trainer.layout.window
    with torch.no_grad():
        known = teacher.hidden(batch.text, batch.canvases, batch.history, window)
        asked = guided(teacher, batch, known[:, :, 1:][batch.asked], guidance)
        clean = teacher.codes.joint_logits(known[:, :, 0][batch.clean])
    hidden = trainer.hidden(batch.text, batch.canvases, batch.history, window)
    ours = trainer.codes.joint_logits(hidden[:, :, 1:][batch.asked])
    return divergence(asked, ours), divergence(clean, trainer.codes.joint_logits(hidden[:, :, 0][batch.clean]))


def guided(teacher: WorldTrainer, batch: DreamBatch, known: Tensor, guidance: float) -> Tensor:
    """The teacher's logits (M, V) of the cells to be predicted, as in service. known (M, C): the head's input with
    everything that is known; the other reading has neither words, nor pages before, nor what was carried."""
    if guidance == 1:
        return teacher.codes.joint_logits(known)
    (B, T, C, N), K = batch.asked.shape, batch.canvases.shape[-1]
    apart = torch.where(batch.known[..., None], torch.tensor(-1, device=known.device), batch.canvases)
    nothing = torch.full((B * T, 1, 1), -1, device=known.device)
    history = torch.zeros(B * T, 1, N, K, dtype=batch.history.dtype, device=known.device)
    alone = teacher.hidden(nothing, apart.view(B * T, 1, C, N, K), history, 1)[:, :, 1:].reshape(B, T, C, N, -1)
    with_all, without = teacher.codes.joint_logits(known), teacher.codes.joint_logits(alone[batch.asked])
    is_hole = (batch.canvases[..., 0] < 0)[batch.asked]
    return torch.where(is_hole[:, None], without + guidance * (with_all - without), with_all)


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """The mean of KL(teacher, student) in nats, of logits (M, V)."""
    return F.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="batchmean")
