"""Recordings: splits never share a world, what was written survives a later crash, and recorded walks can be
replayed."""

import json
from collections import Counter

import numpy as np
import pytest
from roam.scenes.recorder import load_recording, record, write_rollouts
from roam.scenes.recording.manifest import FileNote, Manifest, read_manifest
from roam.scenes.recording.recorded import RecordedSession, open_recorded
from roam.scenes.recording.sources import open_source, record_rollout
from roam.scenes.recording.walked import Walked
from roam.scenes.scene import SceneError
from roam.world.action import Action, parse_action
from roam.world.files import sha256
from roam.world.frame import Explorer
from roam.world.pose import Camera

SMALL = Camera(16, 16)


def test_a_recording_says_where_it_is_from_and_is_mapped_from_disk(tmp_path):
    path = record(tmp_path, "dev", 2, frames=3, camera=SMALL, workers=1)[0]
    held, told = load_recording(path), read_manifest(tmp_path)
    assert isinstance(held.pixels, np.memmap) and held.pixels.shape == (2, 3, 16, 16, 3)
    with pytest.raises(ValueError, match="read-only"):
        held.pixels[0] = 0
    again = record_rollout("dev", 1, 3, SMALL)
    assert (held.pixels[1] == again.pixels).all() and (held.depth[1] == again.depth).all()
    assert held.poses[1] == again.poses and held.actions[1] == again.actions
    assert told.licence == "Apache-2.0" and told.camera == (16, 16, 80.0) and told.splits["dev"] == held.worlds
    assert told.files[path.name].sha256 == sha256(path)


def test_recording_goes_on_with_what_is_there(tmp_path):
    first = record(tmp_path, "dev", 8, frames=2, camera=SMALL, workers=1)[0]
    written = first.stat().st_mtime_ns
    (tmp_path / "manifest.json").unlink()  # as if the program was ended between the file and its note
    paths = record(tmp_path, "dev", 10, frames=2, camera=SMALL, workers=1)
    assert first.stat().st_mtime_ns == written and len(paths) == 2
    assert set(read_manifest(tmp_path).files) == {path.name for path in paths}


def test_a_disk_that_fills_up_loses_nothing_that_was_recorded(tmp_path, monkeypatch):
    record(tmp_path, "dev", 8, frames=2, camera=SMALL, workers=1)

    def full(arrays, path, metadata):
        path.write_bytes(b"torn")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as there:
        there.setattr("roam.scenes.recorder.save_file", full)
        with pytest.raises(SceneError, match=r"No space left on device.*what was recorded before it stays"):
            record(tmp_path, "dev", 16, frames=2, camera=SMALL, workers=1)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["dev-000000.safetensors", "manifest.json"]
    assert len(record(tmp_path, "dev", 16, frames=2, camera=SMALL, workers=1)) == 2


def test_a_folder_holds_one_kind_of_recording(tmp_path):
    record(tmp_path, "dev", 1, frames=2, camera=SMALL, workers=1)
    with pytest.raises(SceneError, match="holds recordings whose frames is 2, not 3: name another folder"):
        record(tmp_path, "dev", 2, frames=3, camera=SMALL, workers=1)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(SceneError, match=r"manifest\.json is no readable manifest"):
        record(tmp_path, "dev", 2, frames=2, camera=SMALL, workers=1)
    with pytest.raises(SceneError, match="unknown source 'quake'; known: scenes, doom"):
        record(tmp_path, "dev", 1, source="quake")


def test_no_world_is_in_two_splits():
    note = FileNote("train", 1, ("doom:E1M1",), True, True, "")
    manifest = Manifest("doom", "", "", (1, 1, 80.0), 2).with_file("a", note)
    with pytest.raises(SceneError, match="doom:E1M1 would be in the splits train and test"):
        manifest.with_file("b", FileNote("test", 1, ("doom:E1M1",), True, True, ""))


def test_every_level_of_freedoom_is_in_one_split_whatever_it_is_called(tmp_path):
    pytest.importorskip("vizdoom", reason="levels of Doom need ViZDoom: pip install vizdoom")
    from roam.scenes.doom.level import freedoom
    from roam.scenes.doom.recording import levels
    from roam.scenes.doom.wad import read_map, read_wad, write_wad

    held = levels("doom")
    assert max(Counter(name for names in held.values() for name in names).values()) == 1
    assert [len(held[split]) for split in ("train", "dev", "test")] == [50, 7, 11]
    level = read_map(read_wad(freedoom("MAP12")), "MAP12")
    assert "doom:MAP12" in held["test"]
    write_wad(type(level)(**{**vars(level), "name": "MAP01"}), tmp_path / "other.wad")
    assert levels(f"doom:{tmp_path}/other.wad")["test"] == (f"doom:{tmp_path}/other.wad:MAP01",)
    with pytest.raises(SceneError, match="has no levels in the split 'train'"):
        open_source(f"doom:{tmp_path}/other.wad").check("train", 2)


def test_walks_through_a_level_of_doom_are_recorded(tmp_path):
    pytest.importorskip("vizdoom", reason="levels of Doom need ViZDoom: pip install vizdoom")
    path = record(tmp_path, "dev", 2, frames=4, source="doom", workers=1)[0]
    held = load_recording(path)
    assert held.worlds == ("doom:MAP01",) * 2 and held.pixels.shape == (2, 4, 128, 128, 3)
    assert held.poses[0][0].distance_to(held.poses[1][0]) > 1 and held.pixels.std() > 5
    assert read_manifest(tmp_path).licence == "BSD-3-Clause (Freedoom)"


def test_a_recorded_walk_is_an_explorer_that_goes_as_it_went(tmp_path):
    record(tmp_path, "dev", 2, frames=3, camera=SMALL, workers=1)
    session = open_recorded(tmp_path, "dev", 1)
    assert isinstance(session, Explorer)
    first = session.frame
    second = session.step(parse_action("wait"))
    twin = session.fork()
    assert session.step(session.steps[1]).index == 2 and twin.frame.digest == second.digest
    assert session.actions == session.steps and session.rewind(2).digest == first.digest
    twin.step(Action("anything"))
    with pytest.raises(SceneError, match="ends here: its rollout 1 has 3 frames"):
        twin.step(Action("anything"))
    twin.save(tmp_path / "at.json")
    assert json.loads((tmp_path / "at.json").read_text())["at"] == 2
    with pytest.raises(SceneError, match="has 2 rollouts in the split 'dev'"):
        open_recorded(tmp_path, "dev", 2)


def test_what_has_no_depth_and_no_pose_is_recorded_without(tmp_path):
    walk = Walked("game", np.zeros((2, 8, 8, 3), np.uint8), None, None, [Action("open the door")])
    write_rollouts(tmp_path / "train-000000.safetensors", "train", range(1), [walk])
    held = load_recording(tmp_path / "train-000000.safetensors")
    assert held.depth is None and held.poses is None and held.actions == [[Action("open the door")]]
    assert RecordedSession(tmp_path / "train-000000.safetensors").frame.pose is None
