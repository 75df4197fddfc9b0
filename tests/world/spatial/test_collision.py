"""What stops a walker in a dream."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from roam.world.action import Action
from roam.world.checkpoint import load_checkpoint
from roam.world.engine import Engine
from roam.world.pose import Motion, Pose
from roam.world.spatial.collision import BODY_RADIUS, walked

HERE = Pose.at(0, 0, 1.5)
AHEAD = Motion(forward=2.0)


def wall(x: float, *, low: float = 0.0, high: float = 2.5, angle: float = 0.0) -> np.ndarray:
    """Points (K, 3) of a wall across the way at x metres, turned about the z axis."""
    y, z = np.meshgrid(np.linspace(-3, 3, 61), np.linspace(low, high, 26))
    turned = math.radians(angle)
    return np.stack([x + y.ravel() * math.sin(turned), y.ravel() * math.cos(turned), z.ravel()], 1).astype(np.float32)


def test_a_step_ends_before_a_wall_and_one_away_from_it_does_not():
    assert walked(wall(1.0), HERE, AHEAD).position[0] == pytest.approx(1.0 - BODY_RADIUS, abs=0.06)
    assert walked(wall(1.0), HERE, AHEAD.scaled(-1)) == HERE.moved(AHEAD.scaled(-1))
    assert walked(wall(9.0), HERE, AHEAD) == HERE.moved(AHEAD)


def test_turns_are_never_stopped_and_nothing_seen_stops_nobody():
    turn = Motion(yaw_deg=30)
    assert walked(wall(0.1), HERE, turn) == HERE.moved(turn)
    assert walked(np.zeros((0, 3), np.float32), HERE, AHEAD) == HERE.moved(AHEAD)


def test_a_slanting_wall_is_gone_along():
    there = walked(wall(1.0, angle=30), HERE, AHEAD)
    assert there.position[0] < 1.6 and abs(there.position[1]) > 0.2


@pytest.mark.parametrize("points", [wall(1.0, high=0.3), wall(1.0, low=1.9), wall(1.0)[:3]])
def test_floor_ceiling_and_specks_stop_nobody(points):
    assert walked(points, HERE, AHEAD) == HERE.moved(AHEAD)


def test_whoever_stands_in_a_wall_can_leave_it():
    assert walked(wall(0.1), HERE, Motion(forward=-0.5)) == HERE.moved(Motion(forward=-0.5))


def test_the_way_back_is_free_whatever_has_been_seen_there_since():
    there = HERE.moved(Motion(forward=2.0))
    been = np.array([HERE.moved(Motion(forward=0.1 * k)).position[:2] for k in range(21)])
    back = Motion(forward=-2.0)
    assert walked(wall(1.0), there, back).distance_to(there) < 1.0
    assert walked(wall(1.0), there, back, been=been) == there.moved(back)


@pytest.fixture
def engine_that_sees_a_wall(checkpoint_folder):
    """The depth of every picture is one metre everywhere."""
    checkpoint = load_checkpoint(checkpoint_folder)
    last = [part for part in checkpoint.vision.decoder if isinstance(part, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight[48:64] = 0  # after three colours of 16 pixels each come the depths
        last.bias[48:64] = math.log(1.0) - 1.5
    return Engine(replace(checkpoint, depth=None))


def test_a_solid_session_stops_at_what_it_has_seen_and_remembers_that_it_is_solid(
    engine_that_sees_a_wall, first_frame, tmp_path
):
    engine, ahead = engine_that_sees_a_wall, Action("move forward", Motion(forward=5.0))
    ghost, solid = (engine.session(first_frame, solid=is_solid) for is_solid in (False, True))
    solid.save(tmp_path / "walk")
    assert ghost.step(ahead).pose.distance_to(first_frame.pose) == pytest.approx(5.0)
    for session in (solid, engine.load_session(tmp_path / "walk"), engine.load_session(tmp_path / "walk").fork()):
        assert session.step(ahead).pose.distance_to(first_frame.pose) < 1.0
