"""Shared by the recipes' tests: compiled code is loaded once, before processes are forked, each of which
would otherwise load it."""

import numpy as np
import pytest
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.world.pose import Camera, Pose
from roam.world.spatial.warp import View, sharpened, warp


@pytest.fixture(scope="session")
def loaded():
    """The compiled code of scenes and of carried views, loaded into this process."""
    frame = SceneSession(make_scene("test", 0)).frame
    assert frame.depth is not None and frame.pose is not None
    view = View(frame.pixels, sharpened(frame.depth.astype(np.float32), frame.pixels), frame.pose)
    warp([view], Pose.at(0, 0, 1.5), Camera())
