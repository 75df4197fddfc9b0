"""A very short walk: prints "shown" after its first dreamt frame, and after 30 more its peak memory in KB.

`python -m roam.bench.first_frame [WEIGHTS]`: a program of its own, so that the caller can time it from the start of its
process.
"""

from __future__ import annotations

import sys

from ..viewer.opening.starting import without_collecting


def main(weights: str | None = None) -> None:
    with without_collecting():  # as `roam play` opens a world
        from ..scenes.explorer import SceneSession
        from ..scenes.splits import make_scene
        from ..world.action import parse_action
        from ..world.engine import Engine

        session = Engine.from_checkpoint(weights).session(SceneSession(make_scene("test", 0)).frame)
    session.step(parse_action("move forward"))
    print("shown", flush=True)
    for _ in range(30):
        session.step(parse_action("turn left"))
    import resource  # if it cannot be measured, nothing is printed

    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main(*sys.argv[1:2])
