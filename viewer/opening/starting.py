"""What makes a program start sooner."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collecting() -> Iterator[None]:
    """While much is imported and loaded, Python does not search for cycles of objects that nobody uses: it finds none,
    and takes a fifth of the time. What exists at the end, torch for the most part, is left out of later searches, each
    of which would hold up a frame."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
