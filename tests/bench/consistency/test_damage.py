"""Each kind of damage, a little more each time, moves its metric in the right direction."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from roam.bench.consistency.questions.places import things, without
from roam.bench.consistency.questions.truth import Truth
from roam.world.pose import Motion

from .doubles import Altered, Damaged, Misled, blur, episode, jpeg, noise, numbers, scored, shift, tint

ASKED = episode("T1", frames=3)


@pytest.mark.parametrize(
    ("spoil", "amounts"),
    [
        (blur, (0.6, 1.2, 2.4)),
        (jpeg, (80, 40, 10)),
        (noise, (4, 10, 25)),
        (tint, (0.05, 0.15, 0.35)),
        (shift, (1, 2, 8)),
    ],
    ids=["blur", "jpeg", "noise", "tint", "shift"],
)
@pytest.mark.slow(reason="five kinds of damage, each scored at four amounts")
def test_more_damage_to_the_picture_is_less_fidelity(spoil, amounts):
    truth = Truth(ASKED)
    rows = [scored("truth", truth), *(scored(Damaged(spoil(amount)), truth) for amount in amounts)]
    for name in ("psnr", "ssim", "haarpsi"):
        values = [row[name].ranked for row in rows]
        if (spoil, name) not in ((tint, "ssim"),):  # SSIM hardly sees a colour cast: that is why it is not alone
            assert all(a > b for a, b in pairwise(values)), (name, values)


def test_blur_takes_sharpness_and_noise_adds_it():
    soft, grainy = numbers([Damaged(blur(1.5)), Damaged(noise(20))], ASKED, "sharpness")
    assert soft < 0.6 and grainy > 1.5


def test_flicker_is_seen_where_every_frame_has_other_noise_and_not_where_all_have_the_same_tint():
    steady, flickering = numbers([Damaged(tint(0.2)), Damaged(noise(12))], ASKED, "flicker")
    assert flickering > 5 and steady < flickering / 2


def test_a_wrong_turn_costs_psnr_at_the_commanded_pose_and_little_at_the_recovered_one():
    truth = Truth(ASKED)
    rows = [scored(Misled(Motion(yaw_deg=degrees)), truth) for degrees in (0.1, 1, 5)]
    commanded, angles = [row["psnr"].ranked for row in rows], [row["angle_error"].ranked for row in rows]
    assert commanded == sorted(commanded, reverse=True) and commanded[-1] < 25
    assert angles == pytest.approx([0.1, 1, 5], abs=0.3)
    assert all(row["psnr_recovered"].ranked > 28 for row in rows)


def test_a_step_aside_is_measured_in_metres():
    errors = numbers([Misled(Motion(right=metres)) for metres in (0.05, 0.2)], ASKED, "position_error")
    assert errors == pytest.approx([0.05, 0.2], abs=0.04)


def test_things_that_vanish_or_change_cost_the_things_psnr_though_the_rest_is_true():
    asked = episode("T7", variant="out of view", frames=2)

    def repainted(scene):
        held = np.isin(scene.ids, things(scene))
        colors = scene.colors.copy()
        colors[np.unique(scene.materials[held])] = colors[np.unique(scene.materials[held])][..., ::-1] * 0.6
        return replace(scene, colors=colors)

    truth = Truth(asked)
    gone = scored(Altered(lambda scene: without(scene, asked.target)), truth)
    other = scored(Altered(repainted), truth)
    for row in (gone, other):
        assert row["objects_psnr"].ranked < row["psnr"].ranked - 1
        assert row["presence"].ranked == 0
    assert scored("truth", truth)["presence"].ranked == 1


def test_two_things_that_change_places_are_not_the_things_that_were_there():
    asked = episode("T7", variant="out of view", frames=2)
    truth = Truth(asked)

    def swapped(scene):
        other = next(thing for thing in things(scene) if thing != asked.target)
        places = {thing: scene.centers[scene.ids == thing].mean(0) for thing in (asked.target, other)}
        centers = scene.centers.copy()
        for thing, place in ((asked.target, places[other]), (other, places[asked.target])):
            centers[scene.ids == thing, :2] += (place - places[thing])[:2]
        return replace(scene, centers=centers)

    changed = scored(Altered(swapped), truth)
    assert changed["presence"].ranked == 0
    assert changed["objects_psnr"].ranked < changed["psnr"].ranked - 1


def test_a_thing_that_is_dreamt_where_there_is_none_is_found_out():
    asked = episode("T7", variant="absent", frames=2)
    truth = Truth(asked)
    dreamt = scored(Altered(lambda scene: truth.full_scene), truth)
    assert dreamt["false_object"].ranked == 1 and dreamt["absence"].ranked == 0
    true = scored("truth", truth)
    assert true["false_object"].ranked == 0 and true["absence"].ranked == 1


def test_a_grey_picture_shows_neither_the_thing_nor_the_bare_place_as_well_as_the_truth():
    asked = episode("T7", variant="out of view", frames=2)
    assert numbers(["mean-colour", "truth"], asked, "presence")[0] < 1


def test_a_frozen_picture_does_not_move_and_half_speed_moves_less():
    truth = Truth(ASKED)
    frozen, half, true = (scored(row, truth)["motion_ratio"].value for row in ("copy-last", "half-speed", "truth"))
    assert frozen == 0 and half < 0.95 and true == pytest.approx(1)


def test_a_picture_that_fades_has_a_falling_curve_and_a_horizon():
    def fade(pixels, count):
        weight = min(1.0, count / 25)
        return (pixels * (1 - weight) + 128 * weight).astype(np.uint8)

    truth = Truth(episode("T9"))
    faded, true = scored(Damaged(fade), truth), scored("truth", truth)
    assert faded["drift_slope"].value < -20 < true["drift_slope"].value + 1
    assert faded["horizon"].value < true["horizon"].value
