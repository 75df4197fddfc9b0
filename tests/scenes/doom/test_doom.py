"""Levels of Doom: what the engine draws lies where the level's lines say, walls stop walkers, and bad files are
reported."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from roam.scenes.doom.engine import DoomEngine
from roam.scenes.doom.ground import EYE, FIRST_THING, UNIT
from roam.scenes.doom.level import following, freedoom, open_level
from roam.scenes.doom.wad import doors, read_map, read_wad, stilled, write_wad
from roam.scenes.explorer import SceneSession, load_scene_session
from roam.scenes.render import FAR
from roam.scenes.scene import SceneError
from roam.world.action import parse_action
from roam.world.frame import Explorer, Solid
from roam.world.pose import Camera, Motion
from roam.world.spatial.warp import View, warp

pytest.importorskip("vizdoom", reason="levels of Doom need ViZDoom: pip install vizdoom")

CAMERA = Camera()


@pytest.fixture(scope="module")
def level():
    level = open_level("doom:E1M1")
    yield level
    level.close()


def places(level, count, seed=0):
    """Poses at random places where one can stand, some of them with a look up or down."""
    rng, (x0, y0, x1, y1), found = np.random.default_rng(seed), level.ground.extent, []
    while len(found) < count:
        x, y = rng.uniform(x0, x1), rng.uniform(y0, y1)
        if level.is_free(x, y):
            pose = level.standing(x, y, rng.uniform(-180, 180))
            found.append(pose.moved(Motion(pitch_deg=(0, 24, -24)[len(found) % 3])))
    return found


def test_what_one_view_shows_lies_where_another_shows_it_and_nowhere_else(level):
    """Depth that was wrong by a twentieth would shift the picture, and the error would exceed that of standing
    still."""
    errors = []
    for pose in places(level, 8, seed=1):
        there = level.walked(pose, Motion(forward=0.3, right=0.2))
        first, second = level.view(pose, CAMERA), level.view(there, CAMERA)
        if there.distance_to(pose) < 0.2:
            continue
        row = [np.abs(first.pixels.astype(int) - second.pixels).mean()]
        for scale in (1.0, 0.9, 1.1):
            carried = warp([View(first.pixels, first.depth * np.float32(scale), pose)], there, CAMERA)
            row.append(np.abs(carried.pixels.astype(int) - second.pixels)[carried.covered].mean())
        errors.append(row)
    frozen, carried, nearer, farther = np.mean(errors, 0)
    assert len(errors) > 3 and carried < 0.5 * frozen and carried < 0.9 * min(nearer, farther)


def test_the_eyes_of_the_engine_are_at_the_height_where_a_walker_stands(level):
    engine = DoomEngine(level.map, level.source.game, level.source.added)
    for pose in places(level, 5, seed=2):
        shot = engine.shot(*(value / UNIT for value in pose.position), pose.yaw_deg, pose.pitch_deg)
        assert np.array(shot.eye) * UNIT == pytest.approx(pose.position, abs=0.51 * UNIT)
        assert shot.eye[2] * UNIT == pytest.approx(pose.position[2], abs=1e-3)
    engine.close()


def test_things_stand_at_their_own_distance_and_have_an_id_of_their_own(level):
    things = level.map.things
    bonus = next(k for k in range(len(things)) if things["type"][k] == 2014)
    x, y = things["x"][bonus] * UNIT, things["y"][bonus] * UNIT
    around = [(np.cos(np.radians(a)), np.sin(np.radians(a)), a) for a in range(0, 360, 45)]
    dx, dy, yaw = next(p for p in around if all(level.is_free(x - p[0] * far, y - p[1] * far) for far in (1, 2, 3)))
    view = level.view(level.standing(x - 3 * dx, y - 3 * dy, yaw), CAMERA)
    where = view.ids == FIRST_THING + bonus
    assert where.sum() > 10 and view.depth[where].mean() == pytest.approx(3, abs=0.02)


def test_a_level_is_an_explorer_that_comes_back_to_the_same_frames(level, tmp_path):
    session = SceneSession(level)
    assert isinstance(session, Explorer) and session.frame.depth.max() <= FAR
    far = Motion(forward=50.0)
    assert isinstance(session, Solid) and session.walked(level.spawn_pose, far) == level.walked(level.spawn_pose, far)
    walk = [parse_action(text) for text in ("walk forward 0.6 m", "turn left", "look down", "walk back")]
    shown = [session.step(action).digest for action in walk]
    assert len(set(shown)) == 4
    twin = session.fork()
    twin.step(walk[0])
    assert session.frame.digest == shown[-1] and session.rewind(2).digest == shown[1]
    twin.save(tmp_path / "walk.json")
    loaded = load_scene_session(tmp_path / "walk.json")
    assert loaded.frame.digest == twin.frame.digest and loaded.frame.pose == twin.frame.pose
    loaded.scene.close()


def test_walls_stop_a_walker_and_ledges_are_climbed_as_far_as_doom_lets_one(level):
    for pose in places(level, 30, seed=3):
        end = pose
        for _ in range(10):
            before, end = end, level.walked(end, Motion(forward=0.5))
            assert level.is_free(*end.position[:2], 0.49) and end.position[2] - before.position[2] < 1.51
        floor = level.ground.floor_under(*end.position[:2])
        assert end.position[2] == pytest.approx(floor + EYE)
    x0, y0, *_ = level.ground.extent
    assert level.ground.floor_under(x0 - 1.5, y0 - 1.5) is None and not level.is_free(x0 - 1.5, y0 - 1.5)


def test_looks_end_where_the_engine_can_no_longer_draw_them(level):
    pose = level.spawn_pose
    for _ in range(4):
        pose = level.walked(pose, Motion(pitch_deg=15))
    assert pose.pitch_deg == pytest.approx(25)


def test_the_doors_of_a_level_stand_open():
    level = read_map(read_wad(freedoom("E1M1")), "E1M1")
    shut = [d for d in doors(level) if level.sectors["ceiling"][d] - level.sectors["floor"][d] < 56]
    after = stilled(level).sectors
    assert len(shut) >= 8 and all(after["ceiling"][d] - after["floor"][d] >= 56 for d in shut)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="which processes are ours is read from /proc")
def test_an_engine_that_was_killed_is_started_anew(level):
    before = level.view(level.spawn_pose, CAMERA)
    children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
    engines = [int(child) for child in children if Path(f"/proc/{child}/comm").read_text().startswith("vizdoom")]
    assert engines
    for engine in engines:
        os.kill(engine, signal.SIGKILL)
    assert (level.view(level.spawn_pose, CAMERA).pixels == before.pixels).all()


def test_a_level_in_a_file_of_its_own_is_walked_like_any_and_leaves_nothing_about(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    level = read_map(read_wad(freedoom("E1M2")), "E1M2")
    write_wad(level, tmp_path / "mine.wad")
    mine = open_level(f"doom:{tmp_path}/mine.wad:E1M2")
    assert mine.digest == open_level("doom:E1M2").digest
    assert mine.view(mine.spawn_pose, CAMERA).pixels.std() > 5
    assert [path.name for path in tmp_path.iterdir()] == ["mine.wad"]
    mine.close()


@pytest.mark.parametrize(
    "spoil, told",
    [
        (lambda data: b"PK\x03\x04" + data[4:], "is no WAD: it begins with"),
        (lambda data: data[: len(data) // 2], "is torn: its directory should end at byte"),
        (lambda data: data.replace(b"LINEDEFS", b"LIMEDEFS"), "map E1M2 of mine.wad is torn: 0 bytes of LINEDEFS"),
        (lambda data: data.replace(b"E1M2", b"E9M9"), "no map E1M2 in mine.wad; it has E9M9"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(tmp_path, spoil, told):
    write_wad(read_map(read_wad(freedoom("E1M2")), "E1M2"), tmp_path / "mine.wad")
    data = (tmp_path / "mine.wad").read_bytes()
    (tmp_path / "mine.wad").write_bytes(spoil(data))
    with pytest.raises(SceneError, match=told):
        open_level(f"doom:{tmp_path}/mine.wad:E1M2")


def test_a_line_that_names_what_is_not_there_is_told(tmp_path):
    level = read_map(read_wad(freedoom("E1M2")), "E1M2")
    lines = level.lines.copy()
    lines["end"][7] = 60_000
    write_wad(type(level)(**{**vars(level), "lines": lines}), tmp_path / "mine.wad")
    with pytest.raises(SceneError, match="torn: it names vertex 60000 of"):
        open_level(f"doom:{tmp_path}/mine.wad:E1M2")


def test_without_the_engine_the_line_that_mends_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(SceneError, match=r"pip install 'roam-worlds\[doom\]'"):
        open_level("doom:E1M1")


def test_half_a_game_is_told_before_the_engine_stumbles_over_it(tmp_path):
    write_wad(read_map(read_wad(freedoom("E1M2")), "E1M2"), tmp_path / "half.wad")
    data = (tmp_path / "half.wad").read_bytes()
    (tmp_path / "half.wad").write_bytes(b"IWAD" + data[4:])
    with pytest.raises(SceneError, match=r"half\.wad calls itself a whole game and lacks PLAYPAL, PNAMES, TEXTURE1"):
        open_level(f"doom:{tmp_path}/half.wad:E1M2")


def test_the_next_world_is_the_next_level_of_the_file():
    assert following("doom:E1M1") == "doom:E1M2" and following("doom:MAP32") == "doom:MAP01"


def test_a_level_is_opened_by_its_name_wherever_a_walk_starts():
    from roam.viewer.opening.start import Opener, Start, StartError

    place = Opener().open(Start(truth=True, world="doom:E1M1"))
    frame = place.explorer.step(parse_action("walk forward"))
    assert frame.pose.distance_to(place.explorer.scene.spawn_pose) == pytest.approx(0.3, abs=0.01)
    place.explorer.scene.close()
    with pytest.raises(StartError, match="doom:E1M1 is a world to begin in"):
        Start(world="doom:E1M1", family="rooms")
