"""In every task the truth comes first and a frozen picture never does; a task where that fails would measure
nothing."""

from __future__ import annotations

import pytest
from roam.bench.consistency.metrics.definitions import METRICS
from roam.bench.consistency.models.baselines import FROZEN
from roam.bench.consistency.questions.tasks import TASKS
from roam.bench.consistency.questions.truth import Truth

from .doubles import episode, scored

# one episode a task that tells them apart; T8's last frames only
ASKED = {task: dict(frames=6) for task in TASKS} | {
    "T3": dict(variant="backwards"),
    "T7": dict(variant="out of view"),
    "T8": dict(variant="forward and turn left"),
    "T10": dict(frames=8),
}
BEST = (
    "psnr",
    "ssim",
    "haarpsi",
    "psnr_all",
    "registered",
    "action_strict",
    "action_partial",
    "own_scene",
    "presence",
    "flicker",
    "warp_error",
    "horizon",
)


@pytest.mark.parametrize("task", [task for task in TASKS if task != "T11"])  # whose numbers are of many episodes
@pytest.mark.slow(reason="ten tasks are each asked of the truth and of every frozen picture")
def test_the_truth_is_first_and_a_frozen_picture_never(task):
    truth = Truth(episode(task, **ASKED[task]))
    best = scored("truth", truth)
    primary = [name for name in METRICS if task in METRICS[name].tasks]
    assert primary
    for frozen in FROZEN:
        values = scored(frozen, truth)
        for name in (name for name in BEST if name in best and best[name].ranked is not None):
            badness = METRICS[name].badness
            assert badness(best[name].ranked) <= badness(values[name].ranked), f"{frozen} beats the truth in {name}"
        for name in primary:
            assert METRICS[name].badness(best[name].ranked) < METRICS[name].badness(values[name].ranked), (frozen, name)


def test_another_world_is_never_registered_nor_recognised():
    for number in (0, 1):
        values = scored("other-scene", episode("T1", number=number))
        assert values["registered"].value == 0
        assert values["psnr_recovered"].value is None and values["psnr_recovered"].failed == len(
            values["psnr"].per_frame
        )
        assert values["action_strict"].value == 0


def test_half_speed_is_the_right_world_and_the_wrong_action():
    values = scored("half-speed", episode("T1"))
    assert values["registered"].value == 1
    assert values["action_strict"].value == 0
    assert values["psnr_recovered"].value > values["psnr"].value + 10


def test_retrieval_is_perfect_on_a_retraced_way_and_not_beside_it():
    assert scored("retrieval", episode("T1"))["psnr"].value == 60
    assert scored("retrieval", episode("T5", variant="turn 60"))["psnr"].value < 35


def test_carrying_views_by_true_depth_beats_retrieving_them_beside_the_way():
    truth = Truth(episode("T5", variant="turn 60"))
    assert scored("depth-warp", truth)["psnr"].value > scored("retrieval", truth)["psnr"].value + 2


def test_memory_is_gained_by_the_truth_and_not_by_what_stands_still():
    truth = Truth(episode("T1"))
    true = scored("truth", truth)["memory_gain"].value
    assert true > 10
    for frozen in FROZEN:
        values = scored(frozen, truth)
        # the first frame is right in the one instant in which the walker is back at it
        assert values["memory_gain"].ranked < true / 2 and values["gate"].value < 0.5


def test_in_mode_f_the_model_is_shown_four_frames_and_compared_with_its_own():
    asked = episode("T1", mode="F")
    values = scored("truth", asked)
    assert asked.num_context == 4
    assert values["psnr"].value == 60 and values["memory_gain"].value > 10
