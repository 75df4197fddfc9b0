"""Which key does what: a configurable table from key names to commands, and held keys as a state that becomes an
Action.

Knows nothing of windows: keys are names as pygame gives them ("w", "left", "f5", "page up"), and the names that
window/gamepad.py gives to sticks, hats and buttons.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...world.action import STEP, TURN_DEG, Action, say
from ...world.files import TextError, read_text
from ...world.pose import Motion

# command: (axis of Motion, sign); two commands on one axis exclude each other and the last one pressed counts
MOTIONS = {
    "forward": ("forward", 1),
    "back": ("forward", -1),
    "strafe left": ("right", -1),
    "strafe right": ("right", 1),
    "turn left": ("yaw_deg", 1),
    "turn right": ("yaw_deg", -1),
    "look up": ("pitch_deg", 1),
    "look down": ("pitch_deg", -1),
}
BRANCH_KEYS = {f"branch {number}": (str(number),) for number in range(1, 10)}
DEFAULT_KEYS = {
    "forward": ("w", "up", "pad axis 1 -", "pad hat up"),
    "back": ("s", "down", "pad axis 1 +", "pad hat down"),
    "strafe left": ("a", "pad axis 0 -"),
    "strafe right": ("d", "pad axis 0 +"),
    "turn left": ("left", "q", "pad axis 3 -", "pad hat left"),
    "turn right": ("right", "e", "pad axis 3 +", "pad hat right"),
    "look up": ("page up", "r", "pad axis 4 -"),
    "look down": ("page down", "f", "pad axis 4 +"),
    "type": ("tab", "return"),
    "pause": ("p", "pad 7"),
    "rewind": ("backspace", "pad 1"),
    "dream anew": ("v", "pad 0"),
    "fork": ("b", "pad 2"),
    **BRANCH_KEYS,
    "close branch": ("x",),
    "save": ("f5",),
    "load": ("f9",),
    "screenshot": ("f12",),
    "record": ("f10",),
    "new world": ("n", "pad 3"),
    "help": ("h", "f1"),
    "hud": ("f3",),
    "between": ("i",),
    "quit": ("escape",),
}
MOUSE_NOTCH_DEG = TURN_DEG / 3  # the mouse turns in steps of whole degrees, in words that the model was trained on


class KeymapError(ValueError):
    """A key file that cannot be used; the message says what came and what was wanted."""


@dataclass(frozen=True)
class Keymap:
    """The table: `keys` command -> key names, and the size of a step: metres, degrees, and degrees per mouse pixel.

    printed: the names that mean what is printed on a key; the others mean its place on a US keyboard.
    """

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(DEFAULT_KEYS))
    step_m: float = STEP
    turn_deg: float = TURN_DEG
    mouse_deg_per_pixel: float = 0.2
    printed: frozenset[str] = frozenset()

    def __post_init__(self):
        for name in ("step_m", "turn_deg", "mouse_deg_per_pixel"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.01 <= value <= 90:
                raise KeymapError(f"'{name}' is {value!r}; wanted a number from 0.01 to 90")
        owner: dict[str, str] = {}
        for command, keys in self.keys.items():
            for key in keys:
                if owner.setdefault(key, command) != command:
                    raise KeymapError(f"key '{key}' means both '{owner[key]}' and '{command}'; give it to one of them")

    def command(self, key: str) -> str | None:
        """What a key commands, or None."""
        return next((command for command, keys in self.keys.items() if key in keys), None)

    def sized(self, command: str) -> tuple[str, float]:
        """The axis of Motion that a command moves along, and how far."""
        axis, sign = MOTIONS[command]
        return axis, sign * (self.turn_deg if axis.endswith("deg") else self.step_m)


class Held:
    """The keys held down, in the order of pressing, and how far the mouse has turned since the last step.

    A key that is tapped between two steps counts for one step: no tap is lost, however slow the model.
    """

    def __init__(self, keymap: Keymap):
        self.keymap = keymap
        self._down: list[str] = []
        self._tapped: list[str] = []
        self._mouse_deg = [0.0, 0.0]

    def press(self, command: str) -> None:
        self._tapped = [*(c for c in self._tapped if c != command), command]
        self._down = [*(c for c in self._down if c != command), command]

    def release(self, command: str) -> None:
        self._down = [c for c in self._down if c != command]

    def release_all(self) -> None:
        """Release everything, for example when the window loses the keyboard."""
        self._down, self._tapped, self._mouse_deg = [], [], [0.0, 0.0]

    def take_command(self, command: str) -> bool:
        """Whether a command that is no motion is held or was tapped; the tap is used up."""
        was_tapped, self._tapped = command in self._tapped, [c for c in self._tapped if c != command]
        return was_tapped or command in self._down

    def turn_mouse(self, right_px: float, down_px: float) -> None:
        """Add a movement of the mouse; the sum waits for `take`, at most two steps of it."""
        for axis, pixels in enumerate((right_px, down_px)):
            turned = self._mouse_deg[axis] - pixels * self.keymap.mouse_deg_per_pixel
            self._mouse_deg[axis] = max(-2 * self.keymap.turn_deg, min(2 * self.keymap.turn_deg, turned))

    @property
    def motion(self) -> Motion:
        """The motion of the keys that are down now; nothing is used up."""
        return Motion(**dict(self.keymap.sized(command) for command in self._down if command in MOTIONS))

    def take(self) -> Action | None:
        """The Action of this moment, or None if nothing is held; taps and mouse movement are used up."""
        motion = self._keys_motion()
        yaw_deg, pitch_deg = (self._take_notches(axis) for axis in (0, 1))
        motion = Motion(motion.forward, motion.right, motion.yaw_deg or yaw_deg, motion.pitch_deg or pitch_deg)
        self._tapped = []
        return None if motion.is_still else Action(say(motion), motion)

    def _keys_motion(self) -> Motion:
        # keys that are still down count after released ones, so that a tap never overrules what is held
        order = [*(c for c in self._tapped if c not in self._down), *self._down]
        return Motion(**dict(self.keymap.sized(command) for command in order if command in MOTIONS))

    def _take_notches(self, axis: int) -> float:
        notches = math.trunc(self._mouse_deg[axis] / MOUSE_NOTCH_DEG)
        most = max(1, int(self.keymap.turn_deg / MOUSE_NOTCH_DEG))
        taken = max(-most, min(most, notches)) * MOUSE_NOTCH_DEG
        self._mouse_deg[axis] -= taken
        return taken


def load_keymap(path: str | Path) -> Keymap:
    """Read a table from JSON: {"keys": {"forward": ["i"], ...}, "step_m": 0.3, "turn_deg": 15}; all parts are optional.

    Commands that the file does not name keep their default keys, except those that the file gives to others. Letters in
    the file are those printed on the keys.
    """
    try:
        table = json.loads(read_text(path), object_pairs_hook=_once)
    except (OSError, TextError) as error:
        raise KeymapError(f"cannot read the key file {path}: {getattr(error, 'strerror', None) or error}") from error
    except KeymapError as error:
        raise KeymapError(f"the key file {path} {error}") from error
    except (ValueError, RecursionError) as error:
        raise KeymapError(f"the key file {path} is not JSON: {error}") from error
    sizes = {"step_m", "turn_deg", "mouse_deg_per_pixel"}
    if not isinstance(table, dict) or not set(table) <= {"keys", *sizes}:
        raise KeymapError(f"the key file {path} may hold keys, {', '.join(sorted(sizes))} and nothing else")
    keys = table.pop("keys", {})
    merged = _merged(keys)
    return Keymap(merged, **table, printed=frozenset(key for command in keys for key in merged[command]))


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object whose keys are all different: JSON itself would silently drop the first of two equal ones."""
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise KeymapError(f"says '{twice}' twice; put both into one")
    return dict(pairs)


def _merged(given: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(given, dict):
        raise KeymapError('\'keys\' is no table; wanted for instance {"forward": ["w", "up"]}')
    for command, keys in given.items():
        if command not in DEFAULT_KEYS:
            raise KeymapError(f"unknown command '{command}'; known: {', '.join(DEFAULT_KEYS)}")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise KeymapError(f'the keys of \'{command}\' are {keys!r}; wanted a list of names like ["w", "up"]')
    named = {command: tuple(key.lower() for key in keys) for command, keys in given.items()}
    taken = {key for keys in named.values() for key in keys}
    return {c: named.get(c, tuple(k for k in keys if k not in taken)) for c, keys in DEFAULT_KEYS.items()}
