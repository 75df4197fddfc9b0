"""The output and error streams of a command whose reader may leave, as `| head -1` does: only what is printed after
that is lost. Knows no command."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class Outliving:
    """A stream that goes on when nobody reads it any more; everything else is that of the stream."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self.give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self.give_up()

    def give_up(self) -> None:
        """Let whatever is still written go nowhere, also what Python writes when it ends."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def outliving_readers() -> Iterator[None]:
    """Let a command go on when its streams' readers leave. Raises OSError if a command that ended well could not write
    its output for another reason, as on a full disk."""
    before = sys.stdout, sys.stderr
    output, errors = (stream and Outliving(stream) for stream in before)  # None if another program has closed it
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, errors)
    is_well = False
    try:
        yield
        is_well = True
    except SystemExit as end:
        is_well = not end.code
        raise
    finally:
        sys.stdout, sys.stderr = before
        for stream in filter(None, (output, errors)):
            try:
                stream.flush()
            except OSError:
                stream.give_up()
                if stream is output and is_well:
                    raise
