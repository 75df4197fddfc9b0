"""Times of whole frames by DiDA and token by token, each beside its floor."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...world.transformer.dida import Canvas, decode_canvas
from ..timing import peak_mb
from .floor import Peaks, Work, step_work
from .worlds import EMU, EMU_CODE_DIM, EMU_WORDS, World, embedded_world, random_model, random_world

HISTORY = 8192  # tokens before the frame, at the shape of Emu3.5


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


def frame_work(world: World, steps: int, is_guided: bool) -> list[Work]:
    """The passes of a frame, each with a floor of its own."""
    sizes: dict[str, Any] = dict(precision=world.precision)
    model, N, past = world.passes.model.config, world.tokens, world.history
    step = step_work(model, N, past, num_codes=world.passes.vocabulary.num_codes, is_guided=is_guided, **sizes)
    return [step] * steps + [step_work(model, N, past, num_codes=0, **sizes)]


def make_frame(world: World, steps: int) -> Tensor:
    """All passes of one frame: codes (1, N)."""
    passes, device = world.passes, world.passes.device
    index = torch.tensor([len(world.past)], device=device)
    canvas = Canvas(
        torch.zeros(1, world.tokens, dtype=torch.int64, device=device), torch.zeros(1, world.tokens, device=device)
    )
    words, steps_done = [(3, 4, 5)], itertools.count()

    def predict(tokens: Tensor, seeds: Tensor, temperature: float) -> Tensor:
        return passes.denoise(
            words if next(steps_done) == 0 else None,  # the first step writes them, the others find them there
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
    work, peak = frame_work(world, steps, is_guided), peak_mb(lambda: make_frame(world, steps), world.passes.device)
    return _row(world, "dida", steps, times, work, peaks, is_guided=is_guided, runs=len(times), peak=peak)


def measure_tokens(world: World, peaks: Peaks, seconds: float) -> Row:
    """Token by token: some tokens of a frame, spread over it, and as many times that as a frame has."""
    passes, N = world.passes, world.tokens
    index, seeds = (torch.tensor([value], device=passes.device) for value in (len(world.past), 7))
    words = torch.zeros(1, dtype=torch.int32, device=passes.device)
    before = torch.zeros(1, 1, dtype=torch.int64, device=passes.device)
    places = [int(place) for place in np.linspace(0, N - 1, min(N, 16))]

    def some() -> None:
        for place in places:
            passes.next_tokens(before, place, words, index, [world.past], [world.own], seeds, temperature=1.0)

    times = [ms * N / len(places) for ms in _timed(some, passes.device, seconds)]
    model = passes.model.config
    sizes: dict[str, Any] = dict(precision=world.precision, num_codes=passes.vocabulary.num_codes)
    work = [step_work(model, 1, world.history + place, **sizes) for place in range(N)]
    return _row(world, "token by token", N, times, work, peaks, is_guided=False, runs=len(times) * len(places))


def _row(
    world: World,
    decoder: str,
    steps: int,
    times: list[float],
    work: list[Work],
    peaks: Peaks,
    *,
    is_guided: bool,
    runs: int,
    peak: float | None = None,
) -> Row:
    median, floor = statistics.median(times), sum(part.floor_ms(peaks, world.precision) for part in work)
    whole = sum(work, Work(0, 0))
    return Row(
        model=world.name,
        decoder=decoder,
        precision=world.precision,
        tokens=world.tokens,
        history=world.history,
        steps=steps,
        is_guided=is_guided,
        frame_ms=median,
        spread_ms=max(times) - min(times),
        runs=runs,
        floor_ms=floor,
        share_of_floor=floor / median,
        gigabytes=whole.bytes / 1e9,
        teraflop=whole.operations / 1e12,
        peak_mb=peak,
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
