"""`roam serve`, `gateway` and `keys`: letting others walk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...world.options import DreamOptions, OfficialOptions
from ..files.paths import folder_to_write
from ..play.progress import waiting
from .options import (
    AllowOrigin,
    Area,
    Context,
    Decoder,
    Devices,
    Heat,
    KeyFolder,
    KeyFolderToWrite,
    Model,
    Offload,
    Precision,
    Sampler,
    Steps,
    Turns,
    Vision,
    Words,
)


def serve(
    address: Annotated[str, typer.Argument(help="Where to listen.")] = "tcp://127.0.0.1:5555",
    model: Model = None,
    truth: Annotated[bool, typer.Option("--truth", help="Serve true scenes, with no model.")] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Folder in which walks are stored.", callback=folder_to_write)
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="Folder of keys; only clients on its list may connect.")] = None,
    is_open: Annotated[bool, typer.Option("--open", help="Listen beyond this machine without keys.")] = False,
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the Prometheus metrics.")] = None,
    page_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the web page.")] = None,
    allow_origin: AllowOrigin = None,
    max_clients: Annotated[int, typer.Option(min=1, max=10**5, help="Connections at a time.")] = 256,
    max_awake: Annotated[int, typer.Option(min=1, max=10**5, help="Walks in memory; others wait on disk.")] = 64,
    park_s: Annotated[float, typer.Option(min=1, help="Seconds after which an idle walk goes to disk.")] = 300.0,
    snapshot_frames: Annotated[
        int, typer.Option(min=1, max=10**6, help="Frames that may be lost if the machine crashes.")
    ] = 30,
    ghost: Annotated[bool, typer.Option("--ghost", help="Let walkers pass through solid surfaces of a dream.")] = False,
    record: Annotated[
        Path | None, typer.Option(help="Folder for frames that games send of themselves.", callback=folder_to_write)
    ] = None,
    steps: Steps = None,
    temperature: Heat = None,
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
    """Let other programs walk: ZeroMQ, protocol 3 (docs/protocol.md)."""
    with waiting("starting"):
        from ..commands.serve import serve as run
        from ..opening.starting import without_collecting
        from ..opening.worlds import open_worlds
        from ..server.registry import Limits

    limits = Limits(max_clients=max_clients, max_awake=max_awake, park_s=park_s, snapshot_frames=snapshot_frames)

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
    with waiting("opening the model"), without_collecting():
        worlds = open_worlds(model, is_truth=truth, solid=not ghost, dreams=dreams, official=official, say=print)
    run(
        worlds,
        address,
        folder=folder,
        keys=keys,
        is_open=is_open,
        limits=limits,
        metrics_port=metrics_port,
        page_port=page_port,
        allow_origins=allow_origin or (),
        record=record,
    )


def gateway(
    server: Annotated[str, typer.Argument(help="The server whose messages are passed on.")] = "tcp://127.0.0.1:5555",
    host: Annotated[str, typer.Option(help="Where the page listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page and its WebSocket.")] = 8080,
    server_key: Annotated[str, typer.Option(help="Public key of a server with keys.")] = "",
    keys: Annotated[Path | None, typer.Option(help="Folder of keys, for servers with keys.")] = None,
    name: Annotated[str, typer.Option(help="The gateway's own key pair.")] = "gateway",
    is_open: Annotated[bool, typer.Option("--open", help="Listen beyond this machine.")] = False,
    allow_origin: AllowOrigin = None,
) -> None:
    """A web page that walks: the same messages over WebSocket, for browsers and headsets."""
    from ..commands.serve import gateway as run

    run(
        server,
        host=host,
        port=port,
        server_key=server_key,
        keys=keys,
        name=name,
        is_open=is_open,
        allow_origins=allow_origin or (),
    )


def keys_make(name: str, folder: KeyFolderToWrite = None) -> None:
    """Make a key pair; `server` is the server's own."""
    from ..commands.serve import keys_make as run

    run(name, folder=folder)


def keys_list(folder: KeyFolder = None) -> None:
    """Whom the server lets in."""
    from ..commands.serve import keys_list as run

    run(folder=folder)


def keys_add(name: str, public: str, folder: KeyFolderToWrite = None) -> None:
    """Let a client in, from the server's next start on."""
    from ..commands.serve import keys_add as run

    run(name, public, folder=folder)
