"""Dream on from one true frame; how near does the dream stay to the truth? `python examples/dream_on.py [steps]`."""

import sys

from roam.bench.consistency.metrics.fidelity import psnr
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.world.action import parse_action
from roam.world.engine import Engine

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 6
truth = SceneSession(make_scene("test", 7))
dream = Engine.from_checkpoint().session(truth.frame, seed=1)  # the weights that ship; another seed, another dream
for action in [parse_action("turn left")] * steps:
    shown, true = dream.step(action), truth.step(action)
    print(f"frame {shown.index}: PSNR {psnr(shown.pixels, true.pixels):.1f} dB in {shown.timing.total_ms:.0f} ms")
dream.close()
