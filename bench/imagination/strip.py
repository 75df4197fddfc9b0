"""Shows how dreams change with training: the same views of the same development scenes, dreamt by one checkpoint after
another.

`python -m roam.bench.imagination.strip docs/dreamt.jpg runs/a=before runs/b="1 hour"`: a row a scene; first the last
view that was shown, then the truth behind the walker, then what each checkpoint dreams there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from ...scenes.explorer import SceneSession
from ...scenes.splits import make_scene
from ...world.action import parse_action
from ...world.engine import Engine

SCENES = range(12)
TURN = "turn right 45 degrees"
TURNS = 3
TITLE = 16  # pixels above the columns


def views(explorer) -> np.ndarray:
    """The second and the last view of a turn, side by side."""
    shown = [explorer.step(parse_action(TURN)).pixels for _ in range(TURNS)]
    return np.hstack(shown[-2:])


def column(folder: Path, seed: int) -> np.ndarray:
    """(scenes * H, 2 W, 3): what a checkpoint dreams."""
    engine, rows = Engine.from_checkpoint(folder, device="cpu"), []
    for number in SCENES:
        session = engine.session(SceneSession(make_scene("dev", number)).frame, seed=seed)
        rows.append(views(session))
        session.close()
    return np.vstack(rows)


def strip(folders: dict[str, Path], *, seed: int = 1) -> np.ndarray:
    """The picture: titled columns."""
    truths = [SceneSession(make_scene("dev", number)) for number in SCENES]
    columns = {"seen": np.vstack([truth.frame.pixels for truth in truths])}
    columns["truth"] = np.vstack([views(truth) for truth in truths])
    columns |= {name: column(folder, seed) for name, folder in folders.items()}
    return np.hstack([_titled(name, picture) for name, picture in columns.items()])


def _titled(name: str, picture: np.ndarray) -> np.ndarray:
    title = np.full((TITLE, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(title, name, (3, TITLE - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([title, picture])


def main(out: str, *named: str) -> None:
    folders = {name or folder: Path(folder) for folder, _, name in (one.partition("=") for one in named)}
    cv2.imwrite(out, strip(folders)[..., ::-1])
    print(f"{out}: {len(SCENES)} development scenes, {', '.join(folders)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
