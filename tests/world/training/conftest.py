"""What the recipes' tests share: runs leave an empty curve, for drawing one costs more than their few steps; and what
is compiled is loaded once, before they fork processes, each of which would load it for itself."""

import numpy as np
import pytest
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.world.pose import Camera, Pose
from roam.world.spatial.warp import View, sharpened, warp
from roam.world.training.run import Run


@pytest.fixture(scope="module", autouse=True)
def blank_curves():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "draw", lambda run, *_columns: (run.folder / "curve.png").touch())
        yield


@pytest.fixture(scope="session")
def loaded():
    """The compiled code of scenes and of carried views, loaded into this process."""
    frame = SceneSession(make_scene("test", 0)).frame
    assert frame.depth is not None and frame.pose is not None
    view = View(frame.pixels, sharpened(frame.depth.astype(np.float32), frame.pixels), frame.pose)
    warp([view], Pose.at(0, 0, 1.5), Camera())
