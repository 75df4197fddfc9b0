"""Conversion into a camera's axes, from the world's or another camera's, written once for all compiled code.

The functions are inlined, so that they cost nothing and round like code written in place: in the caller's precision,
and with or without its fastmath.
"""

from __future__ import annotations

from .compiled import njit


@njit(cache=True, nogil=True, inline="always")
def in_axes(turn, x, y, z):
    """How far a point lies to the right of a camera, below and ahead of it. x, y, z: the point minus the camera's
    position; turn (3, 3): from the camera's axes to those of x, y, z."""
    right = turn[0, 0] * x + turn[1, 0] * y + turn[2, 0] * z
    down = turn[0, 1] * x + turn[1, 1] * y + turn[2, 1] * z
    ahead = turn[0, 2] * x + turn[1, 2] * y + turn[2, 2] * z
    return right, down, ahead


@njit(cache=True, nogil=True, inline="always")
def along(turn, shift, axis, x, y, z, w):
    """The coordinate of the point (x, y, z) / w of a source's axes along one of a target's, times w.

    axis: 0 to the right, 1 down, 2 ahead. turn (3, 3) and shift (3,) metres lead from the source's axes to the
    target's. w is 1 for a point in metres; on a ray (x, y, 1) it is the inverse depth. One axis at a time, because with
    fastmath the rounding depends on the order of computation. In float32, pass ones that are float32 too.
    """
    return turn[axis, 0] * x + turn[axis, 1] * y + turn[axis, 2] * z + shift[axis] * w


@njit(cache=True, nogil=True, inline="always")
def on_screen(aside, ahead, focal, side):
    """Where a point falls on a picture `side` pixels across, in pixels from its edge; pixel centres are at halves.
    aside: to the right or down; ahead: forward; the pinhole camera of `Camera`."""
    return aside / ahead * focal + side / 2


@njit(cache=True, nogil=True, inline="always")
def ray_at(pixel, focal, side):
    """How far to the right (or down) a ray through the centre of a pixel goes for each metre ahead; the inverse of
    `on_screen`. pixel: its column (or row), of `side`."""
    return (pixel + 0.5 - side / 2) / focal
