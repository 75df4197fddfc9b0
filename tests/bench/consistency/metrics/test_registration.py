"""Poses are recovered where the picture shows the scene, and not where it does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from roam.bench.consistency.metrics.registration import register
from roam.bench.consistency.questions.truth import Truth
from roam.world.pose import Motion

from ..doubles import blur, episode, jpeg, noise

OFF = Motion(forward=0.15, right=-0.1, yaw_deg=6)


@pytest.fixture(scope="module")
def rooms() -> Truth:
    return Truth(episode("T1", number=0))


@pytest.fixture(scope="module", params=[0, 1], ids=["rooms", "outdoors"])
def truth(request) -> Truth:
    return Truth(episode("T1", number=request.param))


@pytest.mark.parametrize("spoil", [blur(1.0), jpeg(20), noise(8)], ids=["blur", "jpeg", "noise"])
def test_a_damaged_view_is_found_within_a_tenth_of_a_metre_and_two_degrees(truth, spoil):
    guess = truth.episode.poses[0]
    pose = guess.moved(OFF)
    found = register(spoil(truth.at(pose).pixels, 1), truth, [guess]).pose
    assert found is not None and found.distance_to(pose) < 0.1 and found.angle_to(pose) < 2


def test_a_view_too_coarse_for_features_is_found_by_comparison(rooms):
    pose = rooms.episode.poses[0].moved(Motion(yaw_deg=4))
    coarse = cv2.resize(cv2.resize(rooms.at(pose).pixels, (24, 24), interpolation=cv2.INTER_AREA), (128, 128))
    found = register(coarse, rooms, [rooms.episode.poses[0]])
    assert found.how == "compare" and found.pose.angle_to(pose) < 2


def test_views_of_other_scenes_and_of_nothing_are_not_found(truth):
    guess = truth.episode.poses[0]
    grey = np.full((128, 128, 3), 120, np.uint8)
    for picture in (*(view.pixels for view in truth.strangers()), grey, noise(12)(grey, 1)):
        assert register(picture, truth, [guess]).pose is None


def test_the_same_picture_is_found_at_the_same_pose_each_time(rooms):
    guess = rooms.episode.poses[0]
    picture = noise(6)(rooms.at(guess.moved(OFF)).pixels, 2)
    assert register(picture, rooms, [guess]) == register(picture, rooms, [guess])
