"""Into one camera's axes from the world's or another camera's, written out once for all that is compiled.

Inlined where they are called, so that they cost nothing and round as if they stood there: in the caller's precision,
and with its fastmath or without.
"""

from __future__ import annotations

from .compiled import njit


@njit(cache=True, nogil=True, inline="always")
def in_axes(turn, x, y, z):
    """How far a point lies to the right of a camera, below and ahead of it. x, y, z: the point less the camera's place;
    turn (3, 3) leads from the camera's axes to those that x, y, z are in."""
    right = turn[0, 0] * x + turn[1, 0] * y + turn[2, 0] * z
    down = turn[0, 1] * x + turn[1, 1] * y + turn[2, 1] * z
    ahead = turn[0, 2] * x + turn[1, 2] * y + turn[2, 2] * z
    return right, down, ahead


@njit(cache=True, nogil=True, inline="always")
def along(turn, shift, axis, x, y, z, w):
    """How far the point (x, y, z) / w of a source's axes lies along one of a target's, w times as far.

    axis: 0 to the right, 1 down, 2 ahead. turn (3, 3) and shift (3,) metres lead from the source's axes to the
    target's. w is 1 for a point in metres; on a ray (x, y, 1) it is the inverse depth. One axis at a time, for a caller
    with fastmath rounds by the order of what it computes. In float32, give ones that are float32 too.
    """
    return turn[axis, 0] * x + turn[axis, 1] * y + turn[axis, 2] * z + shift[axis] * w


@njit(cache=True, nogil=True, inline="always")
def on_screen(aside, ahead, focal, side):
    """Where a point falls on a picture `side` pixels across, in pixels from its edge, whose pixels have their middles
    at halves: aside to the right or down, and ahead; the pinhole camera of `Camera`."""
    return aside / ahead * focal + side / 2
