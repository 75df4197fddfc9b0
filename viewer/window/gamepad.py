"""Gamepads as keys: sticks, hats and buttons get names for the key table ("pad axis 1 -", "pad hat up", "pad 0").

Driven by the event queue only, like the window. A stick counts as a pressed key beyond half its range.
"""

from __future__ import annotations

import contextlib

from .sdl import pygame

_DOWN, _UP = 0.5, 0.35  # share of a stick's range: two thresholds, so that a trembling thumb presses once
_HATS = (("pad hat left", "pad hat right"), ("pad hat down", "pad hat up"))


class Gamepads:
    """All gamepads that are plugged in, now or later."""

    def __init__(self):
        pygame.joystick.init()
        self._pads = {}
        self._down: set[str] = set()

    def changes(self, event: pygame.event.Event) -> list[tuple[str, bool]]:
        """The keys that an event presses (True) or releases (False)."""
        if event.type == pygame.JOYDEVICEADDED:
            with contextlib.suppress(pygame.error):  # pulled out again before this event was read
                pad = pygame.joystick.Joystick(event.device_index)  # its events come while this object is held
                self._pads[pad.get_instance_id()] = pad
        elif event.type == pygame.JOYDEVICEREMOVED:
            self._pads.pop(event.instance_id, None)
            return self._become(dict.fromkeys(self._down, False))
        elif event.type in (pygame.JOYBUTTONDOWN, pygame.JOYBUTTONUP):
            return self._become({f"pad {event.button}": event.type == pygame.JOYBUTTONDOWN})
        elif event.type == pygame.JOYHATMOTION:
            return self._become(
                {_HATS[axis][side]: event.value[axis] == 2 * side - 1 for axis in (0, 1) for side in (0, 1)}
            )
        elif event.type == pygame.JOYAXISMOTION:
            return self._become({f"pad axis {event.axis} {sign}": self._is_beyond(event, sign) for sign in "-+"})
        return []

    def _is_beyond(self, event: pygame.event.Event, sign: str) -> bool:
        way = -event.value if sign == "-" else event.value
        return way > (_UP if f"pad axis {event.axis} {sign}" in self._down else _DOWN)

    def _become(self, wanted: dict[str, bool]) -> list[tuple[str, bool]]:
        changed = [(key, is_down) for key, is_down in wanted.items() if is_down != (key in self._down)]
        for key, is_down in changed:
            (self._down.add if is_down else self._down.discard)(key)
        return changed
