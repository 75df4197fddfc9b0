"""Walks up to what was dreamt: it is dreamt anew from near by, by the same laws as every dream."""

import numpy as np
import pytest
import torch
from roam.world.action import parse_action
from roam.world.engine import Engine
from roam.world.saves.snapshot import SnapshotError, write_whole
from roam.world.spatial import anew
from roam.world.spatial.anew import without_coarse
from roam.world.spatial.warp import DREAMT_ANEW, SEEN, warp
from roam.world.transformer.dida import decode_holes, reveal_order
from roam.world.transformer.passes import Serving
from safetensors import safe_open

LEFT, RIGHT, ON, BACK = (
    parse_action(text) for text in ("turn left 45 degrees", "turn right 30 degrees", "move forward", "step back")
)
UP_TO_IT = [LEFT, LEFT, *[ON] * 8, RIGHT, ON, ON]


@pytest.fixture
def engine(loaded_dreaming):
    return Engine(loaded_dreaming, serving=Serving(precision="float32"))


def walked(session, actions):
    return [session.step(action).digest for action in actions]


def origins(session):
    return [view.origin for _, view in session.memory.items()]


def held(session):
    return [
        [
            (index, view.origin, view.own_depth.tobytes())
            for index, view in moment.memory.items() + moment.memory.latest()
        ]
        for moment in session.moments
    ]


def test_what_was_dreamt_is_dreamt_anew_when_one_comes_near_and_is_sharp_again(engine, first_frame):
    session = engine.session(first_frame, seed=1)
    walked(session, [LEFT, LEFT])
    assert DREAMT_ANEW not in origins(session)
    walked(session, UP_TO_IT[2:])
    assert DREAMT_ANEW in origins(session) and SEEN in origins(session)
    for moment in session.moments[1:]:
        shown = warp(moment.memory.choose(moment.frame.pose), moment.frame.pose, session.camera)
        assert without_coarse(shown).before is None


def test_without_that_rule_walkers_see_their_dreams_magnified(engine, first_frame, monkeypatch):
    monkeypatch.setattr(anew, "MOST", 1.0)
    session = engine.session(first_frame, seed=1)
    walked(session, UP_TO_IT)
    assert DREAMT_ANEW not in origins(session)
    shown = warp(session.memory.choose(session.frame.pose), session.frame.pose, session.camera)
    assert (shown.scale > anew.COARSE).mean() > 0.1


def test_a_walk_up_to_a_dream_is_the_same_after_save_and_load_fork_rewind_and_preparing(engine, first_frame, tmp_path):
    session = engine.session(first_frame, seed=1)
    walked(session, UP_TO_IT[:8])
    session.save(tmp_path / "early")
    before = session.fork()
    walked(session, UP_TO_IT[8:])
    assert session.save_changes(tmp_path / "changes", before)
    session.save(tmp_path / "whole")
    for paths in (["whole"], ["early", "changes"]):
        loaded = engine.load_session(*(tmp_path / path for path in paths))
        assert held(loaded) == held(session)
        loaded.close()
    loaded = engine.load_session(tmp_path / "early", tmp_path / "changes")
    ahead = walked(session.fork(), [ON, LEFT, ON])
    assert walked(loaded, [ON, LEFT, ON]) == ahead
    session.prepare()
    assert walked(session, [ON, LEFT, ON]) == ahead
    session.rewind(3 + len(UP_TO_IT[8:]))  # nothing stands in for older dreams any more
    assert held(session)[-1] == held(before)[-1]
    assert walked(session, [*UP_TO_IT[8:], ON, LEFT, ON])[-3:] == ahead


def psnr(a, b):
    return 10 * np.log10(255**2 / max(1e-9, float(((a.astype(float) - b) ** 2).mean())))


def there_and_back(engine, first_frame):
    """PSNR in dB of each frame on the way back over that on the way there, and how often the way back dreamt."""
    session = engine.session(first_frame, seed=1)
    walked(session, [LEFT, LEFT])
    there, back = [session.frame, *(session.step(ON) for _ in range(12))], []
    known = len(session.memory)
    for frame in reversed(there[:-1]):
        again = session.step(BACK)
        assert again.pose.distance_to(frame.pose) < 1e-6
        back.append(psnr(frame.pixels, again.pixels))
    return back, len(session.memory) - known


def test_who_walks_back_sees_again_what_there_was(engine, first_frame, monkeypatch):
    back, dreams = there_and_back(engine, first_frame)
    monkeypatch.setattr(anew.StandsIn, "is_near", lambda self, position: True)  # the newest dream from everywhere
    newest, _ = there_and_back(engine, first_frame)
    assert np.mean(back) > np.mean(newest) + 3 and dreams <= 2, (back, newest, dreams)


def rewritten(path, target, change, without=()):
    """A save whose tensors are changed, and some entries of its description left out, with the right checksum, as a
    stranger could make it."""
    with safe_open(path, "pt") as file:
        meta = {name: value for name, value in file.metadata().items() if name not in ("sum", *without)}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    write_whole(change(tensors), target, meta)
    return target


def test_saves_of_before_that_do_not_say_what_was_dreamt_are_read_and_nothing_of_them_is_dreamt_anew(
    engine, first_frame, tmp_path
):
    session = engine.session(first_frame, seed=1)
    walked(session, [LEFT, LEFT])
    session.save(tmp_path / "new")
    without = lambda tensors: {name: value for name, value in tensors.items() if name != "origins"}  # noqa: E731
    loaded = engine.load_session(rewritten(tmp_path / "new", tmp_path / "old", without, ["forms"]))
    assert set(origins(loaded)) == {SEEN}
    walked(loaded, [ON])


@pytest.mark.parametrize("change", [lambda told: told[:1], lambda told: told + 3])
def test_a_save_that_tells_nonsense_of_where_views_are_from_is_refused(engine, first_frame, tmp_path, change):
    session = engine.session(first_frame, seed=1)
    walked(session, [LEFT, LEFT])
    session.save(tmp_path / "walk")
    free = engine.cache.pool.num_free
    odd = rewritten(tmp_path / "walk", tmp_path / "odd", lambda held: held | {"origins": change(held["origins"])})
    with pytest.raises(SnapshotError, match="origins"):
        engine.load_session(odd)
    assert engine.cache.pool.num_free == free


def test_a_photograph_is_never_dreamt_anew(engine, first_frame):
    session = engine.session(first_frame.pixels, photograph=True)
    assert origins(session) == [SEEN]


def test_walks_up_to_dreams_that_step_together_are_those_of_each_alone(engine, first_frame):
    group = [engine.session(first_frame, seed=seed) for seed in (1, 2)]
    together = [[f.digest for f in engine.step_many(group, [action] * 2)] for action in UP_TO_IT]
    for k, seed in enumerate((1, 2)):
        assert walked(engine.session(first_frame, seed=seed), UP_TO_IT) == [both[k] for both in together]


def test_hinted_codes_are_known_at_first_and_decided_anew_in_the_corrections():
    tokens = torch.full((1, 20), -1)
    tokens[0, :4], tokens[0, 4:8] = 5, 6
    hinted = torch.zeros(1, 20, dtype=torch.bool)
    hinted[0, 4:8] = True
    orders = torch.from_numpy(reveal_order((4, 5), 0))[None]
    seen = []

    def predict(now, cells, seed, temperature):
        seen.append((temperature, cells.clone(), now.clone()))
        return torch.where(cells, torch.full_like(now, 9), now)

    options = dict(temperature=1.0, at_once=4, corrections=2, correcting=0.5, hinted=hinted)
    filled = decode_holes(predict, tokens, orders, [torch.zeros(1)] * 5, **options)
    assert (filled[0, :4] == 5).all() and (filled[0, 4:] == 9).all()
    first = [(cells, now) for temperature, cells, now in seen if temperature == 1.0]
    assert not any((cells & hinted).any() for cells, _ in first) and (first[0][1][hinted] == 6).all()
    corrected = sum(cells.int() for temperature, cells, _ in seen if temperature == 0.5)
    assert (corrected == (hinted | (tokens < 0)).int()).all()


def test_a_frame_is_never_changed_by_what_is_dreamt_anew_later(engine, first_frame):
    session = engine.session(first_frame, seed=1)
    walked(session, UP_TO_IT[:4])
    frame = session.frame
    pixels = frame.pixels.copy()
    walked(session, UP_TO_IT[4:])
    assert np.array_equal(frame.pixels, pixels)
