"""True scenes: the picture shows what is there, walls stop walkers, and splits never share a scene."""

import json
import weakref

import numpy as np
import pytest
from roam.scenes.build import SceneBuilder
from roam.scenes.explorer import SceneSession, load_scene_session
from roam.scenes.paths import loop, out_and_back, poses_of, random_walk
from roam.scenes.recorder import load_recording, record
from roam.scenes.render import FAR, render
from roam.scenes.scene import BODY_RADIUS, EYE_HEIGHT, PLAIN, Scene, SceneError, load_scene
from roam.scenes.splits import FAMILIES, SPLITS, make_scene, scene_seed
from roam.world.action import Action, ActionError, parse_action
from roam.world.pose import Camera, Motion, Pose
from roam.world.spatial.warp import View, warp


def one_box():
    """A red box of 1 m whose near face stands 2 m before the origin, under an open sky."""
    b = SceneBuilder("test", 0)
    grey, red = b.material(PLAIN, (0.5, 0.5, 0.5)), b.material(PLAIN, (1.0, 0.0, 0.0))
    b.box(2.5, 0, 1, (1, 1, 1), red)
    return b.build(ground=grey, sky=[[0.6, 0.7, 1.0]] * 2, light=(0, 0, 1), haze=0.0, half_extent=5)


def test_depth_ids_and_colour_of_a_box_are_where_geometry_puts_them():
    view = render(one_box(), Pose.at(0, 0, EYE_HEIGHT), Camera(64, 64, 90))
    assert view.depth[32, 32] == pytest.approx(2.0, abs=1e-5)
    assert view.ids[32, 32] == 2 and view.pixels[32, 32, 0] > 3 * view.pixels[32, 32, 1]
    columns = np.flatnonzero(view.ids[32] == 2)  # half a metre each side at two metres, focal length 32
    assert (columns[0], columns[-1]) == (24, 39)
    assert view.ids[0, 0] == 0 and view.depth[0, 0] == FAR and view.ids[63, 0] == 1
    assert view.depth[63, 10] == pytest.approx(EYE_HEIGHT * 32 / 31.5, rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_depth_of_one_view_lands_on_the_surfaces_of_another(family):
    scene = make_scene("dev", 4, family)
    here = scene.spawn_pose
    there = scene.walked(here, Motion(forward=0.2, yaw_deg=8))
    first, second = (render(scene, pose, Camera()) for pose in (here, there))
    carried = warp([View(first.pixels, first.depth, here)], there, Camera())
    error = np.abs(carried.pixels.astype(int) - second.pixels)[carried.covered].mean()
    frozen = np.abs(first.pixels.astype(int) - second.pixels)[carried.covered].mean()
    assert error < 6 and error < 0.5 * frozen


@pytest.mark.parametrize("size", [(1, 1), (17, 9), (128, 128)])
def test_any_size_and_pitch_is_drawn_whole(size):
    scene = make_scene("dev", 1)
    view = render(scene, scene.spawn_pose.moved(Motion(pitch_deg=-50)), Camera(*size))
    assert view.pixels.shape == (size[1], size[0], 3) and np.isfinite(view.depth).all() and view.depth.min() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_is_a_scene_and_another_seed_another(family):
    one, same, other = (make_scene("dev", n, family) for n in (2, 2, 4))
    shown = [render(scene, scene.spawn_pose, Camera()).pixels for scene in (one, same, other)]
    assert (shown[0] == shown[1]).all() and (shown[0] != shown[2]).any()
    assert len(one.shapes) >= 20 and len(np.unique(one.ids)) >= 8


def test_a_new_family_changes_no_scene_that_has_a_number(monkeypatch):
    before = [make_scene("test", number).family for number in range(3)]
    monkeypatch.setitem(FAMILIES, "third", None)
    assert [make_scene("test", number).family for number in range(3)] == before


def test_splits_never_share_a_seed():
    edges = [scene_seed(split, number) for split in SPLITS for number in (0, 999_999)]
    assert edges == sorted(set(edges))
    with pytest.raises(SceneError, match="numbers 0 to 999999"):
        scene_seed("train", 1_000_000)
    with pytest.raises(SceneError, match="unknown split 'exam'"):
        scene_seed("exam", 0)


def test_walls_stop_a_walker_who_slides_along_them():
    scene = one_box()
    tall = Pose.at(0, 0.2, EYE_HEIGHT)
    stopped = scene.walked(tall, Motion(forward=3))
    assert stopped.position[0] < 2 - BODY_RADIUS + 0.2
    aslant = scene.walked(Pose.at(1.0, -0.4, EYE_HEIGHT, yaw_deg=45), Motion(forward=1.5))
    assert aslant.position[1] > 0.4  # on along the face


@pytest.mark.parametrize("family", FAMILIES)
def test_no_random_walk_ever_enters_a_solid(family):
    scene = make_scene("dev", 0, family)
    for seed in range(5):
        walk = random_walk(scene, np.random.default_rng(seed), 40)
        assert len(walk) == 40
        for pose in poses_of(scene, scene.spawn_pose, walk):
            assert scene.is_free(*pose.position[:2], clearance=BODY_RADIUS - 0.02)


def test_what_random_walks_say_is_what_they_do():
    scene = make_scene("dev", 1)
    for action in random_walk(scene, np.random.default_rng(3), 60):
        parsed = parse_action(action.text).motion
        assert parsed.forward == pytest.approx(action.motion.forward, abs=0.0051)
        assert parsed.yaw_deg == pytest.approx(action.motion.yaw_deg, abs=0.0051)


def test_loops_and_returns_end_where_they_began():
    start = Pose.at(0, 0, EYE_HEIGHT, 30)
    for actions in (loop(1.2), out_and_back("move forward", 4), out_and_back("turn left 20 degrees", 5)):
        pose = start
        for action in actions:
            pose = pose.moved(action.motion)
        assert pose.distance_to(start) < 1e-9 and pose.angle_to(start) < 1e-4


def test_a_scene_file_gives_the_scene_back_and_a_torn_one_is_refused(tmp_path):
    scene = make_scene("dev", 3)
    scene.save(tmp_path / "scene.npz")
    loaded = load_scene(tmp_path / "scene.npz")
    pose = scene.spawn_pose
    assert (render(loaded, pose, Camera()).pixels == render(scene, pose, Camera()).pixels).all()
    (tmp_path / "scene.npz").write_bytes((tmp_path / "scene.npz").read_bytes()[:200])
    with pytest.raises(SceneError, match="no readable scene"):
        load_scene(tmp_path / "scene.npz")


def test_a_scene_session_forks_rewinds_and_saves(tmp_path):
    session = SceneSession(make_scene("dev", 5))
    walk = [parse_action(t) for t in ("move forward", "turn left", "look down", "walk back 0.2 m")]
    shown = [session.step(action).digest for action in walk]
    session.save(tmp_path / "walk.json")
    assert load_scene_session(tmp_path / "walk.json").frame.digest == shown[-1]
    twin = session.fork()
    twin.step(walk[0])
    assert session.frame.digest == shown[-1] and session.rewind(2).digest == shown[1]
    with pytest.raises(ValueError, match="cannot rewind 9"):
        session.rewind(9)
    with pytest.raises(ActionError, match="understands motions only"):
        session.step(Action("open the door"))
    (tmp_path / "walk.json").write_text('{"roam": "else"}')
    with pytest.raises(SceneError, match="no scene session of format"):
        load_scene_session(tmp_path / "walk.json")


def test_a_save_tells_where_the_walk_stands_and_the_actions_where_it_was(tmp_path, monkeypatch):
    session = SceneSession(make_scene("dev", 5), camera=Camera(16, 16))
    walk = [parse_action(t) for t in ("move forward", "turn left 20 degrees", "look down 5 degrees")] * 3
    shown = [session.frame.digest, *(session.step(action).digest for action in walk)]
    session.save(tmp_path / "walk.json")
    walked = []
    monkeypatch.setattr(Scene, "walked", lambda *told, walked_=Scene.walked: walked.append(1) or walked_(*told))
    loaded = load_scene_session(tmp_path / "walk.json")
    assert loaded.frame.digest == shown[-1] and not walked  # a long walk reaches its end at once
    assert [loaded.step(walk[0]).digest, loaded.rewind(1).digest] == [session.step(walk[0]).digest, shown[-1]]
    twin = loaded.fork()
    assert [loaded.rewind(1).digest for _ in walk] == shown[-2::-1]
    assert (twin.rewind(4).digest, twin.rewind(4).digest, twin.rewind(0).digest) == (shown[5], shown[1], shown[1])
    twin.save(tmp_path / "walk.json")
    old = {k: v for k, v in json.loads((tmp_path / "walk.json").read_text()).items() if k not in ("pose", "sum")}
    (tmp_path / "walk.json").write_text(json.dumps(old))  # as they used to be
    assert load_scene_session(tmp_path / "walk.json").rewind(1).digest == shown[0]


def test_steps_that_are_done_again_draw_nothing_but_what_is_looked_at(monkeypatch):
    session, again = (SceneSession(make_scene("dev", 5), camera=Camera(16, 16)) for _ in range(2))
    walk, drawn = [parse_action(text) for text in ["move forward", "turn left"] * 5], []
    for action in walk:
        session.step(action)
    monkeypatch.setattr("roam.scenes.explorer.render", lambda *told: drawn.append(1) or render(*told))
    for action in walk:
        again.retrace(action)
    assert not drawn
    assert again.frame.digest == session.frame.digest and again.frame.index == 10
    assert drawn == [1]
    with pytest.raises(ActionError):
        again.retrace(Action("open the door"))
    assert again.rewind(3).digest == session.rewind(3).digest


def test_a_walk_through_a_scene_keeps_where_it_was_and_not_what_it_saw():
    session, seen = SceneSession(make_scene("dev", 5), camera=Camera(16, 16)), []
    for text in ["move forward", "turn left"] * 5:
        seen.append(weakref.ref(session.step(parse_action(text))))
    digest = session.frame.digest
    assert [ref() is None for ref in seen] == [True] * 9 + [False]
    twin = session.fork()
    twin.rewind(4)
    for text in ["move forward", "turn left"] * 2:
        twin.step(parse_action(text))
    assert twin.frame.digest == session.frame.digest == digest


def test_a_scene_session_that_cannot_be_saved_leaves_the_save_before(tmp_path, monkeypatch):
    session = SceneSession(make_scene("dev", 5), camera=Camera(16, 16))
    session.save(tmp_path / "walk.roam")
    before = (tmp_path / "walk.roam").read_bytes()

    def torn(self, data, **_):
        with open(self, "w") as file:
            file.write(data[:50])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr("pathlib.Path.write_text", torn)
    session.step(parse_action("move forward"))
    with pytest.raises(OSError, match="No space"):
        session.save(tmp_path / "walk.roam")
    assert (tmp_path / "walk.roam").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_bit_that_flips_in_a_scene_session_is_noticed(tmp_path):
    session, path = SceneSession(make_scene("dev", 5), camera=Camera(16, 16)), tmp_path / "walk.roam"
    session.step(parse_action("walk forward 0.21 m"))
    session.save(path)
    assert load_scene_session(path).frame.digest == session.frame.digest
    path.write_text(path.read_text().replace("0.21,", "0.23,"))
    with pytest.raises(SceneError, match="not what was saved"):
        load_scene_session(path)


def test_recordings_resume_and_read_back_and_their_words_lead_to_their_poses(tmp_path):
    camera = Camera(32, 32)
    paths = record(tmp_path, "dev", 10, frames=5, camera=camera, workers=2)
    stamps = [path.stat().st_mtime_ns for path in paths]
    assert record(tmp_path, "dev", 10, frames=5, camera=camera, workers=2) == paths
    assert [path.stat().st_mtime_ns for path in paths] == stamps
    recording = load_recording(paths[0])
    assert recording.pixels.shape == (8, 5, 32, 32, 3) and recording.depth.shape == (8, 5, 32, 32)
    scene = make_scene("dev", recording.numbers[2])
    assert poses_of(scene, recording.poses[2][0], recording.actions[2])[-1].distance_to(recording.poses[2][-1]) < 1e-9
    assert (render(scene, recording.poses[2][3], camera).pixels == recording.pixels[2, 3]).all()
    paths[0].write_bytes(paths[0].read_bytes()[:1000])
    with pytest.raises(SceneError, match="no readable recording"):
        load_recording(paths[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"camera": [100_000, 100_000, 80]},
        {"camera": [128]},
        {"camera": [128, 1.5, 80]},
        {"seed": 1.5},
        {"seed": True},
        {"start": [0] * 7},
        {"start": [float("nan")] * 7},
        {"start": [1e308, 0, 1.5, 1, 0, 0, 0]},
        {"start": [0, 0, 1.5, 1]},
        {"actions": [["move forward", 1]]},
        {"actions": [[None, 0, 0, 0, 0]]},
        {"actions": {"move": 1}},
        {"actions": [["move forward", 1e9, 0, 0, 0]]},
        {"pose": [0, 0, 1.5, 1]},
        {"pose": [1e308, 0, 1.5, 1, 0, 0, 0]},
    ],
)
def test_a_save_from_a_stranger_is_refused_before_anything_is_made_of_it(tmp_path, changes):
    path = tmp_path / "walk.roam"
    SceneSession(make_scene("test", 6), camera=Camera(8, 8)).save(path)
    state = json.loads(path.read_text()) | changes
    state.pop("sum")
    path.write_text(json.dumps(state))
    with pytest.raises(SceneError):
        load_scene_session(path)
    path.write_text("[" * 100_000)
    with pytest.raises(SceneError):
        load_scene_session(path)


def test_a_true_scene_is_looked_at_from_anywhere_with_nothing_unknown():
    session = SceneSession(make_scene("test", 6), camera=Camera(48, 48))
    session.step(parse_action("turn left 20 degrees"))
    own = session.look(session.frame.pose)
    assert (own.pixels == session.frame.pixels).all() and (own.depth == session.frame.depth).all()
    seen = session.look(session.frame.pose, camera=Camera(64, 40, 90), ipd_m=0.065)
    (left, depth, unknown), (right, _, _) = seen.eye(0), seen.eye(1)
    assert not unknown.any() and seen.index == 1 and left.shape == (40, 64, 3) and (left != right).any()
    v, u = 30, 40
    shift = seen.gaze.camera.focal * 0.065 / depth[v, u]
    assert np.abs(left[v, u].astype(int) - right[v, round(u - shift)]).max() < 40


def test_a_scene_file_that_unpacks_to_more_than_a_scene_is_refused_first(tmp_path, monkeypatch):
    scene = make_scene("test", 0, "rooms")
    scene.save(tmp_path / "scene.npz")
    with np.load(tmp_path / "scene.npz") as held:
        arrays = dict(held)
    np.savez_compressed(tmp_path / "bomb.npz", **arrays | {"centers": np.zeros(2**24)})  # 128 kB of 128 MB
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", None)
    with pytest.raises(SceneError, match="it would take 1"):
        load_scene(tmp_path / "bomb.npz")
