"""The gateway's page between two frames: it shows what memory has for the poses on the way, says so, and the frame
replaces it."""

import pytest
from roam.viewer.opening.worlds import OpenRequest
from roam.viewer.server.gateway import Gateway
from roam.world.action import Action
from roam.world.frame import Frame
from roam.world.pose import Motion, Pose
from roam.world.sight import Gaze, Sight

from ..doubles import Gate, SeenTiny, SeenWorlds, TinyOutlook


class Slow(SeenTiny):
    """A Tiny that supports looks from anywhere and whose steps wait at a gate. asked: the poses of all looks."""

    stepping, asked = Gate(), []

    def step(self, action: Action) -> Frame:
        self.stepping()
        return super().step(action)

    def outlook(self) -> TinyOutlook:
        return Asked(self, self.gate)


class Asked(TinyOutlook):
    """Records what it is asked."""

    def look(self, gaze: Gaze) -> Sight:
        Slow.asked.append(gaze.pose)
        return super().look(gaze)


class SlowWorlds(SeenWorlds):
    """Opens slow ones."""

    def open(self, request: OpenRequest) -> Slow:
        return Slow(request.seed)


@pytest.fixture
def worlds():
    Slow.stepping, Slow.gate, Slow.asked = Gate(), Gate(), []
    return SlowWorlds()


@pytest.fixture
def page(server, chromium):
    with Gateway(server.address) as gateway:
        page = chromium.page(gateway.url)
        page.wait_for("roam.index >= 0 && isDriving && between.can")
        yield page
        Slow.stepping.open()  # before the server ends, which waits for the step
        page.close()


def test_between_frames_the_page_shows_where_the_held_keys_lead_and_says_so(page):
    Slow.stepping.shut()
    page.key("KeyW", True)
    page.key("KeyQ", True)
    page.wait_for("between.views >= 3 && between.isShown")
    assert page.value("roam.index") == 0
    page.wait_for("figures.textContent.includes('between frames, from memory')")
    assert (page.drawn("view") < 30).all()  # the picture that the double gives for another pose, and no frame
    page.wait_for("performance.now() - times.at(-1) > 1200")
    page.wait_for(f"between.views >= {page.value('between.views')} + 2")
    # one step ahead and no farther
    ahead = Pose.at(0, 0, 1.5).moved(Motion(forward=0.3, yaw_deg=15))
    assert Slow.asked[-1].distance_to(ahead) < 1e-6 and Slow.asked[-1].angle_to(ahead) < 1e-3
    page.key("KeyW", False)
    page.key("KeyQ", False)
    Slow.stepping.open()
    page.wait_for("roam.index >= 1 && !heldSeq && !between.seq && !between.isShown")
    page.wait_for("!figures.textContent.includes('from memory')")


def test_a_key_switches_them_off_and_on(page):
    Slow.stepping.shut()
    page.key("KeyI", True)
    page.key("KeyI", False)
    page.key("KeyD", True)
    assert Slow.stepping.reached.wait(60)
    page.value("new Promise(done => setTimeout(done, 500))")
    assert page.value("between.views") == 0 and Slow.asked == []
    page.key("KeyI", True)
    page.wait_for("between.views >= 1 && roam.note.endsWith('on')")
