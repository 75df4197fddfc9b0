"""The quick benchmark cannot be fooled: its walks stay in free space, its masks do not depend on models, and its
goals can fail."""

import numpy as np
import pytest
from roam.bench import quick, quick_report
from roam.bench.machine import Machine
from roam.world.action import parse_action


def test_psnr_is_the_textbook_one_and_capped():
    black, grey = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)
    assert quick.psnr(black, grey) == pytest.approx(10 * np.log10(25), abs=1e-9)
    assert quick.psnr(grey, grey) == 60.0
    half = np.zeros((4, 4), bool)
    half[:2] = True
    mixed = np.where(half[..., None], black, grey).astype(np.uint8)
    assert quick.psnr(black, mixed, half) == 60.0 > quick.psnr(black, mixed, ~half)


def test_no_wall_is_met_on_a_test_walk_and_it_is_the_same_every_time():
    walk = quick.test_walk(3, steps=8)
    for here, there, action in zip(walk.frames, walk.frames[1:], walk.actions, strict=False):
        assert there.pose.distance_to(here.pose.moved(action.motion)) < 1e-6
    assert [f.digest for f in walk.frames] == [f.digest for f in quick.test_walk(3, steps=8).frames]


def test_what_was_seen_before_is_seen_and_what_a_turn_brings_is_not():
    walk = quick.test_walk(2, steps=8)
    still = [k for k in range(4, 8) if walk.actions[k - 1].motion.is_still]
    for index in range(4, 8):
        share = quick.seen_before(walk, index).mean()
        assert 0.2 < share <= 1.0 and (index not in still or share > 0.95)


def test_wrong_words_mean_something_else():
    action = parse_action("turn left")
    others = (parse_action("turn left"), parse_action("move forward"))
    assert quick.other_action(action, others, 0).motion != action.motion


def report(gain):
    row = lambda value: {"all": value, "covered": value, "newly seen": value}  # noqa: E731
    names = ("model, carried views", "model, noise")
    one = {"copy-last": row(18.0), "warp alone": row(21.0), "tokenizer ceiling": row(28.0)}
    one |= {"warp alone, holes filled": row(22.0)}
    one |= {name: row(21.0 + gain) for name in names} | {f"{name}, wrong words": row(17.0) for name in names}
    curve = {"model": [21.0 + gain] * 16, "copy-last": [15.0] * 16, "repeated warp alone": [20.5] * 16}
    curve["repeated warp alone, holes filled"] = [20.6] * 16
    cost = {"frame_ms_median": 50.0, "token_by_token_decode_ms": 300.0, "dida_decode_ms": 20.0}
    cost |= {"dida_psnr": 21.0 + gain, "token_by_token_psnr": 21.0, "first_frame_s": 3.0, "memory_mb": 700.0}
    return {"one_step": one, "rollout": curve, "depth_abs_rel": 0.1, "cost": cost}


def test_a_good_model_meets_every_goal_and_a_bad_one_fails_each_goal_of_quality():
    good, bad = quick_report.goals(report(3.0)), quick_report.goals(report(-6.0))
    assert all(goal["met"] for goal in good.values())
    failed = {name for name, goal in bad.items() if not goal["met"]}
    assert {name for name in bad if "over" in name or "gain" in name or "DiDA less" in name} <= failed


def test_a_machine_names_itself():
    here = Machine.here()
    assert here.cores >= 1 and here.slug.replace("-", "").isalnum() and "torch" in str(here)


def test_the_tables_for_people_hold_every_row_and_goal():
    full = report(3.0) | {"scenes": 2, "machine": {"cpu": "a", "cores": 2, "gpu": None, "python": "3", "torch": "2"}}
    full["goals"] = quick_report.goals(full)
    text = quick_report.markdown(full)
    assert all(f"| {name} |" in text for name in (*full["one_step"], *full["rollout"], *full["goals"]))
    assert "no GPU" in text and "| no |" not in text
