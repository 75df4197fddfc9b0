"""`roam tune reward` from folder to folder: dreams in groups, rewards them, moves the weights towards the better
ones, and reports the effect on held-out scenes. A stopped run continues to the same weights and the same log."""

from __future__ import annotations

import copy
import csv
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ...files import whole
from ...tokens.vision import VisionTokenizer
from ...training.run import Run
from ...training.world_model import WorldTrainer
from ..keeping import has_begun, note_begin
from .dreams import Group, Studio, drawn, steps_chosen
from .policy import advantages, divergence_from, surrogate
from .report import Held, report_of, write_report
from .spots import Spot, spots_of
from .system import Judge, RewardError, Rewards

FIRST_LEARNT, FIRST_EXAMPLE, FIRST_HELD_OUT = 300_000, 290_000, 2_000  # scenes: of training twice, of development
LEARNT = 200_000  # scenes of training, after which the first are used again
HELD_SEEDS = 3  # dreams of a held-out spot
WARM_UP = 10  # warm-up steps of the rate: the first gradients of Adam are the least reliable


@dataclass(frozen=True)
class RewardRecipe:
    """Numbers of a run on rewards; it ends after max_steps steps or max_seconds, whichever is first.

    group: dreams of a spot; walks: of a step, each through a scene of its own, `frames` frames long; chosen: denoising
    steps of a dream that are learnt from at once; epochs: times that a group is learnt from, with ratios bounded by
    clip; leash: weight of the divergence from the start's weights, in nats a code; peak: learning rate. examples: spots
    by which the measure is fitted; held_out: development scenes that are measured every measure_every steps, 0 for the
    beginning and the end alone; save_every: steps after which a run can go on from there.
    """

    group: int = 6
    walks: int = 2
    frames: int = 4
    chosen: int = 4
    epochs: int = 2
    clip: float = 0.2
    leash: float = 0.05
    peak: float = 5e-5
    max_steps: int = 1000
    max_seconds: float = math.inf
    seed: int = 0
    examples: int = 48
    held_out: int = 16
    measure_every: int = 50
    save_every: int = 10

    def __post_init__(self):
        counts = (self.walks, self.chosen, self.epochs, self.max_steps, self.held_out, self.save_every)
        if min(counts) < 1 or min(self.group, self.frames, self.examples) < 2 or self.measure_every < 0:
            raise RewardError(
                f"{self}: wanted groups, frames and examples of at least 2, and other counts of at least 1"
            )
        if not 0 < self.clip < 1 or self.leash < 0 or self.peak < 0:
            raise RewardError(f"{self}: wanted a clip between 0 and 1, and a leash and a rate of at least 0")


@dataclass(frozen=True)
class RewardOrder:
    """The output folder, the model (a folder, None for the embedded one), the rewards (parts with weights), and the
    recipe."""

    out: Path
    weights: Mapping[str, float]
    model: Path | None = None
    recipe: RewardRecipe = RewardRecipe()
    device: str = "cpu"

    @property
    def fixed(self) -> dict:
        """What must be the same when a run continues."""
        kept = asdict(self.recipe)
        for name in ("max_steps", "max_seconds", "save_every"):
            del kept[name]
        return kept | dict(model=self.model and str(self.model.absolute()), weights=dict(self.weights))


Show = Callable[[str, float, dict], None]


def run_rewards(order: RewardOrder, judge: Judge, *, show: Show | None = None) -> Path:
    """Run the order; returns the folder of the checkpoint. show: called with (part, share done, figures). Raises
    RewardError, or the errors of loading."""
    show, checkpoint = show or (lambda part, share, row: None), load_checkpoint(order.model, device=order.device)
    studio, trainer = Studio(checkpoint), trainer_of(checkpoint)
    order.out.mkdir(parents=True, exist_ok=True)
    if not has_begun(order.out, order.fixed):
        note_begin(order.out, order.fixed)
    rewards = Rewards(judge.fitted(_examples(order, studio, trainer, show)), order.weights)
    player = Player(order.recipe, studio, trainer, rewards)
    player.learn(order.out / "run", show)
    before = player.begun or player.held_out(player.start)
    write_report(report_of(before, player.newest, rewards, judge), order.out)
    save_checkpoint(replace(checkpoint, model=trainer.exported()), order.out / "checkpoint")
    return order.out / "checkpoint"


def trainer_of(checkpoint: Checkpoint) -> WorldTrainer:
    """A checkpoint's transformer, ready to learn."""
    vision = checkpoint.vision
    assert isinstance(vision, VisionTokenizer), "what a studio draws with"
    parts = (checkpoint.model.config, checkpoint.layout, checkpoint.dida, checkpoint.vocabulary, vision)
    trainer = WorldTrainer(*parts)
    trainer.begin_as(copy.deepcopy(checkpoint.model).cpu())
    return trainer.to(checkpoint.metric.device)


def _examples(order: RewardOrder, studio: Studio, trainer: WorldTrainer, show: Show) -> list[tuple[Spot, np.ndarray]]:
    """Spots of training scenes, and what the model dreams there before it has learnt anything."""
    recipe, spots = order.recipe, list[Spot]()
    for number in range(FIRST_EXAMPLE, FIRST_LEARNT):
        spots += spots_of("train", number, recipe.frames, studio.checkpoint)
        show("looking at true places", min(1.0, len(spots) / recipe.examples), {})
        if len(spots) >= recipe.examples:
            break
    spots = spots[: recipe.examples]
    groups = studio.groups(trainer.exported(), spots, [[recipe.seed + k] for k in range(len(spots))])
    return [(group.spot, group.pixels[0]) for group in groups]


class Player:
    """Draws, rewards and learns. start: the weights to which the divergence penalty refers."""

    def __init__(self, recipe: RewardRecipe, studio: Studio, trainer: WorldTrainer, rewards: Rewards):
        self.recipe, self.studio, self.trainer, self.rewards = recipe, studio, trainer, rewards
        self.start = copy.deepcopy(trainer).eval().requires_grad_(False)
        self.temperature = studio.checkpoint.dida.dream_temperature
        self.optimizer = torch.optim.AdamW(trainer.parameters(), lr=recipe.peak, betas=(0.9, 0.95), weight_decay=0.0)
        self._spots: list[Spot] = []
        self.begun: list[Held] = []  # the measurement before the first step, if it was in this process
        self.newest: list[Held] = []  # and the latest one

    def learn(self, folder: Path, show: Show) -> None:
        """Learn, or continue learning, in a folder: its log has a row for every step, and one for every measurement."""
        recipe, run, step = self.recipe, Run(folder), 0
        if state := run.resume():
            self.trainer.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            step = state["step"]
        forget_after(folder / "log.csv", step)
        share = max(step / recipe.max_steps, run.seconds / recipe.max_seconds)
        while share < 1:
            if step % (recipe.measure_every or recipe.max_steps) == 0:
                self._measure(run, step, share, show)
            row = self.step(step)
            step += 1
            run.record(step, **self._row(row, {}))
            if step % recipe.save_every == 0:
                self._save(run, step)
            share = max(step / recipe.max_steps, run.seconds / recipe.max_seconds)
            show("learning", share, {name: row[name] for name in ("reward", "leash")})
        self._measure(run, step, 1.0, show)
        self._save(run, step)
        run.draw("reward", "leash", "held_reward", *(f"held_{name}" for name, w in self.rewards.weights.items() if w))

    def step(self, step: int) -> dict[str, float]:
        """One step; the seed and the step decide everything that is drawn in it. Returns the row of the log."""
        recipe, rng = self.recipe, np.random.default_rng([self.recipe.seed, step])
        first = FIRST_LEARNT + step * recipe.walks % LEARNT
        walks = [spots_of("train", first + k, recipe.frames, self.studio.checkpoint) for k in range(recipe.walks)]
        spots = [spot for walk in walks for spot in walk]
        if not spots:
            return dict.fromkeys(("reward", "spread", "leash", "clipped", *self.rewards.weights), math.nan)
        seeds = rng.integers(2**40, size=(len(spots), recipe.group)).tolist()
        groups = self.studio.groups(self.trainer.exported(), spots, seeds)
        found = [self.rewards.of(group.spot, group.pixels, group.depth) for group in groups]
        total = torch.tensor(np.stack([total for total, _ in found]), dtype=torch.float32)
        figures = self._improve(walks, groups, advantages(total), rng)
        parts = {name: float(np.mean([part[name] for _, part in found])) for name in found[0][1]}
        return dict(reward=float(total.mean()), spread=float(total.std(1, correction=0).mean()), **figures, **parts)

    def _improve(
        self, walks: Sequence[Sequence[Spot]], groups: Sequence[Group], worth: Tensor, rng: np.random.Generator
    ) -> dict[str, float]:
        """Update the weights by the groups' rewards, (groups, G), in a few epochs over the same steps of them."""
        recipe, chosen = self.recipe, steps_chosen(groups, self.recipe.chosen, rng)
        parts, first = [], 0
        for walk in walks:
            own = slice(first, first + len(walk))
            if walk:
                parts.append((groups[own], chosen[own], worth[own]))
            first += len(walk)
        with torch.no_grad():
            begun = [drawn(self.start, part, steps, temperature=self.temperature).logs for part, steps, _ in parts]
        # the probability of each code when it was drawn: the first epoch's own weights drew it
        before: list[Tensor] = []
        leashes, clipped = [], []
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.peak * min(1.0, (self._steps_done() + 1) / WARM_UP)
        for epoch in range(recipe.epochs):
            self.optimizer.zero_grad(set_to_none=True)
            for k, (part, steps, value) in enumerate(parts):
                now = drawn(self.trainer, part, steps, temperature=self.temperature)
                if not epoch:
                    before.append(now.own.detach())
                value = value.to(now.logs.device)[now.group, now.member]
                gain = surrogate(now.own, before[k], value, clip=recipe.clip)
                leash = divergence_from(begun[k], now.logs)
                ((gain.loss + recipe.leash * leash) / len(parts)).backward()
                leashes.append(leash.item())
                clipped.append(gain.clipped)
            torch.nn.utils.clip_grad_norm_(self.trainer.parameters(), 1.0)
            self.optimizer.step()
        return dict(leash=float(np.mean(leashes)), clipped=float(np.mean(clipped)))

    def _steps_done(self) -> int:
        states = self.optimizer.state.values()
        return int(max((float(state["step"]) for state in states), default=0.0)) // self.recipe.epochs

    def held_out(self, trainer: WorldTrainer) -> list[Held]:
        """The dreams of a trainer's weights at spots of development scenes, and their rewards."""
        if not self._spots:
            numbers = range(FIRST_HELD_OUT, FIRST_HELD_OUT + self.recipe.held_out)
            walks = [spots_of("dev", number, self.recipe.frames, self.studio.checkpoint) for number in numbers]
            self._spots += [spot for walk in walks for spot in walk]
        if not self._spots:
            raise RewardError(f"{self.recipe.held_out} held-out scenes show nothing new; measure more of them")
        seeds = [[1_000 * spot.scene + 10 * spot.index + k for k in range(HELD_SEEDS)] for spot in self._spots]
        groups = self.studio.groups(trainer.exported(), self._spots, seeds)
        return [Held(group, self.rewards.of(group.spot, group.pixels, group.depth)[1]) for group in groups]

    def _measure(self, run: Run, step: int, share: float, show: Show) -> None:
        found, self.newest = defaultdict(list), self.held_out(self.trainer)
        self.begun = self.begun if step else self.newest
        for held in self.newest:
            for name, values in held.parts.items():
                found[name].append(values.mean())
            found["reward"].append(self.rewards.total(held.parts).mean())
        row = {name: float(np.mean(values)) for name, values in found.items()}
        run.record(step, **self._row({}, row))
        show("learning", share, {"held-out reward": row["reward"]})

    def _row(self, learnt: Mapping[str, float], held: Mapping[str, float]) -> dict[str, float]:
        """A row of the log: every column, nan where it has no number."""
        names = ("reward", "spread", "leash", "clipped", *self.rewards.weights)
        row = {name: learnt.get(name, math.nan) for name in names}
        return row | {f"held_{name}": held.get(name, math.nan) for name in ("reward", *self.rewards.weights)}

    def _save(self, run: Run, step: int) -> None:
        run.save(step, model=self.trainer.state_dict(), optimizer=self.optimizer.state_dict())


def forget_after(log: Path, step: int) -> None:
    """Remove from a log the rows that will be written again by a run that continues after so many steps."""
    if not log.exists():
        return
    with open(log, newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    reward = head.index("reward")
    kept = [row for row in rows if int(row[0]) < step or (int(row[0]) == step and row[reward] != "nan")]
    with whole(log) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *kept])
