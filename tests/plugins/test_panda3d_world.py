"""A true scene in a Panda3D program, drawn off screen in software: the window shows what the scene's camera sees."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from roam.viewer.client.client import Client

core = pytest.importorskip("panda3d.core", reason="the plugin needs panda3d")
FOLDER = Path(__file__).parents[2] / "plugins" / "panda3d_world"
SETTINGS = "load-display p3tinydisplay\naudio-library-name null\n"
core.load_prc_file_data("", f"{SETTINGS}window-type offscreen\nwin-size 128 128\nnotify-level error")


@pytest.fixture
def make(monkeypatch):
    """Makes windows of the program, one at a time as Panda requires, and closes the last one."""
    monkeypatch.syspath_prepend(FOLDER)
    made = []

    def make(address, **wanted):
        made.append(importlib.import_module("walk").Window(address, seed=6, **wanted))
        return made[-1]

    yield make
    for window in made:
        window.roam.destroy()
        window.destroy()
    sys.modules.pop("walk", None)  # there are other programs of that name


@pytest.fixture
def window(server, make):
    """A window on world 6 of the server, at its first frame."""
    window = make(server.address)
    until(window, lambda: window.roam.frame)
    return window


def until(window, is_so, seconds=60):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, window.error
        window.task_mgr.step()
        time.sleep(0.01)  # drawing in software without a pause would leave the server no time to answer


def do(window, *texts):
    for text in texts:
        window.roam.say(text)
    until(window, lambda: not window.roam.is_busy)


def seen(window) -> np.ndarray:
    """What the window shows, (H, W, 3) int64."""
    window.graphics_engine.render_frame()
    shot = window.win.get_screenshot()
    rows = np.frombuffer(shot.get_ram_image_as("RGB"), np.uint8).reshape(shot.get_y_size(), shot.get_x_size(), 3)
    return rows[::-1].astype(int)


def error(a, b) -> float:
    """The mean difference of two pictures, in grey levels of 256, in the middle, where leaning uncovers no border."""
    return np.abs(a.astype(int) - b.astype(int))[16:-16, 16:-16].mean()


def test_the_card_fills_the_window_with_the_frame_the_right_way_up(window, truth):
    window.roam.show_relief(False)
    assert error(seen(window), truth(6).pixels) < 3
    texture = np.frombuffer(window.roam.texture.get_ram_image_as("RGB"), np.uint8).reshape(128, 128, 3)
    assert (texture[::-1] == truth(6).pixels).all()


def test_the_relief_looks_like_the_frame_from_where_it_was_seen(window, truth):
    assert window.roam.card.is_hidden() and not window.roam.relief.node.is_hidden()
    assert error(seen(window), truth(6).pixels) < 3
    do(window, "turn left 30 degrees")
    assert error(seen(window), truth(6, "turn left 30 degrees").pixels) < 3


@pytest.mark.parametrize("lean,text", [((0.15, 0), "strafe right 0.15 m"), ((0, 0.25), "move forward 0.25 m")])
def test_leaning_shows_nearly_what_the_world_shows_from_there(window, truth, lean, text):
    there = truth(6, text).pixels
    window.camera.set_pos(*lean, 0)
    assert error(seen(window), there) < 0.5 * error(truth(6).pixels, there)


def test_the_eye_stands_and_looks_where_the_worlds_camera_does(window):
    do(window, "look up 20 degrees and turn right 25 degrees", "walk on")
    pose, eye = window.roam.frame.pose, window.roam.eye
    right, down, forward = pose.rotation.T
    axes = [window.render.get_relative_vector(eye, axis) for axis in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert np.allclose(axes, [right, forward, -down], atol=1e-5)
    assert np.allclose(eye.get_pos(window.render), pose.position, atol=1e-5)


def test_a_held_key_walks_until_it_is_let_go(window, truth):
    window.messenger.send("arrow_left")
    until(window, lambda: window.roam.frame.index >= 2)
    window.messenger.send("arrow_left-up")
    until(window, lambda: not window.roam.is_busy)
    turned = window.roam.frame.index
    window.messenger.send("w")
    window.messenger.send("w-up")  # a tap shorter than a step is a step
    until(window, lambda: window.roam.frame.index > turned)
    until(window, lambda: not window.roam.is_busy)
    assert window.roam.frame.digest == truth(6, *["turn left"] * turned, "move forward").digest


def test_sentences_are_done_in_order_and_what_cannot_be_done_is_told(window, truth):
    do(window, "turn left 45 degrees", "jmp", "move forward")
    assert "unknown verb 'jmp'" in window.error
    assert window.roam.frame.digest == truth(6, "turn left 45 degrees", "move forward").digest


def test_a_world_without_depth_stays_on_the_card(fogs, make):
    window = make(fogs.address)
    do(window, "wait")
    assert window.roam.relief is None and not window.roam.card.is_hidden()
    assert (seen(window) == 99).all()


def test_where_no_server_answers_the_window_says_so(make):
    window = make("tcp://127.0.0.1:1")
    until(window, lambda: window.error)
    assert "no server answers at tcp://127.0.0.1:1" in window.error


def test_a_window_that_closes_ends_its_walk(server, make):
    window = make(server.address)
    until(window, lambda: window.roam.frame)
    with Client(server.address) as client:
        assert client.stats().sessions == 1
        window.roam.destroy()
        assert client.stats().sessions == 0
        end = time.monotonic() + 60
        while client.stats().clients > 1 and time.monotonic() < end:
            time.sleep(0.05)
        assert client.stats().clients == 1  # it has closed the connection
    assert window.render.find("**/roam-eye").is_empty()


def test_two_eyes_have_a_half_of_the_window_each_and_nothing_is_drawn_over_them(server, make):
    window = make(server.address, is_stereo=True)
    regions = [region for region in window.win.get_active_display_regions() if region.get_camera() == window.cam]
    assert sorted((region.get_left(), region.get_right()) for region in regions) == [(0.0, 0.5), (0.5, 1.0)]


def run(tmp_path, *arguments):
    (tmp_path / "Config.prc").write_text(SETTINGS)
    command = [sys.executable, str(FOLDER / "walk.py"), *arguments]
    settings = {**os.environ, "PANDA_PRC_DIR": str(tmp_path)}
    return subprocess.run(command, env=settings, cwd=tmp_path, capture_output=True, text=True, timeout=120)


def test_the_program_draws_for_two_eyes_with_no_display(server, truth, tmp_path):
    done = run(
        tmp_path,
        server.address,
        "--seed",
        "6",
        "--do",
        "turn left",
        "--stereo",
        "--side",
        "128",
        "--screenshot",
        "eyes.png",
    )
    assert done.returncode == 0, done.stderr
    eyes = cv2.cvtColor(cv2.imread(str(tmp_path / "eyes.png")), cv2.COLOR_BGR2RGB)
    left, right = eyes[:, :128], eyes[:, 128:]
    frame = truth(6, "turn left").pixels
    assert error(left, right) > 0.5
    assert max(error(left, frame), error(right, frame)) < 12


def test_the_program_says_in_a_sentence_why_it_draws_nothing(server, tmp_path):
    done = run(tmp_path, server.address, "--do", "jmp", "--screenshot", "walk.png")
    assert done.returncode == 1 and done.stderr.strip().split("\n")[-1].startswith("unknown verb 'jmp'; known verbs")
    assert not (tmp_path / "walk.png").exists()


def test_without_panda3d_it_says_what_to_install():
    code = "import sys; sys.modules['panda3d'] = None; sys.path.insert(0, sys.argv[1]); import roam_panda"
    done = subprocess.run([sys.executable, "-c", code, str(FOLDER)], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip().endswith("pip install panda3d")


def test_the_snippet_of_its_page_runs(server, truth, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    (code,) = re.findall(r"```python\n(.*?)base.run\(\)\n```", (FOLDER / "README.md").read_text(), re.S)
    names = {}
    exec(code.replace("tcp://127.0.0.1:5555", server.address), names)
    base, roam = names["base"], names["roam"]
    while roam.is_busy:
        base.task_mgr.step()
    assert roam.frame.digest == truth(7, "walk forward 2 metres").digest
    roam.destroy()
    base.destroy()
