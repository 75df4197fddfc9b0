"""A walk on a Roam server as a part of a Panda3D program: the live frame as a texture, on a card and as a relief.

Never waits for the server: at every tick it checks whether something has come. Knows no model.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import roam_relief  # before Panda's modules: if they are missing, it says what to install
from direct.showbase.DirectObject import DirectObject
from direct.showbase.ShowBase import ShowBase
from panda3d import core
from roam.viewer.client.client import Client
from roam.viewer.client.knock import Address, connect
from roam.viewer.client.walk_state import ServerError
from roam.viewer.play.keymap import MOTIONS, Held, Keymap
from roam.viewer.wire.encoding import Look
from roam.viewer.wire.fields import FieldError
from roam.world.action import Action, ActionError
from roam.world.frame import Frame
from roam.world.pose import Camera

STEPS_PER_S = 10.0  # at most: a faster world is slowed to this, or walking would be running
FOV_DEG = 80.0  # if neither the program nor the server says how wide the camera sees


class RoamWorld(DirectObject):
    """A walk in the world of that seed. `card` fills the window; `relief`, if frames have depth, is attached to `eye`.

    `eye` is a node under base.render, at the pose that the frame was seen from, +X right, +Y forward, +Z up: put your
    camera under it. Roam and Panda both measure in metres with +Z up, so models under base.render stand in the world,
    and are hidden by nearer surfaces. Events: "roam-frame" (index, Pose or None), "roam-error" (a sentence).

    fov_deg: how wide the world's camera sees, across; by default as the server says. access, for servers with keys:
    keys, the Path of your folder, name, which of them to use, and server_key. `destroy` frees everything.
    """

    def __init__(
        self,
        base: ShowBase,
        address: str = "tcp://127.0.0.1:5555",
        *,
        model: str = "",
        world: str = "",
        seed: int = 0,
        fov_deg: float | None = None,
        steps_per_s: float = STEPS_PER_S,
        keymap: Keymap | None = None,
        **access,
    ):
        super().__init__()
        self.base, self._fov_deg = base, fov_deg
        self.frame: Frame | None = None
        self.texture = _texture()
        self.card = _card(base.render2d, self.texture)
        self.eye = base.render.attach_new_node("roam-eye")
        self.relief: roam_relief.Relief | None = None
        self.wants_relief = True
        self._held = Held(keymap or Keymap())
        self._typed: deque[str] = deque()
        self._act, self._due = 0, 0  # the act that has no receipt yet; the index of the frame that the last one gave
        self._step_s, self._next_at = 1 / steps_per_s, 0.0
        self._listen()
        wanted = {"model": model, "world": world, "seed": seed, "look": Look(depth="f32")}
        worker = ThreadPoolExecutor(1, thread_name_prefix="roam-begin")
        self._begun: Future = worker.submit(_begin, Address(address, **access), wanted)
        worker.shutdown(wait=False)
        self._task = base.task_mgr.add(self._tick, "roam-world")

    @property
    def is_busy(self) -> bool:
        """Whether the first frame, or the frame of a sentence or a key, has not come yet."""
        return self.frame is None or bool(self._typed or self._act) or self.frame.index < self._due

    @property
    def fov_deg(self) -> float:
        """How wide the world's camera sees, across."""
        said = 0.0 if self.frame is None else self._begun.result()[0].welcome.fov_deg
        return self._fov_deg or said or FOV_DEG

    def say(self, text: str) -> None:
        """Do what a sentence says, once, after the sentences before it."""
        self._typed.append(text)

    def show_relief(self, is_wanted: bool) -> None:
        """Show the relief, if the world has depth, or the flat card."""
        self.wants_relief = is_wanted
        if self.relief:
            shown, hidden = (self.relief.node, self.card) if is_wanted else (self.card, self.relief.node)
            shown.show()
            hidden.hide()

    def destroy(self) -> None:
        """End the walk, disconnect, and remove all nodes, keys and tasks."""
        if self.eye.is_empty():
            return
        self.ignore_all()
        self.base.task_mgr.remove(self._task)
        if not self._begun.exception():
            client, session = self._begun.result()
            if client.is_connected:
                with contextlib.suppress(ServerError, ConnectionError):  # the server may have lost the walk
                    client.end(session)
            client.close()
        self.card.remove_node()
        self.eye.remove_node()

    def _listen(self) -> None:
        for command, keys in self._held.keymap.keys.items():
            for key in keys if command in MOTIONS else ():
                self.accept(_panda_key(key), self._held.press, [command])
                self.accept(f"{_panda_key(key)}-up", self._held.release, [command])

    def _tick(self, task) -> int:
        if not self._begun.done():
            return task.cont
        failure = self._begun.exception()
        try:
            if not failure:
                self._turn(*self._begun.result())
        except (ActionError, FieldError) as error:  # words that cannot be done; the walk goes on
            self._act = 0
            self.base.messenger.send("roam-error", [str(error)])
        except (ServerError, OSError) as error:
            failure = error
        if failure:
            self.base.messenger.send("roam-error", [str(failure)])
        return task.done if failure else task.cont

    def _turn(self, client: Client, session: str) -> None:
        if received := _if_there(client.next_frame, session):
            self._show(received.frame)
        if self._act and (receipt := _if_there(client.receipt, session, self._act)):
            self._act, self._due = 0, receipt.frame
        is_free = self.frame and not self._act and self.frame.index >= self._due
        if not is_free or time.monotonic() < self._next_at:
            return
        if action := Action(self._typed.popleft()) if self._typed else self._held.take():
            self._act = client.act(session, action)
            self._next_at = time.monotonic() + self._step_s

    def _show(self, frame: Frame) -> None:
        height, width, _ = frame.pixels.shape
        if (self.texture.get_x_size(), self.texture.get_y_size()) != (width, height):
            self.texture.setup_2d_texture(width, height, core.Texture.T_unsigned_byte, core.Texture.F_rgb8)
        self.texture.set_ram_image(frame.pixels[::-1, :, ::-1].tobytes())  # Panda's rows go up, its colours are BGR
        self.frame = frame
        if frame.depth is not None:
            if self.relief is None:
                self.relief = roam_relief.Relief(Camera(width, height, self.fov_deg), self.eye, self.texture)
                self.show_relief(self.wants_relief)
            self.relief.update(frame.depth)
        if frame.pose:
            self.eye.set_pos_quat(core.Point3(*frame.pose.position), roam_relief.quat_of(frame.pose))
        self.base.messenger.send("roam-frame", [frame.index, frame.pose])


def _begin(to: Address, wanted: dict) -> tuple[Client, str]:
    client = connect(to)
    try:
        return client, client.open(**wanted)
    except Exception:
        client.close()
        raise


def _if_there(ask, *what):
    """What `ask` returns, or None if the server or the connection refuses."""
    try:
        return ask(*what, timeout_s=0)
    except TimeoutError:
        return None


def _panda_key(key: str) -> str:
    """Panda's name of a key, given pygame's."""
    return f"arrow_{key}" if key in ("up", "down", "left", "right") else key.replace(" ", "_")


def _texture() -> core.Texture:
    texture = core.Texture("roam-frame")
    texture.set_wrap_u(core.SamplerState.WM_clamp)
    texture.set_wrap_v(core.SamplerState.WM_clamp)
    texture.set_minfilter(core.SamplerState.FT_linear)
    return texture


def _card(parent: core.NodePath, texture: core.Texture) -> core.NodePath:
    maker = core.CardMaker("roam-card")
    maker.set_frame_fullscreen_quad()
    card = parent.attach_new_node(maker.generate())
    card.set_texture(texture)
    card.set_bin("background", 0)  # everything else that is drawn on the window is in front of it
    return card
