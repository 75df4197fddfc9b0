"""`roam cluster`: many walks on many machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...world.options import DreamOptions
from ..files.paths import folder_to_write
from .options import AllowOrigin, ClusterFolder, Device, Heat, Model, Steps, model_text


def _place(shared: str | None) -> str | None:
    if shared and "://" not in shared:
        folder_to_write(Path(shared))
    return shared


def up(
    listen: Annotated[str, typer.Argument(help="Where the front listens.")] = "tcp://127.0.0.1:5555",
    workers: Annotated[int, typer.Option(min=1, help="Least number of workers.")] = 1,
    most: Annotated[
        int | None, typer.Option(min=1, help="Largest number of workers; by default the same as the least.")
    ] = None,
    shared: Annotated[
        str | None,
        typer.Option(help="Where walks are stored: a folder that all machines see, or s3://...", callback=_place),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Address of an S3 server other than Amazon's, http://HOST:PORT.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster to join, or auto; without it, Roam starts its own.")
    ] = None,
    device: Device = None,
    model: Model = None,
    truth: Annotated[bool, typer.Option("--truth", help="Serve true scenes, with no model.")] = False,
    ghost: Annotated[bool, typer.Option("--ghost", help="Let walkers pass through solid surfaces of a dream.")] = False,
    steps: Steps = None,
    temperature: Heat = None,
    walks: Annotated[int, typer.Option(min=1, help="Walks driven at a time on a worker.")] = 16,
    target_ms: Annotated[
        float, typer.Option(min=0, help="Milliseconds that a batch may take; a slower worker gets no more walks.")
    ] = 0.0,
    each: Annotated[int, typer.Option(min=1, help="Walks driven at a time by one key, or address.")] = 128,
    queue: Annotated[int, typer.Option(min=0, help="Length of the queue; further clients are refused.")] = 64,
    wait_s: Annotated[float, typer.Option(min=1, help="Seconds that a client may wait for a place.")] = 120.0,
    every_s: Annotated[float, typer.Option(min=0.1, help="Seconds between snapshots to the shared place.")] = 1.0,
    idle_s: Annotated[
        float, typer.Option(min=1, help="Seconds without a walk after which a spare worker is ended.")
    ] = 60.0,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the front's key and control socket.", callback=folder_to_write)
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="Folder of keys; only clients on its list may connect.")] = None,
    is_open: Annotated[bool, typer.Option("--open", help="Listen beyond this machine without keys.")] = False,
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the Prometheus metrics.")] = None,
    page_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the web page.")] = None,
    allow_origin: AllowOrigin = None,
) -> None:
    """Start a front, to which all clients connect, and workers behind it (docs/cluster.md)."""
    from ..cluster.control import ControlError
    from ..cluster.placing import Rules
    from ..cluster.ray_fleet import Recipe
    from ..cluster.scaling import Size
    from ..commands.cluster import HOME, FrontAddress
    from ..commands.cluster import up as run
    from ..commands.serve import at_home

    if most is not None and most < workers:
        raise ControlError(f"--most {most} is less than --workers {workers}; --most is the largest number of workers")
    if endpoint and not (shared or "").startswith("s3://"):
        raise ControlError(
            f"--endpoint {endpoint} is of an S3 server: name the bucket too, --shared s3://BUCKET/PREFIX"
        )
    place = shared or str((folder or at_home(HOME)) / "walks")

    def recipe(front_key: str) -> Recipe:
        return Recipe(
            place=place if "://" in place else str(Path(place).absolute()),
            front_key=front_key,
            model=model_text(model),
            is_truth=truth,
            solid=not ghost,
            dreams=DreamOptions(steps, temperature),
            device=device,
            options={"endpoint_url": endpoint} if endpoint else None,
            every_s=every_s,
            most_walks=walks,
            target_ms=target_ms,
        )

    run(
        recipe,
        FrontAddress(listen, keys, is_open, metrics_port, page_port, allow_origin or ()),
        folder=folder,
        ray_address=address,
        rules=Rules(most_walks=walks, target_ms=target_ms, most_each=each, most_waiting=queue, longest_wait_s=wait_s),
        size=Size(workers, most or workers, idle_s=idle_s),
    )


def status(
    folder: ClusterFolder = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once, also on a terminal.")] = False,
) -> None:
    """Workers, walks, steps and the queue: a table, updated every second."""
    from ..commands.cluster import show_status as run

    run(folder, once=once)


def drain(
    worker: Annotated[str, typer.Argument(help="A worker's name, as status has it.")], folder: ClusterFolder = None
) -> None:
    """Move every walk of a worker to others, losing nothing, and end it."""
    from ..commands.cluster import drain as run

    run(worker, folder)


def down(
    folder: ClusterFolder = None,
    workers: Annotated[bool, typer.Option("--workers", help="End the workers of a joined Ray cluster too.")] = False,
) -> None:
    """End the front. Walks are kept; workers go on if the front had joined a Ray cluster."""
    from ..commands.cluster import down as run

    run(folder, workers_too=workers)
