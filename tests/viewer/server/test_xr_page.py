"""The page at /xr in a real browser: on a screen, and with two eyes on a headset that IWER emulates."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from roam.viewer.opening.worlds import OpenRequest, Worlds
from roam.viewer.server.gateway import Gateway
from roam.world.action import ActionError
from roam.world.frame import Frame
from roam.world.pose import Camera, Pose
from roam.world.sight import Gaze, LookError, Piece, Sight

from ..browser import BROWSER, SOFTWARE_GL, Browser
from .doubles import Gate

pytest.importorskip("websockets", reason="needs websockets: pip install 'roam-worlds[serve]'")

IWER = Path(__file__).parents[3] / "build" / "engines" / "iwer.min.js"
PAGE = "xr?smooth=no&memory=2"  # machines that run the tests draw in software
NEAR_M, FAR_M, WALL_M = 1.0, 3.0, 0.5
HEADSET = """
globalThis.headset = new IWER.XRDevice(IWER.metaQuest3, { stereoEnabled: true, ipd: 0.064 });
headset.installRuntime({ forceInstall: true });
"""


class PatientGate(Gate):
    """A gate with a longer time limit, because pages are slow where they draw in software."""

    def __call__(self) -> None:
        self.reached.set()
        assert self._is_open.wait(600), "nobody opened the gate"


@dataclass(frozen=True)
class Aside:
    """A stage seen from elsewhere: its left half is bright and a metre away; its right half is unknown until
    something has been dreamt."""

    index: int
    pose: Pose
    is_dreamt: bool
    camera: Camera = field(default_factory=Camera)

    def look(self, gaze: Gaze) -> Sight:
        shape = (gaze.camera.height, gaze.camera.width)
        pixels, unknown = np.full((*shape, 3), 250, np.uint8), np.zeros(shape, bool)
        unknown[:, shape[1] // 2 :] = not self.is_dreamt
        return Sight(gaze, self.index, pixels, np.full(shape, 1.0, np.float32), unknown)

    def pieces(self) -> tuple[int, ...]:
        return ()

    def piece(self, number: int, *, stride: int = 1) -> Piece:
        raise LookError(f"no piece {number}")


class Stage:
    """An explorer with one picture at every place: noise 3 m away and, in its middle, a square that is 1 m away.

    A wall stops the walker at x = 0.5 m; steps wait at a gate, dreams elsewhere do not.
    """

    def __init__(self, gate: Gate):
        rng = np.random.default_rng(3)
        self.pixels = cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 3), np.uint8), (0, 0), 0.8)
        self.pixels = cv2.normalize(self.pixels, None, 60, 255, cv2.NORM_MINMAX)
        self.depth = np.full((64, 64), FAR_M, np.float32)
        self.depth[20:44, 20:44] = NEAR_M
        self.index, self.pose, self.gate = 0, Pose.at(0, 0, 1.6), gate
        self.dreamt: list[Pose] = []

    @property
    def frame(self) -> Frame:
        return Frame(self.index, self.pixels, depth=self.depth, pose=self.pose)

    def outlook(self) -> Aside:
        return Aside(self.index, self.pose, bool(self.dreamt))

    def look(self, pose, *, camera=None, ipd_m=0.0) -> Sight:
        return self.outlook().look(Gaze(pose, camera or Camera(), ipd_m))

    def step(self, action) -> Frame:
        if action.at is not None:
            self.index, self.dreamt = self.index + 1, [*self.dreamt, action.at]
            return self.frame
        if action.motion is None:
            raise ActionError(f"'{action.text}' means nothing here")
        self.gate()
        moved = self.pose.moved(action.motion)
        x, y, z = moved.position
        self.pose = Pose.at(min(x, WALL_M), y, z, moved.yaw_deg, moved.pitch_deg)
        self.index += 1
        return self.frame

    def save(self, path) -> None:
        Path(path).touch()

    def close(self) -> None:
        pass


def no_outlook(self):
    raise LookError("this world has no depth")


class Stages(Worlds):
    """Opens stages, which share one gate."""

    models, worlds = ("stage",), ("stage",)
    fov_deg = Camera().fov_deg

    def __init__(self):
        self.gate = PatientGate()

    def open(self, request: OpenRequest) -> Stage:
        return Stage(self.gate)

    def load(self, path: Path) -> Stage:
        return Stage(self.gate)


@pytest.fixture
def gate(worlds):
    yield worlds.gate
    worlds.gate.open()


@pytest.fixture
def worlds():
    return Stages()


@pytest.fixture
def gateway(server):
    with Gateway(server.address) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A browser that draws in three dimensions."""
    if BROWSER is None:
        pytest.skip("no Chromium here; apt-get install chromium, or make test-engines")
    with contextlib.closing(Browser(tmp_path_factory.mktemp("profile"), flags=SOFTWARE_GL)) as browser:
        yield browser


@pytest.fixture
def page(gateway, gate, chromium):
    """The page on a screen, at its first frame."""
    with contextlib.closing(chromium.page(gateway.url + PAGE, size=(400, 320))) as page:
        page.wait_for("globalThis.roam && roam.walk.isDriving && roam.drawn > 3")
        yield page


@pytest.fixture
def worn(gateway, gate, chromium):
    """The page on an emulated head, in VR, at its first frame."""
    if not IWER.exists():
        pytest.skip("wants IWER, a headset's double; make test-engines fetches it")
    script = IWER.read_text(encoding="utf-8") + HEADSET
    with contextlib.closing(chromium.page(gateway.url + PAGE, size=(640, 420), script=script)) as page:
        page.wait_for("globalThis.roam && roam.walk.isDriving && !document.getElementById('enter').hidden")
        page.value("enter.click()")
        page.wait_for("Boolean(roam.viewer.worn)")
        yield page


def redrawn(page) -> np.ndarray:
    """What is shown after three more frames have been drawn."""
    drawn = page.value("roam.drawn")
    page.wait_for(f"roam.drawn >= {drawn + 3}")
    return page.drawn("view").astype(int)


def eyes(page) -> tuple[np.ndarray, np.ndarray]:
    both = redrawn(page).astype(np.uint8)
    half = both.shape[1] // 2
    return both[:, :half], both[:, half : 2 * half]


def disparity(left: np.ndarray, right: np.ndarray, x: int, y: int, side: int = 24, reach: int = 40) -> int:
    """By how many pixels what the left eye sees at (x, y) lies farther to the left for the right eye."""
    patch = left[y - side : y + side, x - side : x + side]
    strip = right[y - side : y + side, x - side - reach : x + side + reach]
    match = cv2.matchTemplate(strip, patch, cv2.TM_CCOEFF_NORMED)[0]
    assert match.max() > 0.8
    return reach - int(match.argmax())


def test_the_gateway_serves_the_page_its_scripts_and_nothing_beside(gateway):
    def get(path):
        return urllib.request.urlopen(gateway.url + path, timeout=30)

    assert "script-src 'self'" in get("xr").headers["Content-Security-Policy"]
    assert get("roam/xr").read() == get("xr").read()  # behind a proxy, under a path
    assert get("xr/main.js").headers["Content-Type"].startswith("text/javascript")
    assert b"MIT" in get("xr/three.min.js").read(400)
    for path in ("xr/", "xr/..%2findex.html", "xr/../gateway.py", "xr/three.LICENSE"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(path)


def test_keys_walk_and_sentences_are_done(page):
    page.key("KeyW", True)
    page.wait_for("roam.walk.head.pose[0] > 0.2")
    page.key("KeyW", False)
    page.value("words.value = 'turn left 90 degrees'; bar.requestSubmit()")
    page.wait_for("roam.walk.note.startsWith('done: turn left 90') && !roam.walk.isTold")
    page.wait_for("Math.abs(roam.viewer.head.yaw) < 3")  # it began along +X, which is a quarter to the right of -Z
    page.value("words.value = 'jmp'; bar.requestSubmit()")
    page.wait_for("roam.walk.note.includes(\"unknown verb 'jmp'\")")


def test_between_two_dreamt_frames_the_display_goes_on_and_the_view_moves(page, gate):
    gate.shut()
    before = redrawn(page)
    page.key("KeyD", True)
    page.wait_for("Math.abs(roam.viewer.head.position.z) > 0.15")
    assert gate.reached.wait(60)
    assert page.value("roam.walk.head.index") == 0
    assert np.abs(redrawn(page) - before)[80:160, 120:280].mean() > 4
    gate.open()
    page.wait_for("roam.walk.head.index >= 1")


@pytest.mark.slow(reason="Chromium draws it in software, seconds of both cores")
def test_a_wall_of_the_world_stops_the_viewer_too(page):
    page.key("KeyW", True)
    page.wait_for(f"roam.walk.head.pose[0] >= {WALL_M} && roam.walk.head.index >= 8")
    page.key("KeyW", False)
    page.wait_for(f"Math.abs(roam.viewer.head.position.x - {WALL_M}) < 0.1")


@pytest.mark.slow(reason="Chromium draws it in software, seconds of both cores")
def test_what_is_not_dreamt_is_dim_until_it_is(page, gate):
    bright = redrawn(page)[80:160, 140:260].mean()
    gate.shut()
    page.value("roam.viewer.drag(-480, 0)")  # 120 degrees to the left
    page.wait_for("Math.abs(roam.viewer.head.yaw - 30) < 1")
    dim = redrawn(page)[80:160, 140:260].mean()
    gate.open()
    page.wait_for("Math.abs(roam.walk.head.pose[0]) < .1 && roam.walk.head.index >= 6")
    again = redrawn(page)[80:160, 140:260].mean()
    assert 2 < dim < bright / 2 < again


@pytest.mark.slow(reason="Chromium draws it in software, seconds of both cores")
def test_a_drag_with_the_right_button_goes_round_and_back_without_the_dream(page):
    before = redrawn(page)
    page.value("roam.viewer.orbit.isHeld = true; roam.viewer.drag(80, 0)")
    page.wait_for("Math.abs(roam.viewer.head.position.z) > 0.2")
    assert np.abs(redrawn(page) - before)[80:160, 120:280].mean() > 4
    page.value("roam.viewer.letGo()")
    page.wait_for("Math.abs(roam.viewer.head.position.z) < 0.01")
    assert page.value("roam.walk.head.pose[0]") == 0


def test_what_an_eye_aside_does_not_know_is_dreamt_and_shown(page):
    page.value("roam.viewer.orbit.isHeld = true; roam.viewer.drag(240, 0)")
    page.wait_for("Math.abs(roam.viewer.head.position.z) > 0.4")
    page.wait_for("roam.memory.glimpse && roam.walk.head.index === 1")  # a dream elsewhere, and no step
    page.wait_for("roam.memory.glimpse.index === 1 && roam.walk.unknown === 0")
    assert page.value("roam.walk.head.action").startswith("dream what is seen from")
    assert page.value("roam.walk.head.pose[0]") == 0
    page.wait_for("!figures.textContent.includes('not dreamt')")
    eye, place = (
        page.value("roam.viewer.head.position.toArray()"),
        page.value("roam.memory.glimpse.place.position.toArray()"),
    )
    assert eye == pytest.approx(place, abs=0.05)  # the look was taken from the eye's pose


@pytest.mark.slow(reason="Chromium draws it in software, seconds of both cores")
def test_a_world_that_shows_nothing_from_aside_is_not_asked_again(page, monkeypatch):
    monkeypatch.setattr(Stage, "outlook", no_outlook)
    page.value("roam.viewer.orbit.isHeld = true; roam.viewer.drag(240, 0)")
    page.wait_for("Math.abs(roam.viewer.head.position.z) > 0.4")
    page.value("new Promise(done => setTimeout(done, 1500))")
    assert page.value("roam.memory.glimpse === null && roam.walk.note === ''")
    page.value("roam.viewer.letGo(); words.value = 'turn left 30 degrees'; bar.requestSubmit()")
    page.wait_for("roam.walk.note.startsWith('done')")


def test_a_headset_begins_where_the_walker_stands_and_leaves_the_screen_there(worn):
    assert worn.value("roam.viewer.head.position.length()") == pytest.approx(1.6, abs=0.01)
    worn.value("headset.position.set(0.3, headset.position.y, headset.position.z)")
    worn.wait_for("Math.abs(roam.viewer.head.position.z - 0.3) < 0.01")
    worn.value("roam.renderer.xr.getSession().end()")
    worn.wait_for("!roam.viewer.worn && Math.abs(roam.viewer.head.position.z - 0.3) < 0.01")


def test_the_two_eyes_see_parallax_of_the_right_sign_and_size(worn):
    left, right = eyes(worn)
    assert np.abs(left.astype(int) - right).mean() > 4
    focal = left.shape[0] / 2  # a quarter turn from top to bottom: IWER's field of view
    middle = left.shape[1] // 2, left.shape[0] // 2
    near = disparity(left, right, *middle)
    far = disparity(left, right, middle[0], middle[1] - int(0.58 * focal), side=16)
    assert near == pytest.approx(focal * 0.064 / NEAR_M, abs=1.5)
    assert far == pytest.approx(focal * 0.064 / FAR_M, abs=1.5)


def test_a_head_is_free_between_two_dreamt_frames_and_the_dream_comes_after(worn, gate):
    gate.shut()
    before = redrawn(worn)
    worn.value("headset.position.set(0.2, headset.position.y + 0.1, headset.position.z)")
    worn.wait_for("Math.abs(roam.viewer.head.position.z - 0.2) < 0.01")  # it looks along +X: its right is +Z
    assert np.abs(redrawn(worn) - before).mean() > 4
    assert worn.value("roam.walk.head.index") == 0
    gate.open()
    worn.wait_for("Math.abs(roam.walk.head.pose[1] + 0.2) < 0.07")
    assert worn.value("Math.abs(roam.viewer.head.position.z - 0.2)") < 0.01


def test_a_thumbstick_walks_where_the_head_looks_and_the_other_one_turns(worn):
    worn.value("headset.controllers.left.updateAxes('thumbstick', 0, -1)")
    worn.wait_for("roam.walk.head.pose[0] > 0.2 && roam.viewer.head.position.x > 0.2")
    worn.value("headset.controllers.left.updateAxes('thumbstick', 0, 0)")
    yaw = worn.value("roam.viewer.head.yaw")
    worn.value("headset.controllers.right.updateAxes('thumbstick', 1, 0)")
    worn.wait_for(f"Math.abs(roam.viewer.head.yaw - {yaw} + 30) < 1")
    worn.wait_for("roam.walk.head.index >= 3")
