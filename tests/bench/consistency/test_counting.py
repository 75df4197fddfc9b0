"""Nothing undefined counts as perfect; intervals and comparisons resample whole scenes."""

from __future__ import annotations

import numpy as np
import pytest
from roam.bench.consistency.metrics.definitions import METRICS, balance, measured
from roam.bench.consistency.metrics.steering import components_right, kind_of, macro, motion_between
from roam.bench.consistency.report.stats import bootstrap, by_scene, holm, sign_flip
from roam.world.pose import Motion, Pose

HERE = Pose.at(1, 2, 1.5, 30)


def test_a_failure_is_counted_and_ranks_last():
    found = measured("psnr", [30.0, None, 20.0])
    assert (found.value, found.n, found.failed) == (25.0, 2, 1)
    assert found.ranked == pytest.approx(50 / 3)


def test_all_failures_have_no_value_and_the_worst_rank():
    found = measured("angle_error", [None, None])
    assert found.value is None and found.ranked == METRICS["angle_error"].worst


def test_a_question_that_did_not_arise_is_no_failure():
    found = measured("memory_gain", [None, 3.0], asked=[False, True])
    assert (found.value, found.ranked, found.failed) == (3.0, 3.0, 0)


def test_a_balanced_score_is_nothing_as_soon_as_one_part_is():
    assert balance([1.0, 1.0, 0.0]) == 0
    assert balance([0.5, 0.5]) == pytest.approx(0.5)
    assert balance([1.0, 0.1]) < 0.2


@pytest.mark.parametrize(
    "motion", [Motion(forward=0.3), Motion(right=-0.3), Motion(yaw_deg=15), Motion(0.3, 0.1, -15, 10)]
)
def test_the_motion_between_two_poses_is_the_one_that_led_there(motion):
    found = motion_between(HERE, HERE.moved(motion))
    for name in ("forward", "right", "yaw_deg", "pitch_deg"):
        assert getattr(found, name) == pytest.approx(getattr(motion, name), abs=1e-6)


def test_half_speed_and_standing_still_are_wrong_in_the_component_that_was_commanded():
    told = Motion(forward=0.3)
    assert components_right(HERE, HERE.moved(told), told) == (True,) * 4
    assert components_right(HERE, HERE.moved(told.scaled(0.5)), told) == (False, True, True, True)
    assert components_right(HERE, HERE, told) == (False, True, True, True)
    assert components_right(HERE, None, told) == (False,) * 4


def test_standing_still_counts_once_however_often_it_is_asked():
    kinds = [kind_of(Motion())] * 9 + [kind_of(Motion(forward=0.3))]
    assert macro(kinds, [1.0] * 9 + [0.0]) == 0.5


def test_an_interval_holds_the_mean_and_narrows_with_scenes():
    rng = np.random.default_rng(0)
    few, many = (bootstrap(rng.normal(20, 1, n), draws=2000) for n in (8, 64))
    assert few.low < few.mean < few.high and many.high - many.low < few.high - few.low
    assert bootstrap([3.0]).low is None and bootstrap([]) is None


def test_scenes_count_alike_however_many_episodes_they_have():
    assert by_scene([0, 0, 0, 1], [1.0, 1.0, 1.0, 5.0]) == {0: 1.0, 1: 5.0}
    assert by_scene([0, 1], [None, 2.0]) == {1: 2.0}


def test_a_sign_flip_cannot_be_surer_than_its_scenes_allow():
    assert sign_flip([1.0, 2.0, 3.0]) == pytest.approx(2 / 8)
    assert sign_flip([1.0]) is None
    assert sign_flip([1.0, -1.0, 1.0, -1.0]) == 1.0
    assert sign_flip(np.ones(20)) < 0.01


def test_holm_is_stricter_than_each_test_alone_and_keeps_their_order():
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
