"""`roam bench photon`: latency from a key to the picture that obeys it in the window of a dream, with and without views
between frames.

The window is the real one, with SDL's driver without a screen: a picture counts as shown when it is passed to the
display. A key is held until its frame has come; then the walker rests, and the next frame may be dreamt ahead.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..viewer.opening.start import Opener, Start
from ..viewer.play.latency import KeyToFrame
from ..viewer.play.player import Player
from ..viewer.play.progress import waiting
from .machine import RESULTS, Machine, load_average
from .reports import keep_json

if TYPE_CHECKING:
    from ..viewer.window.window import Window

KEYS = "wqwewdwa"  # forward, and a turn or a step aside between
WARM_UP = 4
REST_S = 0.3  # between two presses
MOST_S = 60.0  # that a frame may take


@dataclass(frozen=True)
class Presses:
    """The latencies of so many presses, in milliseconds: to the first picture that obeys, a view from memory or the
    frame itself, and to the frame. is_between: whether views between frames were on."""

    is_between: bool
    presses: int
    picture_p50_ms: float
    picture_p95_ms: float
    frame_p50_ms: float
    frame_p95_ms: float


def measure(window: Window, *, presses: int, is_between: bool) -> Presses:
    """Press keys one after the other, each until its frame has come."""
    player, window.between.is_on = window.player, is_between
    for number in range(WARM_UP + presses):
        if number == WARM_UP:
            player.key_to_frame, player.key_to_view = KeyToFrame(), KeyToFrame()
        _press(window, KEYS[number % len(KEYS)])
    times = [kept.percentile_ms(percent) for kept in (player.key_to_view, player.key_to_frame) for percent in (50, 95)]
    return Presses(is_between, presses, *(time_ms or 0.0 for time_ms in times))


def _press(window: Window, key: str) -> None:
    """Hold a key until its frame has come, and rest."""
    from ..viewer.window.sdl import pygame

    player, index, began = window.player, window.player.frame.index, time.monotonic()
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=ord(key), mod=0, unicode=""))
    window.run(stop=lambda: player.frame.index > index or time.monotonic() > began + MOST_S)
    if player.frame.index == index:
        raise TimeoutError(f"no frame came of a key within {MOST_S:g} s")
    pygame.event.post(pygame.event.Event(pygame.KEYUP, key=ord(key), mod=0))
    over = time.monotonic() + REST_S
    window.run(stop=lambda: time.monotonic() > over and not player.is_busy)


def show(rows: list[Presses], machine: Machine) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="From a key, milliseconds", caption=f"{machine}; load {load_average():.1f}")
    for name in ("views between", "presses", "picture p50", "p95", "frame p50", "p95"):
        table.add_column(name, justify="right")
    for row in rows:
        times = (row.picture_p50_ms, row.picture_p95_ms, row.frame_p50_ms, row.frame_p95_ms)
        is_on = "on" if row.is_between else "off"
        table.add_row(is_on, str(row.presses), *(f"{ms:.0f}" for ms in times))
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--presses", type=int, default=24, help="presses with views between frames, and without")
    parser.add_argument("--out", type=Path, default=RESULTS)
    wanted = parser.parse_args()
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    from ..viewer.window.window import Window

    with tempfile.TemporaryDirectory() as folder:
        with waiting("opening a dream"):
            player = Player(Opener(None), Start(seed=7), folder=folder)
        window = Window(player)
        try:
            rows = [measure(window, presses=wanted.presses, is_between=is_on) for is_on in (True, False)]
        finally:
            player.close()
            window.close()
    machine = Machine.here()
    show(rows, machine)
    result = {"machine": machine.as_dict(), "load": load_average(), "rows": [asdict(row) for row in rows]}
    print(json.dumps(result))
    keep_json(wanted.out / f"photon-{machine.slug}.json", result)


if __name__ == "__main__":
    main()
