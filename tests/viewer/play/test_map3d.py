"""The map: depth with poses becomes points on the true surfaces; without Open3D it says what to install."""

import multiprocessing

import numpy as np
import pytest
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.viewer.commands.surfaces import distance_to_scene, told
from roam.viewer.files.outputs import OutputError
from roam.viewer.play import map3d, open3d_loading
from roam.viewer.play.map3d import Fusion, Newest, read_points
from roam.viewer.play.open3d_loading import NoOpen3D, load_open3d
from roam.world.action import parse_action


@pytest.fixture
def fusion():
    try:
        load_open3d()
    except NoOpen3D as error:
        pytest.skip(str(error))
    return Fusion()


def test_a_walk_in_a_true_room_is_mapped_onto_its_surfaces(fusion, tmp_path):
    room = SceneSession(make_scene("test", 0, "rooms"))
    for _ in range(6):
        frame = room.step(parse_action("turn left 30 degrees"))
        fusion.add(frame.pixels, frame.depth, frame.pose)
    positions, colors = fusion.points()
    assert positions.shape == colors.shape and len(positions) > 5000
    assert np.median(distance_to_scene(positions, room.scene)) < 0.03
    assert fusion.save(tmp_path / "map.ply") == len(positions)
    said = told(positions, room.scene)
    assert said == told(read_points(tmp_path / "map.ply"), room.scene) and f"{len(positions)} points, half" in said


def test_a_walk_with_a_map_says_how_near_the_map_is_to_the_truth(fusion, roam):
    code, out, _ = roam("play", "--truth", "--map", "--frames", 8)
    assert code == 0 and "map-001.ply" in out and "of the true surfaces" in out


def test_a_view_of_nothing_but_sky_adds_nothing_and_an_empty_map_is_not_saved(fusion, tmp_path):
    pose = SceneSession(make_scene("test", 0, "rooms")).frame.pose
    fusion.add(np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 100, np.float32), pose)
    assert len(fusion.points()[0]) == 0
    with pytest.raises(OutputError, match="empty"):
        fusion.save(tmp_path / "map.ply")


def test_true_depth_lies_on_the_true_surfaces():
    for family in ("rooms", "outdoors"):
        session = SceneSession(make_scene("test", 1, family))
        frame = session.frame
        rays = (session.camera.rays * frame.depth[..., None]).reshape(-1, 3)[frame.depth.ravel() < 12]
        points = rays @ frame.pose.rotation.T + np.asarray(frame.pose.position)
        assert np.percentile(distance_to_scene(points, session.scene), 95) < 0.01


def test_putting_never_waits_and_the_newest_wins():
    newest = Newest(multiprocessing.get_context("spawn"))
    for number in range(50):
        newest.put(number)
    assert newest.get(5) is not None
    newest.leave()


def test_without_open3d_the_map_is_one_sentence_with_the_pip_line(monkeypatch):
    monkeypatch.setattr(open3d_loading, "find_spec", lambda name: None)
    with pytest.raises(NoOpen3D, match="pip install"):
        map3d.Map3D("map.ply")


def test_an_open3d_that_does_not_load_is_one_sentence_before_the_walk(monkeypatch, tmp_path):
    (tmp_path / "open3d.py").write_text("raise OSError('libusb-1.0.so.0: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(open3d_loading, "find_spec", lambda name: name)
    with pytest.raises(NoOpen3D, match=r"libusb-1.0.so.0.*: apt-get install") as error:
        map3d.Map3D(tmp_path / "map.ply")
    assert "\n" not in str(error.value)
