"""The command line: `roam bench consistency run | release | report | compare | verify | leaderboard | questions`, and
the same as `python -m roam.bench.consistency`. A Typer application, made when asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ...viewer.files.outputs import unused
from ...viewer.files.paths import file_to_write, folder_to_read, folder_to_write

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Does a model of a world still show the same world when one comes back?",
)
ALL_TASKS = "T1,T2,T3,T4,T5,T6,T7,T8,T9,T10,T11"
Folder = Annotated[Path, typer.Argument(help="Folder of a run.", callback=folder_to_read)]
Out = Annotated[Path, typer.Option(help="Folder for the results; continues what is there.", callback=folder_to_write)]
Publish = Annotated[
    Path,
    typer.Argument(help="Folder for the files to commit: numbers and a few pictures.", callback=folder_to_write),
]


@app.command()
def run(
    model: Annotated[
        list[str], typer.Option(help="Model to ask; repeat, or separate by ; -- `baselines` for all rows.")
    ] = ["embedded"],  # noqa: B006
    tasks: Annotated[str, typer.Option(help="Tasks, separated by commas.")] = ALL_TASKS,
    modes: Annotated[str, typer.Option(help="C (context), F (free) or C,F.")] = "C",
    form: Annotated[str, typer.Option(help="quick, release, full or tiny.")] = "quick",
    split: Annotated[str, typer.Option(help="test for results, dev to choose between models.")] = "test",
    world: Annotated[str, typer.Option(help="doom or doom:FILE.wad; without it, our own scenes.")] = "",
    seeds: Annotated[str, typer.Option(help="Sampling seeds, separated by commas.")] = "0",
    scenes: Annotated[int | None, typer.Option(min=1, help="Fewer or more scenes than the form has.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
    note: Annotated[str, typer.Option(help="Who runs it, and why: goes into the report.")] = "",
    out: Out = Path("roam-bench"),
) -> None:
    """Ask models all questions. It may be interrupted; the same command continues."""
    specs = [spec for part in model for spec in part.split(";")]
    _ask(
        specs,
        out,
        tasks=_parts(tasks),
        modes=_parts(modes),
        form=form,
        split=split,
        world=world,
        scenes=scenes,
        note=note,
        seeds=[int(seed) for seed in _parts(seeds)],
        processes=processes,
    )


@app.command()
def release(
    publish: Publish,
    model: Annotated[str, typer.Option(help="embedded, or a FOLDER/ of weights.")] = "embedded",
    form: Annotated[str, typer.Option(help="release, full, quick or tiny.")] = "release",
    scenes: Annotated[int | None, typer.Option(min=1, help="Fewer or more scenes than the form has.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
    note: Annotated[str, typer.Option(help="Who runs it, and why: goes into the report.")] = "",
    out: Out = Path("roam-bench"),
) -> None:
    """Ask a model of ours, its rows with a part removed, its tokenizer and all baselines; report; publish."""
    from .models.embedded import rows_of
    from .questions.tasks import TASKS
    from .report.page import report as writing
    from .report.publish import publish as publishing

    _ask(
        [*rows_of(model), "baselines"],
        out,
        tasks=tuple(TASKS),
        modes=("C",),
        form=form,
        scenes=scenes,
        processes=processes,
        note=note,
    )
    writing(out)
    size = publishing(out, publish)
    print(f"written: {publish}, {size / 1e6:.1f} MB; the whole page: {out / 'report.html'}")


def _ask(models: list[str], out: Path, **how) -> None:
    """Run with a bar, and say what went wrong."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from ...viewer.commands.bars import Bars
    from ...viewer.play.progress import waiting

    with waiting("starting"):
        from .run import run as asking

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Bars(*columns) as bar:
        job = bar.add_task("asking; the first answers take up to a minute", total=None)
        show = lambda done, total, key: bar.update(job, completed=done, total=total, description=key)  # noqa: E731
        lines = asking(models, out, progress=show, **how)
    errors = [line for line in lines if line.error]
    print(f"{len(lines)} answers in {out}, {len(errors)} of them errors")
    for line in errors[:3]:
        print(f"  {line.model} {line.key}: {line.error.splitlines()[0]}")


@app.command()
def report(folder: Folder) -> None:
    """Write report.html, report.md and report.json, and print the tables."""
    from ...viewer.play.progress import waiting

    with waiting("writing the report"):
        from .report.page import report as writing

        page = writing(folder)
    print((folder / "report.md").read_text(encoding="utf-8"))
    print(f"written: {page}")


@app.command()
def publish(
    folder: Folder,
    target: Publish,
) -> None:
    """Prepare a run's report for a commit: report.md, report.json and a few pictures."""
    from .report.page import report as writing
    from .report.publish import publish as publishing

    writing(folder)
    print(f"written: {target}, {publishing(folder, target) / 1e6:.1f} MB")


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="Folder of a run, or FOLDER#MODEL.")],
    b: Annotated[str, typer.Argument(help="The other run, in the same form.")],
    metrics: Annotated[
        str, typer.Option(help="Metrics, separated by commas.")
    ] = "haarpsi,psnr,action_strict,registered",
    out: Annotated[
        Path | None, typer.Option(help="Markdown file to write the table into as well.", callback=file_to_write)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite an existing file.")] = False,
) -> None:
    """Paired differences, B minus A, on the same scenes, paths and seeds."""
    from .report.compare import as_markdown
    from .report.compare import compare as comparing

    if out:
        unused(out, overwrite=overwrite)
    table = as_markdown(comparing(a, b, metrics=_parts(metrics)))
    if out:
        from ..reports import keep_text

        keep_text(out, f"# {b} less {a}\n\n{table}")
    print(table)


@app.command()
def verify(
    folder: Folder,
    most: Annotated[int | None, typer.Option(min=1, help="Score only about so many lines again.")] = None,
) -> None:
    """Check completeness and questions, and score kept frames again; exit code 1 where anything differs."""
    from rich.console import Console

    from ...viewer.commands.bars import stage_bars

    with stage_bars(Console(stderr=True)) as show:
        from .report.verify import verify as checking

        again = lambda done, total, key: show("scored again", done / total, {})  # noqa: E731
        verdict = checking(folder, most=most, progress=again)
    print(verdict)
    if not verdict.is_sound:
        raise typer.Exit(1)


@app.command()
def leaderboard(
    reports: Annotated[list[Path], typer.Argument(help="report.json files, or folders that hold one.")],
    out: Annotated[Path, typer.Option(help="Folder to write into.", callback=folder_to_write)] = Path("."),
) -> None:
    """Make leaderboard.csv and leaderboard.md from report files."""
    from .report.leaderboard import leaderboard as making

    print(making(reports, out).read_text(encoding="utf-8"))


@app.command()
def questions(
    folder: Annotated[Path, typer.Argument(help="Folder to write into.", callback=folder_to_write)],
    tasks: Annotated[str, typer.Option(help="Tasks, separated by commas.")] = ALL_TASKS,
    modes: Annotated[str, typer.Option(help="C (context), F (free) or C,F.")] = "C",
    form: Annotated[str, typer.Option(help="quick, full or tiny.")] = "quick",
    seeds: Annotated[str, typer.Option(help="Sampling seeds, separated by commas.")] = "0",
) -> None:
    """Write the questions for a model that runs elsewhere; its videos are then scored with `--model videos:FOLDER`."""
    from .models.videos import export
    from .run import episodes_of, sized

    episodes = episodes_of(_parts(tasks), _parts(modes), sized(form, None), [int(seed) for seed in _parts(seeds)])
    export(episodes, folder)
    print(f"{len(episodes)} questions in {folder}")


def main(args: list[str] | None = None) -> None:
    """Run the command line; an error that a person can fix becomes one sentence and exit code 2."""
    try:
        app(args, prog_name="roam bench consistency")
    except (ValueError, OSError, ImportError) as error:
        if isinstance(error, ValueError) and "roam" not in type(error).__module__:
            raise
        print(f"roam: {error}", file=sys.stderr)
        sys.exit(2)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
