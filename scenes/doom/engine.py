"""Doom's own engine as a camera: what it draws from any place of a level, with depth and the things in view.

A process of ViZDoom holds a level in which nothing moves; its player, who passes through everything, is put where the
camera is to be. The engine shears pictures for a look up or down and draws no more than 32 degrees up; level.py makes a
camera's picture of that.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..scene import SceneError
from .wad import Map, write_wad

WIDTH, HEIGHT, FOV_DEG = 640, 480, 128
MOST_UP_DEG, MOST_DOWN_DEG = 32.0, 56.0
PIP = "pip install 'roam-worlds[doom]'"
_WAKING = 16  # tics until the engine accepts commands
_WIDENING = 8  # tics in which the view widens to FOV_DEG, seven degrees each
_SETTLING = 40  # tics, at most, until the eyes are at their height
_ARRIVED = 0.01  # units of the level: eyes that are this near to where they were wanted are there
_HIDDEN = (
    "hud",
    "minimal_hud",
    "weapon",
    "crosshair",
    "decals",
    "particles",
    "effects_sprites",
    "messages",
    "screen_flashes",
)


@dataclass(frozen=True)
class Shot:
    """What the engine drew: pixels (H, W, 3) uint8; depth (H, W) uint8, about eight units a level; labels (H, W) uint8:
    a key of `things` where a thing is seen, else no key of it; things: label -> x, y of a thing in Doom's units;
    eye (3,) where the camera was, in Doom's units; yaw_deg and pitch_deg (up) as they were."""

    pixels: np.ndarray
    depth: np.ndarray
    labels: np.ndarray
    things: dict[int, tuple[float, float]]
    eye: tuple[float, float, float]
    yaw_deg: float
    pitch_deg: float


class DoomEngine:
    """One process of the engine with one level. Raises SceneError if it does not start or ends by itself.

    game: the WAD of the whole game; added: a further WAD with pictures and sounds that the level needs, or None;
    fov_deg: its pictures' angle across, at least 90.
    """

    def __init__(self, level: Map, game: Path, added: Path | None = None, *, fov_deg: int = FOV_DEG):
        self._level, self._game_wad, self._added, self._fov_deg = level, game, added, fov_deg
        self._game: Any = None  # a DoomGame, of a package that is imported only when it is used
        self._start()

    def shot(self, x: float, y: float, z: float, yaw_deg: float, pitch_deg: float) -> Shot:
        """What is seen from the whole units nearest to (x, y); z is the height at which the eyes will be there."""
        # Doom's angles are whole parts of a turn: a rounding error would give another one
        yaw_deg, pitch_deg = round(yaw_deg, 4), round(max(-MOST_DOWN_DEG, min(MOST_UP_DEG, pitch_deg)), 4)
        try:
            return self._shot(x, y, z, yaw_deg, pitch_deg)
        except self._failures():
            self._start()  # killed from outside: a new process is as good, because the level does not move
        try:
            return self._shot(x, y, z, yaw_deg, pitch_deg)
        except self._failures() as error:
            raise SceneError(f"Doom's engine ended by itself in {self._level.name}, twice: {error}") from error

    def close(self) -> None:
        if self._game is not None:
            with contextlib.suppress(Exception):
                self._game.close()
        self._game = None

    def _start(self) -> None:
        vizdoom = import_vizdoom()
        self.close()
        game = vizdoom.DoomGame()
        with tempfile.TemporaryDirectory(prefix="roam-doom-") as folder:
            write_wad(self._level, Path(folder) / "level.wad")
            game.set_doom_game_path(str(self._game_wad))
            game.set_doom_scenario_path(f"{folder}/level.wad")
            game.set_doom_config_path(os.devnull)
            if os.name == "posix":
                game.set_vizdoom_path(str(_elsewhere(Path(vizdoom.__file__).parent / "vizdoom", Path(folder))))
            if self._added:
                game.add_game_args(f'-file "{self._added}"')
            game.set_doom_map(self._level.name)
            self._set_up(game, vizdoom)
            try:
                game.init()
            except (
                vizdoom.ViZDoomErrorException,
                vizdoom.ViZDoomUnexpectedExitException,
                vizdoom.FileDoesNotExistException,
            ) as error:
                raise SceneError(
                    f"Doom's engine does not start with {self._level.name} of {self._game_wad.name}: "
                    f"{' '.join(str(error).split())}"
                ) from error
        self._game = game
        self._wait(_WAKING)
        for command in ("iddqd", "notarget", "noclip", "freeze", f"fov {self._fov_deg}"):
            game.send_game_command(command)
        self._wait(_WIDENING)

    def _set_up(self, game, vizdoom) -> None:
        game.set_screen_resolution(getattr(vizdoom.ScreenResolution, f"RES_{WIDTH}X{HEIGHT}"))
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_depth_buffer_enabled(True)
        game.set_labels_buffer_enabled(True)
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        game.set_console_enabled(False)
        game.set_mode(vizdoom.Mode.PLAYER)
        game.set_episode_timeout(0)
        game.set_seed(1)
        for part in _HIDDEN:
            getattr(game, f"set_render_{part}")(False)
        game.set_render_corpses(True)
        game.set_available_buttons([vizdoom.Button.TURN_LEFT_RIGHT_DELTA, vizdoom.Button.LOOK_UP_DOWN_DELTA])
        names = ("CAMERA_POSITION_X", "CAMERA_POSITION_Y", "CAMERA_POSITION_Z", "CAMERA_ANGLE", "CAMERA_PITCH")
        self._variables = [getattr(vizdoom.GameVariable, name) for name in names]
        game.set_available_game_variables(self._variables)
        game.add_game_args("-nomonsters +freelook 1 +movebob 0")

    def _shot(self, x: float, y: float, z: float, yaw_deg: float, pitch_deg: float) -> Shot:
        game, now = self._game, self._where()
        game.send_game_command(f"warp {round(x)} {round(y)}")
        right = (now[3] - yaw_deg + 180) % 360 - 180
        self._press(right, pitch_deg + now[4])
        heights: list[float] = []
        while len(heights) < 3 or (len(heights) < _SETTLING and len(set(heights[-3:])) > 1):
            self._press(0, 0, is_drawn=True)
            now = self._where()
            heights.append(now[2])
            if abs(now[2] - z) < _ARRIVED:
                break
        state = game.get_state()
        if state is None:
            raise SceneError(f"Doom's engine has ended {self._level.name}")
        things = {int(label.value): (label.object_position_x, label.object_position_y) for label in state.labels}
        return Shot(
            state.screen_buffer.copy(),
            state.depth_buffer.copy(),
            state.labels_buffer.copy(),
            things,
            (now[0], now[1], now[2]),
            now[3],
            -now[4],
        )

    def _press(self, right_deg: float, up_deg: float, *, is_drawn: bool = False) -> None:
        self._game.set_action([right_deg, up_deg])
        self._game.advance_action(1, is_drawn)

    def _wait(self, tics: int) -> None:
        for _ in range(tics):
            self._press(0, 0)
        self._press(0, 0, is_drawn=True)

    def _where(self) -> list[float]:
        """x, y, z, yaw to the left and pitch downwards."""
        return [self._game.get_game_variable(variable) for variable in self._variables]

    @staticmethod
    def _failures() -> tuple[type[Exception], ...]:
        vizdoom = import_vizdoom()
        return (
            vizdoom.ViZDoomUnexpectedExitException,
            vizdoom.ViZDoomErrorException,
            vizdoom.ViZDoomIsNotRunningException,
            vizdoom.SharedMemoryException,
            vizdoom.MessageQueueException,
        )


def _elsewhere(engine: Path, folder: Path) -> Path:
    """A command that runs the engine in that folder, because it leaves files where it runs."""
    command = folder / "engine"
    command.write_text(f'#!/bin/sh\ncd "{folder}" && exec "{engine}" "$@"\n', encoding="utf-8")
    command.chmod(0o700)
    return command


def import_vizdoom():
    """The package that contains the engine. Raises SceneError with the pip line if it is missing."""
    try:
        import vizdoom
    except (ImportError, OSError) as error:
        raise SceneError(f"Doom's levels need the engine of ViZDoom ({error}): {PIP}") from error
    return vizdoom
