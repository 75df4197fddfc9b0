"""`roam play`, `view`, `replay` and `export`: the commands for walking."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ...world.options import DreamOptions, OfficialOptions
from ..files.outputs import OutputError
from ..files.paths import file_to_write, folder_to_write
from ..play.progress import waiting
from ..window.display import missing_display
from .options import (
    Area,
    Context,
    Decoder,
    Devices,
    Heat,
    Model,
    Offload,
    Precision,
    Sampler,
    Steps,
    Tell,
    Turns,
    Vision,
    Words,
    World,
    Worn,
    if_named,
    path_text,
)

# a window is walked in wherever one is: that it can save nothing is a note there
Out = Annotated[
    Path, typer.Option(help="Folder for saves, pictures and recordings.", callback=if_named(folder_to_write))
]


def play(
    world: World = None,
    truth: Annotated[bool, typer.Option("--truth", help="Walk the true scene, with no model.")] = False,
    seed: Annotated[int, typer.Option(help="Number of the test scene, and seed of the dream.")] = 1,
    dream_seed: Annotated[int | None, typer.Option(help="Another dream of the same scene or image.")] = None,
    steps: Steps = None,
    temperature: Heat = None,
    family: Annotated[str | None, typer.Option(help="Kind of scene: rooms or outdoors.")] = None,
    image: Annotated[Path | None, typer.Option(help="Dream from this image.")] = None,
    model: Model = None,
    load: Annotated[Path | None, typer.Option(help="Continue from a save.")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, max=10**6, help="Walk a tour (or --actions) of this many frames.")
    ] = None,
    actions: Annotated[Path | None, typer.Option(help="Walk these actions: one sentence per line, # comments.")] = None,
    record: Annotated[
        Path | None, typer.Option(help="Record the walk to this .mp4 or .gif.", callback=file_to_write)
    ] = None,
    out: Out = Path("roam-out"),
    size: Annotated[int, typer.Option(min=1, max=20, help="Window pixels for each pixel of a frame.")] = 5,
    keys: Annotated[Path | None, typer.Option(help="Key table, a JSON file.")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Open no window; record a walk.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --record replace a file.")] = False,
    fov: Annotated[
        float | None, typer.Option(help="Angle across of --image in degrees, if its file does not say.")
    ] = None,
    mapped: Annotated[bool, typer.Option("--map", help="Build a 3D map of this world during the walk.")] = False,
    ghost: Annotated[bool, typer.Option("--ghost", help="Walk through solid surfaces of a dream.")] = False,
    xr: Worn = False,
    text: Tell = None,
    vision_tokenizer: Vision = None,
    precision: Precision = None,
    context: Context = None,
    area: Area = None,
    turns: Turns = None,
    text_tokenizer: Words = None,
    decoder: Decoder = None,
    sampler: Sampler = None,
    devices: Devices = None,
    offload: Offload = None,
) -> None:
    """Walk through a dreamed world, or a true one, with the keys; without a display, record a walk."""
    with waiting("starting"):
        from ..commands import play as playing
        from ..opening.start import Start

    start = Start(
        seed=seed,
        truth=truth,
        family=family,
        image=path_text(image),
        load=path_text(load),
        text=text,
        ghost=ghost,
        dream_seed=dream_seed,
        fov_deg=fov,
        world=world,
    )
    official = OfficialOptions(
        vision=vision_tokenizer,
        precision=precision,
        context=context,
        area=area,
        turns=turns,
        text=text_tokenizer,
        decoder=decoder,
        sampler=sampler,
        devices=devices,
        offload=offload,
    )
    dreams = DreamOptions(steps, temperature)
    order = playing.Order(start, model, actions, frames, record, out, overwrite, mapped, official, dreams)
    if xr:
        from ..commands.wear import wear

        if headless or keys:
            raise OutputError("--xr is worn, with no window and no keys: leave out --headless and --keys")
        wear(order)
        return
    missing = None if headless else missing_display()
    if headless or missing:
        if keys:
            raise OutputError(f"--keys is for a window, and there is none ({missing or '--headless'}): leave it out")
        if missing and missing != "no display":
            print(f"{missing}, so no window can be opened; walking without one", file=sys.stderr)
        playing.play_headless(order)
    else:
        playing.play_in_window(order, keys=keys, scale=size)


def view(
    address: Annotated[str, typer.Argument(help="The server, for instance tcp://127.0.0.1:5555.")],
    truth: Annotated[bool, typer.Option("--truth", help="Walk the true scene, with no model.")] = False,
    seed: Annotated[int, typer.Option(help="Number of the test scene, and seed of the dream.")] = 0,
    family: Annotated[str | None, typer.Option(help="Kind of scene: rooms or outdoors.")] = None,
    image: Annotated[Path | None, typer.Option(help="Dream from this image.")] = None,
    load: Annotated[Path | None, typer.Option(help="Continue from a save of a walk on that server.")] = None,
    record: Annotated[
        Path | None, typer.Option(help="Record the walk to this .mp4 or .gif.", callback=file_to_write)
    ] = None,
    out: Out = Path("roam-out"),
    size: Annotated[int, typer.Option(min=1, max=20, help="Window pixels for each pixel of a frame.")] = 5,
    keys: Annotated[Path | None, typer.Option(help="Folder of your keys, for servers with keys.")] = None,
    name: Annotated[str, typer.Option(help="Which of your keys.")] = "viewer",
    server_key: Annotated[str, typer.Option(help="Public key of a server with keys.")] = "",
    keymap: Annotated[Path | None, typer.Option(help="Key table, a JSON file.")] = None,
    xr: Worn = False,
    text: Tell = None,
) -> None:
    """Walk through a world on a server: `roam serve` there, this window here."""
    with waiting("starting"):
        from ..commands import view as viewing
        from ..opening.start import Start

    start = Start(seed, truth, family, path_text(image), path_text(load), text)
    order = viewing.ViewOrder(address, start, server_key, keys, name, record, out)
    if xr:
        from ..commands.wear import wear_remote

        wear_remote(order)
        return
    viewing.view_in_window(order, keys=keymap, scale=size)


def replay(
    log: Annotated[Path, typer.Argument(help="The .jsonl file of a video, or a folder of recordings.")],
    split: Annotated[str, typer.Option(help="Which split of a folder: train, dev or test.")] = "train",
    rollout: Annotated[int, typer.Option(min=0, help="Number of the walk in a folder.")] = 0,
    out: Annotated[
        Path, typer.Option(help="Where the video of a folder's walk goes.", callback=if_named(folder_to_write))
    ] = Path("roam-out"),
    model: Model = None,
    vision_tokenizer: Vision = None,
    precision: Precision = None,
    context: Context = None,
    area: Area = None,
    turns: Turns = None,
    text_tokenizer: Words = None,
    decoder: Decoder = None,
    sampler: Sampler = None,
    devices: Devices = None,
    offload: Offload = None,
) -> None:
    """Walk an action log again and compare every digest, exit code 1 where one differs; or show a recorded walk."""
    with waiting("starting"):
        from ..commands.play import replay_log

    if log.is_dir():
        from ..commands.record import show_recorded

        show_recorded(log, split, rollout, out)
        return
    official = OfficialOptions(
        vision=vision_tokenizer,
        precision=precision,
        context=context,
        area=area,
        turns=turns,
        text=text_tokenizer,
        decoder=decoder,
        sampler=sampler,
        devices=devices,
        offload=offload,
    )
    if not replay_log(log, model, official):
        raise typer.Exit(1)


def export(
    walk: Annotated[Path, typer.Argument(help="A saved walk: what F5 or `save` wrote.")],
    to: Annotated[Path, typer.Option(help="out.glb or out.ply for surfaces, out.png for a panorama with depth.")],
    model: Model = None,
    points: Annotated[bool, typer.Option("--points", help="Write only points, no triangles.")] = False,
    stride: Annotated[int, typer.Option(min=1, max=64, help="Take every Nth pixel across and down.")] = 1,
    height: Annotated[int, typer.Option(min=16, max=2048, help="Height of a panorama in pixels.")] = 1024,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite an existing file.")] = False,
) -> None:
    """What a walk remembers, for other programs: a mesh, points, or a 360 degree panorama with depth."""
    with waiting("starting"):
        from ..commands.export import ExportOrder
        from ..commands.export import export as run

    run(ExportOrder(walk, to, model, points, stride, height, overwrite))
