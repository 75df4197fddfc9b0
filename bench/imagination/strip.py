"""Shows how dreams change with training: the same views of the same scenes, dreamt by one checkpoint after another.

`python -m roam.bench.imagination.strip docs/dreamt.jpg runs/a=before runs/b="1 hour"` makes a picture with one row for
each scene: first the last view that was shown, then the truth behind the walker, then what each checkpoint dreams
there. The scenes are those of development, or with `--world doom --split test` levels of Doom, from where a player
enters them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from ...scenes.explorer import SceneSession
from ...world.action import parse_action
from ...world.engine import Engine
from ..consistency.questions.worlds import AnyPlace, place_of
from ..reports import keep_picture

SCENES = 12
TURN = "turn right 45 degrees"
TURNS = 3
TITLE = 16  # pixels above the columns


def views(explorer) -> np.ndarray:
    """The second and the last view of a turn, side by side."""
    shown = [explorer.step(parse_action(TURN)).pixels for _ in range(TURNS)]
    return np.hstack(shown[-2:])


def column(folder: Path, places: list[AnyPlace], seed: int) -> np.ndarray:
    """(places * H, 2 W, 3): what a checkpoint dreams."""
    engine, rows = Engine.from_checkpoint(folder, device="cpu"), []
    for place in places:
        session = engine.session(SceneSession(place).frame, seed=seed)
        rows.append(views(session))
        session.close()
    return np.vstack(rows)


def strip(folders: dict[str, Path], places: list[AnyPlace], *, seed: int = 1) -> np.ndarray:
    """The picture: titled columns."""
    truths = [SceneSession(place) for place in places]
    columns = {"seen": np.vstack([truth.frame.pixels for truth in truths])}
    columns["truth"] = np.vstack([views(truth) for truth in truths])
    columns |= {name: column(folder, places, seed) for name, folder in folders.items()}
    return np.hstack([_titled(name, picture) for name, picture in columns.items()])


def _titled(name: str, picture: np.ndarray) -> np.ndarray:
    title = np.full((TITLE, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(title, name, (3, TITLE - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([title, picture])


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the picture to write")
    parser.add_argument("models", nargs="+", metavar="FOLDER=NAME", help="a checkpoint, and what its column is called")
    parser.add_argument("--world", default="", help="doom or doom:FILE.wad; without it, our own scenes")
    parser.add_argument("--split", default="dev", help="dev or test")
    parser.add_argument("--scenes", type=int, default=SCENES, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="of the dreams")
    asked = parser.parse_args(args)
    folders = {name or folder: Path(folder) for folder, _, name in (one.partition("=") for one in asked.models)}
    places = [place_of(asked.world, asked.split, number) for number in range(asked.scenes)]
    keep_picture(asked.out, strip(folders, places, seed=asked.seed))
    print(f"{asked.out}: {len(places)} scenes of {asked.split}, {', '.join(folders)}")


if __name__ == "__main__":
    main()
