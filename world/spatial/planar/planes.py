"""Floor, ceiling and walls in a view: planes that are level, or upright and at right angles to each other.

Dreamt depth is about right, and wavy. So planes are found that much of the view agrees upon, and what is about as far
as such a plane is taken for it (planar structure as in Huang et al. 2014, Image Completion using Planar Structure
Guidance, section 4; right angles as in Coughlan and Yuille 1999, Manhattan World). Points are metres from the eye, in
the world's axes. Knows nothing of colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from ...compiled import njit
from ...pose import Camera, Pose

FAR = 60.0  # metres; anything farther may be sky
LEVEL, UPRIGHT = 0.9, 0.2  # upward part of a normal: at least the first is level, at most the second upright
UPRIGHT_DREAMT = 0.35  # the latter for dreamt surfaces, which are wavy
FACING, FACING_DREAMT = 0.9, 0.8  # least cosines between a wall's normal and that of a point on it
SEEN, DREAMT = 0.012, 0.035  # shares of a view that have to agree upon a plane
STEP = 0.05  # log distance within which they agree
NEAREST = 0.15  # metres to a plane, at least
ON_SEEN, ON_DREAMT = 0.05, 0.2  # log depth by which a seen point, and a dreamt one, may be off its plane
MOST_WALLS = 6
PULL_SEEN, PULL_DREAMT = 3.0, 0.2  # weight of seen points in the choice of a wall, of dreamt ones in that of azimuth
SAME_WALL = 0.3  # log distance within which dreamt walls that face the same way are one
SAME_LEVEL = 0.35  # the same of a dreamt floor or ceiling and a remembered one
SKY = 0.002  # share of a view beyond FAR from which on it shows the sky
UPWARDS = 0.3  # upward part of its highest rays by which a view looks up far enough to show it


@dataclass(frozen=True)
class Plane:
    """Points P with normal . P = -distance, seen from the eye at the origin: normal (3,) faces it."""

    normal: np.ndarray
    distance: float

    @property
    def is_wall(self) -> bool:
        return abs(float(self.normal[2])) < 0.5

    @property
    def is_floor(self) -> bool:
        return float(self.normal[2]) > 0.5

    def is_like(self, other: Plane) -> bool:
        """Whether both are floors, both ceilings or both walls."""
        return (self.is_wall, self.is_floor) == (other.is_wall, other.is_floor)

    def is_faced(self, normals: np.ndarray) -> np.ndarray:
        """Whether surfaces of normals (..., 3) face as the plane does; True for those of no known normal."""
        return (normals @ self.normal > FACING_DREAMT) | ~normals.any(-1)

    def depth(self, rays: np.ndarray) -> np.ndarray:
        """Depth (...) float32 along rays (..., 3), infinite where they never meet the plane."""
        towards = np.minimum(rays @ self.normal, -1e-6)
        depth = (-self.distance / towards).astype(np.float32)
        return np.where(depth < 1e4, depth, np.float32(np.inf))


@dataclass(frozen=True)
class Layout:
    """The planes of a view: floor and ceiling, where there are any, before walls. azimuth: radians to one wall's
    normal, if any; doubles: planes that were dreamt nearer or farther than planes[k] but are taken for it, each with
    k."""

    planes: tuple[Plane, ...]
    azimuth: float = 0.0
    doubles: tuple[tuple[Plane, int], ...] = ()

    @cached_property
    def floor(self) -> int | None:
        """Which plane is the floor, if any is."""
        return next((k for k, plane in enumerate(self.planes) if plane.is_floor), None)

    @cached_property
    def ceiling(self) -> int | None:
        return next((k for k, plane in enumerate(self.planes) if not plane.is_floor and not plane.is_wall), None)

    @cached_property
    def is_room(self) -> bool:
        """Whether there are walls or a ceiling, as there are indoors, or close to the side of a house."""
        return any(not plane.is_floor for plane in self.planes)

    @cached_property
    def is_wall(self) -> np.ndarray:
        """(n,) bool, of each plane."""
        return np.array([plane.is_wall for plane in self.planes], bool)

    def axes(self, plane: Plane) -> np.ndarray:
        """(2, 3): the directions in which a plane's texture lies, sideways and upwards on a wall."""
        c, s = math.cos(self.azimuth), math.sin(self.azimuth)
        if plane.is_wall:
            return np.array([[-plane.normal[1], plane.normal[0], 0.0], [0.0, 0.0, 1.0]])
        return np.array([[c, s, 0.0], [-s, c, 0.0]])


def rays_from(pose: Pose, camera: Camera) -> np.ndarray:
    """(H, W, 3) float32 in the world's axes; times depth they are the points seen, from the eye."""
    return camera.rays @ pose.rotation.T.astype(np.float32)


def find_layout(
    rays: np.ndarray,
    depth: np.ndarray,
    covered: np.ndarray,
    *,
    azimuth: float | None = None,
    level: Sequence[Plane] = (),
    is_inside: bool = False,
    is_outside: bool = False,
) -> Layout:
    """The planes of a view: rays (H, W, 3), depth (H, W) float32, covered (H, W) bool, where it was seen and not
    dreamt. Walls are looked for only under a ceiling, and, if the place is_inside, in a view that shows neither ceiling
    nor sky, because out of doors upright surfaces are things; is_outside: neither walls nor a ceiling are looked for.
    azimuth: of a wall here, if it is known; level: floor and ceiling, if they are known, for a view that shows too
    little of them, or dreams them a little higher or lower."""
    points = rays * depth[..., None]
    least = covered.size
    inner = lambda mask, side: cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0  # noqa: E731
    seen, dreamt = (depth < FAR) & inner(covered, 5), (depth < FAR) & inner(~covered, 9)
    normals = np.where(seen[..., None], normals_of(points, 2), normals_of(points, 4))
    has_normal = normals.any(-1)
    seen, dreamt, up = seen & has_normal, dreamt & has_normal, normals[..., 2]
    planes: list[Plane] = []
    doubles: list[tuple[Plane, int]] = []
    for sign in (1,) if is_outside else (1, -1):
        known = next((plane for plane in level if plane.is_floor == (sign > 0)), None)
        heights = -sign * points[..., 2]
        found = _agreed(heights[seen & (sign * up > LEVEL)], SEEN * least)
        plane = None if found is None else _level_plane(sign, found[0])
        if plane is None:
            found, plane = _agreed(heights[dreamt & (sign * up > LEVEL)], DREAMT * least), known
            if found and known and abs(math.log(found[0] / known.distance)) < SAME_LEVEL:
                doubles.append((_level_plane(sign, found[0]), len(planes)))
            elif found:
                plane = _level_plane(sign, found[0])
        planes += [plane] if plane else []
    if (not planes or planes[-1].is_floor) and not (is_inside and _is_closed(rays, depth)):
        return Layout(tuple(planes), doubles=tuple(doubles))
    seen, dreamt = seen & (np.abs(up) < UPRIGHT), dreamt & (np.abs(up) < UPRIGHT_DREAMT)
    if azimuth is None:
        azimuth = _right_angles(normals, seen + np.float32(PULL_DREAMT) * dreamt)
    return _merged(planes, doubles, _walls(azimuth, rays, depth, normals, seen, dreamt), azimuth)


def _level_plane(sign: int, distance: float) -> Plane:
    return Plane(np.array([0, 0, sign], np.float32), distance)


def _is_closed(rays: np.ndarray, depth: np.ndarray) -> bool:
    """Whether a view that looks up far enough shows no sky."""
    return float(rays[..., 2].max()) > UPWARDS and float((depth > FAR).mean()) < SKY


def _merged(
    planes: list[Plane], doubles: list[tuple[Plane, int]], walls: list[tuple[Plane, bool]], azimuth: float
) -> Layout:
    """Floor and ceiling with the walls, each with whether it was seen. A dreamt wall about where another one is counts
    as that one."""
    for wall, is_seen in sorted(walls, key=lambda one: not one[1]):
        apart = [_apart(wall, other) for other in planes]
        if not is_seen and min(apart, default=math.inf) < SAME_WALL:
            doubles.append((wall, int(np.argmin(apart))))
        else:
            planes.append(wall)
    return Layout(tuple(planes), azimuth, tuple(doubles))


def _walls(azimuth: float, rays, depth, normals, seen, dreamt) -> list[tuple[Plane, bool]]:
    """The walls that most of a view agrees upon, one after the other, each among the points that those before it have
    left; and whether each was seen."""
    walls: list[tuple[Plane, bool]] = []
    angles = azimuth + np.arange(4) * math.pi / 2
    facing = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1).astype(np.float32)
    distances, cosines = -(rays @ facing.T) * depth[..., None], normals @ facing.T
    while len(walls) < MOST_WALLS:
        best, chosen, is_seen, side = 0.0, None, False, 0
        for k in range(4):
            for who, share, cosine, pull in (
                (seen, SEEN, FACING, PULL_SEEN),
                (dreamt, DREAMT, FACING_DREAMT, 1.0),
            ):
                found = _agreed(distances[..., k][who & (cosines[..., k] > cosine)], share * depth.size)
                if found and pull * found[1] > best:
                    best, chosen, is_seen, side = pull * found[1], Plane(facing[k], found[0]), who is seen, k
        if chosen is None:
            return walls
        found = None
        if not is_seen:  # seen points of the wall, if there are any near by, say better where it is
            is_near = np.abs(np.log(np.maximum(distances[..., side], NEAREST) / chosen.distance)) < SAME_WALL
            found = _agreed(distances[..., side][seen & (cosines[..., side] > FACING) & is_near], SEEN * depth.size)
        for wall in ([Plane(facing[side], found[0])] if found else []) + [chosen]:
            walls.append((wall, is_seen or wall is not chosen))
            others = off(depth, wall.depth(rays)) > ON_DREAMT
            seen, dreamt = seen & others, dreamt & others
    return walls


def _apart(wall: Plane, other: Plane) -> float:
    """The absolute log ratio of their distances; infinite where they do not face the same way."""
    if wall.normal @ other.normal < 0.99:
        return math.inf
    return abs(math.log(wall.distance / other.distance))


def chosen(depths: np.ndarray, which: np.ndarray) -> np.ndarray:
    """(H, W): of depths (n, H, W) those of the planes `which` (H, W) int64; of the first where that is -1."""
    return np.take_along_axis(depths, np.maximum(which, 0)[None], 0)[0]


def off(depth: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The absolute log ratio of depths; other may be infinite."""
    return np.abs(np.log(np.maximum(depth / other, 1e-9)))


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """The runs of True in a mask (n,): the first index of each, and the one after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _agreed(distances: np.ndarray, least: float) -> tuple[float, float] | None:
    """The distance that most of distances (n,) agree upon, and how many do, if they are at least so many."""
    logs = np.log(distances[distances > NEAREST])
    if len(logs) < least:
        return None
    bins = ((logs - math.log(NEAREST)) / STEP).astype(np.int64)
    counts = np.convolve(np.bincount(bins), (1, 1, 1))[1:-1]
    top = int(counts.argmax())
    if counts[top] < least:
        return None
    return float(np.exp(np.median(logs[np.abs(bins - top) <= 1]))), float(counts[top])


def _right_angles(normals: np.ndarray, weights: np.ndarray) -> float:
    """The azimuth, modulo a right angle, that most normals (H, W, 3) have; weights (H, W)."""
    around = np.arctan2(normals[..., 1], normals[..., 0]) * 4 % (2 * math.pi)
    counts = np.bincount((around * 30 / math.pi).astype(np.int64).ravel() % 60, weights.ravel(), 60)
    middle = (int((counts + np.roll(counts, 1) + np.roll(counts, -1)).argmax()) + 0.5) * math.pi / 30
    off = (around - middle + math.pi) % (2 * math.pi) - math.pi
    near = weights * (np.abs(off) < 0.35)
    return (middle + float((near * off).sum() / max(near.sum(), 1e-6))) / 4


@njit(cache=True, nogil=True, fastmath=True)
def normals_of(points, reach):
    """Unit normals (H, W, 3) of points (H, W, 3) by those `reach` pixels beside them; zero at the rim."""
    H, W = points.shape[:2]
    out = np.zeros((H, W, 3), np.float32)
    for v in range(reach, H - reach):
        for u in range(reach, W - reach):
            a0 = points[v + reach, u, 0] - points[v - reach, u, 0]
            a1 = points[v + reach, u, 1] - points[v - reach, u, 1]
            a2 = points[v + reach, u, 2] - points[v - reach, u, 2]
            b0 = points[v, u + reach, 0] - points[v, u - reach, 0]
            b1 = points[v, u + reach, 1] - points[v, u - reach, 1]
            b2 = points[v, u + reach, 2] - points[v, u - reach, 2]
            x, y, z = a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0
            scale = np.float32(1) / max(np.sqrt(x * x + y * y + z * z), np.float32(1e-9))
            out[v, u, 0], out[v, u, 1], out[v, u, 2] = x * scale, y * scale, z * scale
    return out
