"""An official checkpoint behind the same Session as the embedded model: directions in, pictures out, and the laws of
walks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from roam.world.action import Action, ActionError, dream_at, parse_action
from roam.world.checkpoint import CheckpointError
from roam.world.config import DidaConfig
from roam.world.emu.checkpoint import load_official
from roam.world.emu.engine import EmuEngine, explore_preset
from roam.world.emu.prompts import PromptError
from roam.world.emu.sampling import Sampling
from roam.world.emu.token_stream import ContextFull
from roam.world.engine import Engine
from roam.world.frame import Explorer, Frame
from roam.world.opening import open_engine
from roam.world.options import OfficialOptions
from roam.world.pose import Pose
from roam.world.saves.snapshot import SnapshotError
from roam.world.session import Session

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
LEFT, ON, WAIT = parse_action("turn left"), Action("walk through the red door"), parse_action("wait")
DRAWN = explore_preset(area=32 * 48, text_limit=4, text=Sampling(top_k=1))


@pytest.fixture(scope="module")
def checkpoint(official):
    return load_official(*official, context=1400)


@pytest.fixture(params=["autoregressive", "dida"], scope="module")
def engine(request, checkpoint) -> EmuEngine:
    """An engine that draws token by token, and one that denoises whole pictures."""
    adapted = replace(checkpoint, is_adapted=request.param == "dida", dida=DidaConfig(steps=2))
    return EmuEngine(adapted, preset=DRAWN, max_pages=400)


@pytest.fixture
def session(engine):
    session = engine.session(PIXELS, words="a hall", seed=5)
    yield session
    session.close()


def digests(session, actions) -> list[str]:
    return [session.step(action).digest for action in actions]


def test_a_walk_is_a_session_whose_frames_have_the_first_ones_size_and_the_commanded_pose(engine, session):
    assert type(session) is Session and isinstance(session, Explorer)
    assert session.frame.tokens.shape == (2, 3) and session.frame.pixels.shape == (32, 48, 3)
    frame = session.step(LEFT)
    assert (frame.index, frame.tokens.shape, frame.depth) == (1, (2, 3), None)
    assert frame.pose == session.moments[0].frame.pose.moved(LEFT.motion)
    assert session.step(ON).pose is None and session.step(LEFT).pose is None


def test_a_direction_is_what_the_model_reads_and_waiting_says_nothing(engine, session):
    session.step(LEFT)
    twin = session.fork()
    session.step(ON)
    twin.step(WAIT)
    said = engine.text.encode("<|extra_101|> USER: walk through the red door ASSISTANT: <|extra_100|>")
    ids, silent = (list(walk.moments[-1].strands[0].ids) for walk in (session, twin))
    assert ids[0] == engine.form.image_end and ids[1 : 1 + len(said)] == said
    assert engine.form.answer_begin not in silent
    block = engine.form.image_block(session.frame.tokens)
    assert [*session.moments[-1].strands[1].ids] == [block[-1], *block[:-1]]  # after the end of the picture before
    twin.close()


def test_the_first_direction_ends_no_answer_that_was_never_begun(engine, session):
    session.step(LEFT)
    ids = [token for passage in session.moments for token in passage.strands[0].ids]
    assert engine.form.answer_end not in ids and ids.count(engine.form.answer_begin) == 1
    assert "ASSISTANT:  USER: turn left ASSISTANT: <|extra_100|>" in engine.text.decode(ids)


def test_the_same_seed_and_actions_give_the_same_frames_and_another_seed_others(engine):
    walks = []
    for seed in (1, 1, 2):
        session = engine.session(PIXELS, words="a hall", seed=seed)
        walks.append(digests(session, [LEFT, ON, LEFT]))
        session.close()
    assert walks[0] == walks[1] != walks[2]


def test_forks_share_pages_and_leave_each_other_alone(engine, session):
    session.step(LEFT)
    session.settle()
    used = engine.cache.pool.num_pages - engine.cache.pool.num_free
    twin = session.fork()
    assert engine.cache.pool.num_pages - engine.cache.pool.num_free == used
    ahead = digests(twin, [ON, LEFT])
    twin.close()
    assert digests(session, [ON, LEFT]) == ahead


def test_rewinding_and_stepping_again_gives_the_same_frames(session):
    frames = digests(session, [LEFT, ON, LEFT])
    session.rewind(2)
    assert session.frame.digest == frames[0] and digests(session, [ON, LEFT]) == frames[1:]


def test_a_walk_that_is_closed_gives_back_every_page(engine):
    free = engine.cache.pool.num_free - engine.cache.pool.num_pages
    session = engine.session(PIXELS, words="a hall")
    digests(session, [LEFT, ON])
    session.rewind(1)
    session.close()
    assert engine.cache.pool.num_free - engine.cache.pool.num_pages == free


def test_what_is_loaded_goes_on_as_what_was_saved(engine, session, tmp_path):
    digests(session, [LEFT, ON])
    session.save(tmp_path / "a.roam")
    loaded = engine.load_session(tmp_path / "a.roam")
    assert loaded.frame.digest == session.frame.digest
    assert loaded.actions == session.actions
    assert digests(loaded, [LEFT, ON]) == digests(session, [LEFT, ON])
    loaded.close()


def test_a_torn_save_or_one_of_other_weights_is_refused(engine, session, checkpoint, tmp_path):
    session.save(tmp_path / "a.roam")
    other = EmuEngine(replace(checkpoint, digest="0" * 16), preset=DRAWN, max_pages=50)
    with pytest.raises(SnapshotError, match="was saved with weights"):
        other.load_session(tmp_path / "a.roam")
    (tmp_path / "a.roam").write_bytes((tmp_path / "a.roam").read_bytes()[:300])
    with pytest.raises(SnapshotError, match="is torn"):
        engine.load_session(tmp_path / "a.roam")


def test_a_walk_longer_than_the_context_goes_on_and_keeps_the_scene_in_sight(checkpoint):
    engine = EmuEngine(replace(checkpoint, pages=replace(checkpoint.pages, context=800)), preset=DRAWN, max_pages=200)
    session = engine.session(PIXELS, words="a hall")
    session.step(LEFT)
    session.settle()
    used = None
    for number in range(16):
        session.step(LEFT)
        session.settle()
        if number == 9:
            used = engine.cache.pool.num_pages - engine.cache.pool.num_free
    seen = engine.in_sight(session.moments)
    assert session.frame.index == 17 and seen[0].frame.index == 0 and len(seen) < 17
    assert sum(len(passage.strands[0].ids) for passage in seen) < 800 < session.moments[-1].strands[0].end
    assert engine.cache.pool.num_pages - engine.cache.pool.num_free <= used + 70
    with pytest.raises(ValueError, match="can be undone"):
        session.rewind(engine.rewind_limit + 1)
    session.close()


def test_a_walk_may_begin_with_words_alone_and_not_with_nothing(engine):
    small = replace(engine.preset, max_tokens=2000)
    session = EmuEngine(engine.checkpoint, preset=small, max_pages=100).session(words="a hall", seed=2)
    assert session.frame.index == 0 and min(session.frame.tokens.shape) >= 10
    with pytest.raises(PromptError, match="needs words or a picture"):
        engine.session()


LONGER = pytest.param(760, marks=pytest.mark.slow(reason="the same with larger pictures"))


@pytest.mark.parametrize("context", [520, LONGER])
def test_a_walk_from_words_alone_goes_on_where_the_context_holds_hardly_two_pictures(checkpoint, context):
    """A model may choose the largest picture that it is allowed, and there must be room for another one after it."""
    pages = replace(checkpoint.pages, context=context)
    engine = EmuEngine(
        replace(checkpoint, pages=pages), preset=explore_preset(text_limit=6, text=Sampling(top_k=1)), max_pages=200
    )
    session = engine.session(words="a hall", seed=2)
    shape = session.frame.tokens.shape
    for action in (LEFT, ON, WAIT, LEFT):
        assert session.step(action).tokens.shape == shape
    assert len(engine.in_sight(session.moments)) < len(session.moments)
    session.close()


def test_frames_are_made_smaller_where_the_context_is_short_and_words_too_long_for_it_are_refused(checkpoint):
    pages = replace(checkpoint.pages, context=700)
    engine = EmuEngine(replace(checkpoint, pages=pages), preset=explore_preset(text_limit=4), max_pages=50)
    assert engine.preset.area < explore_preset().area
    large = np.zeros((720, 720, 3), np.uint8)
    assert engine.session(large, words="a hall").frame.tokens.size < 250
    with pytest.raises(ContextFull, match=r"scene's words are \d+ tokens too long for a context of 700"):
        engine.session(PIXELS, words="a hall " * 25)


def test_sessions_stepped_together_give_the_frames_of_each_alone(engine):
    alone = []
    for seed in (3, 4):
        session = engine.session(PIXELS, words="a hall", seed=seed)
        alone.append(digests(session, [LEFT, ON]))
        session.close()
    pair = [engine.session(PIXELS, words="a hall", seed=seed) for seed in (3, 4)]
    together = [[frame.digest for frame in engine.step_many(pair, [action] * 2)] for action in (LEFT, ON)]
    assert [list(column) for column in zip(*together, strict=True)] == alone
    for session in pair:
        session.close()


def test_a_true_picture_joins_the_history_in_place_of_a_dreamt_one(engine, session):
    shown = session.observe(LEFT, PIXELS[::-1].copy(), Pose.at(1, 2, 1.5))
    assert shown.index == 1 and shown.pose == Pose.at(1, 2, 1.5)
    assert np.array_equal(shown.tokens, engine.encode(PIXELS[::-1].copy()))
    assert session.step(ON).index == 2


def test_guidance_off_walks_on_one_branch(checkpoint):
    engine = EmuEngine(checkpoint, preset=replace(DRAWN, guidance=1.0), max_pages=100)
    session = engine.session(Frame(0, PIXELS, pose=Pose.at(0, 0, 1.5)), words="a hall")
    assert session.step(LEFT).index == 1 and len(session.moments[-1].strands) == 1


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (Action("go <|image start|> there"), r"control token '<\|image start\|>'"),
        (Action("so much " * 200), r"a direction of \d+ tokens; at most 256"),
        (dream_at(Pose.at(1, 0, 1.5)), "no poses"),
    ],
)
def test_a_direction_that_cannot_be_said_is_refused_and_the_walk_stays(session, action, message):
    with pytest.raises(ActionError, match=message):
        session.step(action)
    assert session.frame.index == 0 and session.step(LEFT).index == 1


def test_an_official_folder_opens_an_engine_of_its_own_kind(official, tmp_path):
    plan, options = [], OfficialOptions(official[1], context=1024, area=32 * 48)
    engine = open_engine(official[0], official=options, device="cpu", say=plan.append)
    assert isinstance(engine, EmuEngine) and "free on cpu" in plan[0] and engine.preset.area == 32 * 48
    with pytest.raises(CheckpointError, match="name its vision tokenizer's folder"):
        open_engine(official[0], device="cpu")
    with pytest.raises(CheckpointError, match="is no official model"):
        open_engine(official=OfficialOptions(official[1]))
    with pytest.raises(CheckpointError, match="open it with"):
        Engine.from_checkpoint(official[0])
