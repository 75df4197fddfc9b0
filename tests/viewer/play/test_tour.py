"""The tour that runs when nobody presses a key."""

from roam.scenes.splits import make_scene
from roam.viewer.play.tour import outings, tour
from roam.world.action import parse_action
from roam.world.pose import Pose


def test_a_tour_bumps_into_nothing_and_gets_somewhere():
    for number in range(2):  # a house, and a place out of doors
        scene = make_scene("test", number)
        pose = scene.spawn_pose
        for action in tour(pose, 60, walked=scene.walked):
            there = scene.walked(pose, action.motion)
            assert there.distance_to(pose.moved(action.motion)) < 0.03
            pose = there
        assert pose.distance_to(scene.spawn_pose) > 0.5


def test_a_tour_says_words_that_the_parser_reads_back():
    assert all(parse_action(action.text) == action for action in tour(Pose.at(0, 0, 1.5), 30))


def test_outings_bump_into_nothing_and_come_home_after_each():
    for number in range(2):
        scene = make_scene("test", number)
        pose, visits, farthest = scene.spawn_pose, 0, 0.0
        for action in outings(pose, 60, walked=scene.walked):
            there = scene.walked(pose, action.motion)
            assert there.distance_to(pose.moved(action.motion)) < 0.03
            pose = there
            home = pose.distance_to(scene.spawn_pose) < 0.02 and pose.angle_to(scene.spawn_pose) < 1
            visits, farthest = visits + home, max(farthest, pose.distance_to(scene.spawn_pose))
        assert visits >= 5 and (farthest > 0.5 or number == 0)
