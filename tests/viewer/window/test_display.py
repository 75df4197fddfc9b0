"""A display that is named but that no server answers for counts as no display."""

import socket
import sys

import pytest
from roam.viewer.window import display
from roam.viewer.window.display import missing_display

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="displays with names")


def missing(**env):
    return missing_display(env, system="linux")


@pytest.mark.parametrize("name", [":5555", "unix:5555", "127.0.0.1:10.0", "[::1]:10", "nonsense", ":99999999", "a/b:0"])
def test_a_display_out_of_reach_is_told_by_its_name(name):
    assert missing(DISPLAY=name) == f"DISPLAY={name} out of reach"


@pytest.mark.parametrize("name", ["wayland-9", "/nonexistent/wayland-0", "w" * 200])
def test_so_is_one_of_wayland(name, tmp_path):
    assert missing(WAYLAND_DISPLAY=name, XDG_RUNTIME_DIR=str(tmp_path)) == f"WAYLAND_DISPLAY={name} out of reach"


def test_a_display_that_answers_is_taken(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX) as server, socket.create_server(("127.0.0.1", 0)) as x:
        server.bind(str(tmp_path / "wayland-0"))
        server.listen()
        assert missing(WAYLAND_DISPLAY="wayland-0", XDG_RUNTIME_DIR=str(tmp_path), DISPLAY=":5555") is None
        port = x.getsockname()[1]
        assert missing(DISPLAY=f"127.0.0.1:{port - 6000}.0") is None or port < 6000


def test_no_display_a_driver_and_other_systems():
    assert missing() == "no display"
    assert missing(SDL_VIDEODRIVER="dummy", DISPLAY=":5555") is None
    assert missing_display({}, system="darwin") is None and missing_display({}, system="win32") is None


def test_play_without_a_display_that_answers_walks_by_itself_and_says_why(roam, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":5555")
    code, out, err = roam("play", "--truth", "--frames", "3")
    assert code == 0 and "walked 3 frames" in out and "DISPLAY=:5555 out of reach" in err
    assert display.missing_display() is not None


def test_what_sdl_draws_where_nobody_sees_it_is_no_window(player, monkeypatch):
    from roam.viewer.window.window import Window, WindowError, pygame

    monkeypatch.delenv("SDL_VIDEODRIVER")
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "offscreen")
    for name in ("init", "set_caption", "set_mode"):  # the driver itself may load the system's whole OpenGL
        monkeypatch.setattr(pygame.display, name, lambda *_: None)
    with pytest.raises(WindowError, match="headless"):
        Window(player)
