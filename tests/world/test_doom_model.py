"""The shipped model of Doom's levels: it is called by its name, and dreams what such levels look like."""

import pytest
from roam.scenes.explorer import SceneSession
from roam.scenes.worlds import open_place
from roam.world.action import parse_action
from roam.world.checkpoint import DOOM, folder_of, load_checkpoint
from roam.world.engine import Engine


def test_it_is_called_by_its_name_and_has_weights_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder_of("doom") == DOOM
    ours, embedded = load_checkpoint("doom"), load_checkpoint()
    assert ours.digest != embedded.digest
    assert (ours.vision.codebook == embedded.vision.codebook).all()
    for part in ("model", "vision", "painter"):
        held, other = (getattr(one, part).state_dict() for one in (ours, embedded))
        assert held.keys() == other.keys() and any((held[name] != other[name]).any() for name in held), part


def test_behind_the_first_view_of_a_dungeon_it_dreams_a_dark_place_and_no_sky():
    """E2M6 is one of the levels that training did not see. The embedded model dreams a lawn and a blue sky there."""
    pytest.importorskip("vizdoom", reason="levels of Doom need ViZDoom: pip install vizdoom")
    level = open_place("doom:E2M6")
    try:
        first = SceneSession(level).frame
    finally:
        level.close()
    bright = {}
    for name in ("doom", "embedded"):
        session = Engine.from_checkpoint(name, device="cpu", dream_steps=4).session(first, seed=1)
        seen = [session.step(parse_action("turn right 60 degrees")).pixels for _ in range(3)][-1]
        bright[name] = (seen.mean(2) > 120).mean()
    assert bright["doom"] < 0.02 and bright["embedded"] > 0.05, bright
