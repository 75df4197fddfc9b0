"""What the script `roam` calls first. Reading the command line's own code takes a moment, on a slow disk some: whoever
presses Ctrl-C by then is not shown where in it that was."""

from __future__ import annotations

import sys

INTERRUPTED = 130  # as shells have it


def main() -> None:
    """Read the command line's code and run it."""
    try:
        from .cli import main as run
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    run()
