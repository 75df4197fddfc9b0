"""Keys by position: a key has the name that a US keyboard has there, whatever letter is printed on it.

W A S D is a shape under the hand, which a French, Russian or Dvorak layout must not move or take apart. Keys that a key
file names are meant as printed. Knows pygame's events and no command.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Set
from functools import cache
from pathlib import Path

from .sdl import pygame

_PLACES = {getattr(pygame, f"KSCAN_{sign.upper()}"): sign for sign in "abcdefghijklmnopqrstuvwxyz0123456789"}
_PAD = re.compile(r"pad (\d+|axis \d+ [+-]|hat (up|down|left|right))")
_SCANCODES = {name: code for code, name in _PLACES.items()}


class Keyboard:
    """Names the keys of events. printed: the names that mean what is printed on a key, not its position."""

    def __init__(self, printed: Set[str] = frozenset()):
        self._printed = printed
        self._down: dict[int, str] = {}
        self._labels: dict[str, str] = {}

    def pressed(self, event: pygame.event.Event) -> str:
        """The name of the key that went down, "" for one that means nothing here."""
        name = self._name(event)
        if code := getattr(event, "scancode", 0):
            self._down[code] = name
        return name

    def released(self, event: pygame.event.Event) -> str:
        """The name that the key had when it went down, even if the layout has changed since."""
        return self._down.pop(getattr(event, "scancode", 0), None) or self._name(event)

    def unknown(self) -> list[str]:
        """The names of a key file that no key can have; pygame must have a window."""
        return [name for name in sorted(self._printed) if not _is_a_name(name)]

    def label(self, name: str) -> str:
        """What is printed on the key of that name, as far as that can be known."""
        if name in self._printed or name not in _SCANCODES:
            return name
        return _label_of(_SCANCODES[name]) or self._labels.get(name, name)

    def _name(self, event: pygame.event.Event) -> str:
        printed = pygame.key.name(event.key)
        place = _PLACES.get(getattr(event, "scancode", 0))
        if place is None or printed in self._printed:
            return printed
        self._labels[place] = printed or place
        return "" if place in self._printed else place


def _is_a_name(name: str) -> bool:
    """Whether some key may have that name: a letter of any alphabet, a name of SDL's, a part of a gamepad."""
    if len(name) == 1 or _PAD.fullmatch(name):
        return True
    try:
        return pygame.key.key_code(name) > 0
    except (ValueError, UnicodeError):
        return False


def _label_of(scancode: int) -> str | None:
    """What the current layout has at a position, as SDL says, or None if it cannot be asked."""
    sdl = _sdl()
    if sdl is None or not pygame.display.get_init():
        return None
    name = sdl.SDL_GetKeyName(sdl.SDL_GetKeyFromScancode(scancode))
    return name.decode("utf-8", "replace").lower() if name else None


@cache
def _sdl() -> ctypes.CDLL | None:
    """The SDL 2 that pygame has loaded; pygame does not offer this query."""
    home = Path(pygame.__file__).parent
    places = (*home.parent.glob("pygame*.libs/libSDL2-*"), *home.glob(".dylibs/libSDL2-*"), *home.glob("SDL2.dll"))
    if pygame.get_sdl_version()[0] != 2 or not places:
        return None
    try:
        sdl = ctypes.CDLL(str(places[0]))
        sdl.SDL_GetKeyFromScancode.argtypes, sdl.SDL_GetKeyFromScancode.restype = (ctypes.c_int,), ctypes.c_int32
        sdl.SDL_GetKeyName.argtypes, sdl.SDL_GetKeyName.restype = (ctypes.c_int32,), ctypes.c_char_p
    except (OSError, AttributeError):
        return None
    return sdl
