"""From lines to tables: every metric of every model in every task, with its interval over scenes; plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....world.action import ActionError, parse_action
from ..metrics.definitions import METRICS, balance
from ..metrics.unseen import imagined
from ..results import EpisodeResult
from .stats import Interval, bootstrap, by_scene

STEADY = 10.0  # grey levels of flicker over the truth's own that halve the stability part


@dataclass(frozen=True)
class Cell:
    """One number of a table."""

    interval: Interval | None  # of the mean with failures at the worst
    value: float | None  # the mean of what is defined
    n: int  # episodes
    failed: int  # frames
    asked: int  # frames


@dataclass(frozen=True)
class Table:
    """One task in one mode: cells[model][metric], models from best to worst by the task's primary metrics."""

    task: str
    mode: str
    models: tuple[str, ...]
    cells: dict[str, dict[str, Cell]]
    episodes: int
    scenes: int


def tables(lines: Sequence[EpisodeResult], *, draws: int = 10_000) -> list[Table]:
    """One table a task and mode. Modes are never mixed."""
    groups = sorted({(int(line.task[1:]), line.mode) for line in lines})
    return [_table([x for x in lines if (x.task, x.mode) == (f"T{t}", mode)], draws) for t, mode in groups]


def cell(lines: Sequence[EpisodeResult], name: str, *, draws: int = 10_000) -> Cell:
    """One metric over the lines of one model; lines to which the question did not apply do not count."""
    held = [line for line in lines if line.ranked(name) is not None]
    measured = [line.values[name] for line in held if not line.error]
    defined = [m.value for m in measured if m.value is not None]
    failed = sum(m.failed for m in measured) + sum(len(line.scored) for line in held if line.error)
    asked = sum(m.n + m.failed for m in measured) + sum(len(line.scored) for line in held if line.error)
    means = by_scene([line.scene for line in held], [line.ranked(name) for line in held])
    mean = by_scene([line.scene for line in held if not line.error], [m.value for m in measured]) if defined else {}
    value = sum(mean.values()) / len(mean) if mean else None
    return Cell(bootstrap(list(means.values()), draws=draws), value, len(held), failed, asked)


def _table(lines: Sequence[EpisodeResult], draws: int) -> Table:
    task, mode = lines[0].task, lines[0].mode
    models = list(dict.fromkeys(line.model for line in lines))
    mine = {model: [line for line in lines if line.model == model] for model in models}
    together = {model: imagined(mine[model]) for model in models}  # measures that are not properties of one episode
    held = {name for line in lines for name in line.values} | {name for found in together.values() for name in found}
    names = [name for name in METRICS if name in held]
    cells = {m: {n: cell(mine[m], n, draws=draws) for n in names if n not in together[m]} for m in models}
    for model, found in together.items():
        cells[model] |= {name: _whole(mine[model], value) for name, value in found.items()}
    primary = [name for name in names if task in METRICS[name].tasks]
    # the task's own metric comes before picture quality, which every task has
    primary.sort(key=lambda name: len(METRICS[name].tasks))
    models.sort(key=lambda model: [_badness(cells[model].get(name), name) for name in primary])
    return Table(
        task, mode, tuple(models), cells, len({line.key for line in lines}), len({line.scene for line in lines})
    )


def _whole(lines: Sequence[EpisodeResult], value: float) -> Cell:
    """A number of all lines together."""
    scenes = len({line.scene for line in lines})
    return Cell(Interval(value, None, None, scenes), value, len(lines), 0, sum(len(line.scored) for line in lines))


def _badness(number: Cell | None, name: str) -> float:
    return math.inf if number is None or number.interval is None else METRICS[name].badness(number.interval.mean)


def balanced(lines: Sequence[EpisodeResult]) -> dict[str, float | None]:
    """Parts in [0, 1] of one model's balanced score, and "score": 0 if any part is, None without one of them.

    action: strict accuracy in T8 over actions that move; fidelity: HaarPSI on seen pixels in T1 to T6, failures 0;
    permanence: presence in T7; stability: 1 / (1 + flicker excess / STEADY) over all tasks; imagination: of T11, what
    is dreamt where nothing was seen (metrics/unseen.py). None without those tasks.

    The score is the harmonic mean of two halves of a walk: what had been seen, the harmonic mean of the first four, and
    what had not. A memory, however good, is only half of a world.
    """
    moving = [line for line in lines if line.task == "T8" and not _is_still(line.variant)]
    returns = [line for line in lines if line.task in ("T1", "T2", "T3", "T4", "T5", "T6")]
    flicker = _mean(lines, "flicker")
    parts = {
        "action": _mean(moving, "action_strict"),
        "fidelity": _mean(returns, "haarpsi"),
        "permanence": _mean([line for line in lines if line.task == "T7"], "presence"),
        "stability": None if flicker is None else 1 / (1 + flicker / STEADY),
        "imagination": imagined(lines).get("imagination"),
    }
    known = [part for part in parts.values() if part is not None]
    whole = balance([balance(known[:-1]), known[-1]]) if len(known) == len(parts) else None
    return {**parts, "score": whole}


def _mean(lines: Sequence[EpisodeResult], name: str) -> float | None:
    means = by_scene([line.scene for line in lines], [line.ranked(name) for line in lines])
    return sum(means.values()) / len(means) if means else None


def _is_still(variant: str) -> bool:
    try:
        return parse_action(variant.removeprefix("words: ")).known_motion.is_still
    except ActionError:
        return False


def curve_over_gaps(lines: Sequence[EpisodeResult], model: str, name: str) -> list[tuple[int, Interval]]:
    """A metric of T6 against the gap in frames."""
    held = [line for line in lines if line.model == model and line.task == "T6" and line.gap is not None]
    points = []
    for gap in sorted({line.gap for line in held if line.gap is not None}):
        here = [line for line in held if line.gap == gap]
        means = by_scene([line.scene for line in here], [line.ranked(name) for line in here])
        interval = bootstrap(list(means.values()), draws=2000)
        if interval is not None:
            points.append((gap, interval))
    return points


def curve_over_time(
    lines: Sequence[EpisodeResult], model: str, name: str, *, bins: int = 10
) -> list[tuple[float, float, int]]:
    """A metric of T9 over time: (middle of the bin, mean, frames that count); failures are left out and lower n."""
    held = [line for line in lines if line.model == model and line.task == "T9" and name in line.values]
    points = [
        (t, v) for line in held for t, v in zip(line.scored, line.values[name].per_frame, strict=True) if v is not None
    ]
    if not points:
        return []
    first, last = min(t for t, _ in points), max(t for t, _ in points) + 1
    width = (last - first) / bins
    found = []
    for k in range(bins):
        here = [v for t, v in points if first + k * width <= t < first + (k + 1) * width]
        if here:
            found.append((first + (k + 0.5) * width, sum(here) / len(here), len(here)))
    return found
