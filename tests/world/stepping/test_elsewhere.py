"""Dreams at poses to which the walker does not go: each is a step like others, and later looks show more. In
float32, with a tiny random model, bit for bit."""

import math

import numpy as np
import pytest
from roam.scenes.explorer import SceneSession, load_scene_session
from roam.scenes.splits import make_scene
from roam.viewer.play.action_log import ActionLog, LogWriter, Step, first_difference, load_log, replay
from roam.world.action import ActionError, dream_at, parse_action
from roam.world.engine import Engine
from roam.world.pose import Motion, Pose
from roam.world.sight import LookError
from roam.world.stepping.elsewhere import upright, way_to
from roam.world.transformer.passes import Serving

LEFT, ON = parse_action("turn left"), parse_action("move forward")


@pytest.fixture(scope="module")
def engine(loaded_dreaming):
    return Engine(loaded_dreaming, serving=Serving(precision="float32"))


@pytest.fixture
def session(engine, first_frame):
    return engine.session(first_frame, seed=3)


def behind(session, metres=0.5):
    """A step to the side, looking back."""
    return session.frame.pose.moved(Motion(right=metres, yaw_deg=140))


def rows(session):
    return [(number, view.pixels.tobytes(), view.pose) for number, view in session.memory.items()]


def test_what_was_unknown_is_known_after_the_dream_and_the_walker_has_not_moved(session):
    pose, before = behind(session), session.frame
    assert session.look(pose).unknown.mean() > 0.9
    frame = session.dream_at(pose)
    assert frame.index == 1 and frame.pose == before.pose
    assert (frame.pixels == before.pixels).all() and (frame.depth == before.depth).all()
    seen = session.look(pose)
    assert seen.index == 1 and seen.unknown.mean() < 0.02


def test_same_seed_and_same_requests_give_the_same_frames_and_others_give_others(engine, first_frame):
    walks = [engine.session(first_frame, seed=seed) for seed in (3, 3, 4)]
    for walk in walks:
        walk.dream_at(behind(walk))
        walk.step(LEFT)
    assert rows(walks[0]) == rows(walks[1]) and rows(walks[0]) != rows(walks[2])
    plain = engine.session(first_frame, seed=3)
    plain.step(LEFT)
    assert len(plain.memory) < len(walks[0].memory)


def test_who_walks_there_later_sees_what_was_dreamt(session):
    pose = session.frame.pose.moved(Motion(yaw_deg=90))
    session.dream_at(pose)
    promised = session.look(pose)
    for _ in range(6):
        frame = session.step(LEFT)
    assert frame.pose.angle_to(pose) < 1e-3
    assert np.abs(frame.pixels.astype(int) - promised.pixels)[8:-8, 8:-8].mean() < 6


def test_a_dream_elsewhere_is_undone_forked_saved_and_gone_on_from_like_any_step(engine, session, tmp_path):
    first = rows(session)
    session.step(ON)
    session.dream_at(behind(session))
    session.save(tmp_path / "walk")
    loaded, forked = engine.load_session(tmp_path / "walk"), session.fork()
    assert loaded.actions == session.actions and rows(loaded) == rows(session)
    ahead = [session.step(action).digest for action in (LEFT, dream_at(behind(session)), LEFT)]
    for twin in (loaded, forked):
        assert [twin.step(action).digest for action in session.actions[-3:]] == ahead
        assert rows(twin) == rows(session)
    session.rewind(5)
    assert rows(session) == first


def test_a_replay_of_its_log_dreams_there_again(engine, session, first_frame, tmp_path):
    log = ActionLog({}, None, session.frame.digest, ())
    writer = LogWriter(tmp_path / "walk.jsonl", log)
    for action in (dream_at(behind(session)), LEFT, LEFT):
        writer.add(Step(action, session.step(action).digest))
    writer.close()
    again = engine.session(first_frame, seed=3)
    assert first_difference(replay(again, load_log(tmp_path / "walk.jsonl"))) is None
    assert again.actions == session.actions and rows(again) == rows(session)


def test_dreams_elsewhere_go_together_with_steps_of_other_walks_as_each_alone(engine, first_frame):
    walks = [engine.session(first_frame, seed=seed) for seed in (1, 2, 3)]
    twins = [walk.fork() for walk in walks]
    actions = [dream_at(behind(walks[0])), LEFT, dream_at(behind(walks[2], metres=0.2))]
    together = engine.step_many(walks, actions)
    assert [frame.digest for frame in together] == [t.step(a).digest for t, a in zip(twins, actions, strict=True)]
    assert [rows(walk) for walk in walks] == [rows(twin) for twin in twins]


def test_what_is_known_already_is_not_dreamt_again(session, monkeypatch):
    session.dream_at(behind(session))
    known, pages = rows(session), session.pages

    def refuse(*_args, **_options):
        raise AssertionError("a network ran")

    for name in ("decide", "touch_up"):
        monkeypatch.setattr(session.engine.dreamer, name, refuse)
    session.dream_at(session.frame.pose)
    assert rows(session) == known and session.pages == pages and session.frame.index == 2


def test_pages_are_given_back_and_preparing_goes_on_beside(engine, first_frame):
    free = engine.cache.pool.num_free
    walk = engine.session(first_frame, seed=5)
    plain = engine.session(first_frame, seed=5)
    for one in (walk, plain):
        one.step(LEFT)
        one.dream_at(behind(one))
        if one is walk:
            one.prepare()
        one.step(LEFT)
    assert walk.frame.digest == plain.frame.digest
    walk.close()
    plain.close()
    assert engine.cache.pool.num_free == free


def test_a_world_that_cannot_dream_elsewhere_says_so_and_has_not_moved(checkpoint_folder, engine, first_frame):
    whole = Engine.from_checkpoint(checkpoint_folder, device="cpu").session(first_frame)
    carried = engine.session(first_frame, decoder="carry")
    for walk in (whole, carried):
        with pytest.raises(ActionError, match="dreams nothing elsewhere"):
            walk.dream_at(behind(walk))
        assert walk.frame.index == 0
    with pytest.raises(LookError, match="quaternion"):
        engine.session(first_frame).dream_at(Pose((0, 0, 0), (0, 0, 0, 0)))


def test_a_true_scene_has_nothing_to_dream_and_keeps_the_step(tmp_path):
    walk = SceneSession(make_scene("test", 3))
    before = walk.frame
    after = walk.dream_at(Pose.at(1, 2, 1.5))
    assert after.index == 1 and after.pose == before.pose and (after.pixels == before.pixels).all()
    walk.step(LEFT)
    walk.save(tmp_path / "walk")
    loaded = load_scene_session(tmp_path / "walk")
    assert loaded.actions == walk.actions and loaded.frame.digest == walk.frame.digest


@pytest.mark.parametrize("roll_deg", [0, 35, -80])
def test_dreams_are_made_upright_and_look_the_same_way(roll_deg):
    pose = Pose.at(1, 2, 3, yaw_deg=130, pitch_deg=-20)
    half = math.radians(roll_deg) / 2
    (a, b, c, d), (w, z) = pose.wxyz, (math.cos(half), math.sin(half))
    rolled = Pose(pose.position, (a * w - d * z, b * w + c * z, c * w - b * z, d * w + a * z))
    there = upright(rolled)
    assert there.angle_to(pose) < 1e-6 and there.position == pose.position
    assert upright(Pose.at(0, 0, 0, yaw_deg=40, pitch_deg=-90)).pitch_deg == pytest.approx(-60)
    assert upright(Pose.at(0, 0, 0, yaw_deg=40, pitch_deg=-90)).yaw_deg == pytest.approx(40)


def test_the_way_to_a_pose_is_the_motion_that_leads_there():
    here, motion = Pose.at(1, 2, 1.5, yaw_deg=50, pitch_deg=10), Motion(0.7, -0.4, 35, -20)
    assert vars(way_to(here, here.moved(motion))) == pytest.approx(vars(motion))
