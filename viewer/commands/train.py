"""`roam train` in a terminal: builds the recipe from a few numbers and shows the progress of each stage."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from ..files.outputs import OutputError
from .bars import stage_bars


@dataclass(frozen=True)
class TrainOrder:
    """Where to train, which stages, and the numbers that scale the recipe; None keeps the recipe's own. begin: the
    checkpoint that the run starts from, "embedded" for the one in the package. data: recordings to learn from. teacher:
    a checkpoint whose predictions the dream learns. size: of the dreaming model, "small" as in the package or "large".
    minutes: of all training together, in the recipe's shares."""

    out: Path
    stages: tuple[str, ...] = ()
    walks: int | None = None
    tokenizer_minutes: float | None = None
    depth_minutes: float | None = None
    world_minutes: float | None = None
    painter_minutes: float | None = None
    dream_minutes: float | None = None
    begin: str | None = None
    data: Path | None = None
    workers: int | None = None
    device: str = "cpu"
    size: str = "small"
    minutes: float | None = None
    teacher: str | None = None

    def __post_init__(self):
        from ...world.adaptation.run import device_of
        from ...world.training.recipe import STAGES
        from ...world.training.sizes import SIZES

        if self.size not in SIZES:
            raise OutputError(f"unknown size '{self.size}'; known: {', '.join(SIZES)}")
        if self.size == "large" and self.begin is None:
            raise OutputError("the large size takes tokenizer, depth and painter from a model: add --begin embedded")

        if self.teacher is not None:
            self._check_teacher(self.teacher)
        if unknown := [stage for stage in self.stages if stage not in STAGES]:
            raise OutputError(f"unknown stage '{unknown[0]}'; known: {', '.join(STAGES)}")
        device_of(self.device)  # now, not after hours of rendering

    def _check_teacher(self, teacher: str) -> None:
        from ...world.checkpoint import folder_of

        if self.begin is None:
            raise OutputError("a teacher's codes are those of its tokenizer: add --begin with a model that has it too")
        if self.stages and "dream" not in self.stages:
            raise OutputError("a teacher is learnt from in the stage 'dream' alone: add --stage dream, or leave it out")
        if not (folder_of(teacher) / "config.json").is_file():
            raise OutputError(
                f"no checkpoint in {folder_of(teacher)}; name a folder that `roam train` wrote, or 'large'"
            )


def train(order: TrainOrder) -> Path:
    """Run the recipe, continuing what has begun; returns the folder of the checkpoint."""
    from rich.console import Console
    from rich.logging import RichHandler

    from ...world.training.recipe import run_recipe, stages_for

    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    console = Console(markup=False, emoji=False)
    with stage_bars(console) as show:
        if order.data and "keyframes" not in stages_for(order.data):
            console.print(f"{order.data} lacks poses, depth or keyframes: unseen places will be predicted, not dreamt")
        folder = run_recipe(
            order.out, recipe_of(order), stages=stages_of(order), begin=order.begin, device=order.device, progress=show
        )
    console.print(f"checkpoint: {folder}; walk in it with: roam play --model {folder}")
    return folder


def stages_of(order: TrainOrder) -> tuple[str, ...]:
    """The stages that are asked for, or all that the data allow: if a run starts from a model, the last ones, and on
    recordings of other worlds tokenizer and depth before them."""
    from ...world.training.recipe import STAGES, USUAL, stages_for

    known = USUAL if order.data is None else stages_for(order.data)
    again = STAGES[STAGES.index("keyframes") :] + (() if order.data is None else ("tokenizer", "depth"))
    return order.stages or tuple(stage for stage in known if order.begin is None or stage in again)


def recipe_of(order: TrainOrder):
    """The recipe with the order's numbers."""
    from ...world.training.recipe import Recipe
    from ...world.training.sizes import SIZES, going_on, learnt, on_gpu, within

    recipe = replace(SIZES[order.size](Recipe()), data="" if order.data is None else str(order.data.absolute()))
    if order.begin is not None:
        recipe = learnt(recipe) if order.data is None else going_on(recipe)
    if order.device.startswith("cuda"):
        recipe = on_gpu(recipe)
    recipe = replace(recipe, teacher=order.teacher or "")
    if order.minutes is not None:
        recipe = within(recipe, 60 * order.minutes, stages_of(order))
    if order.tokenizer_minutes is not None:
        recipe = replace(recipe, tokenizer=replace(recipe.tokenizer, max_seconds=60 * order.tokenizer_minutes))
    if order.depth_minutes is not None:
        recipe = replace(recipe, refiner=replace(recipe.refiner, max_seconds=60 * order.depth_minutes))
    if order.world_minutes is not None:
        recipe = replace(recipe, world=replace(recipe.world, max_seconds=60 * order.world_minutes))
    if order.painter_minutes is not None:
        seconds = 60 * order.painter_minutes
        recipe = replace(recipe, painting=replace(recipe.painting, max_seconds=seconds))
        finishing = replace(recipe.finishing, max_seconds=min(seconds, recipe.finishing.max_seconds))
        recipe = replace(recipe, finishing=finishing)
    if order.dream_minutes is not None:
        recipe = replace(recipe, dream=replace(recipe.dream, max_seconds=60 * order.dream_minutes))
    if order.walks is not None:
        recipe = replace(
            recipe,
            keyframe_walks=min(order.walks, recipe.keyframe_walks),
            keyframe_canvas_walks=min(order.walks, recipe.keyframe_canvas_walks),
        )
        recipe = replace(recipe, dreams=min(order.walks, recipe.dreams))
        recipe = replace(recipe, walks=order.walks, canvas_walks=min(order.walks, recipe.canvas_walks))
        recipe = replace(recipe, held_out_walks=min(recipe.held_out_walks, order.walks))
    return replace(recipe, workers=order.workers or recipe.workers)
