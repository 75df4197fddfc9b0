"""How many times a surface is magnified when it is carried from one view into another: compiled, for warp.py."""

from __future__ import annotations

import numpy as np

from ..axes import in_axes, ray_at
from ..compiled import njit
from .surfaces import NEAR, is_one

EVEN_M = 15.0  # metres; farther off, depth is not exact enough to compute a surface's slope
MOST = 100.0  # times; larger results are cut to this


@njit(cache=True, nogil=True, fastmath=True)
def scale_at(v, u, nearness, turn, shift, focal):
    """How many times the surface at pixel (v, u) of nearness (h, w), inverse depth in the target, is magnified there.

    It is the root of the ratio of two solid angles: the pixel's in the target over that of the same piece of surface in
    the source, which depends on the surface's slope. Far off, and at the rims of surfaces, where the slope is unknown,
    it is the ratio of distances. It is 1 for a turn on the spot. turn (3, 3) and shift (3,) lead from the source's axes
    to the target's; focal in pixels, of both."""
    h, w = nearness.shape
    b, a = (v + 1 if v + 1 < h else v - 1), (u + 1 if u + 1 < w else u - 1)
    here = nearness[v, u]
    x, y, far = _in_source(v, u, here, h, w, turn, shift, focal)
    across, down = ray_at(u, focal, w), ray_at(v, focal, h)
    slant, far_slant = np.sqrt(1 + across**2 + down**2), np.sqrt(1 + (x / far) ** 2 + (y / far) ** 2)
    is_even = here * EVEN_M > 1 and is_one(nearness[b, u], here) and is_one(nearness[v, a], here)
    if is_even and far > NEAR:
        x1, y1, far1 = _in_source(v, a, nearness[v, a], h, w, turn, shift, focal)
        x2, y2, far2 = _in_source(b, u, nearness[b, u], h, w, turn, shift, focal)
        if far1 > NEAR and far2 > NEAR:
            area = abs((x1 / far1 - x / far) * (y2 / far2 - y / far) - (x2 / far2 - x / far) * (y1 / far1 - y / far))
            # a pixel off the middle covers a smaller solid angle than one in it: by the cube of its slant
            return min((far_slant / slant) ** 1.5 / (focal * np.sqrt(max(area, 1e-12))), MOST)
    return min(max(far, NEAR) * far_slant * here / slant, MOST)


@njit(cache=True, nogil=True, inline="always", fastmath=True)
def _in_source(v, u, nearness, h, w, turn, shift, focal):
    """The point that a target's pixel shows, in the source's axes: right, down, forward, in metres."""
    d = 1 / nearness
    x, y = ray_at(u, focal, w) * d, ray_at(v, focal, h) * d
    return in_axes(turn, x - shift[0], y - shift[1], d - shift[2])
