"""Between two frames the window shows what memory has for the poses on the way, says so, and can be told not to."""

import threading

import numpy as np
import pygame
import pytest
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.viewer.opening.start import Place, Start
from roam.viewer.play.between import Between
from roam.viewer.play.player import Player
from roam.viewer.window.window import Window
from roam.world.pose import Camera


class Slow(SceneSession):
    """A true scene whose steps wait until the test lets them go on."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.may_step = threading.Event()

    def step(self, action):
        assert self.may_step.wait(60)
        return super().step(action)


class SlowOpener:
    model, dreams = None, {}

    def open(self, start: Start) -> Place:
        scene = make_scene("test", 6)
        return Place(start, Slow(scene, camera=Camera(48, 48)), scene.walked, scene=scene)


@pytest.fixture
def player(tmp_path):
    player = Player(SlowOpener(), Start(seed=6, truth=True), folder=tmp_path / "out")
    yield player
    player.place.explorer.may_step.set()
    player.close()


@pytest.fixture
def window(player):
    window = Window(player, scale=2, steps_per_s=50.0)
    pygame.event.clear()
    yield window
    window.close()


def press(window, key):
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key, mod=0, unicode=""))
    window.tick()


def seen(window) -> np.ndarray:
    return pygame.surfarray.array3d(window.picture).copy()


def tick_until(window, is_so):
    for _ in range(2000):
        pygame.time.wait(1)
        window.tick()
        if is_so():
            return
    raise AssertionError("it never came to be")


def test_the_view_goes_on_while_the_step_is_being_made_and_the_frame_replaces_it(window):
    before = seen(window)
    press(window, pygame.K_q)  # turn left
    tick_until(window, lambda: window.status.is_between and (seen(window)[:96, :96] != before[:96, :96]).any())
    assert window.status.is_between and window.player.frame.index == 0
    assert (seen(window)[:96, :96] != before[:96, :96]).any()
    pygame.event.post(pygame.event.Event(pygame.KEYUP, key=pygame.K_q, mod=0))
    window.player.place.explorer.may_step.set()
    tick_until(window, lambda: window.player.frame.index == 1 and not window.status.is_between)
    assert window.player.key_to_view.percentile_ms(50) <= window.player.key_to_frame.percentile_ms(50)


def test_the_way_ends_where_the_step_does(window):
    press(window, pygame.K_q)
    tick_until(window, lambda: window.status.is_between)
    pygame.time.wait(100)  # longer than the window expects of a step
    pygame.time.wait(int(1000 * window.between.wait_s) + 2)
    window.tick()  # a view is due
    last = seen(window)[:96, :96].astype(int)
    pygame.event.post(pygame.event.Event(pygame.KEYUP, key=pygame.K_q, mod=0))  # or a second step would begin
    window.player.place.explorer.may_step.set()
    tick_until(window, lambda: window.player.frame.index == 1 and not window.status.is_between)
    assert np.abs(seen(window)[:96, :96] - last).mean() < 1


def test_switched_off_the_frame_stays_until_the_next(window):
    press(window, pygame.K_i)
    press(window, pygame.K_q)
    for _ in range(20):
        pygame.time.wait(2)
        window.tick()
    assert not window.status.is_between and window.player.is_busy


def test_whoever_stands_still_is_shown_frames(player):
    assert Between().view(player, 0.1) is None
