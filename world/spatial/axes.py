"""A camera's axes, written out once for all that is compiled: points of the world, or of another view, as it sees them.

Inlined where it is called, so that it costs nothing and rounds as if it stood there.
"""

from __future__ import annotations

from ..compiled import njit


@njit(cache=True, nogil=True, inline="always")
def in_axes(turn, x, y, z):
    """A point, less the camera's place, along the camera's axes: right, down, ahead. turn (3, 3): from its axes."""
    right = turn[0, 0] * x + turn[1, 0] * y + turn[2, 0] * z
    down = turn[0, 1] * x + turn[1, 1] * y + turn[2, 1] * z
    ahead = turn[0, 2] * x + turn[1, 2] * y + turn[2, 2] * z
    return right, down, ahead
