"""`roam record`, `train` and `adapt`: from recordings to weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..files.outputs import OutputError
from ..files.paths import file_to_read, folder_to_read, folder_to_write
from ..play.progress import waiting
from .options import (
    Area,
    Context,
    Drop,
    Minutes,
    Model,
    Precision,
    Processes,
    Rank,
    Rate,
    Run,
    Shards,
    VisionTokenizer,
    Words,
)

# peak rates of `roam adapt`, by whether the model is an official one and whether adapters are trained; those of
# official models are taken from what others report of such sizes, and have not been tuned here
RATES = {(False, False): 1e-3, (False, True): 1e-3, (True, False): 2e-5, (True, True): 1e-4}


def record(
    folder: Annotated[Path, typer.Argument(help="Folder to write the rollouts into.", callback=folder_to_write)],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "train",
    rollouts: Annotated[int, typer.Option(min=1, help="How many walks, each through a scene of its own.")] = 64,
    frames: Annotated[int, typer.Option(min=2, help="Frames of each walk.")] = 24,
    first: Annotated[int, typer.Option(min=0, help="Number of the first scene.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, max=1024, help="Processes; by default one per core.")] = None,
    world: Annotated[str, typer.Option(help="Worlds to record: scenes, doom or doom:FILE.wad.")] = "scenes",
    env: Annotated[str | None, typer.Option(help="A Gymnasium environment: its ID, or module:callable.")] = None,
    words: Annotated[
        Path | None, typer.Option(help="JSON table: what the environment's actions are called.", callback=file_to_read)
    ] = None,
    footage: Annotated[
        Path | None, typer.Option(help="A folder of videos, each with its .jsonl of actions.", callback=folder_to_read)
    ] = None,
    fit: Annotated[str, typer.Option(help="How footage becomes square: crop or letterbox.")] = "crop",
    step_s: Annotated[float, typer.Option(min=0.01, help="Seconds of footage from frame to frame.")] = 0.2,
    keyframes: Annotated[
        int, typer.Option(min=0, help="Also this many walks by keyframes, from which models learn to dream.")
    ] = 0,
) -> None:
    """Record walks through true worlds, for training; what is there already is kept."""
    with waiting("starting"):
        from ..commands.record import RecordOrder
        from ..commands.record import record as run

    if words and not env:
        raise OutputError("--words say what an environment's actions are called: give --env, or leave them out")
    source = f"gym:{env}" if env else (f"footage:{footage}" if footage else world)
    run(
        RecordOrder(
            folder=folder,
            source=source,
            split=split,
            rollouts=rollouts,
            frames=frames,
            first=first,
            keyframes=keyframes,
            workers=workers,
            words=words,
            fit=fit,
            step_s=step_s,
        )
    )


def train(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run; an interrupted run in it continues.", callback=folder_to_write),
    ] = None,
    stage: Annotated[list[str] | None, typer.Option(help="Only this stage; may be given again.")] = None,
    walks: Annotated[int | None, typer.Option(min=8, help="Walks to record and learn from.")] = None,
    tokenizer_minutes: Annotated[float | None, typer.Option(min=0, help="Training time of the tokenizer.")] = None,
    depth_minutes: Annotated[float | None, typer.Option(min=0, help="Training time of the depth refiner.")] = None,
    world_minutes: Annotated[float | None, typer.Option(min=0, help="Training time of the world model.")] = None,
    painter_minutes: Annotated[
        float | None, typer.Option(min=0, help="Training time of the painter, and at most of its last stage.")
    ] = None,
    dream_minutes: Annotated[float | None, typer.Option(min=0, help="Training time of dreams.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Training time of all stages together.")] = None,
    begin: Annotated[str | None, typer.Option(help="Start from this checkpoint; 'embedded' is the package's.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that train the world model together.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    data: Annotated[
        Path | None, typer.Option(help="Learn from these recordings of `roam record`.", callback=folder_to_read)
    ] = None,
    size: Annotated[
        str, typer.Option(help="Size of the model that dreams: small as in the package, or large for a big GPU.")
    ] = "small",
    teacher: Annotated[
        str | None, typer.Option(help="Checkpoint whose predictions dreams are learnt from, for instance 'large'.")
    ] = None,
) -> None:
    """Run the embedded weights' recipe: render scenes, train each part of the model one after the other, pack them."""
    from ..commands.train import TrainOrder
    from ..commands.train import train as run

    numbers = (
        walks,
        tokenizer_minutes,
        depth_minutes,
        world_minutes,
        painter_minutes,
        dream_minutes,
        minutes,
        begin,
        workers,
        data,
    )
    if out is None and not stage and all(number is None for number in numbers):
        raise OutputError("training takes hours on two cores: say where to, for instance --out runs/mine")
    out = out or Path("runs/mine")
    with waiting("starting"):
        order = TrainOrder(
            out,
            tuple(stage or ()),
            walks,
            tokenizer_minutes,
            depth_minutes,
            world_minutes,
            painter_minutes,
            dream_minutes,
            begin=begin,
            data=data,
            workers=workers,
            device=device,
            size=size,
            minutes=minutes,
            teacher=teacher,
        )
    run(order)


def recipe_for(
    is_official: bool,
    batch: int,
    rate: float | None,
    rank: int,
    drop: float | None,
    steps: int,
    minutes: float,
    seed: int,
    **more,
):
    """An AdaptRecipe for `roam adapt` and `roam tune sft`, with the usual numbers where none were given."""
    from ...world.adaptation.train import AdaptRecipe

    return AdaptRecipe(
        batch,
        peak=RATES[is_official, rank > 0] if rate is None else rate,
        rank=rank,
        hole_share=0.2,
        prompt_dropout=(0.1 if is_official else 0.0) if drop is None else drop,
        recompute=is_official,
        at_once=int(is_official),
        max_steps=steps,
        max_seconds=60 * minutes,
        seed=seed,
        **more,
    )


def adapt(
    out: Run,
    model: Model = None,
    vision_tokenizer: VisionTokenizer = None,
    data: Annotated[Path | None, typer.Option(help="Recorded walks, or a file of sequences.")] = None,
    distil: Annotated[int, typer.Option(min=0, help="Walks or answers that the model draws for itself.")] = 0,
    requests: Annotated[
        Path | None, typer.Option(help="Requests for an official model to answer, JSON lines.", callback=file_to_read)
    ] = None,
    rank: Rank = 0,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 2000,
    minutes: Minutes = 1e9,
    batch: Annotated[int, typer.Option(min=1, help="Sequences a step, over all processes.")] = 4,
    rate: Rate = None,
    drop: Drop = None,
    longest: Annotated[int, typer.Option(min=64, help="Tokens of an official sequence learnt at once.")] = 8192,
    decode_steps: Annotated[int, typer.Option(min=1, help="Denoising steps per frame of the result.")] = 8,
    workers: Processes = 1,
    devices: Shards = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of the order, the noise and the model's own answers.")] = 0,
    precision: Precision = None,
    text_tokenizer: Words = None,
    context: Context = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, help="Guidance of the answers that the model draws for itself.")
    ] = None,
    area: Area = None,
    size: Annotated[
        str, typer.Option(help="Size of the pictures in those answers, as for `roam generate`.")
    ] = "default",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of each of those answers.")] = None,
) -> None:
    """Give a model that draws token by token DiDA: whole frames at once, in a few steps."""
    with waiting("starting"):
        from ...world.adaptation.run import AdaptOrder, device_of
        from ..commands.adapt import adapt as run

    is_official = vision_tokenizer is not None
    recipe = recipe_for(is_official, batch, rate, rank, drop, steps, minutes, seed)
    changes = dict(guidance=guidance, area=area, max_tokens=max_tokens)
    run(
        AdaptOrder(
            out,
            model,
            vision_tokenizer,
            data,
            distil,
            requests,
            {name: value for name, value in changes.items() if value is not None},
            recipe=recipe,
            longest=longest,
            decode_steps=decode_steps,
            workers=workers,
            devices=devices,
            device=device_of(device),
            precision=precision,
            text=text_tokenizer,
            context=context,
            size=size,
        )
    )
