"""What the script `roam` calls first. Reading the command line's own code takes a moment, on a slow disk some: whoever
presses Ctrl-C by then is not shown where in it that was."""

from __future__ import annotations

import gc
import sys

from .ending import Ended, ending_on_signals, tell

INTERRUPTED = 130  # as shells have it


def main() -> None:
    """Read the command line's code and run it."""
    try:
        with ending_on_signals():
            from .cli import main as run

            run()
    except Ended as ended:  # while the code was read, or after the command
        tell(ended)
        sys.exit(ended.code)
    except KeyboardInterrupt:  # before there is a handler
        sys.exit(INTERRUPTED)
    finally:
        gc.freeze()  # else Python searches all of torch for cycles before it ends, for seconds


if __name__ == "__main__":
    main()
