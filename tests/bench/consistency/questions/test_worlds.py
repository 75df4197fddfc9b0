"""The same questions can be asked in levels of Doom; those in our own scenes are unchanged."""

import numpy as np
import pytest
from roam.bench.consistency.questions.episode import BenchError
from roam.bench.consistency.questions.forms import FORMS
from roam.bench.consistency.questions.tasks import build
from roam.bench.consistency.questions.truth import Truth
from roam.bench.consistency.questions.worlds import check_world, place_of, stranger_of
from roam.bench.consistency.run import run
from roam.scenes.scene import SceneError

TINY = FORMS["tiny"]


@pytest.fixture(scope="module")
def doom():
    pytest.importorskip("vizdoom", reason="levels of Doom need roam[doom]")


UNSEEN = pytest.param("T11", marks=pytest.mark.slow(reason="ways out of sight are looked for in a level, twice"))


@pytest.mark.parametrize("task", ["T1", "T3", UNSEEN])
def test_a_level_is_asked_the_same_paths(doom, task):
    episodes = build(task, 1, form=TINY, split="dev", world="doom")
    assert episodes and {episode.world for episode in episodes} == {"doom"}
    assert all(episode.key.split("/")[3] == "doom dev-1" for episode in episodes)
    again = build(task, 1, form=TINY, split="dev", world="doom")
    assert [episode.digest for episode in again] == [episode.digest for episode in episodes]
    ours = build(task, 1, form=TINY, split="dev")
    assert not {episode.key for episode in ours} & {episode.key for episode in episodes}


def test_nothing_is_taken_out_of_a_level(doom):
    assert build("T7", 0, form=TINY, split="dev", world="doom") == []


def test_the_truth_of_a_level_is_what_its_engine_draws(doom):
    episode = build("T1", 0, form=TINY, split="dev", world="doom")[0]
    truth = Truth(episode)
    first, last = truth.frame(0), truth.frame(len(episode.actions))
    assert np.array_equal(first.pixels, last.pixels)  # there and back
    assert truth.seen(episode.poses[0]).mean() > 0.95
    assert truth.stranger().name != truth.scene.name
    assert place_of("doom", "dev", 0).name == truth.scene.name


def test_strangers_are_other_places():
    assert len({stranger_of("", "test", 3, k) for k in range(7)}) == 7
    assert stranger_of("", "test", 3, 2) % 2 == 3 % 2  # of the same family


def test_a_world_that_there_is_none_of_is_said_before_anything_is_asked(tmp_path):
    with pytest.raises(BenchError, match="unknown world 'quake'; wanted doom"):
        run(["truth"], tmp_path, form="tiny", world="quake")
    with pytest.raises((BenchError, SceneError), match=r"none\.wad"):
        check_world("doom:none.wad", "dev")
    assert not list(tmp_path.iterdir())
