"""The options that several commands share, and what they mean together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..files.paths import folder_of_weights, folder_to_write

Model = Annotated[
    Path | None,
    typer.Option(
        help="Folder of weights, or large or doom; without it, the embedded model.", callback=folder_of_weights
    ),
]
# what else official Emu3.5 folders need or accept
Vision = Annotated[
    Path | None,
    typer.Option(help="Folder of the vision tokenizer, for official Emu3.5 folders.", callback=folder_of_weights),
]
Precision = Annotated[str | None, typer.Option(help="Official models: float32, bfloat16, float16, fp8, int8 or int4.")]
Context = Annotated[int | None, typer.Option(min=256, help="Official models: the most tokens of a sequence.")]
Area = Annotated[int | None, typer.Option(min=256, help="Official models: pixels that a given picture is resized to.")]
Words = Annotated[Path | None, typer.Option("--text-tokenizer", help="Folder of emu3.tiktoken, if it is not found.")]
VisionTokenizer = Annotated[
    Path | None, typer.Option(help="Vision tokenizer of an official model.", callback=folder_of_weights)
]
Rank = Annotated[int, typer.Option(min=0, help="Rank of low-rank adapters; 0 trains all weights.")]
Minutes = Annotated[float, typer.Option(min=0, help="End after this time at the latest.")]
Rate = Annotated[
    float | None, typer.Option(min=0, help="Peak learning rate: 1e-3; official models 1e-4 with --rank, else 2e-5.")
]
Drop = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Share learnt without words, which guidance needs; official: a tenth."),
]
Processes = Annotated[int, typer.Option(min=1, help="Processes; on GPUs, one per card.")]
Devices = Annotated[int | None, typer.Option(min=1, help="Official models: GPUs that the model is split over.")]
Offload = Annotated[
    int | None, typer.Option(min=1, help="Official models: layers that stay in main memory and come when they are run.")
]
Shards = Annotated[
    int, typer.Option("--devices", min=1, help="Official models: devices over which training shards the weights.")
]
Decoder = Annotated[str | None, typer.Option(help="Official models: auto, dida, jacobi or autoregressive.")]
Sampler = Annotated[str | None, typer.Option(help="Official models: how they denoise, direct or jump.")]
Turns = Annotated[str | None, typer.Option(help="Official models: how turns are distinguished, user or span.")]
Steps = Annotated[
    int | None,
    typer.Option(min=1, help="Steps of a dream before it is corrected; fewer are faster."),
]
Heat = Annotated[float | None, typer.Option(min=0, help="Temperature of dreams; 0 takes the likeliest.")]
World = Annotated[str | None, typer.Argument(help="A world by name: doom:E1M1, doom:FILE.wad:MAP01, gym:ID.")]
Tell = Annotated[str | None, typer.Option(help="What the world is, in words, for models that read them.")]
AllowOrigin = Annotated[
    list[str] | None, typer.Option(help="Another origin that pages may come from, https://NAME; may be given again.")
]
Device = Annotated[str | None, typer.Option(help="cuda or cpu; by default what there is.")]
ClusterFolder = Annotated[Path | None, typer.Option(help="Folder of the front's key and control socket.")]
# rich, which prints the help, would read [xr] as a text style without the backslash
Worn = Annotated[bool, typer.Option("--xr", help=r"On a headset, by OpenXR (pip install 'roam-worlds\[xr]').")]
KeyFolder = Annotated[Path | None, typer.Option(help="Folder of the keys.")]
KeyFolderToWrite = Annotated[Path | None, typer.Option(help="Folder of the keys.", callback=folder_to_write)]
Run = Annotated[
    Path, typer.Option(help="Folder of the run; an interrupted run in it continues.", callback=folder_to_write)
]


def if_named(check: Callable[[Path | None], Path | None]) -> Callable[..., Path | None]:
    """A check of an option that is passed over where the option was not given."""

    def checked(ctx: typer.Context, param: typer.CallbackParam, path: Path | None) -> Path | None:
        source = ctx.get_parameter_source(param.name or "")
        return check(path) if source is not None and source.name == "COMMANDLINE" else path

    return checked


def model_text(model: Path | None) -> str | None:
    """The full path of a model's folder, as other processes need it, also for a model that ships."""
    from ...world.checkpoint import folder_of

    return None if model is None else path_text(folder_of(model))


def path_text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
