"""pygame, imported quietly and checked: pygame-ce or classic pygame, whichever is installed.

Only what both have is used, and only the display and the fonts are started: sound would print warnings on many
machines.
"""

from __future__ import annotations

import contextlib
import io


class NoPygame(ImportError):
    """pygame is missing or broken; the message has the command that fixes it."""


try:
    with contextlib.redirect_stdout(io.StringIO()):  # its banner
        import pygame
except ImportError as error:
    raise NoPygame(f"the window needs pygame ({error}): pip install pygame-ce") from error
if not hasattr(pygame, "display"):
    # the state after one of the two distributions was uninstalled while both shared the folder
    raise NoPygame("pygame is there but broken: pip uninstall -y pygame pygame-ce && pip install pygame-ce")

__all__ = ["NoPygame", "pygame"]
