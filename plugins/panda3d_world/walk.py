"""A window on a Roam server's world: walk with the keys, lean into the relief with the mouse.

    roam serve --truth                        # in another terminal
    python walk.py --seed 7                   # with --stereo for both eyes, side by side
    python walk.py --do "turn left" --lean 0.2 0 0 --screenshot lean.png          # with no window

Keys: WASD, arrows, Q and E walk and turn, R and F look up and down; the mouse leans, its wheel leans in; V turns to
the flat picture and back; Escape ends.
"""

import argparse
import sys
import time
from pathlib import Path

import roam_panda  # before Panda's modules: if they are missing, it says what to install
from direct.gui.OnscreenText import OnscreenText
from direct.showbase.ShowBase import ShowBase
from panda3d import core
from roam_relief import FAR, NEAR

LEAN_M = 0.25  # from the middle of the window to its edge
FOCUS_M = 3.0  # leaning turns about a point this far away; in stereo it lies in the plane of the screen
EYES_M = 0.063  # between the eyes
READ_S = 4.0  # a sentence is shown at least this long, and until a frame comes
SETTINGS = "window-title Roam\nclock-mode limited\nclock-frame-rate 60\naudio-library-name null\n"


class Window(ShowBase):
    """Shows one RoamWorld, begun with `wanted`, and its errors; is_stereo: one eye in each half of the window."""

    def __init__(self, address: str, *, is_stereo: bool = False, **wanted):
        self._num_eyes = 2 if is_stereo else 1
        super().__init__()
        self.disable_mouse()  # Panda's own control of the camera
        self.set_background_color(0, 0, 0, 1)
        self.roam = roam_panda.RoamWorld(self, address, **wanted)
        self.error = ""
        self._closer_m = 0.0
        self._shape: tuple[int, ...] = ()
        self._told_at = 0.0
        self._note = OnscreenText(
            pos=(0, -0.8), scale=0.06, fg=(1, 1, 1, 1), shadow=(0, 0, 0, 1), wordwrap=30, mayChange=True
        )
        self.camera.reparent_to(self.roam.eye)
        self.camLens.set_near_far(NEAR, 2 * FAR)
        self.camLens.set_interocular_distance(EYES_M)
        self.camLens.set_convergence_distance(FOCUS_M)
        if is_stereo:
            self._halve(self.cam, core.Lens.SC_left, core.Lens.SC_right)
            self._halve(self.cam2d, core.Lens.SC_mono, core.Lens.SC_mono)
        self.accept("roam-frame", self._fit)
        self.accept("roam-error", self._tell)
        self.accept("v", lambda: self.roam.show_relief(not self.roam.wants_relief))
        self.accept("wheel_up", self._lean_in, [0.1])
        self.accept("wheel_down", self._lean_in, [-0.1])
        self.accept("escape", sys.exit)
        if isinstance(self.win, core.GraphicsWindow):
            self.buttonThrowers[0].node().set_modifier_buttons(core.ModifierButtons())  # W with Shift held is still W
            self.task_mgr.add(self._follow_mouse, "lean")

    def getAspectRatio(self, win=None) -> float:
        """That of one eye's view; Panda calls this."""
        return super().getAspectRatio(win) / self._num_eyes

    def lean(self, right_m: float, forward_m: float, up_m: float) -> None:
        """Look from so far beside the place that the frame was seen from."""
        self.camera.set_pos(right_m, forward_m, up_m)
        self.camera.look_at(self.roam.eye, (0, FOCUS_M, 0))

    def shoot(self, path: str) -> None:
        """Wait until every sentence is done, and write the picture on screen to a file."""
        while self.roam.is_busy and not self.error:
            self.task_mgr.step()
        if self.error:
            raise SystemExit(self.error)
        self.graphics_engine.render_frame()
        if not self.win.save_screenshot(core.Filename.from_os_specific(path)):
            raise SystemExit(f"cannot write {path}; wanted a name like walk.png in a folder that exists")

    def _halve(self, camera: core.NodePath, *channels: int) -> None:
        whole = camera.node().get_display_region(0)
        whole.set_active(False)
        for number, channel in enumerate(channels):
            half = self.win.make_display_region(number / 2, number / 2 + 0.5, 0, 1)
            half.set_sort(whole.get_sort())
            half.set_clear_depth_active(True)
            half.set_stereo_channel(channel)
            half.set_camera(camera)

    def _follow_mouse(self, task) -> int:
        if self.mouseWatcherNode.has_mouse():
            x, y = self.mouseWatcherNode.get_mouse()
            self.lean(LEAN_M * x, self._closer_m, LEAN_M * y)
        return task.cont

    def _lean_in(self, metres: float) -> None:
        self._closer_m = max(-1.0, min(1.0, self._closer_m + metres))

    def _tell(self, sentence: str) -> None:
        self.error, self._told_at = sentence, time.monotonic()
        self._note.setText(sentence)

    def _fit(self, _index: int, _pose) -> None:
        """Give the lens the view of the world's camera, and the window its shape, once for each shape of frame."""
        if time.monotonic() > self._told_at + READ_S:
            self._note.setText("")
        if self.roam.frame.pixels.shape == self._shape:
            return
        self._shape = height, width, _ = self.roam.frame.pixels.shape
        if isinstance(self.win, core.GraphicsWindow):
            side = self.win.get_y_size()
            across = self._num_eyes * side * width // height
            self.win.request_properties(core.WindowProperties(size=(across, side)))
        self.camLens.set_aspect_ratio(width / height)
        self.camLens.set_fov(self.roam.fov_deg)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", nargs="?", default="tcp://127.0.0.1:5555")
    parser.add_argument("--model", default="", help="scene or dream; the server's own without it")
    parser.add_argument("--world", default="", help="rooms or outdoors; both in turn without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keys", type=Path, help="folder of your keys, for servers with keys")
    parser.add_argument("--name", default="viewer", help="which of your keys")
    parser.add_argument("--server-key", default="", help="public key of a server with keys")
    parser.add_argument("--side", type=int, default=768, help="height of the window, pixels")
    parser.add_argument("--flat", action="store_true", help="begin with the flat picture")
    parser.add_argument("--stereo", action="store_true", help="both eyes, side by side")
    parser.add_argument("--do", action="append", default=[], metavar="WORDS", help="say this; may be given again")
    parser.add_argument("--lean", nargs=3, type=float, metavar=("RIGHT", "FORWARD", "UP"), help="metres")
    parser.add_argument("--screenshot", metavar="FILE", help="open no window; write what would be seen after all that")
    wanted = parser.parse_args()

    settings = f"win-size {wanted.side * (1 + wanted.stereo)} {wanted.side}\n" + SETTINGS
    settings += "window-type offscreen\n" if wanted.screenshot else ""
    core.load_prc_file_data("", settings)
    taken = ("model", "world", "seed", "keys", "name", "server_key")
    window = Window(wanted.address, is_stereo=wanted.stereo, **{name: getattr(wanted, name) for name in taken})
    try:
        window.roam.show_relief(not wanted.flat)
        window.lean(*(wanted.lean or (0, 0, 0)))
        for words in wanted.do:
            window.roam.say(words)
        window.shoot(wanted.screenshot) if wanted.screenshot else window.run()
    finally:
        window.roam.destroy()


if __name__ == "__main__":
    main()
