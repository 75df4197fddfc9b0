"""One walk, two futures: fork, go different ways, rewind, save and go on. `python examples/fork_and_rewind.py`.

Here in a true scene; a dream's Session can do the same, and so can a walk on a server.
"""

import tempfile
from pathlib import Path

from roam.scenes.explorer import SceneSession, load_scene_session
from roam.scenes.splits import make_scene
from roam.world.action import parse_action

walk = SceneSession(make_scene("test", 3))
walk.step(parse_action("move forward"))
other = walk.fork()
walk.step(parse_action("turn left"))
other.step(parse_action("turn right"))
print(f"two futures: {walk.frame.digest} and {other.frame.digest}")

walk.rewind(1)
again = walk.step(parse_action("turn right"))
print(f"the other one's way leads to its frame: {again.digest == other.frame.digest}")

with tempfile.TemporaryDirectory() as folder:
    save = Path(folder) / "walk.roam"
    walk.save(save)
    print(f"a save goes on where it stood: {load_scene_session(save).frame.digest == walk.frame.digest}")
