"""`roam doctor` and `roam generate`: commands that give an answer and end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..files.paths import folder_of_weights, folder_to_write
from ..play.progress import waiting
from ..window.display import missing_display
from .options import Area, Context, Decoder, Devices, Offload, Precision, Sampler, Turns, Words


def doctor(
    warm: Annotated[bool, typer.Option("--warm", help="Also compile what a walk needs, for a quick start.")] = False,
) -> None:
    """Say what is installed, what is missing, and the command that mends it."""
    with waiting("starting"):
        from ..commands.doctor import examine, report, warm_up

    if warm:
        warm_up()
    with waiting("looking at what is installed"):
        found = examine(missing=missing_display())
    if not report(found):
        raise typer.Exit(1)


def generate(
    question: Annotated[str, typer.Argument(help="What to show, tell or do.")],
    task: Annotated[str, typer.Option(help="t2i, x2i, howto, story, explore or vla.")],
    model: Annotated[Path, typer.Option(help="Folder of the official language model.", callback=folder_of_weights)],
    vision_tokenizer: Annotated[
        Path, typer.Option(help="Folder of the official vision tokenizer.", callback=folder_of_weights)
    ],
    out: Annotated[Path, typer.Option(help="Folder for pictures, text and the page.", callback=folder_to_write)] = Path(
        "roam-out/story"
    ),
    image: Annotated[list[Path] | None, typer.Option(help="A given picture; up to three, t2i takes none.")] = None,
    then: Annotated[
        list[str] | None, typer.Option(help="A further instruction after the answer; may be given again.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="explore: interactive, or free, where the model leads.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answer.")] = 0,
    size: Annotated[
        str, typer.Option(help="Size of pictures: height*width in cells, a ratio as 16:9, default, or auto.")
    ] = "default",
    guidance: Annotated[float | None, typer.Option(min=0, help="Scale of guidance for pictures; 1 is none.")] = None,
    image_guidance: Annotated[
        float | None, typer.Option(min=0, help="Scale of the third branch, guidance by given pictures.")
    ] = None,
    unconditional: Annotated[
        str | None, typer.Option(help="What the unconditional branch reads: images or all.")
    ] = None,
    references: Annotated[
        str | None, typer.Option(help="Size of the answer after several images: last, greedy or drawn.")
    ] = None,
    vla_template: Annotated[
        str | None, typer.Option(help="Wording for vla: question or plain; the official one is unpublished.")
    ] = None,
    decoder: Decoder = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps for a picture, with --decoder dida.")
    ] = None,
    sampler: Sampler = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="Temperature of pictures; 0 takes the likeliest tokens.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of the answer.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    precision: Precision = None,
    context: Context = None,
    area: Area = None,
    turns: Turns = None,
    text_tokenizer: Words = None,
    devices: Devices = None,
    offload: Offload = None,
) -> None:
    """Text and pictures by an official Emu3.5 checkpoint."""
    with waiting("starting"):
        from ..commands.generate import generate as run

    changes = dict(
        guidance=guidance,
        image_guidance=image_guidance,
        unconditional=unconditional,
        references=references,
        vla=vla_template,
        decoder=decoder,
        steps=steps,
        sampler=sampler,
        temperature=temperature,
        max_tokens=max_tokens,
        area=area,
        turns=turns,
    )
    run(
        task,
        question,
        out,
        model=model,
        vision=vision_tokenizer,
        text_tokenizer=text_tokenizer,
        images=image or (),
        instructions=then or (),
        mode=mode,
        seed=seed,
        size=size,
        device=device,
        precision=precision,
        context=context,
        devices=devices or 1,
        offload=offload or 0,
        **{name: value for name, value in changes.items() if value is not None},
    )
