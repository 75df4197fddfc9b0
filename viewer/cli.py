"""The command `roam`: which commands there are, and how errors and signals end one.

To add a command, write a function in a file of command_line/ that imports its work when it runs, and name it below. Let
it raise: errors of classes of ours and of the operating system become one sentence on stderr and exit code 2.
"""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from ..bench.consistency.commands import app as consistency_app
from .command_line import answering, clustering, learning, measuring, serving, tuning, walking
from .ending import Ended, ending_on_signals, tell
from .streams import outliving_readers

app = typer.Typer(
    name="roam",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Walk through worlds that a model dreams.",
)

keys_app = typer.Typer(no_args_is_help=True, help="Key pairs for servers that ask for keys.")
app.add_typer(keys_app, name="keys")
bench_app = typer.Typer(no_args_is_help=True, help="Benchmarks: quality, speed, consistency.")
app.add_typer(bench_app, name="bench")
data_app = typer.Typer(no_args_is_help=True, help="Recordings, footage and examples: what is there, what is missing.")
app.add_typer(data_app, name="data")
tune_app = typer.Typer(no_args_is_help=True, help="Learn from examples and from rewards.")
app.add_typer(tune_app, name="tune")

cluster_app = typer.Typer(no_args_is_help=True, help="Many walks on many machines, on Ray.")
app.add_typer(cluster_app, name="cluster")
bench_app.add_typer(consistency_app, name="consistency")

DISTRIBUTION = "roam-worlds"  # the name it was installed under

REMEDIES = {  # of what the system refuses, where nobody has said more about it
    "ENOENT": "nothing has that name",
    "EEXIST": "something else has that name: name another",
    "ENOTDIR": "a folder of that name is none: name another",
    "EISDIR": "wanted a file",
    "EACCES": "name another, or ask for permission",
    "EPERM": "name another, or ask for permission",
    "EROFS": "name another place",
    "ENAMETOOLONG": "give it a shorter name",
    "ENOSPC": "make room on that disk, then start it again",
    "EDQUOT": "make room on that disk, then start it again",
    "EFBIG": "no larger file may be written there: name another place, then start it again",
    "EIO": "the disk has failed: name another place",
}

Command = Callable[..., None]
COMMANDS: tuple[Command, ...] = (
    walking.play,
    walking.view,
    walking.replay,
    walking.export,
    learning.record,
    answering.doctor,
    learning.train,
    learning.adapt,
    serving.serve,
    serving.gateway,
    answering.generate,
)
KEYS: dict[str, Command] = {"make": serving.keys_make, "list": serving.keys_list, "add": serving.keys_add}
CLUSTER: dict[str, Command] = {
    "up": clustering.up,
    "status": clustering.status,
    "drain": clustering.drain,
    "down": clustering.down,
}
BENCHMARKS: tuple[Command, ...] = (measuring.quick, measuring.imagine, measuring.approach, measuring.adaptation)
PASSING_ON = (  # every argument
    measuring.kernels,
    measuring.rollout,
    measuring.stream,
    measuring.look,
    measuring.photon,
    measuring.guesses,
    measuring.attack,
    measuring.cluster,
)

CONTINUING = (  # with what an interrupted one has left
    ("record",),
    ("train",),
    ("adapt",),
    ("tune", "sft"),
    ("tune", "reward"),
    ("bench", "adaptation"),
    ("bench", "consistency", "run"),
    ("bench", "consistency", "release"),
)

for command in COMMANDS:
    app.command()(command)
data_app.command("check")(tuning.data_check)
data_app.command("interleave")(tuning.data_interleave)
tune_app.command("sft")(tuning.tune_sft)
tune_app.command("reward")(tuning.tune_reward)
for name, command in KEYS.items():
    keys_app.command(name)(command)
for name, command in CLUSTER.items():
    cluster_app.command(name)(command)
for command in PASSING_ON:
    bench_app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(command)
for command in BENCHMARKS:
    bench_app.command()(command)


def _version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"roam {version(DISTRIBUTION)}")
        except PackageNotFoundError:  # a checkout on the path
            print("roam, not installed")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Walk through worlds that a model dreams."""


def main(args: list[str] | None = None) -> None:
    """Run the command line; `args` are sys.argv's by default. A signal ends the program like an error does: partial
    files are finished or removed, and a sentence says which signal it was."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # file names may have any bytes, and terminals any character set
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with ending_on_signals(), outliving_readers():
            app(args, prog_name="roam")
    except Ended as ended:
        said = tuple(sys.argv[1:] if args is None else args)
        goes_on = "; the same command goes on" if any(said[: len(name)] == name for name in CONTINUING) else ""
        tell(ended, goes_on)
        sys.exit(ended.code)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        if not _is_for_people(error):
            raise
        print(f"roam: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)


def _is_for_people(error: Exception) -> bool:
    """Whether a person can fix the error; a library's plain ValueError is a bug of ours and keeps its traceback."""
    ours = __package__.split(".")[0]
    if isinstance(error, ModuleNotFoundError):
        return not (error.name or "").startswith(ours)
    return isinstance(error, OSError) or _is_memory(error) or type(error).__module__.startswith(ours + ".")


def _is_memory(error: Exception) -> bool:
    """Whether a GPU's memory was full; torch.OutOfMemoryError, without importing torch."""
    return type(error).__name__ == "OutOfMemoryError"


def _sentence(error: Exception) -> str:
    """One line for an error. Names of files and words of servers may hold line ends, and marks that a terminal obeys;
    these are shown as escapes."""
    if isinstance(error, OSError) and error.strerror:
        about = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        said = "; ".join(filter(None, (about, REMEDIES.get(errno.errorcode.get(error.errno or 0, "")))))
    elif _is_memory(error):
        said = (
            f"the GPU's memory is full ({str(error).splitlines()[0]}): end other programs on it, or take a smaller "
            "picture, a shorter --context, another --precision or more devices"
        )
    else:
        hint = "; `roam doctor` says what mends it" if isinstance(error, ModuleNotFoundError) else ""
        said = " ".join(str(error).split()) + hint
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in said)


if __name__ == "__main__":
    main()
