"""`roam data interleave`, `roam data check` and `roam tune sft`: learning from examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .learning import recipe_for
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
    Shards,
    VisionTokenizer,
    Words,
)

Longest = Annotated[int, typer.Option(min=64, help="Official models: tokens that are learnt at once.")]


def data_interleave(
    recordings: Annotated[Path, typer.Argument(help="A folder that `roam record` wrote.")],
    out: Annotated[Path, typer.Option(help="The file of examples, .jsonl; pictures go into a folder beside it.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "train",
    mode: Annotated[list[str] | None, typer.Option(help="interactive or free; may be given again.")] = None,
    begin: Annotated[list[str] | None, typer.Option(help="At a picture or at words; may be given again.")] = None,
    frames: Annotated[int, typer.Option(min=2, help="Pictures of an example, at most.")] = 7,
    every: Annotated[int, typer.Option(min=1, help="Steps from picture to picture; their words are joined.")] = 1,
    scene: Annotated[str, typer.Option(help="What the places are, in words.")] = "",
    scenes: Annotated[Path | None, typer.Option(help="The same of each world: a JSON object, names to words.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Walks, at most.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Even if the file is there.")] = False,
) -> None:
    """Make examples of recordings and their words: text and pictures in turn, for `roam tune sft`."""
    from ...world.adaptation.interleave import Interleaving
    from ..commands.examples import examples_file, interleave, scenes_of

    target = examples_file(out, overwrite=overwrite)
    readings = (tuple(mode or ["interactive"]), tuple(begin or ["picture"]))
    interleave(Interleaving(recordings, target, split, *readings, frames, every, scene, scenes_of(scenes), limit))


def data_check(
    folder: Annotated[Path, typer.Argument(help="Recordings, videos with their actions, or a .jsonl of examples.")],
    out: Annotated[Path, typer.Option(help="Where the contact sheet goes.")] = Path("roam-out"),
    step_s: Annotated[float, typer.Option(min=0.01, help="Seconds of footage from frame to frame.")] = 0.2,
    text_tokenizer: Words = None,
    area: Annotated[int | None, typer.Option(min=256, help="Of examples: pixels that pictures are brought to.")] = None,
    longest: Longest = 16_384,
) -> None:
    """What is in a folder or a file and what is missing, what was done, and a sheet of frames; exit code 1 for gaps."""
    from ..commands.data import check
    from ..commands.examples import check_file

    if folder.is_file() or folder.suffix == ".jsonl":
        is_good = check_file(folder, text_tokenizer=text_tokenizer, area=area, longest=longest)
    else:
        is_good = check(folder, out, step_s)
    if not is_good:
        raise typer.Exit(1)


def tune_sft(
    data: Annotated[Path, typer.Option(help="Examples to learn from, JSON lines.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run in it goes on.")],
    evaluation: Annotated[
        Path | None, typer.Option("--eval", help="Examples that are only measured; without, a tenth of the others.")
    ] = None,
    model: Model = None,
    vision_tokenizer: VisionTokenizer = None,
    rank: Rank = 0,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 1000,
    minutes: Minutes = 1e9,
    batch: Annotated[int, typer.Option(min=1, help="Packed rows a step, over all processes.")] = 4,
    rate: Rate = None,
    drop: Drop = None,
    code_weight: Annotated[float, typer.Option(min=0, help="Of a picture's token in the loss, beside a word's 1.")] = 1,
    longest: Longest = 16_384,
    frames: Annotated[int, typer.Option(min=2, help="Frames learnt at once, of a model of ours.")] = 8,
    area: Area = None,
    measure_every: Annotated[int, typer.Option(min=0, help="Steps from measurement to measurement; 0: the end.")] = 100,
    save_every: Annotated[int, typer.Option(min=1, help="Steps after which it could go on from there.")] = 200,
    workers: Processes = 1,
    devices: Shards = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of the order and of what is dropped.")] = 0,
    precision: Precision = None,
    text_tokenizer: Words = None,
    context: Context = None,
) -> None:
    """Learn from examples, supervised: requests and the answers that are wanted, words and pictures."""
    from ...world.adaptation.run import device_of
    from ...world.adaptation.tuning import TuneOrder
    from ..commands.examples import tune

    more = dict(code_weight=code_weight, measure_every=measure_every, save_every=save_every)
    recipe = recipe_for(vision_tokenizer is not None, batch, rate, rank, drop, steps, minutes, seed, **more)
    tune(
        TuneOrder(
            out,
            model,
            vision_tokenizer,
            data,
            recipe=recipe,
            frames=frames,
            longest=longest,
            workers=workers,
            devices=devices,
            device=device_of(device),
            precision=precision,
            text=text_tokenizer,
            context=context,
            evaluation=evaluation,
            area=area,
        )
    )
