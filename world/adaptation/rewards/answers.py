"""`roam tune reward` for official checkpoints: answers in groups, token by token, scored by the user's functions.

The user's own scorers, module:function, say what an answer is worth (how well its pictures agree with its words,
whether a story is in order). Learning is over tokens: words as drawn among all, codes among codes. The grammar's own
tokens (sizes, row ends, ends of pictures) are not drawn, and are not learnt. Probabilities are those of the branch that
reads everything at temperature 1. Guidance and top-k, with which answers are drawn in service, are left out of them, so
that a ratio says how the weights have moved and not how the draw was narrowed.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...checkpoint import Checkpoint
from ...emu.answer import AnswerWriter, Image, Request
from ...emu.checkpoint import parts_of, save_official
from ...emu.sequence import Format, Text
from ...training.run import Run, half_products
from ...transformer.dida import MetricPath
from ..keeping import has_begun, note_begin
from ..lora import LowRank, add_low_rank
from ..run import AdaptOrder, loaded, plan_memory, read_requests
from ..samples import Sample, make_batch
from ..train import Learner, make_optimizers, recompute_layers
from .policy import advantages, estimated_divergence, surrogate
from .run import Show, forget_after
from .system import RewardError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """An answer to be scored: the request, what came in its order, and the ids of prompt and answer (n,), of which
    `prompt` are the prompt's."""

    request: Request
    parts: tuple[Text | Image, ...]
    ids: np.ndarray
    prompt: int

    @property
    def words(self) -> str:
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def pictures(self) -> tuple[np.ndarray, ...]:
        """(h, w, 3) uint8 each."""
        return tuple(part.pixels for part in self.parts if isinstance(part, Image))


class Scorer(Protocol):
    """Says what an answer is worth: any number, higher is better. Only differences within a group count."""

    def __call__(self, answer: Answered) -> float: ...


@dataclass(frozen=True)
class AnswerOrder(AdaptOrder):
    """An AdaptOrder (its recipe's batch: requests a step) with scorers, module:function each, and their weights; group,
    epochs, clip and leash as a RewardRecipe has them."""

    scorers: dict[str, float] = field(default_factory=dict)
    group: int = 4
    epochs: int = 2
    clip: float = 0.2
    leash: float = 0.05

    @property
    def fixed(self) -> dict:
        """What must be the same when a run continues."""
        recipe = self.recipe
        kept: dict = dict(model=str(self.model and self.model.absolute()), scorers=self.scorers)
        kept |= dict(
            group=self.group, epochs=self.epochs, clip=self.clip, leash=self.leash, requests=str(self.requests)
        )
        return kept | dict(rank=recipe.rank, batch=recipe.batch, peak=recipe.peak, seed=recipe.seed)


def scorers_of(asked: Sequence[str]) -> dict[str, float]:
    """Scorers with their weights, module:function or module:function=weight each, 1 if none is given. Raises
    RewardError for a scorer that cannot be imported or a weight that is no valid number."""
    weights = {}
    for text in asked:
        name, has_weight, number = text.partition("=")
        try:
            weights[name] = float(number) if has_weight else 1.0
        except ValueError:
            weights[name] = math.nan
        if not 0 < weights[name] < math.inf:
            raise RewardError(
                f"'{text}' where a scorer and its weight are wanted, for instance {name or 'mine:order'}=1"
            )
        scorer_of(name)
    if not weights:
        raise RewardError(
            "an official model's answers are scored by functions of yours: name one, --scorer module:function"
        )
    return weights


def scorer_of(name: str) -> Scorer:
    """The function with that module's and function's names, separated by a colon. Raises RewardError."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise RewardError(
            f"scorer '{name}' cannot be used ({error}); wanted module:function on the Python path"
        ) from error
    if not callable(found):
        raise RewardError(f"scorer '{name}' is no function; wanted one that takes an answer and returns a number")
    return found


def run_answers(order: AnswerOrder, *, show: Show | None = None, say: Callable[[str], None] | None = None) -> Path:
    """Run the order; returns the checkpoint's folder. say: gets the plan of the memory. Raises RewardError,
    AdaptError, DoesNotFit, or the errors of reading and loading."""
    if not order.official:
        raise RewardError(f"{order.model} takes scorers where it is an official model with its --vision-tokenizer")
    order.check("tuned")
    if order.requests is None:
        raise RewardError("answers need requests: a file with a JSON object a line, of task and question")
    show, requests = (
        show or (lambda part, share, row: None),
        [*read_requests(order.requests, order.changes, order.size)],
    )
    if not requests:
        raise RewardError(f"{order.requests} holds no request; wanted a JSON object a line, of task and question")
    plan_memory(order, say or log.info)
    has_begun(order.out, order.fixed)
    checkpoint = loaded(order)
    writer = AnswerPlayer(order, checkpoint, requests)
    writer.learn(order.out / "run", show)
    dida = checkpoint.dida if checkpoint.is_adapted else None
    save_official(writer.learner.folded(), order.official[0], order.out / "checkpoint", dida, text=order.text)
    return order.out / "checkpoint"


class AnswerPlayer:
    """Writes answers, has them scored, and learns."""

    def __init__(self, order: AnswerOrder, checkpoint: Checkpoint, requests: Sequence[Request]):
        self.order, self.checkpoint, self.requests = order, checkpoint, requests
        self.form = Format(parts_of(checkpoint).text, checkpoint.vocabulary)
        # where the weights learn: pictures may be read elsewhere
        self.path = MetricPath(checkpoint.metric.to(checkpoint.model.lm_head.weight.device), checkpoint.dida)
        self.scorers = {name: scorer_of(name) for name in order.scorers}
        model = checkpoint.model.requires_grad_(True)
        # the weights to which the divergence penalty refers; adapted ones are found under their adapters
        self._start = None if order.recipe.rank else Learner(copy.deepcopy(model), checkpoint.vocabulary)
        if order.recipe.rank:
            add_low_rank(model, order.recipe.rank, seed=order.recipe.seed)
        if order.recipe.recompute:
            recompute_layers(model)
        self.learner = Learner(model, checkpoint.vocabulary)
        self.optimizers = make_optimizers(self.learner, order.recipe)

    def learn(self, folder: Path, show: Show) -> None:
        """Learn, or continue learning; the log has a row for every step."""
        recipe, run, step = self.order.recipe, Run(folder), 0
        learnt = {name for name, weight in self.learner.named_parameters() if weight.requires_grad}
        if state := run.resume():
            self.learner.load_state_dict(state["learnt"], strict=False)
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            step = state["step"]
        forget_after(folder / "log.csv", step)
        while (share := max(step / recipe.max_steps, run.seconds / recipe.max_seconds)) < 1:
            row = self.step(step)
            note_begin(self.order.out, self.order.fixed)  # not sooner: a scorer that fails can be mended
            step += 1
            run.record(step, **row)
            if step % recipe.save_every == 0 or step == recipe.max_steps:
                held = {name: value for name, value in self.learner.state_dict().items() if name in learnt}
                run.save(step, learnt=held, optimizers=[optimizer.state_dict() for optimizer in self.optimizers])
            show("learning", share, row)
        run.draw("reward", "leash", *self.scorers)

    def step(self, step: int) -> dict[str, float]:
        """One step; the seed and the step decide which requests are answered, and how. Returns the row of the log."""
        order, recipe = self.order, self.order.recipe
        rng = np.random.default_rng([recipe.seed, step])
        chosen = [self.requests[(step * recipe.batch + k) % len(self.requests)] for k in range(recipe.batch)]
        answers = [
            [self.answered(replace(request, seed=int(rng.integers(2**40)))) for _ in range(order.group)]
            for request in chosen
        ]
        scores = {
            name: np.array([[scored(name, f, one) for one in row] for row in answers])
            for name, f in self.scorers.items()
        }
        total = sum(weight * scores[name] for name, weight in order.scorers.items()) / sum(order.scorers.values())
        worth = advantages(torch.tensor(total, dtype=torch.float32)).flatten().tolist()
        figures = self._improve([one for row in answers for one in row], worth)
        return dict(reward=float(np.mean(total)), **figures, **{name: float(x.mean()) for name, x in scores.items()})

    @torch.no_grad()
    def answered(self, request: Request) -> Answered:
        """An answer as it is served, drawn by the weights as they are."""
        self.learner.eval()
        writer, parts = AnswerWriter(self.checkpoint, request), []
        try:
            parts += [event for event in writer.events() if isinstance(event, Text | Image)]
            ids = np.array([*writer.prompt, *writer.tokens], dtype=np.int64)
            return Answered(request, tuple(parts), ids, len(writer.prompt))
        finally:
            writer.close()

    def _improve(self, answers: Sequence[Answered], worth: Sequence[float]) -> dict[str, float]:
        order, leashes, clipped = self.order, [], []
        with torch.no_grad():
            begun = [self.log_probabilities(one, at_start=True) for one in answers]
            before = [self.log_probabilities(one) for one in answers]
        self.learner.train()
        for _ in range(order.epochs):
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            for one, value, start, drawn in zip(answers, worth, begun, before, strict=True):
                now = self.log_probabilities(one)
                gain = surrogate(now, drawn, torch.full_like(now, value), clip=order.clip)
                leash = estimated_divergence(start, now)
                ((gain.loss + order.leash * leash) / len(answers)).backward()
                leashes.append(leash.item())
                clipped.append(gain.clipped)
            torch.nn.utils.clip_grad_norm_([p for p in self.learner.parameters() if p.requires_grad], 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
        return dict(leash=float(np.mean(leashes)), clipped=float(np.mean(clipped)))

    def log_probabilities(self, answer: Answered, *, at_start: bool = False) -> Tensor:
        """(M,) float32, in nats, of the tokens that were drawn for an answer, under the weights that learn or
        those that the run began with."""
        sample = drawn_tokens(answer, self.form, longest=self.order.longest)
        if not sample.learnt.any():
            raise RewardError(
                f"nothing was drawn within --longest {self.order.longest} tokens of an answer to "
                f"'{answer.request.question}', whose prompt has {answer.prompt}: give a larger one"
            )
        rng = np.random.default_rng(0)
        batch = make_batch([sample], self.checkpoint.vocabulary, self.path, rng, copies=0)
        if not at_start:
            with half_products(batch.ids.device):
                return -self.learner(batch, None)[1]
        with without_adapters(self.learner), half_products(batch.ids.device):
            return -(self._start or self.learner)(batch, None)[1]


def scored(name: str, scorer: Scorer, answer: Answered) -> float:
    """What a scorer says of an answer. Raises RewardError if that is no finite number, or if it fails."""
    try:
        value = float(scorer(answer))
    except Exception as error:  # the user's own code
        asked = answer.request.question
        raise RewardError(
            f"scorer '{name}' failed on an answer to '{asked}': {type(error).__name__}: {error}"
        ) from error
    if not math.isfinite(value):
        raise RewardError(
            f"scorer '{name}' gives {value} for an answer to '{answer.request.question}'; wanted a number"
        )
    return value


def drawn_tokens(answer: Answered, form: Format, *, longest: int) -> Sample:
    """An answer in the form for learning: of its tokens those that were drawn, words outside of pictures and codes
    in them."""
    ids = answer.ids[:longest]
    in_picture = np.cumsum(ids == form.image_begin) > np.cumsum(ids == form.image_end)
    is_drawn = (ids >= form.vocabulary.first_code) | ~(in_picture | (ids == form.image_end))
    places = np.arange(len(ids))
    return Sample(ids, places, places * 0, is_drawn & (places >= answer.prompt), ())


@contextlib.contextmanager
def without_adapters(learner: Learner) -> Iterator[None]:
    """Within it, adapters change nothing."""
    adapters = [module for module in learner.modules() if isinstance(module, LowRank)]
    kept = [adapter.up.detach().clone() for adapter in adapters]
    with torch.no_grad():
        for adapter in adapters:
            adapter.up.zero_()
    try:
        yield
    finally:
        with torch.no_grad():
            for adapter, up in zip(adapters, kept, strict=True):
                adapter.up.copy_(up)
