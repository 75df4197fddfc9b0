"""pygame, imported quietly and found whole: pygame-ce or classic pygame, whichever is installed.

Only what both have is used here, and only the display and the fonts are started: sound would complain on many machines.
"""

from __future__ import annotations

import contextlib
import io

REPAIR = "pip uninstall -y pygame pygame-ce && pip install pygame-ce"

try:
    with contextlib.redirect_stdout(io.StringIO()):  # its banner
        import pygame
except ImportError as error:
    raise ImportError(f"the window needs pygame ({error}): pip install pygame-ce") from error
if not hasattr(pygame, "display"):
    # what is left when one of the two distributions was uninstalled while both shared the folder
    raise ImportError(f"pygame is there but broken: {REPAIR}")

__all__ = ["REPAIR", "pygame"]
