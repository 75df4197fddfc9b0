"""Starts become places: photographs at their true scale, and saves of every kind of world."""

import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from roam.scenes.env.session import EnvSession, EnvSpec
from roam.viewer.opening.start import Opener, Start, StartError, photograph
from roam.viewer.opening.worlds import WorldsError, open_worlds
from roam.world.action import Action
from roam.world.options import DreamOptions, OfficialOptions
from roam.world.pose import Camera

from ...scenes.env.test_env import SMALL, Corridor

CAMERA = Camera(64, 64, 90.0)


def test_a_photograph_lies_in_the_middle_at_its_true_scale_and_its_edges_go_on(tmp_path):
    Image.fromarray(np.full((40, 80, 3), (200, 100, 50), np.uint8)).save(tmp_path / "a.png")
    frame, seen = photograph(tmp_path / "a.png", CAMERA, fov_deg=90.0)
    assert frame.pixels.shape == (64, 64, 3) and (frame.pixels == (200, 100, 50)).all()
    assert seen.any(1).sum() == 32 and seen[16:48].all() and frame.pose.position == (0.0, 0.0, 1.5)
    with pytest.raises(StartError, match="too little to begin with"):
        photograph(tmp_path / "a.png", CAMERA, fov_deg=5.0)


def test_a_save_of_an_environment_goes_on_as_a_true_world(monkeypatch, tmp_path):
    pytest.importorskip("gymnasium")
    module = ModuleType("corridor")
    module.Corridor = Corridor
    monkeypatch.setitem(sys.modules, "corridor", module)
    walk = EnvSession(EnvSpec("corridor:Corridor"), camera=SMALL)
    walk.step(Action("move up"))
    walk.save(tmp_path / "walk.json")
    place = Opener().open(Start(load=tmp_path / "walk.json"))
    assert place.start.truth and place.reads_words and place.explorer.frame.digest == walk.frame.digest


def test_true_scenes_with_a_model_or_with_dreams_are_refused():
    for said in (dict(model="weights"), dict(official=OfficialOptions(devices=2)), dict(dreams=DreamOptions(2))):
        with pytest.raises(WorldsError, match="leave out"):
            open_worlds(said.pop("model", None), is_truth=True, **said)
