"""The laws of sessions: a session that was forked, rewound, saved or batched continues exactly as it would have
alone."""

import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.world.action import Action, ActionError, parse_action, say, sayings
from roam.world.checkpoint import load_checkpoint
from roam.world.engine import Engine
from roam.world.frame import Explorer
from roam.world.pose import Camera, Motion, Pose
from roam.world.saves.snapshot import SnapshotError
from roam.world.session import REWIND_LIMIT
from roam.world.sight import Gaze
from roam.world.transformer.cache import CachedAttention
from roam.world.transformer.passes import Serving

WALK = [parse_action(t) for t in ("move forward", "turn left", "step back and turn right", "look up 5 degrees", "wait")]


@pytest.fixture
def exact_engine(loaded_checkpoint):
    """In float32, where values that were computed in two ways can be compared closely."""
    return Engine(loaded_checkpoint, serving=Serving(precision="float32"))


def digests(session, actions):
    return [session.step(action).digest for action in actions]


def test_the_dream_and_the_truth_keep_one_contract(engine, first_frame):
    assert isinstance(engine.session(first_frame), Explorer)
    assert isinstance(SceneSession(make_scene("test", 0)), Explorer)


def test_same_seed_and_actions_give_the_same_frames_and_another_seed_others(engine, first_frame):
    one, two, other = (digests(engine.session(first_frame, seed=s, start="noise"), WALK) for s in (5, 5, 6))
    assert one == two
    assert one != other


def test_frames_depend_on_the_words_even_when_the_motion_is_the_same(engine, first_frame):
    said = [Action(text, WALK[0].motion) for text in ("move forward", "turn around")]
    shown = [engine.session(first_frame, start="noise").step(action).tokens for action in said]
    assert (shown[0] != shown[1]).any()


def test_a_fork_goes_on_as_its_parent_does_and_leaves_it_alone(engine, first_frame):
    parent = engine.session(first_frame, seed=1)
    digests(parent, WALK)
    child = parent.fork()
    ahead = digests(child, WALK)
    assert parent.frame.index == len(WALK)
    assert digests(parent, WALK) == ahead


def test_turning_away_and_back_shows_what_was_seen_and_not_a_copy_of_copies(engine, first_frame):
    session = engine.session(first_frame, decoder="carry")
    for text in ["turn left 10 degrees"] * 12 + ["turn right 10 degrees"] * 12:
        back = session.step(parse_action(text))
    apart = np.abs(back.pixels.astype(int) - first_frame.pixels)[8:-8, 8:-8]
    assert apart.mean() < 1.0
    assert len(session.memory) < 14  # the way back once showed nothing at first


def test_a_fork_shares_pages_until_it_steps(engine, first_frame):
    parent = engine.session(first_frame)
    digests(parent, WALK[:2])
    free = engine.cache.pool.num_free
    child = parent.fork()
    assert engine.cache.pool.num_free == free
    child.step(WALK[0])
    assert engine.cache.pool.num_free == free - 1


def test_closing_every_session_frees_every_page(engine, first_frame):
    pool = engine.cache.pool
    parent = engine.session(first_frame)
    digests(parent, WALK)
    child = parent.fork()
    child.rewind(2)
    digests(child, WALK)
    parent.close(), child.close()
    assert pool.num_free == pool.num_pages


def test_rewinding_and_stepping_again_gives_the_same_frames(engine, first_frame):
    session = engine.session(first_frame, seed=2)
    frames = digests(session, WALK * 2)
    assert session.rewind(7).digest == frames[2]
    assert digests(session, (WALK * 2)[3:]) == frames[3:]


def test_rewinding_past_the_beginning_is_refused_and_changes_nothing(engine, first_frame):
    session = engine.session(first_frame)
    session.step(WALK[0])
    with pytest.raises(ValueError, match="cannot rewind 2 frames; the last 1"):
        session.rewind(2)
    assert session.frame.index == 1


@pytest.mark.slow(reason="as many steps as can be undone")
def test_a_long_walk_holds_a_bounded_number_of_pages_and_rewinds_to_its_limit(checkpoint_folder, first_frame):
    checkpoint = load_checkpoint(checkpoint_folder)
    engine = Engine(replace(checkpoint, dida=replace(checkpoint.dida, steps=1)))  # how a frame is drawn does not matter
    session = engine.session(first_frame)
    frames = [session.frame.digest, *digests(session, [parse_action("turn left")] * (REWIND_LIMIT + 20))]
    assert len(session.moments) <= REWIND_LIMIT + engine.layout.window + 1
    assert session.rewind(REWIND_LIMIT).digest == frames[20]
    assert session.step(parse_action("turn left")).digest == frames[21]


def test_a_saved_session_goes_on_the_same_and_rewinds_the_same(engine, checkpoint_folder, first_frame, tmp_path):
    session = engine.session(first_frame, seed=3)
    digests(session, WALK)
    session.save(tmp_path / "walk")
    loaded = Engine.from_checkpoint(checkpoint_folder, device="cpu").load_session(tmp_path / "walk")
    assert loaded.frame.digest == session.frame.digest
    assert loaded.actions == session.actions
    assert digests(loaded, WALK) == digests(session, WALK)
    assert loaded.rewind(8).digest == session.rewind(8).digest


@pytest.mark.slow(reason="a process that imports all and dreams")
def test_a_saved_session_goes_on_the_same_in_another_process(engine, checkpoint_folder, first_frame, tmp_path):
    session = engine.session(first_frame, seed=4)
    digests(session, WALK)
    session.save(tmp_path / "walk")
    code = (
        "import sys; from roam.world.engine import Engine; from roam.world.action import parse_action\n"
        "session = Engine.from_checkpoint(sys.argv[1], device='cpu').load_session(sys.argv[2])\n"
        "print(session.step(parse_action('move forward')).digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, checkpoint_folder, tmp_path / "walk"], capture_output=True, text=True
    )
    assert done.stdout.strip() == session.step(WALK[0]).digest, done.stderr


def test_sessions_stepped_together_show_what_each_would_alone(engine, first_frame):
    group = [engine.session(first_frame, seed=s, start=start) for s, start in ((1, "auto"), (2, "noise"), (3, "frame"))]
    digests(group[1], WALK[:4])  # histories of different lengths
    alone = [session.fork() for session in group]
    actions = [WALK[2], WALK[0], WALK[1]]
    together = engine.step_many(group, actions)
    assert [f.digest for f in together] == [s.step(a).digest for s, a in zip(alone, actions, strict=True)]


def test_words_too_long_for_a_page_are_refused_before_anything_is_taken(engine, first_frame):
    session = engine.session(first_frame)
    free = engine.cache.pool.num_free
    with pytest.raises(ActionError, match="reads at most 15"):
        session.step(Action("turn left and " * 9 + "wait", WALK[1].motion))
    assert engine.cache.pool.num_free == free
    assert session.step(WALK[0]).index == 1


def test_a_motion_whose_words_are_too_long_is_done_and_the_model_reads_the_most_of_it(engine, first_frame):
    motion = Motion(0.23, -0.06, -12.62, 1.37)  # of a head that leans and turns
    session, twin = engine.session(first_frame, seed=2), engine.session(first_frame, seed=2)
    action = Action(say(motion), motion)
    frame = session.step(action)
    assert frame.pose == first_frame.pose.moved(motion)
    read = next(text for text in sayings(action) if len(engine.text.encode(text)) <= engine.layout.text_capacity)
    assert read == "move forward 0.2 metres and turn right 13 degrees"
    assert twin.step(Action(read, motion)).digest == frame.digest


def test_a_true_frame_can_take_the_place_of_a_dreamt_one(engine, first_frame):
    session = engine.session(first_frame)
    pixels = np.full_like(first_frame.pixels, 90)
    assert session.observe(WALK[0], pixels).tokens.tolist() == engine.encode(pixels).tolist()
    assert session.step(WALK[1]).index == 2


def test_a_true_frame_that_shows_nothing_new_is_not_remembered_again(engine, first_frame):
    session, still = engine.session(first_frame), parse_action("wait")
    seen = [first_frame.pixels, first_frame.pixels.copy(), first_frame.pixels[::-1].copy()]
    session.observe(still, seen[1])
    assert session.memory.indices == (0,)
    session.observe(still, seen[2])
    assert session.memory.indices == (0, 4)  # how many views, at two a frame


def test_words_without_a_motion_cost_neither_pose_nor_memory(engine, first_frame):
    session = engine.session(first_frame)
    session.step(WALK[0])
    pose, remembered = session.frame.pose, session.memory.indices
    frame = session.step(Action("open the door", None))
    assert frame.pose == pose and session.memory.indices == remembered
    assert session.step(WALK[1]).pose is not None


@pytest.mark.parametrize("damage", [b"", b"junk that is long enough to look at", None])
def test_a_torn_or_foreign_save_is_refused_in_one_sentence_and_takes_no_page(engine, first_frame, tmp_path, damage):
    session = engine.session(first_frame)
    session.save(tmp_path / "walk")
    whole = (tmp_path / "walk").read_bytes()
    (tmp_path / "walk").write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    free = engine.cache.pool.num_free
    with pytest.raises(SnapshotError, match="torn or no saved session"):
        engine.load_session(tmp_path / "walk")
    assert engine.cache.pool.num_free == free


def test_a_cache_gives_what_the_same_banded_attention_gives_without_one(exact_engine, first_frame):
    """The newest frame's keys and values, from pages that were dropped one by one, against one pass over the whole walk
    with a mask: page f sees pages f - window to f - 1 and, causally, itself."""
    engine = exact_engine
    session = engine.session(first_frame)
    for action in WALK:
        session.step(action)
    session.settle()
    rows, positions, page_of = [], [], []
    for index, frame in enumerate([m.frame for m in session.moments]):
        text = engine.text.encode(WALK[index - 1].text) if index else []
        codes = frame.tokens.flatten().astype(int) + engine.vocabulary.first_code
        rows += [*text, engine.vocabulary.image, *codes]
        capacity, base = engine.layout.text_capacity, index * engine.layout.page_size
        positions += [*range(base, base + len(text)), *range(base + capacity, base + engine.layout.page_size)]
        page_of += [index] * (len(text) + 1 + len(codes))
    pages, order = torch.tensor(page_of), torch.arange(len(page_of))
    gap = pages[:, None] - pages[None]
    seen = (gap >= 0) & (gap <= engine.layout.window) & (order[:, None] >= order[None])
    whole = _Masked(seen)
    with torch.inference_mode():
        engine.model(engine.model.embed(torch.tensor([rows])), torch.tensor([positions]), whole)
    own = pages == pages[-1]
    page = session.pages[-1]
    for layer, (k, v) in enumerate(whole.kept):
        count = int(engine.cache.lengths[page])
        torch.testing.assert_close(engine.cache.k[layer, page, :count], k[0, own], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(engine.cache.v[layer, page, :count], v[0, own], atol=2e-5, rtol=1e-4)


class _Masked:
    """Full attention under a mask, which keeps what a cache would keep."""

    def __init__(self, seen):
        self.seen, self.kept = seen, []

    def write(self, layer):
        return None

    def attend(self, layer, q, k, v):
        self.kept.append((k, v))
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=self.seen, enable_gqa=True)
        return out.transpose(1, 2)


def test_token_by_token_passes_see_what_the_commit_pass_writes(exact_engine, first_frame):
    engine = exact_engine
    session = engine.session(first_frame, decoder="autoregressive", seed=1)
    frame = session.step(WALK[0])
    page = session.pages[-1]
    words = int(engine.cache.lengths[page])
    before = engine.cache.k[:, page, words : words + 60].clone()
    session.settle()
    torch.testing.assert_close(engine.cache.k[:, page, words : words + 60], before, atol=2e-5, rtol=1e-4)
    assert frame.tokens.shape == engine.layout.grid


def test_attention_over_a_cache_writes_only_the_slots_it_was_given(engine):
    page, other = engine.cache.allocate(), engine.cache.allocate()
    engine.cache.k[:, [page, other]] = 7.0
    attention = CachedAttention(
        engine.cache, engine.cache.table([[]]), causal=True, slots=engine.cache.slots(page, 3, 2)[None]
    )
    with torch.inference_mode():
        engine.model(engine.model.embed(torch.tensor([[1, 2]])), torch.tensor([[0, 1]]), attention)
    changed = (engine.cache.k != 7.0).flatten(3).any(-1)
    assert changed[:, page, 3:5].all()
    assert not changed[:, page, :3].any() and not changed[:, page, 5:].any() and not changed[:, other].any()


def test_looks_of_a_dream_change_nothing_and_its_frames_are_looks(engine, first_frame, tmp_path):
    """Two walks with the same seed; one of them is looked at all the time, and saved and loaded on the way."""
    plain, looked = engine.session(first_frame, seed=3), engine.session(first_frame, seed=3)
    wanted = digests(plain, WALK)
    shown = []
    for number, action in enumerate(WALK):
        x, y, z = looked.frame.pose.position
        seen = looked.look(Pose.at(x + 0.2, y, z + 0.5, 30, -70), camera=Camera(96, 64, 100), ipd_m=0.06)
        assert seen.index == number and seen.pixels.shape == (64, 192, 3)
        shown.append(looked.step(action).digest)
        own = looked.look(looked.frame.pose)
        assert (own.pixels == looked.frame.pixels).all() and (own.depth == looked.frame.depth).all()
        looked.save(tmp_path / "walk.roam")
        looked = engine.load_session(tmp_path / "walk.roam")
    assert shown == wanted
    again, there = plain.look(Pose.at(0.3, 0, 1.5, 10)), looked.look(Pose.at(0.3, 0, 1.5, 10))
    assert (again.pixels == there.pixels).all() and (again.unknown == there.unknown).all()


def test_an_outlook_stays_as_it_was_while_the_walk_goes_on(engine, first_frame):
    session = engine.session(first_frame, seed=3)
    outlook, gaze = session.outlook(), Gaze(Pose.at(0.2, 0.1, 1.5, 20), session.camera)
    before = outlook.look(gaze)
    digests(session, WALK)
    session.rewind(2)
    assert outlook.index == 0 and (outlook.look(gaze).pixels == before.pixels).all()
    session.close()
    assert (outlook.look(gaze).pixels == before.pixels).all()


def test_a_picture_that_cannot_be_written_to_is_taken_in_as_any_other(engine, first_frame):
    """As recordings give them. Torch warns of such a picture, once in a process unless it is told to go on."""
    locked = first_frame.pixels.copy()
    locked.setflags(write=False)
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            frame = engine.session(locked).frame
    finally:
        torch.set_warn_always(before)
    assert frame.digest == engine.session(first_frame.pixels).frame.digest
