"""What the script `roam` calls first. Importing the command line takes a moment, on a slow disk seconds; Ctrl-C during
that ends the program without a traceback."""

from __future__ import annotations

import gc
import sys

from .ending import Ended, ending_on_signals, tell
from .opening.starting import without_collecting

INTERRUPTED = 130  # as shells have it


def main() -> None:
    """Read the command line's code and run it."""
    try:
        with ending_on_signals():
            with without_collecting():
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
