"""Whether a window can be shown, checked before one is opened: a display that is named may be unreachable.

A terminal that outlived its SSH session, a container with a stale DISPLAY: SDL would then draw where nobody sees it.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

_PATIENCE_S = 3.0  # for a display to answer
_X_PORT = 6000  # of display 0, over TCP


def missing_display(env: Mapping[str, str] = os.environ, *, system: str = sys.platform) -> str | None:
    """Why no window can be opened, or None. If SDL_VIDEODRIVER names a driver, nothing is checked."""
    if system != "linux" or env.get("SDL_VIDEODRIVER"):
        return None
    named = {name: env[name] for name in ("WAYLAND_DISPLAY", "DISPLAY") if env.get(name)}
    if not named:
        return "no display"
    reach = {"WAYLAND_DISPLAY": lambda at: _answers(_wayland(at, env)), "DISPLAY": _is_x_there}
    if any(reach[name](value) for name, value in named.items()):
        return None
    return " and ".join(f"{name}={value}" for name, value in named.items()) + " out of reach"


def _wayland(name: str, env: Mapping[str, str]) -> str:
    return str(Path(env.get("XDG_RUNTIME_DIR") or "/nonexistent") / name)  # an absolute name stays as it is


def _is_x_there(name: str) -> bool:
    """Whether somebody listens at an X display: `:1`, `unix:1.0`, `host:10.0`."""
    found = re.fullmatch(r"(?:\w+/)?(.*?):(\d{1,5})(?:\.\d+)?", name)
    if found is None:
        return Path(name.rpartition(":")[0] or name).is_socket()  # a socket given by its path
    host, number = found[1].strip("[]"), int(found[2])
    if host in ("", "unix"):
        path = f"/tmp/.X11-unix/X{number}"
        return _answers(f"\0{path}") or _answers(path)
    try:
        socket.create_connection((host, _X_PORT + number), _PATIENCE_S).close()
    except (OSError, OverflowError):
        return False
    return True


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_PATIENCE_S)
        try:
            line.connect(path)
        except (OSError, ValueError):
            return False
    return True
