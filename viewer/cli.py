"""The command `roam`: one short function a subcommand; what a command needs is imported when it runs.

To add a command, write a function with `@app.command()` below, import its work inside it, and let it raise: errors of
ours and of the operating system become one sentence on stderr and exit code 2.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..bench.consistency.commands import app as consistency_app
from ..world.options import OfficialOptions
from .files.outputs import OutputError
from .window.display import missing_display

app = typer.Typer(
    name="roam", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Walk through worlds that a model dreams.",
)  # fmt: skip

keys_app = typer.Typer(no_args_is_help=True, help="Key pairs for servers that not everyone may enter.")
app.add_typer(keys_app, name="keys")
bench_app = typer.Typer(no_args_is_help=True, help="Measure: quality, speed, consistency.")
app.add_typer(bench_app, name="bench")
data_app = typer.Typer(no_args_is_help=True, help="Recordings and footage: what is there, what is missing.")
app.add_typer(data_app, name="data")
bench_app.add_typer(consistency_app, name="consistency")

DISTRIBUTION = "roam-worlds"  # what it is called where it is installed from
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

Model = Annotated[Path | None, typer.Option(help="Folder of weights; without it, the embedded model.")]
# what official Emu3.5 folders need or take besides
Vision = Annotated[Path | None, typer.Option(help="Folder of the vision tokenizer, for official Emu3.5 folders.")]
Precision = Annotated[str | None, typer.Option(help="Official models: float32, bfloat16, float16 or fp8.")]
Context = Annotated[int | None, typer.Option(min=256, help="Official models: the most tokens of a sequence.")]
Area = Annotated[int | None, typer.Option(min=256, help="Official models: pixels that a given picture is brought to.")]
Words = Annotated[Path | None, typer.Option("--text-tokenizer", help="Folder of emu3.tiktoken, where not found.")]
Decoder = Annotated[str | None, typer.Option(help="Official models: auto, dida or autoregressive.")]
Sampler = Annotated[str | None, typer.Option(help="Official models: how they denoise, direct or jump.")]
Turns = Annotated[str | None, typer.Option(help="Official models: how turns are told apart, user or span.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps in which what nobody has seen is dreamt.")]
Heat = Annotated[float | None, typer.Option(min=0, help="How freely that is drawn; 0 takes what is likeliest.")]
World = Annotated[str | None, typer.Argument(help="A world by name: doom:E1M1, doom:FILE.wad:MAP01, gym:ID.")]
Tell = Annotated[str | None, typer.Option(help="What the world is, in words, for models that read them.")]


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


@app.command()
def play(
    world: World = None,
    truth: Annotated[bool, typer.Option("--truth", help="Walk the true scene, with no model.")] = False,
    seed: Annotated[int, typer.Option(help="Number of the test scene, and seed of the dream.")] = 1,
    dream_seed: Annotated[int | None, typer.Option(help="Another dream of the same scene or image.")] = None,
    steps: Steps = None,
    temperature: Heat = None,
    family: Annotated[str | None, typer.Option(help="Kind of scene: rooms or outdoors.")] = None,
    image: Annotated[Path | None, typer.Option(help="Dream on from this image.")] = None,
    model: Model = None,
    load: Annotated[Path | None, typer.Option(help="Go on from a save.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Walk a tour (or --actions) of so many frames.")] = None,
    actions: Annotated[Path | None, typer.Option(help="Walk these: one sentence a line, # comments.")] = None,
    record: Annotated[Path | None, typer.Option(help="Record the walk to this .mp4 or .gif.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for saves, pictures and recordings.")] = Path("roam-out"),
    size: Annotated[int, typer.Option(min=1, max=20, help="Window pixels for each pixel of a frame.")] = 5,
    keys: Annotated[Path | None, typer.Option(help="Key table, a JSON file.")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Open no window; record a walk.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --record replace a file.")] = False,
    fov: Annotated[float | None, typer.Option(help="Degrees across that --image shows, if its file is silent.")] = None,
    mapped: Annotated[bool, typer.Option("--map", help="Grow a 3D map of this world beside the walk.")] = False,
    ghost: Annotated[bool, typer.Option("--ghost", help="Walk through what is solid in a dream.")] = False,
    text: Tell = None,
    vision_tokenizer: Vision = None,
    precision: Precision = None,
    context: Context = None,
    area: Area = None,
    turns: Turns = None,
    text_tokenizer: Words = None,
    decoder: Decoder = None,
    sampler: Sampler = None,
) -> None:
    """Walk through a dreamed world, or a true one, with the keys; without a display, record a walk."""
    from .commands import play as playing
    from .opening.start import Start

    start = Start(seed, truth, family, _text(image), _text(load), text, ghost, dream_seed, fov, world)
    official = OfficialOptions(vision_tokenizer, precision, context, area, turns, text_tokenizer, decoder, sampler)
    dreams = _dreams(steps, temperature)
    order = playing.Order(start, model, actions, frames, record, out, overwrite, mapped, official, dreams)
    missing = None if headless else missing_display()
    if headless or missing:
        if keys:
            raise OutputError(f"--keys is for a window, and there is none ({missing or '--headless'}): leave it out")
        if missing and missing != "no display":
            print(f"{missing}, so no window can be opened; walking without one", file=sys.stderr)
        playing.play_headless(order)
    else:
        playing.play_in_window(order, keys=keys, scale=size)


@app.command()
def view(
    address: Annotated[str, typer.Argument(help="The server, for instance tcp://127.0.0.1:5555.")],
    truth: Annotated[bool, typer.Option("--truth", help="Walk the true scene, with no model.")] = False,
    seed: Annotated[int, typer.Option(help="Number of the test scene, and seed of the dream.")] = 0,
    family: Annotated[str | None, typer.Option(help="Kind of scene: rooms or outdoors.")] = None,
    image: Annotated[Path | None, typer.Option(help="Dream on from this image.")] = None,
    load: Annotated[Path | None, typer.Option(help="Go on from a save of a walk on that server.")] = None,
    record: Annotated[Path | None, typer.Option(help="Record the walk to this .mp4 or .gif.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for saves, pictures and recordings.")] = Path("roam-out"),
    size: Annotated[int, typer.Option(min=1, max=20, help="Window pixels for each pixel of a frame.")] = 5,
    keys: Annotated[Path | None, typer.Option(help="Folder of your keys, for servers with keys.")] = None,
    name: Annotated[str, typer.Option(help="Which of your keys.")] = "viewer",
    server_key: Annotated[str, typer.Option(help="Public key of a server with keys.")] = "",
    keymap: Annotated[Path | None, typer.Option(help="Key table, a JSON file.")] = None,
    text: Tell = None,
) -> None:
    """Walk through a world on a server: `roam serve` there, this window here."""
    from .commands import view as viewing
    from .opening.start import Start

    start = Start(seed, truth, family, _text(image), _text(load), text)
    order = viewing.ViewOrder(address, start, server_key, keys, name, record, out)
    viewing.view_in_window(order, keys=keymap, scale=size)


@app.command()
def replay(
    log: Annotated[Path, typer.Argument(help="The .jsonl file beside a video, or a folder of recordings.")],
    split: Annotated[str, typer.Option(help="Of a folder: train, dev or test.")] = "train",
    rollout: Annotated[int, typer.Option(min=0, help="Of a folder: which of its walks.")] = 0,
    out: Annotated[Path, typer.Option(help="Of a folder: where the video goes.")] = Path("roam-out"),
    model: Model = None,
    vision_tokenizer: Vision = None,
    precision: Precision = None,
    context: Context = None,
    area: Area = None,
    turns: Turns = None,
    text_tokenizer: Words = None,
    decoder: Decoder = None,
    sampler: Sampler = None,
) -> None:
    """Walk an action log again and compare every digest, exit code 1 where one differs; or show a recorded walk."""
    from .commands.play import replay_log

    if log.is_dir():
        from .commands.record import show_recorded

        show_recorded(log, split, rollout, out)
        return
    official = OfficialOptions(vision_tokenizer, precision, context, area, turns, text_tokenizer, decoder, sampler)
    if not replay_log(log, model, official):
        raise typer.Exit(1)


@app.command()
def record(
    folder: Annotated[Path, typer.Argument(help="Folder to write the rollouts into.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "train",
    rollouts: Annotated[int, typer.Option(min=1, help="How many walks, each through a scene of its own.")] = 64,
    frames: Annotated[int, typer.Option(min=2, help="Frames of each walk.")] = 24,
    first: Annotated[int, typer.Option(min=0, help="Number of the first scene.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; without it, one a core.")] = None,
    world: Annotated[str, typer.Option(help="Whose: scenes, doom, doom:FILE.wad.")] = "scenes",
    env: Annotated[str | None, typer.Option(help="A Gymnasium environment: its ID, or module:callable.")] = None,
    words: Annotated[Path | None, typer.Option(help="Of an environment: what its actions are called, JSON.")] = None,
    footage: Annotated[Path | None, typer.Option(help="A folder of videos, each with its .jsonl of actions.")] = None,
    fit: Annotated[str, typer.Option(help="How footage becomes square: crop or letterbox.")] = "crop",
    step_s: Annotated[float, typer.Option(min=0.01, help="Seconds of footage from frame to frame.")] = 0.2,
    keyframes: Annotated[int, typer.Option(min=0, help="Besides, so many walks by strides, to learn to dream.")] = 0,
) -> None:
    """Record walks through true worlds, for training; what is there already is kept."""
    from .commands.record import RecordOrder
    from .commands.record import record as run

    if words and not env:
        raise OutputError("--words say what an environment's actions are called: give --env, or leave them out")
    source = f"gym:{env}" if env else (f"footage:{footage}" if footage else world)
    run(RecordOrder(folder, source, split, rollouts, frames, first, keyframes, workers, words, fit, step_s))


@data_app.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="Recordings, or videos with their actions.")],
    out: Annotated[Path, typer.Option(help="Where the contact sheet goes.")] = Path("roam-out"),
    step_s: Annotated[float, typer.Option(min=0.01, help="Seconds of footage from frame to frame.")] = 0.2,
) -> None:
    """What is in a folder and what is missing, what was done, and a sheet of frames; exit code 1 for gaps."""
    from .commands.data import check

    if not check(folder, out, step_s):
        raise typer.Exit(1)


@app.command()
def doctor(
    warm: Annotated[bool, typer.Option("--warm", help="Also compile what a walk needs, for a quick start.")] = False,
) -> None:
    """Say what is installed, what is missing, and the command that mends it."""
    from .commands.doctor import examine, report, warm_up

    if warm:
        warm_up()
    if not report(examine(missing=missing_display())):
        raise typer.Exit(1)


@app.command()
def train(
    out: Annotated[Path | None, typer.Option(help="Folder of the run; an interrupted run in it goes on.")] = None,
    stage: Annotated[list[str] | None, typer.Option(help="Only this stage; may be given again.")] = None,
    walks: Annotated[int | None, typer.Option(min=8, help="Walks to record and learn from.")] = None,
    tokenizer_minutes: Annotated[float | None, typer.Option(min=0, help="Training time of the tokenizer.")] = None,
    depth_minutes: Annotated[float | None, typer.Option(min=0, help="Training time of the depth refiner.")] = None,
    world_minutes: Annotated[float | None, typer.Option(min=0, help="Training time of the world model.")] = None,
    painter_minutes: Annotated[
        float | None, typer.Option(min=0, help="Training time of the painter, and at most of its last stage.")
    ] = None,
    dream_minutes: Annotated[float | None, typer.Option(min=0, help="Training time on what nobody has seen.")] = None,
    begin: Annotated[str | None, typer.Option(help="Go on from this checkpoint; 'embedded' is the package's.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that train the world model together.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    data: Annotated[Path | None, typer.Option(help="Learn from these recordings of `roam record`.")] = None,
) -> None:
    """Render, train the tokenizer, depth, the world model, painter and dreams, pack: the embedded weights' recipe."""
    from .commands.train import TrainOrder
    from .commands.train import train as run

    numbers = (walks, tokenizer_minutes, depth_minutes, world_minutes, painter_minutes, dream_minutes, begin, workers,
               data)  # fmt: skip
    if out is None and not stage and all(number is None for number in numbers):
        raise OutputError("training takes hours on two cores: say where to, for instance --out runs/mine")
    out = out or Path("runs/mine")
    run(TrainOrder(out, tuple(stage or ()), walks, tokenizer_minutes, depth_minutes, world_minutes, painter_minutes,
                   dream_minutes, begin=begin, data=data, workers=workers, device=device))  # fmt: skip


@app.command()
def adapt(
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run in it goes on.")],
    model: Model = None,
    vision_tokenizer: Annotated[Path | None, typer.Option(help="Vision tokenizer of an official model.")] = None,
    data: Annotated[Path | None, typer.Option(help="Recorded walks, or a file of sequences.")] = None,
    distil: Annotated[int, typer.Option(min=0, help="Walks or answers that the model draws for itself.")] = 0,
    requests: Annotated[Path | None, typer.Option(help="What an official model answers, JSON lines.")] = None,
    rank: Annotated[int, typer.Option(min=0, help="Of low-rank adapters; 0 trains all weights.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 2000,
    minutes: Annotated[float, typer.Option(min=0, help="End earlier, after so long.")] = 1e9,
    batch: Annotated[int, typer.Option(min=1, help="Sequences a step, over all processes.")] = 4,
    rate: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 1e-3,
    longest: Annotated[int, typer.Option(min=64, help="Tokens of an official sequence learnt at once.")] = 8192,
    decode_steps: Annotated[int, typer.Option(min=1, help="Denoising steps a frame afterwards.")] = 8,
    workers: Annotated[int, typer.Option(min=1, help="Processes; on GPUs, one a card.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Give a model that draws token by token DiDA: whole frames at once, in a few steps."""
    from ..world.adaptation.run import AdaptOrder, device_of
    from ..world.adaptation.train import AdaptRecipe
    from .commands.adapt import adapt as run

    is_large = vision_tokenizer is not None
    recipe = AdaptRecipe(batch, peak=rate, rank=rank, hole_share=0.2, recompute=is_large, max_steps=steps,
                         max_seconds=60 * minutes)  # fmt: skip
    run(AdaptOrder(out, model, vision_tokenizer, data, distil, requests, recipe=recipe, longest=longest,
                   decode_steps=decode_steps, workers=workers, device=device_of(device)))  # fmt: skip


AllowOrigin = Annotated[
    list[str] | None, typer.Option(help="Where pages may come from besides, https://NAME; may be given again.")
]


@app.command()
def serve(
    address: Annotated[str, typer.Argument(help="Where to listen.")] = "tcp://127.0.0.1:5555",
    model: Model = None,
    truth: Annotated[bool, typer.Option("--truth", help="Serve true scenes, with no model.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Folder of walks that are kept.")] = None,
    keys: Annotated[Path | None, typer.Option(help="Folder of keys; only those on its list get in.")] = None,
    is_open: Annotated[bool, typer.Option("--open", help="Listen beyond this machine without keys.")] = False,
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the Prometheus metrics.")] = None,
    page_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the web page.")] = None,
    allow_origin: AllowOrigin = None,
    max_clients: Annotated[int, typer.Option(min=1, help="Connections at a time.")] = 256,
    max_awake: Annotated[int, typer.Option(min=1, help="Walks in memory; others wait on disk.")] = 64,
    park_s: Annotated[float, typer.Option(min=1, help="Seconds after which an idle walk goes to disk.")] = 300.0,
    snapshot_frames: Annotated[int, typer.Option(min=1, help="Frames lost at most where the machine dies.")] = 30,
    ghost: Annotated[bool, typer.Option("--ghost", help="Let walkers through what is solid in a dream.")] = False,
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
) -> None:
    """Let other programs walk: ZeroMQ, protocol 1 (docs/protocol.md)."""
    from .commands.serve import serve as run
    from .opening.worlds import open_worlds
    from .server.registry import Limits

    limits = Limits(max_clients=max_clients, max_awake=max_awake, park_s=park_s, snapshot_frames=snapshot_frames)

    official = OfficialOptions(vision_tokenizer, precision, context, area, turns, text_tokenizer, decoder, sampler)
    worlds = open_worlds(model, is_truth=truth, solid=not ghost, dreams=_dreams(steps, temperature), official=official,
                         say=print)  # fmt: skip
    run(worlds, address, folder=folder, keys=keys, is_open=is_open, limits=limits, metrics_port=metrics_port,
        page_port=page_port, allow_origins=allow_origin or ())  # fmt: skip


@app.command()
def gateway(
    server: Annotated[str, typer.Argument(help="The server to speak for.")] = "tcp://127.0.0.1:5555",
    host: Annotated[str, typer.Option(help="Where the page listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page and its WebSocket.")] = 8080,
    server_key: Annotated[str, typer.Option(help="Public key of a server with keys.")] = "",
    keys: Annotated[Path | None, typer.Option(help="Folder of keys, for servers with keys.")] = None,
    name: Annotated[str, typer.Option(help="The gateway's own key pair.")] = "gateway",
    is_open: Annotated[bool, typer.Option("--open", help="Listen beyond this machine.")] = False,
    allow_origin: AllowOrigin = None,
) -> None:
    """A web page that walks: the same messages over WebSocket, for browsers and headsets."""
    from .commands.serve import gateway as run

    run(server, host=host, port=port, server_key=server_key, keys=keys, name=name, is_open=is_open,
        allow_origins=allow_origin or ())  # fmt: skip


KeyFolder = Annotated[Path | None, typer.Option(help="Folder of the keys.")]


@keys_app.command("make")
def keys_make(name: str, folder: KeyFolder = None) -> None:
    """Make a key pair; `server` is the server's own."""
    from .commands.serve import keys_make as run

    run(name, folder=folder)


@keys_app.command("list")
def keys_list(folder: KeyFolder = None) -> None:
    """Whom the server lets in."""
    from .commands.serve import keys_list as run

    run(folder=folder)


@keys_app.command("add")
def keys_add(name: str, public: str, folder: KeyFolder = None) -> None:
    """Let a client in, from the server's next start on."""
    from .commands.serve import keys_add as run

    run(name, public, folder=folder)


@app.command()
def generate(
    question: Annotated[str, typer.Argument(help="What to show, tell or do.")],
    task: Annotated[str, typer.Option(help="t2i, x2i, howto, story, explore or vla.")],
    model: Annotated[Path, typer.Option(help="Folder of the official language model.")],
    vision_tokenizer: Annotated[Path, typer.Option(help="Folder of the official vision tokenizer.")],
    out: Annotated[Path, typer.Option(help="Folder for pictures, text and the page.")] = Path("roam-out/story"),
    image: Annotated[list[Path] | None, typer.Option(help="An image to go by; up to three, t2i takes none.")] = None,
    then: Annotated[list[str] | None, typer.Option(help="What is asked next; may be given again.")] = None,
    mode: Annotated[str | None, typer.Option(help="explore: interactive, or free, where the model leads.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same answer.")] = 0,
    size: Annotated[
        str, typer.Option(help="Of pictures: height*width in cells, a ratio as 16:9, default, or auto.")
    ] = "default",
    guidance: Annotated[float | None, typer.Option(min=0, help="Scale on pictures, 1 for none.")] = None,
    image_guidance: Annotated[float | None, typer.Option(min=0, help="Scale of a third branch, by images.")] = None,
    unconditional: Annotated[str | None, typer.Option(help="What guidance compares with: images or all.")] = None,
    references: Annotated[str | None, typer.Option(help="Size by several images: last, greedy or drawn.")] = None,
    vla_template: Annotated[str | None, typer.Option(help="vla: question or plain; neither is published.")] = None,
    decoder: Decoder = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps a picture, where it is drawn whole.")
    ] = None,
    sampler: Sampler = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="Of pictures; 0 takes what is likeliest.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of the answer.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    precision: Precision = None,
    context: Context = None,
    area: Area = None,
    turns: Turns = None,
    text_tokenizer: Words = None,
) -> None:
    """Text and pictures by an official Emu3.5 checkpoint."""
    from .commands.generate import generate as run

    changes = dict(guidance=guidance, image_guidance=image_guidance, unconditional=unconditional, references=references,
                   vla=vla_template, decoder=decoder, steps=steps, sampler=sampler, temperature=temperature,
                   max_tokens=max_tokens, area=area, turns=turns)  # fmt: skip
    run(task, question, out, model=model, vision=vision_tokenizer, text_tokenizer=text_tokenizer, images=image or (),
        instructions=then or (), mode=mode, seed=seed, size=size, device=device, precision=precision, context=context,
        **{name: value for name, value in changes.items() if value is not None})  # fmt: skip


@bench_app.command(context_settings=PASS_ON)
def kernels(ctx: typer.Context) -> None:
    """Every operation against its alternatives and its floor; arguments go to `python -m roam.bench.kernels`."""
    _module("bench.kernels", ctx.args)


@bench_app.command(context_settings=PASS_ON)
def rollout(ctx: typer.Context) -> None:
    """Whole frames against their floor, and token by token; arguments go to `python -m roam.bench.rollout`."""
    _module("bench.rollout", ctx.args)


@bench_app.command(context_settings=PASS_ON)
def stream(ctx: typer.Context) -> None:
    """Key to frame over the wire; arguments go to `python -m roam.bench.stream`."""
    _module("bench.stream", ctx.args)


@bench_app.command(context_settings=PASS_ON)
def attack(ctx: typer.Context) -> None:
    """A server under load and attack, with goals; arguments go to `python -m roam.bench.attack`."""
    _module("bench.attack", ctx.args)


@bench_app.command()
def quick(
    model: Model = None,
    scenes: Annotated[int, typer.Option(min=2, help="Test scenes to walk.")] = 16,
    out: Annotated[Path, typer.Option(help="Folder for the report and its pictures.")] = Path("roam-out/bench"),
) -> None:
    """Is the dream better than a frozen frame, and how fast is it? Under three minutes."""
    from ..bench.quick import main as run

    run(model, scenes, out)


@bench_app.command()
def imagine(
    model: Model = None,
    split: Annotated[str, typer.Option(help="test for results, dev to choose by.")] = "test",
    scenes: Annotated[int, typer.Option(min=2, help="Scenes to turn round in.")] = 12,
    seeds: Annotated[int, typer.Option(min=1, help="Dreams of each.")] = 2,
    untrained: Annotated[bool, typer.Option(help="Also the row of weights that have learnt nothing.")] = True,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share the scenes.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder for the report and its sheet.")] = Path("roam-out/imagine"),
) -> None:
    """What does a walker see where nothing has been seen? A table and a sheet to look at, in under three minutes."""
    from ..bench.imagination.quick import main as run

    run(model, split=split, scenes=scenes, seeds=seeds, processes=processes, out=out, is_with_untrained=untrained)


@bench_app.command()
def approach(
    model: Model = None,
    split: Annotated[str, typer.Option(help="test for results, dev to choose by.")] = "dev",
    scenes: Annotated[int, typer.Option(min=1, help="Scenes to walk up to something in.")] = 10,
    out: Annotated[Path, typer.Option(help="Folder for the report and its sheet.")] = Path("roam-out/approach"),
) -> None:
    """Is what comes near sharp, whole and where it is, or magnified, torn and in specks? A minute."""
    from ..bench.approach import main as run

    run(model, scenes=scenes, split=split, out=out)


@bench_app.command()
def adaptation(
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run goes on.")] = Path("runs/adaptation"),
    recordings: Annotated[Path | None, typer.Option(help="Recorded walks; without it, they are recorded.")] = None,
    scenes: Annotated[int, typer.Option(min=2, help="Test scenes to measure on.")] = 24,
) -> None:
    """Table 16 of the Emu3.5 report in miniature: train token by token, adapt, measure. 40 minutes on one core."""
    from ..bench.adaptation import Proof
    from ..bench.adaptation import main as run

    if not run(out, recordings, Proof(scenes=scenes)):
        raise typer.Exit(1)


def main(args: list[str] | None = None) -> None:
    """Run the command line; `args` are sys.argv's by default. A signal to end ends it as an error does: what is half
    written is finished or removed."""
    try:
        with _ending_on_signals():
            app(args, prog_name="roam")
    except (ValueError, OSError, ImportError) as error:
        if not _is_for_people(error):
            raise
        print(f"roam: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    """TERM and HUP as exceptions, where nobody has said otherwise; servers say otherwise."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    mine = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _dreams(steps: int | None, temperature: float | None) -> dict:
    """How unseen places are dreamt, as Engine.from_checkpoint has it, as far as it was said."""
    given = {"dream_steps": steps, "dream_temperature": temperature}
    return {name: value for name, value in given.items() if value is not None}


def _module(name: str, args: list[str]) -> None:
    """Run one of our modules as `python -m` would, with those arguments."""
    import runpy

    sys.argv = [name, *args]
    runpy.run_module(f"{__package__.split('.')[0]}.{name}", run_name="__main__", alter_sys=True)


def _is_for_people(error: Exception) -> bool:
    """Whether a person can mend it; a library's plain ValueError is a bug of ours and keeps its traceback."""
    ours = __package__.split(".")[0]
    if isinstance(error, ModuleNotFoundError):
        return not (error.name or "").startswith(ours)
    return isinstance(error, OSError) or type(error).__module__.startswith(ours + ".")


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    hint = "; `roam doctor` says what mends it" if isinstance(error, ModuleNotFoundError) else ""
    return " ".join(str(error).split()) + hint


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


if __name__ == "__main__":
    main()
