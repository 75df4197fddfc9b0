"""Environments as worlds: words become their actions, what they cannot give is left out, and failures are reported."""

import json
import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
from roam.scenes.env.session import EnvSession, EnvSpec, load_env_session, open_env
from roam.scenes.env.words import Table, Word, read_table
from roam.scenes.recorder import load_recording, record
from roam.scenes.recording.manifest import read_manifest
from roam.scenes.scene import SceneError
from roam.world.action import Action, ActionError, parse_action
from roam.world.frame import Explorer, Solid
from roam.world.pose import Camera, Motion

pytest.importorskip("gymnasium", reason="environments need Gymnasium: pip install gymnasium")
SMALL = Camera(32, 32)


class Corridor:
    """A grey wall that gets brighter as one comes near. It reports the pose, and ends at the seventh step."""

    def __init__(self):
        self.action_space = type("Two", (), {"n": 2})()
        self.action_names = ["move_up", "open_the_door"]
        self.size = 20

    def reset(self):
        self.at = 0
        return self._look()

    def step(self, action):
        if action == 1:
            raise RuntimeError("the door is stuck")
        self.at += 1
        return self._look(), 0.0, self.at == 7, {"pose": (0.5 * self.at, 0, 1, 90), "depth": np.full((20, 40), 9.0)}

    def _look(self):
        return np.full((self.size, 40, 3), 20 * self.at, np.uint8)


class Widening(Corridor):
    """A corridor whose picture is wider from the second step on."""

    def step(self, action):
        self.size += 10 * (self.at == 1)
        return super().step(action)


@pytest.fixture
def corridor(monkeypatch):
    module = ModuleType("corridor")
    module.Corridor, module.Widening = Corridor, Widening
    monkeypatch.setitem(sys.modules, "corridor", module)
    return EnvSession(EnvSpec("corridor:Corridor"), camera=SMALL)


def test_an_environment_is_an_explorer_that_comes_back_to_the_same_frames(corridor, tmp_path):
    assert isinstance(corridor, Explorer) and corridor.frame.pose is None
    assert not isinstance(corridor, Solid)  # the pose after a word is unknown there
    shown = [corridor.step(Action("move up")) for _ in range(3)]
    assert shown[1].pixels[0, 0, 0] == 40 and shown[1].pose.position == (1.0, 0, 1) and shown[1].depth[5, 5] == 9
    assert corridor.rewind(1).digest == shown[1].digest and corridor.frame.index == 2
    twin = corridor.fork()
    assert twin.step(Action("move up")).digest == shown[2].digest and corridor.frame.digest == shown[1].digest
    twin.save(tmp_path / "walk.json")
    assert load_env_session(tmp_path / "walk.json").frame.digest == shown[2].digest
    state = json.loads((tmp_path / "walk.json").read_text())
    del state["sum"]  # as the first saves
    (tmp_path / "walk.json").write_text(json.dumps(state))
    assert load_env_session(tmp_path / "walk.json").frame.digest == shown[2].digest
    (tmp_path / "walk.json").write_text(json.dumps(state | {"digest": "0"}))
    with pytest.raises(SceneError, match="does not come to the same picture again from seed 0"):
        load_env_session(tmp_path / "walk.json")


def test_a_bit_that_flips_in_a_save_is_noticed(corridor, tmp_path):
    """In the table of words it once changed what a word does, from the next step on."""
    corridor.step(Action("move up"))
    path = tmp_path / "walk.json"
    corridor.save(path)
    whole = path.read_bytes()
    words = range(whole.index(b'"words"'), whole.index(b'"actions"'))
    for place in (*words[::3], whole.index(b'"seed": ') + 8, whole.index(b'"sum": ') + 9):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            loaded = load_env_session(path)
        except SceneError as error:
            assert "\n" not in str(error)
        else:  # a space between two words of the file
            assert loaded.words == corridor.words and loaded.spec == corridor.spec, place


def test_what_fails_in_an_environment_is_one_sentence_and_the_walk_stays(corridor):
    corridor.step(Action("move up"))
    before = corridor.frame
    with pytest.raises(SceneError, match="failed after 1 steps: RuntimeError: the door is stuck; what was"):
        corridor.step(Action("open the door"))
    with pytest.raises(ActionError, match="'jump' is nothing that can be done here; known: move up, open the door"):
        corridor.step(Action("jump"))
    assert corridor.frame is before and len(corridor.actions) == 1
    widening = EnvSession(EnvSpec("corridor:Widening"), camera=SMALL)
    widening.step(Action("move up"))
    with pytest.raises(SceneError, match="shows 40x30 after 40x20: wanted pictures of one size"):
        widening.step(Action("move up"))


def test_an_episode_that_has_ended_says_so(corridor):
    for _ in range(7):
        corridor.step(Action("move up"))
    assert corridor.has_ended
    with pytest.raises(SceneError, match="has ended this episode after 7 steps"):
        corridor.step(Action("move up"))


def test_words_mean_what_comes_nearest_to_them():
    table = Table((Word("turn left", 0, Motion(yaw_deg=15)), Word("move forward 0.15 metres", 2, Motion(forward=0.15))))
    assert table.find(parse_action("turn left"))[0].value == 0
    word, count = table.find(parse_action("walk forward 0.6 m"))
    assert (word.value, count) == (2, 4)
    plain = Table((Word("noop", 0), Word("move up", 3)))
    assert plain.find(parse_action("move forward"))[0].value == 3 and plain.find(Action("wait", Motion()))[0].value == 0


def test_a_table_in_a_file_is_read_and_a_wrong_one_is_told(tmp_path):
    path = tmp_path / "words.json"
    path.write_text('{"turn left": {"do": 0, "yaw_deg": 15}, "open the door": 5}')
    assert read_table(path).words == (Word("turn left", 0, Motion(yaw_deg=15)), Word("open the door", 5))
    for wrong in ("[1]", '{"turn": {"yaw_deg": 5}}', '{"turn": {"do": 1, "speed": 5}}', "{}"):
        path.write_text(wrong)
        with pytest.raises(SceneError, match="table of words"):
            read_table(path)


def test_environments_that_are_not_there_or_have_no_picture_are_told():
    with pytest.raises(SceneError, match="no environment 'Quake-v9'"):
        open_env("gym:Quake-v9")
    with pytest.raises(SceneError, match="'quake:Level' cannot be made: ModuleNotFoundError: No module named 'quake'"):
        open_env("gym:quake:Level")


def test_walks_without_depth_and_pose_are_recorded(tmp_path):
    pytest.importorskip("pygame", reason="this environment draws by pygame")
    path = record(tmp_path, "dev", 2, frames=3, camera=SMALL, source="gym:FrozenLake-v1", workers=1)[0]
    held, told = load_recording(path), read_manifest(tmp_path)
    assert held.depth is None and held.poses is None and held.pixels.shape == (2, 3, 32, 32, 3)
    assert {action.text for walk in held.actions for action in walk} <= {f"action {k}" for k in range(4)}
    assert held.worlds == ("gym:FrozenLake-v1#1000000", "gym:FrozenLake-v1#1000001")
    assert not told.files[path.name].has_poses


def test_a_walk_that_never_gets_so_far_is_told(tmp_path, corridor):
    with pytest.raises(SceneError, match="ends its episodes before 12 frames, 20 times over: record with fewer"):
        from roam.scenes.env.recording import EnvSource

        Corridor.step, whole = lambda self, _: (self._look(), 0, True, {}), Corridor.step
        try:
            next(EnvSource("gym:corridor:Corridor").rollouts("dev", range(1), 12, SMALL, "steps"))
        finally:
            Corridor.step = whole


def test_miniworlds_depth_and_pose_put_one_view_into_another():
    if find_spec("miniworld") is None:
        pytest.skip("needs Miniworld: pip install miniworld")
    from roam.world.spatial.warp import View, warp

    try:
        session = open_env("gym:MiniWorld-FourRooms-v0", 3)
    except SceneError as error:
        pytest.skip(f"Miniworld cannot draw here: {error}")
    first = session.frame
    second = session.step(parse_action("turn left"))
    assert second.pose.yaw_deg - first.pose.yaw_deg == pytest.approx(15, abs=1e-3) or second.pose.yaw_deg < 0
    session.step(parse_action("move forward 0.3 m"))
    third = session.frame
    assert third.pose.distance_to(second.pose) == pytest.approx(0.3, abs=0.02)
    carried = warp([View(second.pixels, second.depth, second.pose)], third.pose, session.camera)
    error, frozen = (
        np.abs(shown.astype(int) - third.pixels)[carried.covered].mean() for shown in (carried.pixels, second.pixels)
    )
    session.close()
    assert error < 0.6 * frozen
