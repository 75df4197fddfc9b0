"""What earns a reward: the truth earns the most, and nothing that was damaged earns more than what it was made from."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from roam.bench.imagination.recogniser import REWARDING, WEIGHTS, save, shipped
from roam.bench.imagination.rewards import DAMAGES, PICTURES, USUAL, Critic, PictureMeasure
from roam.scenes.render import render
from roam.scenes.splits import make_scene
from roam.world.adaptation.rewards.spots import spots_of
from roam.world.adaptation.rewards.system import Rewards
from roam.world.checkpoint import load_checkpoint
from roam.world.pose import Camera

SCENES = range(290_100, 290_106)


@pytest.fixture(scope="module")
def spots():
    checkpoint = load_checkpoint()
    return [spot for number in SCENES for spot in spots_of("train", number, 3, checkpoint)]


@pytest.fixture(scope="module")
def rewards(spots):
    """Rewards fitted on half of the places, with the holes that memory alone would leave to a dream."""
    return Rewards(PICTURES.fitted([(spot, spot.carried.pixels) for spot in spots[::2]]), USUAL)


def elsewhere(spot):
    return render(make_scene("train", spot.scene + 500_000), spot.pose, Camera()).pixels


def mean_of(rewards, spots, picture):
    """The mean reward and its parts for one picture at each place, (place) -> pixels; diversity belongs to a group,
    and is 1 for one picture."""
    rows = [rewards.of(spot, picture(spot)[None], spot.depth[None]) for spot in spots]
    parts = {name: float(np.mean([part[name] for _, part in rows])) for name in USUAL}
    return float(np.mean([total for total, _ in rows])), parts


@pytest.fixture(scope="module")
def true(rewards, spots):
    return mean_of(rewards, spots[1::2], lambda spot: spot.pixels)


def test_the_truth_earns_all_that_can_be_measured_of_it(true):
    assert true[1] == pytest.approx(dict.fromkeys(USUAL, 1.0), abs=1e-6)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_spoilt_wins_no_part_over_the_truth_and_loses_as_a_whole(damage, rewards, spots, true):
    spoil = DAMAGES[damage]
    total, parts = mean_of(rewards, spots[1::2], lambda spot: spoil(spot, spot.pixels, spot.scene))
    for name in USUAL:
        assert parts[name] <= true[1][name] + 1e-6, (name, parts[name])
    assert total < true[0] - 0.03, (total, parts)


def test_frozen_pictures_and_copies_have_no_diversity_and_other_places_have_it_all(rewards, spots):
    spot = max(spots, key=lambda one: (~one.carried.covered).mean())
    unseen = (~spot.carried.covered)[..., None]
    places = np.stack([np.where(unseen, elsewhere(replace(spot, scene=k)), spot.pixels) for k in range(4)])
    copies = np.stack([places[0]] * 4)
    depth = np.stack([spot.depth] * 4)
    found = [rewards.of(spot, pixels, depth)[1]["diversity"] for pixels in (places, copies)]
    assert found[0].mean() > 0.5 and found[1].max() < 1e-6


def test_depth_counts_where_nothing_was_seen(rewards, spots):
    spot = spots[0]
    half = np.where(spot.carried.covered, spot.depth, spot.depth / 2)
    scores = rewards.of(spot, np.stack([spot.pixels] * 3), np.stack([spot.depth, half, 4 * spot.depth]))[1]["depth"]
    assert scores == pytest.approx([1.0, 0.5, 0.25], abs=1e-3)


def test_a_picture_turned_by_too_much_has_not_followed(rewards, spots):
    """A view whose seen part does not lie where the motion says it should."""
    scores = []
    for spot in spots[::2]:
        moved = np.roll(spot.pixels, 40, axis=1)
        scores.append(rewards.of(spot, moved[None], spot.depth[None])[1]["follow"][0])
    assert np.mean(scores) < 0.9 and min(scores) < 0.7, scores


def test_the_critic_tells_what_it_has_learnt_to_tell():
    rng = np.random.default_rng(0)
    true, false = rng.normal(0, 1, (80, 8)), rng.normal(0, 1, (80, 8)) + np.r_[2.0, np.zeros(7)]
    critic = Critic.between(true, false)
    assert critic(true).mean() > 0.7 > 0.3 > critic(false).mean()
    assert critic(np.full((1, 8), 1e9))[0] >= 0  # what is far off causes no overflow


def test_who_rewards_is_not_who_judges():
    ours, judges = (shipped(path).state_dict() for path in (REWARDING, WEIGHTS))
    assert not any(torch.equal(ours[name], judges[name]) for name in ours if name.endswith("0.weight"))


def test_the_audit_finds_the_truth_at_the_ideal(spots):
    found = PICTURES.audit([(spot, np.stack([spot.pixels] * 2)) for spot in spots])
    for name, value in found.items():
        ideal = {"kid": 0.0, "auc": 0.5, "diversity": 0.0}.get(name, 1.0)
        assert np.isnan(value) or value == pytest.approx(ideal, abs=1e-6), (name, value)


def test_a_measure_is_fitted_alike_from_the_same_examples(spots):
    examples = [(spot, spot.carried.pixels) for spot in spots[:3]]
    first, second = (PictureMeasure.fitted(examples) for _ in range(2))
    assert np.array_equal(first.critic.weight, second.critic.weight) and first.apart == second.apart


@pytest.mark.parametrize("weights", [WEIGHTS, REWARDING])
def test_a_bit_that_flips_in_the_weights_of_what_judges_is_noticed(weights, tmp_path):
    shutil.copytree(WEIGHTS.parent, tmp_path, dirs_exist_ok=True)
    copied = tmp_path / weights.name
    network = shipped(copied)
    data = bytearray(copied.read_bytes())
    data[len(data) // 2] ^= 1
    copied.write_bytes(data)
    shipped.cache_clear()
    with pytest.raises(ValueError, match=f"{weights.name} is not as it was written"):
        shipped(copied)
    save(network, copied)  # learnt anew, its digest is as well
    shipped.cache_clear()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), shipped(copied).parameters(), strict=True))
