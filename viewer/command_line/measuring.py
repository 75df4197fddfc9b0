"""`roam bench`: every benchmark that has a command of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..files.paths import folder_to_read, folder_to_write
from ..play.progress import waiting
from .options import Model, Run


def kernels(ctx: typer.Context) -> None:
    """Every operation against its alternatives and its floor; arguments go to `python -m roam.bench.kernels`."""
    run_module("bench.kernels", ctx.args)


def rollout(ctx: typer.Context) -> None:
    """Whole frames against their floor, and token by token; arguments go to `python -m roam.bench.rollout`."""
    run_module("bench.rollout", ctx.args)


def guesses(ctx: typer.Context) -> None:
    """Several tokens a pass against one, token by token; arguments go to `python -m roam.bench.guesses`."""
    run_module("bench.guesses", ctx.args)


def stream(ctx: typer.Context) -> None:
    """Key to frame over the wire; arguments go to `python -m roam.bench.stream`."""
    run_module("bench.stream", ctx.args)


def look(ctx: typer.Context) -> None:
    """Looks from anywhere, alone, beside steps, over the wire; arguments go to `python -m roam.bench.look`."""
    run_module("bench.look", ctx.args)


def photon(ctx: typer.Context) -> None:
    """From a key to the picture in the window; arguments go to `python -m roam.bench.photon`."""
    run_module("bench.photon", ctx.args)


def attack(ctx: typer.Context) -> None:
    """A server under load and attack, with goals; arguments go to `python -m roam.bench.attack`."""
    run_module("bench.attack", ctx.args)


def cluster(ctx: typer.Context) -> None:
    """Many walkers over workers, also while these are killed; arguments go to `python -m roam.bench.cluster`."""
    run_module("bench.cluster", ctx.args)


def quick(
    model: Model = None,
    scenes: Annotated[int, typer.Option(min=2, help="Test scenes to walk.")] = 16,
    out: Annotated[Path, typer.Option(help="Folder for the report and its pictures.", callback=folder_to_write)] = Path(
        "roam-out/bench"
    ),
) -> None:
    """Is the dream better than a frozen frame, and how fast is it? It takes some minutes."""
    with waiting("starting"):
        from ...bench.quick import main as run

    run(model, scenes, out)


def imagine(
    model: Model = None,
    split: Annotated[str, typer.Option(help="test for results, dev to choose between weights.")] = "test",
    scenes: Annotated[int, typer.Option(min=2, help="Scenes to turn round in.")] = 12,
    seeds: Annotated[int, typer.Option(min=1, help="How many dreams of each scene.")] = 2,
    untrained: Annotated[bool, typer.Option(help="Whether to add the row of untrained weights.")] = True,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share the scenes.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder for the report and its sheet.", callback=folder_to_write)] = Path(
        "roam-out/imagine"
    ),
) -> None:
    """What does a walker see where nothing has been seen? A table and a sheet to look at, in three to four minutes."""
    with waiting("starting"):
        from ...bench.imagination.quick import main as run

    run(model, split=split, scenes=scenes, seeds=seeds, processes=processes, out=out, is_with_untrained=untrained)


def approach(
    model: Model = None,
    split: Annotated[str, typer.Option(help="test for results, dev to choose between weights.")] = "dev",
    scenes: Annotated[int, typer.Option(min=1, help="Scenes with an object to walk up to.")] = 10,
    out: Annotated[Path, typer.Option(help="Folder for the report and its sheet.", callback=folder_to_write)] = Path(
        "roam-out/approach"
    ),
) -> None:
    """How sharp and whole are objects when a walker comes near them? Takes a minute."""
    with waiting("starting"):
        from ...bench.approach import main as run

    run(model, scenes=scenes, split=split, out=out)


def adaptation(
    out: Run = Path("runs/adaptation"),
    recordings: Annotated[
        Path | None, typer.Option(help="Recorded walks; without it, they are recorded.", callback=folder_to_read)
    ] = None,
    scenes: Annotated[int, typer.Option(min=2, help="Test scenes to measure on.")] = 24,
) -> None:
    """Table 16 of the Emu3.5 report in miniature: train token by token, adapt, measure. 40 minutes on one core."""
    with waiting("starting"):
        from ...bench.adaptation import Proof
        from ...bench.adaptation import main as run

    if not run(out, recordings, Proof(scenes=scenes)):
        raise typer.Exit(1)


def run_module(name: str, args: list[str]) -> None:
    """Run one of our modules as `python -m` would, with those arguments."""
    import runpy

    with waiting("starting"):
        from ...world import engine  # noqa: F401 -- what all of them need, and what takes long

    sys.argv = [name, *args]
    runpy.run_module(f"{__name__.split('.')[0]}.{name}", run_name="__main__", alter_sys=True)
