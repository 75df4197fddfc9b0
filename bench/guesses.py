"""`roam bench guesses`: how many tokens a pass gives if the next ones are guessed, and what that saves.

The embedded weights decode frames token by token, after true frames and their words, with windows of several widths. A
window of 1 guesses nothing; every other must give exactly the same tokens, or no figure is printed. The lower bound of
passes per frame is its tokens over the window.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from ..scenes.explorer import SceneSession
from ..scenes.splits import make_scene
from ..viewer.play.progress import counted, waiting
from ..world.action import parse_action
from ..world.engine import Engine
from ..world.transformer.autoregressive import decode_autoregressive
from .machine import RESULTS, Machine
from .reports import keep_json

WINDOWS = (1, 4, 8, 16, 32, 64)
TEMPERATURES = (0.0, 1.0)
WALK = [parse_action(text) for text in ("turn left", "move forward", "turn right", "move forward")]


@dataclass(frozen=True)
class Context:
    """The context of a decoded frame: pages of the frames before, its own with its words, its number, and a seed."""

    past: tuple[int, ...]
    own: int
    words: int
    number: int
    seed: int


@dataclass(frozen=True)
class Row:
    """Decoding with one window at one temperature, over all frames: tokens a pass, the wall's milliseconds a frame
    (median and quartiles), and how many times faster than with a window of 1 (median over frames)."""

    temperature: float
    window: int
    tokens_a_pass: float
    ms: float
    ms_quartiles: tuple[float, float]
    times_faster: float


def contexts(engine: Engine, scenes: int) -> Iterator[Context]:
    """After each step of a walk through each scene; frames before are true and read whole."""
    passes, cache, device = engine.passes, engine.cache, engine.passes.device
    for scene in range(scenes):
        explorer = SceneSession(make_scene("test", scene))
        past: list[int] = []
        for number, action in enumerate((None, *WALK)):
            frame = explorer.frame if action is None else explorer.step(action)
            page, index = cache.allocate(), torch.tensor([number], device=device)
            ids = [] if action is None else engine.text.encode(action.text)
            passes.read_words([ids], index, [past], [page])
            if action is not None:
                yield Context(tuple(past), page, len(ids), number, 100 * scene + number)
            pixels = torch.from_numpy(frame.pixels)[None].to(device)
            passes.commit(engine.vision.encode(pixels).flatten(1), index, [past], [page])
            past.append(page)
        for page in past:
            cache.pool.release(page)


def decoded(engine: Engine, context: Context, window: int, temperature: float) -> tuple[Tensor, int, float]:
    """A frame's tokens, the passes that they took, and the milliseconds."""
    passes, layout = engine.passes, engine.layout
    count, device = 0, passes.device
    words = torch.tensor([context.words], dtype=torch.int32, device=device)
    index, seeds = (torch.tensor([value], device=device) for value in (context.number, context.seed))

    def next_tokens(before: Tensor, place: int) -> Tensor:
        nonlocal count
        count += 1
        return passes.next_tokens(
            before, place, words, index, [context.past], [context.own], seeds, temperature=temperature
        )

    begun = perf_counter()
    tokens = decode_autoregressive(
        next_tokens, layout.num_cells, batch=1, width=layout.grid[1], window=window, device=device
    )
    return tokens.cpu(), count, 1000 * (perf_counter() - begun)


def measure(engine: Engine, scenes: int, repeats: int) -> list[Row]:
    """A row for each temperature and window. All windows decode each frame in turn, so that other work on the
    machine affects all of them alike. Raises SystemExit if a window gives other tokens."""
    found: dict[tuple[float, int], list[tuple[int, float]]] = {}
    for context in counted(contexts(engine, scenes), "frames", scenes * len(WALK)):
        for temperature in TEMPERATURES:
            wanted = decoded(engine, context, 1, temperature)[0]
            for window in WINDOWS:
                runs = [decoded(engine, context, window, temperature) for _ in range(repeats)]
                if not all(torch.equal(tokens, wanted) for tokens, _, _ in runs):
                    raise SystemExit(f"a window of {window} gives other tokens than one of 1: there is nothing to time")
                found.setdefault((temperature, window), []).append((runs[0][1], float(np.median([r[2] for r in runs]))))
    return [row(found, *key, engine.layout.num_cells) for key in found]


def row(found: dict, temperature: float, window: int, cells: int) -> Row:
    passes, ms = (np.array(part) for part in zip(*found[temperature, window], strict=True))
    alone = np.array([one for _, one in found[temperature, 1]])
    low, middle, high = np.percentile(ms, [25, 50, 75])
    return Row(temperature, window, cells * len(ms) / passes.sum(), middle, (low, high), float(np.median(alone / ms)))


def show(rows: list[Row], machine: Machine) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Token by token, with guesses of the next", caption=str(machine))
    for name in ("temperature", "window", "tokens a pass", "ms a frame", "quartiles", "times faster"):
        table.add_column(name, justify="right")
    for one in rows:
        low, high = one.ms_quartiles
        table.add_row(
            f"{one.temperature:g}",
            str(one.window),
            f"{one.tokens_a_pass:.2f}",
            f"{one.ms:.0f}",
            f"{low:.0f} to {high:.0f}",
            f"{one.times_faster:.2f}",
        )
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=int, default=8, help="test scenes, four frames of each")
    parser.add_argument("--repeats", type=int, default=3, help="times that each frame is decoded with each window")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    wanted = parser.parse_args()
    machine = Machine.here()
    with waiting("opening the model"):
        engine = Engine.from_checkpoint(device=wanted.device)
    rows = measure(engine, wanted.scenes, wanted.repeats)
    show(rows, machine)
    result = {"machine": machine.as_dict(), "rows": [asdict(one) for one in rows]}
    keep_json(wanted.out / f"guesses-{machine.slug}.json", result)


if __name__ == "__main__":
    main()
