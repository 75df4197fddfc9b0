"""Makes the README's moving picture: the true scene and the dream side by side, given the same words; and a sheet of
walks on into what was dreamt.

The dream has seen only the first frame. `python -m roam.bench.showcase docs/walk.gif`, and
`python -m roam.bench.showcase docs/walk-on.jpg [MODEL]`
"""

from __future__ import annotations

import io
import sys

import numpy as np

from ..scenes.explorer import SceneSession
from ..scenes.paths import poses_of
from ..scenes.splits import make_scene
from ..world.action import Action, parse_action
from ..world.checkpoint import folder_of
from ..world.engine import Engine
from ..world.frame import Frame
from .reports import keep

NEAR_M = 1.3  # metres, within which something is in the way of a walk on
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


def walked_on(engine: Engine, number: int, *, every: int = 4) -> np.ndarray:
    """Every so many frames, side by side, of a dream of a test scene: a quarter turn to the left, and on from there
    into what was dreamt, 0.25 m a step; to the left for as long as something is near ahead."""
    dream = engine.session(SceneSession(make_scene("test", number)).frame, seed=number, solid=True)
    left, on = parse_action("turn left 15 degrees"), parse_action("walk forward 0.25 m")
    frames = [dream.frame]
    for k in range(56):
        frames.append(dream.step(left if k < 6 or _is_near(frames[-1]) else on))
    dream.close()
    return np.concatenate([frame.pixels for frame in frames[::every]], 1)


def _is_near(frame: Frame) -> bool:
    """Whether something is within reach ahead, in the middle third of the view."""
    assert frame.depth is not None, "a dream has depth"
    H, W = frame.depth.shape
    ahead = np.median(frame.depth[H * 4 // 9 : H * 5 // 9, W // 3 : W * 2 // 3], 0)
    return float(np.percentile(ahead, 20)) < NEAR_M


def is_free(number: int) -> bool:
    """Whether the walk meets no wall in that scene, so that truth and dream are in the same place throughout."""
    scene = make_scene("test", number)
    poses = poses_of(scene, scene.spawn_pose, actions())
    steps = zip(poses, poses[1:], actions(), strict=False)
    return all(there.distance_to(here.moved(action.known_motion)) < 1e-6 for here, there, action in steps)


def sheet(path: str, model: str | None = None, count: int = 8) -> None:
    """Write the walks on in the first `count` test scenes, one below the other."""
    from PIL import Image

    engine = Engine.from_checkpoint(folder_of(model))
    rows = [walked_on(engine, number) for number in range(count)]
    picture = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(picture, "jpeg", quality=88)
    keep(path, picture.getvalue())
    print(f"{path}: walks on in test scenes 0 to {count - 1}")


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
    target = sys.argv[1] if len(sys.argv) > 1 else "docs/walk.gif"
    if target.endswith(".jpg"):
        sheet(target, sys.argv[2] if len(sys.argv) > 2 else None)
    else:
        main(target)
