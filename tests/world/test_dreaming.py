"""The laws of dreaming: what nobody has seen is drawn by the seed alone, and is then remembered like everything that
was seen. In float32, with a tiny random model, bit for bit."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from roam.world.action import parse_action
from roam.world.checkpoint import CheckpointError
from roam.world.config import DidaConfig
from roam.world.dreamer import strides_ahead
from roam.world.engine import Engine
from roam.world.pose import Motion, Pose
from roam.world.spatial.warp import Warp
from roam.world.tokens.painter import Known, Painter, PainterConfig
from roam.world.tokens.vision import VisionConfig, VisionTokenizer
from roam.world.transformer.dida import decode_holes, reveal_order
from roam.world.transformer.passes import Serving
from torch.nn.modules.module import register_module_forward_pre_hook

LEFT, RIGHT, ON, BACK, WORDS = (
    parse_action(text) for text in ("turn left", "turn right", "move forward", "step back", "step back and turn right")
)
WALK = [LEFT, LEFT, BACK, WORDS, RIGHT, ON]


@pytest.fixture
def engine(loaded_dreaming):
    return Engine(loaded_dreaming, serving=Serving(precision="float32"))


@pytest.fixture
def asked(engine, monkeypatch):
    """The dreams that the engine is asked for, in order."""
    dreams, dream = [], engine.dreamer.dream

    def note(those, **options):
        dreams.extend(those)
        return dream(those, **options)

    monkeypatch.setattr(engine.dreamer, "dream", note)
    return dreams


def digests(session, actions=WALK):
    return [session.step(action).digest for action in actions]


def keys(session):
    """Every key and value that the next step can read."""
    session.settle()
    cache, pages = session.engine.cache, torch.tensor(session.history())
    lengths = cache.lengths[pages].tolist()
    return [cache.k[:, page, :count].clone() for page, count in zip(pages.tolist(), lengths, strict=True)]


def test_same_seed_and_actions_give_the_same_dream_and_another_seed_another(engine, first_frame):
    one, two, other = (digests(engine.session(first_frame, seed=seed), WALK[:3]) for seed in (5, 5, 6))
    assert one == two
    assert one != other


def test_a_dream_goes_on_the_same_after_save_and_load_fork_and_rewind(engine, dreaming_folder, first_frame, tmp_path):
    session = engine.session(first_frame, seed=1)
    digests(session, WALK[:3])
    session.save(tmp_path / "walk")
    loaded = Engine.from_checkpoint(dreaming_folder, device="cpu", serving=Serving(precision="float32")).load_session(
        tmp_path / "walk"
    )
    forked = session.fork()
    assert loaded.memory.indices == session.memory.indices  # the order decides between views that show equally much
    assert len(loaded.memory.whole) == len(session.memory.whole) == 1  # its walls and its sky go on in dreams
    ahead = digests(session, WALK[2:])
    assert digests(loaded, WALK[2:]) == ahead
    assert digests(forked, WALK[2:]) == ahead
    session.rewind(4)
    assert digests(session, WALK[2:]) == ahead


def test_dreams_stepped_together_are_those_of_each_alone(engine, first_frame):
    group = [engine.session(first_frame, seed=seed) for seed in (1, 2, 3)]
    digests(group[1], WALK[:2])  # the next step of this one needs no dream
    alone = [session.fork() for session in group]
    actions = [WORDS, RIGHT, LEFT]
    together = engine.step_many(group, actions)
    assert [frame.digest for frame in together] == [s.step(a).digest for s, a in zip(alone, actions, strict=True)]


def test_preparing_at_any_moment_changes_nothing_and_spares_the_dream_that_it_made(engine, first_frame, asked):
    plain = engine.session(first_frame, seed=4)
    wanted, held = digests(plain), keys(plain)
    for places in ({1}, {2, 4}, set(range(1, len(WALK) + 1))):
        session = engine.session(first_frame, seed=4)
        for place, action in enumerate(WALK, 1):
            assert session.step(action).digest == wanted[place - 1]
            for _ in range(2 * (place in places)):
                session.prepare()
        assert all(map(torch.equal, keys(session), held))
    session = engine.session(first_frame, seed=4)
    session.step(ON)
    session.prepare()
    count = len(asked)
    assert session.step(ON).digest and len(asked) - count <= 1  # what the dream leaves open, if anything


def test_what_was_prepared_and_not_wanted_gives_its_page_back(engine, first_frame):
    pool, session = engine.cache.pool, engine.session(first_frame)
    session.step(BACK)
    session.prepare()
    session.step(WORDS)
    session.prepare()
    session.rewind(1)
    session.prepare()
    session.close()
    assert pool.num_free == pool.num_pages


def test_a_keyframe_is_committed_after_a_covered_step_too(engine, first_frame):
    """A step that memory covers makes no keyframe, and what the newest keyframe still had to commit was once
    forgotten with it."""
    quick, slow = (engine.session(first_frame, seed=2) for _ in range(2))
    for action in (LEFT, LEFT, RIGHT):
        quick.step(action)
        slow.step(action)
        slow.settle()
    assert all(map(torch.equal, keys(quick), keys(slow)))
    assert digests(quick, [WORDS]) == digests(slow, [WORDS])


@pytest.fixture
def ran():
    """The modules that have run, in all networks."""
    modules = []
    hook = register_module_forward_pre_hook(lambda module, _: modules.append(module))
    yield modules
    hook.remove()


def test_what_memory_covers_is_shown_without_any_network(engine, first_frame, ran):
    session = engine.session(first_frame)
    session.step(LEFT)
    for network in (engine.model, engine.vision, engine.dreamer.painter):
        assert any(part in ran for part in network.modules())
    ran.clear()
    assert session.step(RIGHT).tokens is None
    assert not ran


def test_what_was_dreamt_is_there_again_after_a_full_turn(engine, first_frame):
    session = engine.session(first_frame, seed=3)
    quarter = parse_action("turn left 90 degrees")
    dreamt = [session.step(quarter).pixels for _ in range(4)]
    again = [session.step(quarter).pixels for _ in range(4)]
    for before, now in zip(dreamt, again, strict=True):
        assert np.abs(before.astype(int) - now)[8:-8, 8:-8].mean() < 2.0


def test_dreaming_anew_changes_what_was_dreamt_last_and_keeps_what_was_seen(engine, first_frame, tmp_path):
    session = engine.session(first_frame, seed=1)
    shown = session.step(LEFT)
    seen = session.moments[0].memory
    anew = session.dream_anew()
    assert (session.frame.index, session.frame.pose, session.actions) == (1, shown.pose, (LEFT,))
    assert (anew.pixels != shown.pixels).any()
    assert session.moments[0].memory is seen and session.moments[0].frame.pixels is not None
    known = session.moments[0].memory.items()[0][1]
    assert (known.pixels == first_frame.pixels).all()
    carried = engine.session(first_frame).plan(LEFT).carried
    assert (anew.pixels[carried.covered] == carried.pixels[carried.covered]).mean() > 0.98
    fresh = engine.session(first_frame, seed=2)
    assert fresh.step(LEFT).digest == anew.digest  # the next seed's dream


def test_dreaming_anew_walks_again_what_was_walked_since(engine, first_frame):
    session = engine.session(first_frame, seed=1)
    before = digests(session, [LEFT, LEFT, RIGHT])
    session.dream_anew()
    assert session.actions == (LEFT, LEFT, RIGHT) and session.frame.digest != before[-1]
    session.rewind(3)
    assert session.frame.index == 0


def test_dreaming_anew_where_nothing_was_dreamt_is_refused(engine, first_frame):
    with pytest.raises(ValueError, match="nothing was dreamt"):
        engine.session(first_frame).dream_anew()


@pytest.mark.parametrize("grid", [(8, 8), (1, 3), (16, 9)])
def test_an_order_names_every_cell_once_and_is_the_seeds(grid):
    orders = [reveal_order(grid, seed) for seed in (0, 0, 1)]
    assert sorted(orders[0]) == list(range(math.prod(grid)))
    assert (orders[0] == orders[1]).all()
    assert grid == (1, 3) or (orders[0] != orders[2]).any()


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_holes_are_filled_in_as_many_steps_as_there_are_and_given_cells_stay(steps):
    tokens = torch.randint(0, 50, (3, 20), generator=torch.Generator().manual_seed(0))
    tokens[0, ::2], tokens[1] = -1, -1
    left = []

    def predict(now, cells, seed, temperature):
        left.append((now < 0).sum(1).tolist())
        assert (now[cells] < 0).all()
        return torch.where(cells, 77, now)

    orders = torch.stack([torch.from_numpy(reveal_order((4, 5), seed)) for seed in range(3)])
    filled = decode_holes(predict, tokens, orders, [torch.zeros(3)] * steps, temperature=1.0, at_once=4)
    given = tokens >= 0
    assert (filled[given] == tokens[given]).all() and (filled[~given] == 77).all()
    assert 1 <= len(left) <= steps and left[0] == [10, 20, 0]
    assert all(a > b for a, b in zip([row[1] for row in left], [row[1] for row in left[1:]], strict=False))


def test_what_was_decided_is_decided_anew_beside_all_the_rest_each_cell_once_in_two_steps():
    tokens = torch.randint(0, 50, (1, 20), generator=torch.Generator().manual_seed(0))
    tokens[0, ::2] = -1
    corrected = torch.zeros(1, 20, dtype=torch.long)

    def predict(now, cells, seed, temperature):
        if temperature == 0.5:
            assert (now < 0).eq(cells).all()  # everything else is known
            corrected.add_(cells)
        return torch.where(cells, 77 + corrected, now)

    orders = torch.from_numpy(reveal_order((4, 5), 0))[None]
    options = dict(temperature=1.0, at_once=1, corrections=2, correcting=0.5)
    filled = decode_holes(predict, tokens, orders, [torch.zeros(1)] * 12, **options)
    assert (corrected == (tokens < 0)).all() and (filled == torch.where(tokens < 0, 78, tokens)).all()
    corrected.zero_()  # a view that took one step is refined in one
    tokens[0, 1:] = 3
    decode_holes(predict, tokens, orders, [torch.zeros(1)] * 12, **options)
    assert corrected.sum() == 1
    corrected.zero_()
    decode_holes(predict, tokens.abs(), orders, [torch.zeros(1)] * 12, **options)  # nothing is open
    assert corrected.sum() == 0


@pytest.mark.parametrize("corrections", [0, 3])
def test_a_canvas_is_filled_alone_as_it_is_in_a_batch(corrections):
    tokens = torch.full((2, 20), -1)
    tokens[1, :13] = 4
    orders = torch.stack([torch.from_numpy(reveal_order((4, 5), seed)) for seed in (3, 4)])
    predict = lambda now, _, seed, __: now * 3 + (now < 0).sum(1, keepdim=True) + seed[:, None]  # noqa: E731
    seeds = [torch.tensor([k, 10 * k]) for k in range(4 + corrections)]
    options = dict(temperature=1.0, at_once=4, corrections=corrections)
    both = decode_holes(predict, tokens, orders, seeds, **options)
    for b in range(2):
        own = [seed[b : b + 1] for seed in seeds]
        assert (decode_holes(predict, tokens[b : b + 1], orders[b : b + 1], own, **options)[0] == both[b]).all()


@pytest.mark.parametrize(
    "motion, count",
    [
        (Motion(yaw_deg=15), 3),
        (Motion(yaw_deg=-15), 3),
        (Motion(yaw_deg=90), 1),
        (Motion(forward=0.3), 1),
        (Motion(forward=-0.25), 4),
        (Motion(right=0.5), 2),
        (Motion(pitch_deg=10), 1),
        (Motion(), 1),
        (Motion(forward=0.3, yaw_deg=15), 3),
        (Motion(forward=-0.5, yaw_deg=5), 2),
    ],
)
def test_a_keyframe_lies_as_far_ahead_as_things_need(motion, count):
    assert strides_ahead(motion) == count


@pytest.fixture
def vision():
    torch.manual_seed(0)
    return VisionTokenizer(VisionConfig(widths=(8, 8, 12), heads=2))


def test_a_painter_begins_as_the_decoder(vision):
    painter = Painter(PainterConfig(widths=(8, 8, 12), heads=2))
    painter.begin_as(vision)
    codes = torch.randint(0, vision.config.num_codes, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    nothing = Known(torch.zeros(2, 3, 128, 128), torch.zeros(2, 128, 128), torch.zeros(2, 128, 128, dtype=torch.bool))
    points = vision.points(codes).movedim(-1, 1)
    with torch.inference_mode():
        pixels, depth = painter.paint(
            points,
            torch.zeros(2, 128, 128, 3, dtype=torch.uint8),
            torch.ones(2, 128, 128),
            nothing.where,
            torch.randn(2, 1, 128, 128),
        )
        wanted, wanted_depth = vision.decode(codes)
    assert (pixels.int() - wanted.int()).abs().max() <= 1
    torch.testing.assert_close(depth, wanted_depth, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("chroma", [0.0, 1.5])
def test_painted_colours_are_as_far_from_grey_as_is_asked_for_and_what_is_known_stays(
    loaded_dreaming, first_frame, chroma
):
    def shown(chroma):
        dida = replace(loaded_dreaming.dida, dream_chroma=chroma, dream_continues=False)
        engine = Engine(replace(loaded_dreaming, dida=dida), serving=Serving(precision="float32"))
        known = np.zeros(first_frame.pixels.shape[:2], bool)
        known[:, : known.shape[1] // 2] = True
        carried = Warp(first_frame.pixels, known, first_frame.depth.astype(np.float32))
        return engine.dreamer.touch_up(first_frame.pose, carried, 3).view.pixels.astype(float), known

    (plain, known), (pixels, _) = shown(1.0), shown(chroma)
    grey = plain.mean(-1, keepdims=True)
    assert np.array_equal(pixels[known], plain[known])
    assert np.abs(plain - grey)[~known].max() > 8
    wanted = np.clip(grey + chroma * (plain - grey), 0, 255)
    assert np.abs(pixels - wanted)[~known].max() <= 0.51


def test_what_is_known_stays_as_it_is_when_painted(vision):
    painter = Painter(PainterConfig(widths=(8, 8, 12), heads=2))
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (1, 128, 128, 3), dtype=np.uint8))
    depth = torch.from_numpy(rng.uniform(0.01, 300, (1, 128, 128)).astype(np.float32))  # beyond what a decoder returns
    where = torch.from_numpy(rng.random((1, 128, 128)) < 0.5)
    made, made_depth = painter.paint(torch.zeros(1, 4, 8, 8), pixels, depth, where, torch.randn(1, 1, 128, 128))
    assert (made[where] == pixels[where]).all() and (made_depth[where] == depth[where]).all()
    assert (made[~where] != pixels[~where]).any()


def test_the_steps_and_the_temperature_of_dreams_are_those_that_were_asked_for(dreaming_folder, first_frame):
    dida = DidaConfig(dream_steps=2, dream_temperature=0.0)
    engine = Engine.from_checkpoint(dreaming_folder, device="cpu", dida=dida, serving=Serving(precision="float32"))
    heats, denoise = [], engine.passes.denoise
    engine.passes.denoise = lambda *args, temperature, **rest: (
        heats.append(temperature),
        denoise(*args, temperature=temperature, **rest),
    )[1]
    engine.session(first_frame).step(WORDS)
    assert 2 <= len(heats) <= 4 and set(heats) == {0.0}  # a keyframe, and perhaps what it leaves open


def test_a_dream_that_is_given_up_changes_nothing_and_takes_no_page(engine, first_frame):
    plain, session = engine.session(first_frame, seed=4), engine.session(first_frame, seed=4)
    wanted = digests(plain, [BACK, BACK])
    session.step(BACK)
    session.settle()
    free = engine.cache.pool.num_free
    for patience in range(6):
        left = iter([False] * patience)
        session.prepare(stop=lambda left=left: next(left, True))
        if engine.cache.pool.num_free != free:
            break  # it waited long enough
    assert patience > 0
    assert session.step(BACK).digest == wanted[1]


def test_what_opens_beside_a_thing_is_painted_as_far_as_what_is_behind_it(engine):
    depth, covered = np.full((128, 128), 6.0, np.float32), np.ones((128, 128), bool)
    depth[:, :50], covered[:, 50:55] = 1.5, False
    pixels = np.where((depth < 2)[..., None], (200, 40, 40), (40, 120, 60)).astype(np.uint8)
    pixels[:, 60:90] = (40, 40, 120)
    carried = Warp(pixels, covered, depth)
    touched = engine.dreamer.touch_up(Pose.at(0, 0, 1.5), carried, 1).view
    assert np.array_equal(touched.depth, depth)


def test_what_a_first_frame_does_not_show_is_dreamt_by_the_seed_and_kept(engine, first_frame, tmp_path):
    seen = np.zeros((128, 128), bool)
    seen[20:100, 30:110] = True
    one, two, other = (engine.session(first_frame, seed=seed, seen=seen) for seed in (1, 1, 2))
    assert one.frame.digest == two.frame.digest != other.frame.digest
    assert (one.frame.pixels[seen] == first_frame.pixels[seen]).all()
    assert (one.frame.pixels[~seen] != other.frame.pixels[~seen]).any()
    one.save(tmp_path / "walk")
    loaded = engine.load_session(tmp_path / "walk")
    assert digests(one, WALK[:3]) == digests(two, WALK[:3]) == digests(loaded, WALK[:3])
    assert (one.rewind(3).pixels == two.rewind(3).pixels).all()


def test_without_a_painter_a_first_frame_must_be_whole(checkpoint_folder, first_frame):
    engine = Engine.from_checkpoint(checkpoint_folder, device="cpu")
    with pytest.raises(ValueError, match="no painter"):
        engine.session(first_frame, seen=np.zeros((128, 128), bool))
    with pytest.raises(CheckpointError, match="leave them out"):
        Engine.from_checkpoint(checkpoint_folder, device="cpu", dream_steps=4)
    with pytest.raises(ValueError, match="nothing can be dreamt anew"):
        engine.session(first_frame).dream_anew()


def test_steps_and_temperature_are_taken_by_their_names(dreaming_folder):
    engine = Engine.from_checkpoint(dreaming_folder, device="cpu", dream_steps=5, dream_temperature=0.5)
    assert (engine.dreamer.dida.dream_steps, engine.dreamer.dida.dream_temperature) == (5, 0.5)
    assert engine.dida.steps == engine.checkpoint.dida.steps


def dream_a_wall(engine, monkeypatch, *, door):
    """The first dream is a wall across the way, three metres ahead, with a door a metre wide or with none; what
    opens later is far off, and the ground is level."""
    is_first = [True]
    across = torch.arange(128) + 0.5 - 64
    focal = 64 / math.tan(math.radians(40))
    gap = (across.abs() / focal * 3.0 < 0.5)[None, :]

    def paint(points, pixels, depth, where, noise):
        ahead = torch.where(gap & door, 12.0, 3.0) if is_first.pop() else torch.tensor(30.0)
        is_first.append(False)
        ground = 1.5 * focal / across.clamp(min=0.5)[:, None]
        made = torch.minimum(ahead.expand(128, 128), ground)[None]
        return torch.where(where[..., None], pixels, torch.full_like(pixels, 90)), torch.where(where, depth, made)

    monkeypatch.setattr(engine.dreamer.painter, "paint", paint)


@pytest.mark.parametrize("door, far", [(True, 4.0), (False, 2.75)])
def test_a_dreamt_door_can_be_walked_through_and_a_dreamt_wall_stops(engine, first_frame, monkeypatch, door, far):
    dream_a_wall(engine, monkeypatch, door=door)
    session = engine.session(first_frame, solid=True)
    begin = session.step(parse_action("turn left 90 degrees")).pose
    for _ in range(8):
        session.step(parse_action("move forward 0.5 metres"))
    walked = session.frame.pose.distance_to(begin)
    assert walked == pytest.approx(far, abs=0.06 if door else 0.2)


def test_walls_go_on_from_a_frame_that_was_seen_and_from_no_photograph(engine, first_frame):
    seen = np.ones((128, 128), bool)
    seen[:, :20] = False
    assert len(engine.session(first_frame).memory.whole) == 1
    for guessed in (engine.session(first_frame, photograph=True), engine.session(first_frame, seen=seen)):
        assert not guessed.memory.whole and len(guessed.memory) == 1


def test_surfaces_go_on_only_where_that_is_asked_for(dreaming_folder, first_frame):
    frames = [
        Engine.from_checkpoint(
            dreaming_folder,
            device="cpu",
            dida=DidaConfig(dream_steps=2, dream_continues=continues),
            serving=Serving(precision="float32"),
        )
        for continues in (True, False)
    ]
    on, off = (engine.dreamer for engine in frames)
    assert on is not None and off is not None and on.dida.dream_continues and not off.dida.dream_continues
