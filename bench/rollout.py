"""Whole frames against their floor, beside token by token: `roam bench rollout`, or `python -m roam.bench.rollout`.

A frame is its denoising steps, the noise between them and the commit pass, through the engine's own passes; on CUDA
also at the shape of Emu3.5 (34B) with random weights made on the device. Beside a time stands its floor, the larger of
bytes over bandwidth and operations over throughput, both measured here by a plain copy and a plain product. Correctness
is checked first. Prints tables and one line of JSON, writes bench/results/rollout-<machine>.json and draws the roofline
from all such files beside it. `--against DIR` instead walks with another checkout and this one in turns.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ..kernels.linear import has_fp8_products, linear
from ..world.checkpoint import load_checkpoint
from ..world.config import DidaConfig, LayoutConfig, ModelConfig
from ..world.emu.memory_plan import num_parameters
from ..world.engine import Engine
from ..world.tokens.vocabulary import Vocabulary
from ..world.transformer.cache import KVCache
from ..world.transformer.dida import Canvas, MetricPath, decode_canvas
from ..world.transformer.model import DTYPES, Layer, Transformer
from ..world.transformer.passes import Passes, Serving
from .kernels import RESULTS, peak_mb, times_ms
from .machine import Machine

EMU = ModelConfig(282_926, 5120, 25_600, 64, 64, 8, 128, 1e-6, 1e6)
EMU_WORDS = Vocabulary(151_851, 131_072, num_markers=3)
EMU_CODE_DIM = 256
TOKENS, STEPS, HISTORY = (256, 1024, 4096), (1, 2, 4, 8, 16), 8192
PRECISIONS = {"cpu": ("float32", "bfloat16"), "cuda": ("bfloat16", "fp8")}


@dataclass(frozen=True)
class Peaks:
    """What the device does at best: a copy (read and write), and a product in each precision."""

    bandwidth_gb_s: float
    tflop_s: dict[str, float]


@dataclass(frozen=True)
class Work:
    """What one frame must at least move and do: bytes that are read, and operations."""

    bytes: float
    operations: float

    def __add__(self, other: Work) -> Work:
        return Work(self.bytes + other.bytes, self.operations + other.operations)

    def floor_ms(self, peaks: Peaks, precision: str) -> float:
        return max(self.bytes / peaks.bandwidth_gb_s / 1e6, self.operations / peaks.tflop_s[precision] / 1e9)


@dataclass(frozen=True)
class Row:
    """One way of making a frame. floor_ms sums the floors of its passes; spread_ms is between the fastest and the
    slowest run. Token by token, `runs` tokens were timed and one frame is as many as it has tokens."""

    model: str
    decoder: str
    precision: str
    tokens: int
    history: int
    steps: int
    is_guided: bool
    frame_ms: float
    spread_ms: float
    runs: int
    floor_ms: float
    share_of_floor: float
    gigabytes: float
    teraflop: float
    peak_mb: float | None


@dataclass
class World:
    """A model with a full history: what a frame is made from."""

    name: str
    precision: str
    passes: Passes
    past: list[int]
    own: int

    @property
    def history(self) -> int:
        return sum(int(self.passes.cache.lengths[page]) for page in self.past)

    @property
    def tokens(self) -> int:
        return self.passes.layout.num_cells


def step_work(
    model: ModelConfig, tokens: int, history: int, *, precision: str, num_codes: int, is_guided: bool = False
) -> Work:
    """A denoising step: every dense layer on every row, the head's visual rows once a token (guidance comes before it),
    attention over history and canvas. num_codes 0: a commit pass, which has no head. Weights are read once."""
    dense = num_parameters(model)[0]
    width = {"float32": 4, "bfloat16": 2, "fp8": 1}[precision]
    rows = tokens * (2 if is_guided else 1)
    cache = 2 * model.num_hidden_layers * model.num_key_value_heads * model.head_dim * max(2, width) * history
    head = num_codes * model.hidden_size
    attention = 4 * model.num_attention_heads * model.head_dim * model.num_hidden_layers * (history + tokens)
    return Work((dense + head) * width + cache, 2 * dense * rows + 2 * head * tokens + attention * rows)


def frame_work(world: World, steps: int, is_guided: bool) -> list[Work]:
    """The passes of a frame, each with a floor of its own."""
    sizes: dict[str, Any] = dict(precision=world.precision)
    model, N, past = world.passes.model.config, world.tokens, world.history
    step = step_work(model, N, past, num_codes=world.passes.vocabulary.num_codes, is_guided=is_guided, **sizes)
    return [step] * steps + [step_work(model, N, past, num_codes=0, **sizes)]


def measure_peaks(device: torch.device, precisions: tuple[str, ...]) -> Peaks:
    cuda = device.type == "cuda"
    source = torch.ones((1 << 30 if cuda else 1 << 26) // 4, device=device)
    target = torch.empty_like(source)
    copy_ms = min(times_ms(lambda: target.copy_(source), device, 0.2))
    size, found = 8192 if cuda else 768, {}
    for precision in precisions:
        square = torch.ones(size, size, device=device, dtype=DTYPES[precision])
        run: Callable[[], Tensor] = partial(linear, square, square)
        if precision == "fp8" and has_fp8_products(device):
            run = _scaled_product(square)
        found[precision] = 2 * size**3 / min(times_ms(run, device, 0.2)) / 1e9
    return Peaks(2 * source.numel() * 4 / copy_ms / 1e6, found)


def _scaled_product(square: Tensor) -> Callable[[], Tensor]:
    """The fp8 product alone, without the quantising that a layer does before it."""
    rows, ones = square.to(torch.float8_e4m3fn), torch.ones(len(square), 1, device=square.device)
    return partial(
        torch._scaled_mm, rows, rows.t(), scale_a=ones, scale_b=ones.t(), out_dtype=torch.bfloat16, use_fast_accum=True
    )


def random_model(config: ModelConfig, precision: str, device: torch.device, *, seed: int = 0) -> Transformer:
    """A served model of random weights, made on the device a layer at a time: whole, it exists nowhere else."""
    generator = torch.Generator(device).manual_seed(seed)
    with torch.device("meta"):
        model = Transformer(config).to(DTYPES[precision])

    @torch.no_grad()
    def fill(module) -> None:
        module.to_empty(device=device)
        for weight in module.parameters():
            if weight.ndim == 1:
                weight.fill_(1.0)
            else:
                weight.normal_(generator=generator).mul_(weight.shape[1] ** -0.5)

    for layer in model.model.layers:
        fill(layer)
        assert isinstance(layer, Layer)
        layer.join(layer, precision)
    for module in (model.model.embed_tokens, model.model.norm, model.lm_head):
        fill(module)
    return model.eval().requires_grad_(False)


def random_world(
    name: str,
    config: ModelConfig,
    vocabulary: Vocabulary,
    tokens: int,
    history: int,
    code_dim: int,
    *,
    precision: str,
    device: torch.device,
    guidance: float = 1.0,
    model: Transformer | None = None,
) -> World:
    """A model at the end of a history of about so many tokens, whose keys and values are random."""
    side = int(tokens**0.5)
    layout = LayoutConfig(grid=(side, tokens // side))
    layout = replace(layout, window=max(1, round(history / layout.page_size)))
    dtype = DTYPES[precision]
    model = model or random_model(config, precision, device)
    cache = KVCache(config, layout, device=device, dtype=dtype, num_pages=layout.window + 1)
    codebook = torch.nn.functional.normalize(torch.randn(vocabulary.num_codes, code_dim, device=device), dim=1)
    path = MetricPath(codebook.to(dtype), DidaConfig(step_temperature=1.0))
    passes = Passes(model, cache, path, layout, vocabulary, guidance=guidance)
    past = [cache.allocate() for _ in range(layout.window)]
    for tensor in (cache.k, cache.v):
        tensor.normal_()
    cache.lengths[past] = layout.page_size
    return World(name, precision, passes, past, cache.allocate())


def embedded_world(device: torch.device, precision: str, guidance: float) -> World:
    """The embedded model with a full window of random frames behind it."""
    engine = Engine(load_checkpoint(None, device=device), serving=Serving(precision=precision, guidance=guidance))
    passes, window = engine.passes, engine.layout.window
    generator = torch.Generator().manual_seed(0)
    pages: list[int] = []
    with torch.inference_mode():
        for frame in range(window):
            pages.append(engine.cache.allocate())
            tokens = torch.randint(engine.vocabulary.num_codes, (1, engine.layout.num_cells), generator=generator)
            passes.commit(tokens.to(device), torch.tensor([frame], device=device), [pages[:-1]], [pages[-1]])
    return World("embedded", precision, passes, pages, engine.cache.allocate())


def make_frame(world: World, steps: int) -> Tensor:
    """All passes of one frame: codes (1, N)."""
    passes, device = world.passes, world.passes.device
    index = torch.tensor([len(world.past)], device=device)
    canvas = Canvas(
        torch.zeros(1, world.tokens, dtype=torch.int64, device=device), torch.zeros(1, world.tokens, device=device)
    )
    words = [[(3, 4, 5)]]

    def predict(tokens: Tensor, seeds: Tensor, temperature: float) -> Tensor:
        return passes.denoise(
            words.pop() if words else None,
            index,
            [world.past],
            [world.own],
            tokens,
            None,
            seeds,
            temperature=temperature,
        )

    seeds = [torch.tensor([7 + step], device=device) for step in range(steps)]
    tokens = decode_canvas(predict, canvas, passes.path, seeds)
    passes.commit(tokens, index, [world.past], [world.own])
    return tokens


def measure_frame(world: World, steps: int, is_guided: bool, peaks: Peaks, seconds: float) -> Row:
    times = _timed(lambda: make_frame(world, steps), world.passes.device, seconds)
    return _row(
        world,
        "dida",
        steps,
        is_guided,
        times,
        frame_work(world, steps, is_guided),
        peaks,
        len(times),
        peak_mb(lambda: make_frame(world, steps), world.passes.device),
    )


def measure_tokens(world: World, peaks: Peaks, seconds: float) -> Row:
    """Token by token: some tokens of a frame, spread over it, and as many times that as a frame has."""
    passes, N = world.passes, world.tokens
    index, seeds = (torch.tensor([value], device=passes.device) for value in (len(world.past), 7))
    words = torch.zeros(1, dtype=torch.int32, device=passes.device)
    before = torch.zeros(1, dtype=torch.int64, device=passes.device)
    places = [int(place) for place in np.linspace(0, N - 1, min(N, 16))]

    def some() -> None:
        for place in places:
            passes.next_token(before, place, words, index, [world.past], [world.own], seeds, temperature=1.0)

    times = [ms * N / len(places) for ms in _timed(some, passes.device, seconds)]
    model = passes.model.config
    sizes: dict[str, Any] = dict(precision=world.precision, num_codes=passes.vocabulary.num_codes)
    work = [step_work(model, 1, world.history + place, **sizes) for place in range(N)]
    return _row(world, "token by token", N, False, times, work, peaks, len(times) * len(places), None)


def _row(
    world: World,
    decoder: str,
    steps: int,
    is_guided: bool,
    times: list[float],
    work: list[Work],
    peaks: Peaks,
    runs: int,
    peak: float | None,
) -> Row:
    median, floor = statistics.median(times), sum(part.floor_ms(peaks, world.precision) for part in work)
    whole = sum(work, Work(0, 0))
    return Row(
        world.name,
        decoder,
        world.precision,
        world.tokens,
        world.history,
        steps,
        is_guided,
        median,
        max(times) - min(times),
        runs,
        floor,
        floor / median,
        whole.bytes / 1e9,
        whole.operations / 1e12,
        peak,
    )


def _timed(run: Callable[[], object], device: torch.device, seconds: float) -> list[float]:
    """Milliseconds of at least three runs, after two that warm up and capture."""

    def once() -> float:
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3

    once(), once()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 500):
        times.append(once())
    return times


CHECKED = ModelConfig(600, 256, 512, 2, 8, 2, 64)
# how far keys and values may be from the references', and how many tokens must be the same: 3 bits of mantissa in fp8
WITHIN = {"float32": (1e-4, 0.98), "bfloat16": (0.03, 0.8), "fp8": (0.12, 0.4)}


def check(device: torch.device, precision: str) -> float:
    """A small model through the passes of the device, captured where it captures, against the float32 references on a
    CPU: the relative error of the keys and values that words and a frame leave. Raises AssertionError where that or the
    tokens of a denoising step are further off than WITHIN, or where a replay differs from the pass itself."""
    torch.manual_seed(0)
    origin, vocabulary = Transformer(CHECKED), Vocabulary(86, 512)
    kept, drawn = [], []
    for where, named in ((torch.device("cpu"), "float32"), (device, precision)):
        model = copy.deepcopy(origin).to(where).served(named)
        world = random_world("check", CHECKED, vocabulary, 64, 160, 8, precision=named, device=where, model=model)
        passes, cache, generator = world.passes, world.passes.cache, torch.Generator().manual_seed(1)
        for tensor in (cache.k, cache.v):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        tokens, index, seed = (x.to(where) for x in (torch.arange(64)[None] * 7, torch.tensor([2]), torch.tensor([5])))
        runs = []
        for _ in range(3):
            cache.lengths[world.own] = 0
            found = passes.denoise([(1, 2, 3)], index, [world.past], [world.own], tokens, None, seed, temperature=0.0)
            passes.commit(found, index, [world.past], [world.own])
            runs.append((found.cpu(), torch.stack([x[:, world.own, :3] for x in (cache.k, cache.v)]).float().cpu()))
        for found, left in runs[1:]:
            assert torch.equal(found, runs[0][0]), f"{named} on {where}: replayed, a step gives other tokens"
            assert torch.equal(left, runs[0][1]), f"{named} on {where}: replayed, a step leaves other keys and values"
        cache.lengths[world.own] = 3  # the same frame for both, whatever they have predicted
        passes.commit(tokens, index, [world.past], [world.own])
        kept.append(torch.stack([x[:, world.own, :68] for x in (cache.k, cache.v)]).float().cpu())
        drawn.append(runs[0][0])
    error, same = ((kept[1] - kept[0]).norm() / kept[0].norm()).item(), (drawn[0] == drawn[1]).float().mean().item()
    most, least = WITHIN[precision]
    assert error <= most, f"{precision} on {device} is {error:.4f} off the references; at most {most}"
    assert same >= least, f"{precision} on {device} predicts {same:.2f} of the references' tokens; at least {least}"
    return error


@dataclass(frozen=True)
class PrecisionError:
    """The embedded model in one precision against another, over frames of true walks: the relative error of the hidden
    states of a denoising pass, the share of predicted tokens that differ, and the PSNR between what they decode to."""

    precision: str
    against: str
    hidden: float
    tokens_changed: float
    psnr_db: float


def precision_errors(device: torch.device, *, walks: int = 2, frames: int = 6) -> list[PrecisionError]:
    from .quick import observed, psnr, test_walk

    checkpoint = load_checkpoint(None, device=device)
    seen: dict[str, list] = {}
    for precision in ("float32", "bfloat16", "fp8"):
        engine = Engine(checkpoint, serving=Serving(precision=precision))
        engine.passes.step.run_plainly()  # a replay calls no hook
        hidden: list[Tensor] = []
        engine.model.register_forward_hook(lambda module, inputs, out, kept=hidden: kept.append(out.float().cpu()))
        for number in range(walks):
            walk = test_walk(number, steps=frames + 4)
            session = observed(engine, walk, 4, start="noise")
            for index in range(4, 4 + frames):
                session.settle()
                hidden.clear()
                twin = session.fork()
                tokens = twin.step(walk.actions[index - 1]).tokens
                assert tokens is not None, "a canvas of noise is drawn whole"
                twin.close()
                seen.setdefault(precision, []).append((hidden[0], tokens, engine.show(tokens)[0]))
                session.observe(walk.actions[index - 1], walk.frames[index].pixels, walk.frames[index].pose)
            session.close()
    found = []
    for precision, against in (("bfloat16", "float32"), ("fp8", "bfloat16"), ("fp8", "float32")):
        pairs = list(zip(seen[precision], seen[against], strict=True))
        found.append(
            PrecisionError(
                precision,
                against,
                statistics.mean(((a[0] - b[0]).norm() / b[0].norm()).item() for a, b in pairs),
                statistics.mean(float((a[1] != b[1]).mean()) for a, b in pairs),
                statistics.mean(psnr(b[2], a[2]) for a, b in pairs),
            )
        )
    return found


def rows_of(
    device: torch.device,
    peaks: Peaks,
    *,
    shapes: list[str],
    tokens: list[int],
    steps: list[int],
    guidances: list[float],
    precisions: tuple[str, ...],
    seconds: float,
) -> Iterator[Row]:
    """Every measurement, shape by shape; a 34B model is made once a precision."""
    with torch.inference_mode():
        for precision in precisions:
            if "embedded" in shapes:
                for guidance in guidances:
                    yield from _ways(embedded_world(device, precision, guidance), steps, guidance, peaks, seconds)
            if "34B" not in shapes:
                continue
            model = random_model(EMU, precision, device)
            for count in tokens:
                for guidance in guidances:
                    world = random_world(
                        "34B",
                        EMU,
                        EMU_WORDS,
                        count,
                        HISTORY,
                        EMU_CODE_DIM,
                        precision=precision,
                        device=device,
                        guidance=guidance,
                        model=model,
                    )
                    yield from _ways(world, steps, guidance, peaks, seconds)
                    del world
                    _let_go(device)
            del model
            _let_go(device)


def _ways(world: World, steps: list[int], guidance: float, peaks: Peaks, seconds: float) -> Iterator[Row]:
    for count in steps:
        yield measure_frame(world, count, guidance != 1, peaks, seconds)
    if guidance == 1:
        yield measure_tokens(world, peaks, seconds)


def _let_go(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


_WALK = """
import sys, time, statistics, torch
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.world.action import parse_action
from roam.world.engine import Engine
frame = SceneSession(make_scene("test", 0)).frame
session = Engine.from_checkpoint(sys.argv[1], device="cpu").session(frame)
actions = [parse_action(text) for text in ("move forward", "turn left", "turn right", "move forward", "strafe left")]
times = []
for step in range(int(sys.argv[2])):
    start = time.perf_counter()
    session.settle(); session.step(actions[step % 5]); session.settle()
    times.append((time.perf_counter() - start) * 1e3)
print(statistics.median(times[15:]), torch.get_num_threads())
"""


def against(other: Path, *, rounds: int = 4, steps: int = 55) -> dict[str, list[float]]:
    """The embedded model's frames, everything included, by the code of another checkout and by this one in turns, each
    in a process of its own: median milliseconds a frame of each round. Raises ValueError for a folder without code."""
    here = Path(__file__).parents[1]
    for root in (here, other):
        if not (root / "world" / "engine.py").is_file():
            raise ValueError(f"{root} has no world/engine.py; name a checkout: git worktree add DIR COMMIT")
    weights = here / "world" / "weights"
    times: dict[str, list[float]] = {"other": [], "this": []}
    with tempfile.TemporaryDirectory() as folder:
        for name, root in (("other", other), ("this", here)):
            package = Path(folder) / name / "roam"
            package.mkdir(parents=True)
            (package / "__init__.py").touch()
            for part in ("world", "kernels", "scenes", "viewer", "bench"):
                (package / part).symlink_to((root / part).resolve())
        for _ in range(rounds):
            for name, found in times.items():
                path = os.pathsep.join([str(Path(folder) / name), os.environ.get("PYTHONPATH", "")])
                done = subprocess.run(
                    [sys.executable, "-c", _WALK, str(weights), str(steps)],
                    check=True,
                    text=True,
                    stdout=subprocess.PIPE,
                    env=os.environ | {"PYTHONPATH": path},
                )
                found.append(float(done.stdout.split()[0]))
    return times


def draw(files: list[Path], target: Path) -> None:
    """The roofline of every machine that there are results of: operations a second over operations a byte."""
    from matplotlib.figure import Figure

    reports = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    figure = Figure(figsize=(7, 4.4 * len(reports)), layout="constrained")
    for axis, report in zip(np.atleast_1d(figure.subplots(len(reports))), reports, strict=True):
        bandwidth, machine = report["peaks"]["bandwidth_gb_s"], report["machine"]
        reach = np.logspace(-1, 4, 200)
        for number, (precision, peak) in enumerate(report["peaks"]["tflop_s"].items()):
            colour = f"C{number}"
            roof = np.minimum(peak, bandwidth * reach / 1e3)
            axis.plot(reach, roof, color=colour, label=f"{precision}, measured peak")
            for decoder, marker in (("dida", "o"), ("token by token", "x")):
                rows = [r for r in report["rows"] if (r["precision"], r["decoder"]) == (precision, decoder)]
                axis.plot(
                    [1e3 * r["teraflop"] / r["gigabytes"] for r in rows],
                    [1e3 * r["teraflop"] / r["frame_ms"] for r in rows],
                    marker,
                    color=colour,
                    mfc="none",
                    label=f"{precision}, {decoder}",
                )
        axis.set(
            xscale="log",
            yscale="log",
            xlabel="operations a byte",
            ylabel="TFLOP/s",
            title=f"{machine['gpu'] or machine['cpu']}: whole frames",
        )
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize=8)
    figure.savefig(target, dpi=110)


def show(rows: list[Row], errors: list[PrecisionError], console: Console) -> None:
    table = Table(
        "model",
        "way",
        "in",
        "tokens",
        "guided",
        "steps",
        "ms",
        "spread",
        "runs",
        "floor",
        "share",
        "frames/s",
        "MB",
        title="Whole frames: ms a frame, its floor in ms, peak memory in MB",
    )
    for r in rows:
        table.add_row(
            r.model,
            r.decoder,
            r.precision,
            f"{r.tokens}",
            "yes" if r.is_guided else "",
            f"{r.steps}",
            f"{r.frame_ms:.2f}",
            f"{r.spread_ms:.2f}",
            f"{r.runs}",
            f"{r.floor_ms:.2f}",
            f"{r.share_of_floor:.0%}",
            f"{1e3 / r.frame_ms:.2f}",
            "-" if r.peak_mb is None else f"{r.peak_mb:.0f}",
        )
    console.print(table)
    table = Table("embedded model in", "against", "hidden states off by", "tokens changed", "PSNR between, dB")
    for e in errors:
        table.add_row(e.precision, e.against, f"{e.hidden:.4f}", f"{e.tokens_changed:.1%}", f"{e.psnr_db:.1f}")
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="roam.bench.rollout", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shapes", nargs="+", choices=("embedded", "34B"), help="by default all that the device runs")
    parser.add_argument("--tokens", nargs="+", type=int, default=TOKENS, help="squares, of the 34B shape")
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    parser.add_argument("--guidance", nargs="+", type=float, default=(1.0, 3.0), help="1 is none")
    parser.add_argument("--precisions", nargs="+", choices=tuple(WITHIN))
    parser.add_argument("--seconds", type=float, default=2.0, help="time spent on each row, three runs at least")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--against", type=Path, help="another checkout: walk with its code and with this in turns")
    parser.add_argument("--draw", action="store_true", help="only draw the roofline from the results that are there")
    chosen = parser.parse_args(arguments)
    console = Console()
    if chosen.draw:
        return draw(sorted(chosen.results.glob("rollout-*.json")), chosen.results / "rollout.png")
    if chosen.against:
        return show_against(against(chosen.against), console)
    device = torch.device(chosen.device)
    shapes = chosen.shapes or (["embedded", "34B"] if device.type == "cuda" else ["embedded"])
    if "34B" in shapes and device.type != "cuda":
        parser.error("the 34B shape needs a CUDA device: its random weights are made there")
    precisions = tuple(chosen.precisions or PRECISIONS[device.type])
    with torch.inference_mode():
        checked = {precision: check(device, precision) for precision in precisions}
    console.print(f"{Machine.here()}; checked against the references: {checked}")
    peaks = measure_peaks(device, precisions)
    console.print(f"copies at {peaks.bandwidth_gb_s:.0f} GB/s, products at {peaks.tflop_s} TFLOP/s")
    errors = precision_errors(device)
    rows = list(
        rows_of(
            device,
            peaks,
            shapes=shapes,
            tokens=chosen.tokens,
            steps=chosen.steps,
            guidances=chosen.guidance,
            precisions=precisions,
            seconds=chosen.seconds,
        )
    )
    show(rows, errors, console)
    report = {
        "bench": "rollout",
        "machine": Machine.here().as_dict(),
        "load": os.getloadavg()[0],
        "checked": checked,
        "peaks": asdict(peaks),
        "precision_errors": [asdict(error) for error in errors],
        "rows": [asdict(row) for row in rows],
    }
    print(json.dumps(report))
    chosen.results.mkdir(parents=True, exist_ok=True)
    path = chosen.results / f"rollout-{Machine.here().slug}.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    draw(sorted(chosen.results.glob("rollout-*.json")), chosen.results / "rollout.png")


def show_against(times: dict[str, list[float]], console: Console) -> None:
    table = Table("code", "ms a frame, by round", "median", "frames/s")
    for name, found in times.items():
        median = statistics.median(found)
        table.add_row(name, " ".join(f"{ms:.1f}" for ms in found), f"{median:.1f}", f"{1e3 / median:.1f}")
    console.print(table)
    ratio = statistics.median(a / b for a, b in zip(times["other"], times["this"], strict=True))
    print(
        json.dumps(
            {
                "bench": "rollout against",
                "machine": Machine.here().as_dict(),
                "load": os.getloadavg()[0],
                "ms_a_frame": times,
                "times_faster": ratio,
            }
        )
    )


if __name__ == "__main__":
    main()
