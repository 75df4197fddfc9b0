"""Makes the README's moving picture: the true scene and the dream side by side, given the same words.

The dream has seen only the first frame. `python -m roam.bench.showcase docs/walk.gif`
"""

from __future__ import annotations

import io
import sys

import numpy as np

from ..scenes.explorer import SceneSession
from ..scenes.paths import poses_of
from ..scenes.splits import make_scene
from ..world.action import Action, parse_action
from ..world.engine import Engine
from .reports import keep

WALK = """turn left; turn left; turn right; turn right; turn right; walk forward; walk forward; walk forward; turn left;
turn left; walk forward; look up 10 degrees; look down 10 degrees; turn right; turn right; step back; step back;
strafe left; strafe right; turn left"""


def actions() -> list[Action]:
    return [parse_action(text) for text in WALK.replace("\n", " ").split(";")]


def side_by_side(engine: Engine, number: int, scale: int = 2) -> list[np.ndarray]:
    """Frames (H, 2 W, 3) of one test scene, truth left and dream right, each pixel `scale` wide."""
    truth = SceneSession(make_scene("test", number))
    dream = engine.session(truth.frame, seed=number)
    pairs = [(truth.frame, dream.frame)] + [(truth.step(action), dream.step(action)) for action in actions()]
    dream.close()
    gap = np.full((truth.camera.height, 4, 3), 255, np.uint8)
    return [np.kron(np.hstack([a.pixels, gap, b.pixels]), np.ones((scale, scale, 1), np.uint8)) for a, b in pairs]


def is_free(number: int) -> bool:
    """Whether the walk meets no wall in that scene, so that truth and dream are in the same place throughout."""
    scene = make_scene("test", number)
    poses = poses_of(scene, scene.spawn_pose, actions())
    steps = zip(poses, poses[1:], actions(), strict=False)
    return all(there.distance_to(here.moved(action.known_motion)) < 1e-6 for here, there, action in steps)


def main(path: str = "docs/walk.gif", count: int = 4) -> None:
    """Write the picture of the first `count` test scenes in which the walk is free."""
    from PIL import Image

    engine = Engine.from_checkpoint()
    numbers = [number for number in range(100) if is_free(number)][:count]
    frames = [Image.fromarray(frame) for number in numbers for frame in side_by_side(engine, number)]
    film = io.BytesIO()
    frames[0].save(film, "gif", save_all=True, append_images=frames[1:], duration=180, loop=0)
    keep(path, film.getvalue())
    print(f"{path}: {len(frames)} frames of test scenes {numbers}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "docs/walk.gif")
