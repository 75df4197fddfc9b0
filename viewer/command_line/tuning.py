"""`roam data interleave`, `roam data check`, `roam tune sft`, `roam tune reward`: examples and rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..files.paths import file_to_read, folder_to_read, folder_to_write
from ..play.progress import waiting
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
    Run,
    Shards,
    VisionTokenizer,
    Words,
)

Longest = Annotated[int, typer.Option(min=64, help="Official models: tokens of a sequence that are learnt at once.")]


def data_interleave(
    recordings: Annotated[Path, typer.Argument(help="A folder that `roam record` wrote.", callback=folder_to_read)],
    out: Annotated[Path, typer.Option(help="The file of examples, .jsonl; pictures go into a folder next to it.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "train",
    mode: Annotated[list[str] | None, typer.Option(help="interactive or free; may be given again.")] = None,
    begin: Annotated[
        list[str] | None, typer.Option(help="How examples begin: picture or words; may be given again.")
    ] = None,
    frames: Annotated[int, typer.Option(min=2, help="Pictures of an example, at most.")] = 7,
    every: Annotated[int, typer.Option(min=1, help="Steps between two pictures; their words are joined.")] = 1,
    scene: Annotated[str, typer.Option(help="The places, in words.")] = "",
    scenes: Annotated[
        Path | None,
        typer.Option(help="The same for single worlds: a JSON object, names to words.", callback=file_to_read),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Walks, at most.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite an existing file.")] = False,
) -> None:
    """Make examples of recordings and their words: text and pictures in turn, for `roam tune sft`."""
    with waiting("starting"):
        from ...world.adaptation.interleave import Interleaving
        from ..commands.examples import examples_file, interleave, scenes_of

    target = examples_file(out, overwrite=overwrite)
    readings = (tuple(mode or ["interactive"]), tuple(begin or ["picture"]))
    interleave(Interleaving(recordings, target, split, *readings, frames, every, scene, scenes_of(scenes), limit))


def data_check(
    folder: Annotated[Path, typer.Argument(help="Recordings, videos with their actions, or a .jsonl of examples.")],
    out: Annotated[Path, typer.Option(help="Where the contact sheet goes.", callback=folder_to_write)] = Path(
        "roam-out"
    ),
    step_s: Annotated[float, typer.Option(min=0.01, help="Seconds of footage from frame to frame.")] = 0.2,
    text_tokenizer: Words = None,
    area: Annotated[int | None, typer.Option(min=256, help="Of examples: pixels to which pictures are scaled.")] = None,
    longest: Longest = 16_384,
) -> None:
    """What is in a folder or a file and what is missing, what was done, and a sheet of frames; exit code 1 for gaps."""
    with waiting("starting"):
        from ..commands.data import check
        from ..commands.examples import check_file

    if folder.is_file() or folder.suffix == ".jsonl":
        is_good = check_file(folder, text_tokenizer=text_tokenizer, area=area, longest=longest)
    else:
        is_good = check(folder, out, step_s)
    if not is_good:
        raise typer.Exit(1)


def tune_sft(
    data: Annotated[Path, typer.Option(help="Examples to learn from, JSON lines.", callback=file_to_read)],
    out: Run,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--eval", help="Examples that are only measured; by default a tenth of the others.", callback=file_to_read
        ),
    ] = None,
    model: Model = None,
    vision_tokenizer: VisionTokenizer = None,
    rank: Rank = 0,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 1000,
    minutes: Minutes = 1e9,
    batch: Annotated[int, typer.Option(min=1, help="Packed rows a step, over all processes.")] = 4,
    rate: Rate = None,
    drop: Drop = None,
    code_weight: Annotated[
        float, typer.Option(min=0, help="Weight of a picture's token in the loss; a word's is 1.")
    ] = 1,
    longest: Longest = 16_384,
    frames: Annotated[int, typer.Option(min=2, help="Models of ours: frames that are learnt at once.")] = 8,
    area: Area = None,
    measure_every: Annotated[
        int, typer.Option(min=0, help="Steps between two measurements; 0: only at the end.")
    ] = 100,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between two saved states.")] = 200,
    workers: Processes = 1,
    devices: Shards = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of the order and of dropped prompts.")] = 0,
    precision: Precision = None,
    text_tokenizer: Words = None,
    context: Context = None,
) -> None:
    """Learn from examples, supervised: requests and the answers that are wanted, words and pictures."""
    with waiting("starting"):
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


def tune_reward(
    out: Run,
    model: Model = None,
    parts: Annotated[
        list[str] | None, typer.Option(help="Weight of a part, name=weight; may be given again. 0 leaves it out.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 1000,
    minutes: Minutes = 1e9,
    group: Annotated[
        int, typer.Option(min=2, help="Dreams or answers in a group, which are compared with each other.")
    ] = 6,
    walks: Annotated[int, typer.Option(min=1, help="Walks or requests per step.")] = 2,
    frames: Annotated[int, typer.Option(min=2, help="Views of a walk; all but the first may be dreamt.")] = 4,
    chosen: Annotated[int, typer.Option(min=1, help="Denoising steps of a dream that are learnt from.")] = 4,
    epochs: Annotated[int, typer.Option(min=1, help="Times that a group is learnt from.")] = 2,
    clip: Annotated[float, typer.Option(help="How far a token's probability may move from where it was drawn.")] = 0.2,
    kl: Annotated[
        float, typer.Option(min=0, help="Weight of the penalty for moving away from the first weights.")
    ] = 0.05,
    rate: Annotated[float | None, typer.Option(min=0, help="Learning rate: 5e-5, of official models 1e-5.")] = None,
    examples: Annotated[int, typer.Option(min=2, help="Training views that the critic learns from at first.")] = 48,
    held_out: Annotated[int, typer.Option(min=1, help="Development scenes that are only measured.")] = 16,
    measure_every: Annotated[
        int, typer.Option(min=0, help="Steps between two measurements; 0: only at the beginning and the end.")
    ] = 50,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between two saved states.")] = 10,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of the dreams and of the learning.")] = 0,
    vision_tokenizer: VisionTokenizer = None,
    requests: Annotated[
        Path | None, typer.Option(help="Official models: requests to answer, JSON lines.", callback=file_to_read)
    ] = None,
    scorer: Annotated[
        list[str] | None, typer.Option(help="Official models: module:function[=weight]; may be given again.")
    ] = None,
    rank: Rank = 0,
    longest: Longest = 8192,
    precision: Precision = None,
    text_tokenizer: Words = None,
    context: Context = None,
    size: Annotated[
        str, typer.Option(help="Official models: size of the pictures, as for `roam generate`.")
    ] = "default",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Official models: most tokens of an answer.")] = None,
) -> None:
    """Learn from rewards: draw in groups, and make likelier what is measured to be better than the rest."""
    with waiting("starting"):
        from ...bench.imagination.rewards import PICTURES
        from ...world.adaptation.rewards.run import RewardOrder, RewardRecipe
        from ...world.adaptation.rewards.system import RewardError, weights_of
        from ...world.adaptation.run import device_of
        from ..commands.rewards import tune, tune_answers

    if vision_tokenizer is not None:
        from ...world.adaptation.rewards.answers import AnswerOrder, scorers_of
        from ...world.adaptation.train import AdaptRecipe

        if parts:
            raise RewardError("an official model's answers have no parts of ours: give --scorer module:function")
        learnt = AdaptRecipe(
            walks,
            copies=0,
            peak=1e-5 if rate is None else rate,
            rank=rank,
            recompute=True,
            max_steps=steps,
            max_seconds=60 * minutes,
            seed=seed,
            save_every=save_every,
        )
        tune_answers(
            AnswerOrder(
                out,
                model,
                vision_tokenizer,
                requests=requests,
                changes={} if max_tokens is None else {"max_tokens": max_tokens},
                recipe=learnt,
                longest=longest,
                device=device_of(device),
                precision=precision,
                text=text_tokenizer,
                context=context,
                size=size,
                scorers=scorers_of(scorer or ()),
                group=group,
                epochs=epochs,
                clip=clip,
                leash=kl,
            )
        )
        return
    if scorer or requests:
        raise RewardError("requests and scorers are for official models: name one, with its --vision-tokenizer")
    recipe = RewardRecipe(
        group,
        walks,
        frames,
        chosen,
        epochs,
        clip,
        kl,
        5e-5 if rate is None else rate,
        max_steps=steps,
        max_seconds=60 * minutes,
        seed=seed,
        examples=examples,
        held_out=held_out,
        measure_every=measure_every,
        save_every=save_every,
    )
    tune(RewardOrder(out, weights_of(parts or (), PICTURES.usual), model, recipe, device_of(device)), PICTURES)
