"""Walk a true scene by words, with no model, and keep what was seen: `python examples/walk_truth.py [picture.png]`."""

import sys

from PIL import Image
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.world.action import parse_action

scene = SceneSession(make_scene("test", 7))  # any number makes a scene; those of "test" are never trained on
frame = scene.frame
for sentence in ("walk forward", "turn left 30 degrees", "look down a little"):
    for step in parse_action(sentence).split():  # in steps that a frame can show
        frame = scene.step(step)
        print(f"frame {frame.index}: {step.text}, nearest surface {frame.depth.min():.2f} m")
Image.fromarray(frame.pixels).save(sys.argv[1] if len(sys.argv) > 1 else "walk.png")
