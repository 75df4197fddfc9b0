"""Walks with the embedded model and prints its median time a frame, in milliseconds, and torch's threads.

`python -m roam.bench.rollout.walk WEIGHTS STEPS` is a program of its own, so that it can time any checkout that is
importable as `roam`. It uses only what every checkout has.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from ...scenes.explorer import SceneSession
from ...scenes.splits import make_scene
from ...world.action import parse_action
from ...world.engine import Engine

WORDS = ("move forward", "turn left", "turn right", "move forward", "strafe left")
WARM_UP = 15  # steps until the window is full and everything is compiled


def main(weights: str, steps: int) -> None:
    frame = SceneSession(make_scene("test", 0)).frame
    session = Engine.from_checkpoint(weights, device="cpu").session(frame)
    actions = [parse_action(text) for text in WORDS]
    times = []
    for step in range(steps):
        start = time.perf_counter()
        session.settle()
        session.step(actions[step % len(actions)])
        session.settle()
        times.append((time.perf_counter() - start) * 1e3)
    print(statistics.median(times[WARM_UP:]), torch.get_num_threads())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
