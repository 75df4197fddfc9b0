"""A walk on a headset: both eyes see it from where they are, at the headset's own rate, and the walker follows the
head."""

import math
import sys
import threading

import numpy as np
import pytest
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.viewer.cli import main
from roam.viewer.xr.body import Body, HeadView, motion_after, pose_of
from roam.viewer.xr.wear import Wearer
from roam.world.pose import Camera, Motion, Pose
from roam.world.sight import LookError

STRAIGHT = (1.0, 0.0, 0.0, 0.0)
ACROSS, DOWN = math.tan(math.radians(40)), math.tan(math.radians(30))


class Head:
    """A headset at the pose that the test gives it; `way` has the head's pose for each picture."""

    width = 64

    def __init__(self, way):
        self.way, self.pictures = way, []

    def views(self):
        for position, wxyz in self.way():
            yield HeadView(pose_of(position, wxyz), 0.064, ACROSS, DOWN)

    def show(self, view, pixels):
        self.pictures.append(pixels)


class Waiting(SceneSession):
    """A true scene whose steps wait until they may."""

    def __init__(self):
        super().__init__(make_scene("test", 6), camera=Camera(48, 48))
        self.may_step, self.asked = threading.Event(), threading.Event()

    def step(self, action):
        self.asked.set()
        assert self.may_step.wait(60)
        return super().step(action)


def turned(degrees):
    """To the left, about OpenXR's vertical."""
    half = math.radians(degrees) / 2
    return (math.cos(half), 0.0, math.sin(half), 0.0)


def test_openxr_poses_come_out_in_roams_axes():
    ahead = pose_of((1.0, 1.6, -2.0), STRAIGHT)
    assert ahead.position == (1.0, 2.0, 1.6) and ahead.angle_to(Pose.at(0, 0, 0, yaw_deg=90)) < 1e-3
    assert pose_of((0, 0, 0), turned(30)).angle_to(Pose.at(0, 0, 0, yaw_deg=120)) < 1e-3


def test_a_head_begins_where_the_walker_stands_and_keeps_its_own_tilt():
    head, walker = pose_of((3.0, 1.1, 2.0), turned(20)), Pose.at(5, 6, 1.5, yaw_deg=-70, pitch_deg=10)
    body = Body.standing(head, walker)
    assert body.placed(head).distance_to(walker) < 1e-9
    assert body.placed(head).angle_to(Pose.at(0, 0, 0, yaw_deg=-70)) < 1e-3
    nearer = pose_of((3.0, 1.1, 2.0), STRAIGHT)  # turned back by 20 degrees, to the right
    assert body.placed(nearer).yaw_deg == pytest.approx(-90)


def test_the_walker_is_told_steps_of_a_models_size_until_it_is_near():
    walker, head = Pose.at(0, 0, 1.5), Pose.at(0.5, -0.3, 1.2, yaw_deg=40, pitch_deg=80)
    steps = []
    while (motion := motion_after(walker, head)) is not None:
        steps.append(motion)
        walker = walker.moved(motion)
    assert all(math.hypot(m.forward, m.right) < 0.301 and abs(m.yaw_deg) <= 15 for m in steps) and len(steps) < 8
    assert math.dist(walker.position[:2], head.position[:2]) < 0.06 and walker.pitch_deg == pytest.approx(60, abs=3)


def test_the_eyes_see_from_their_own_places_with_the_angle_that_the_headset_has():
    walk = SceneSession(make_scene("test", 6), camera=Camera(48, 48))
    headset = Head(lambda: [((0.0, 1.6, 0.0), STRAIGHT)])
    Wearer(walk, headset).run()
    (picture,) = headset.pictures
    assert picture.shape == (round(64 * DOWN / ACROSS), 128, 3)
    here, camera = walk.frame.pose, Camera(64, picture.shape[0], 80.0)
    level = Pose.at(*here.position, here.yaw_deg)
    for eye, side in ((0, -1), (1, 1)):
        seen = walk.look(level.moved(Motion(right=side * 0.032)), camera=camera)
        assert np.abs(picture[:, 64 * eye : 64 * eye + 64].astype(int) - seen.pixels).mean() < 2


def test_pictures_go_on_and_follow_the_head_while_a_step_is_being_made_and_the_walker_comes_after():
    walk = Waiting()
    begun = walk.frame.pose

    def way():
        yield (0.0, 1.6, 0.0), STRAIGHT
        for number in range(12):
            yield (0.02 * number, 1.6, 0.0), STRAIGHT
        assert walk.asked.wait(60)
        assert walk.frame.index == 0  # many pictures, and no frame yet
        walk.may_step.set()
        while walk.frame.pose.distance_to(begun) < 0.17:
            yield (0.22, 1.6, 0.0), STRAIGHT

    headset = Head(way)
    told = Wearer(walk, headset).run(pictures=5000)
    assert told.pictures >= 13 and told.steps >= 1 and told.per_s > 0
    assert np.abs(headset.pictures[1].astype(int) - headset.pictures[12]).mean() > 0.5
    moved = begun.moved(Motion(right=0.22))
    assert walk.frame.pose.distance_to(moved) < 0.07


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["play", "--truth", "--xr"], "pip install 'roam-worlds[xr]'"),
        (["play", "--truth", "--xr", "--headless"], "leave out --headless and --keys"),
        (["play", "--truth", "--xr", "--record", "walk.mp4"], "leave those options out"),
        (["view", "tcp://127.0.0.1:1", "--xr", "--record", "walk.mp4"], "leave out --record"),
    ],
)
def test_the_command_says_what_it_lacks(arguments, says, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "xr", None)
    with pytest.raises(SystemExit):
        main(arguments)
    assert says in capsys.readouterr().err


def test_a_world_that_is_seen_from_its_walker_alone_cannot_be_worn():
    with pytest.raises(LookError, match="cannot be worn"):
        Wearer(object(), Head(list))
