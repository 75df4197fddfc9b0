"""Floor, ceiling and walls in a view: planes that are level, or upright and at right angles to each other.

What is dreamt is about as far as a wall would be, and wavy. Where it is as far as a plane is that much of the view
agrees upon, it is that plane (planar structure as in Huang et al. 2014, Image Completion using Planar Structure
Guidance, section 4; right angles as in Coughlan and Yuille 1999, Manhattan World). Points are metres from the eye, in
the world's axes. Knows nothing of colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from ..compiled import njit
from ..pose import Camera, Pose

FAR = 60.0  # metres, beyond which nothing is told from the sky
LEVEL, UPRIGHT = 0.9, 0.2  # upward part of a normal from which a surface is level, and up to which it is upright
UPRIGHT_DREAMT = 0.35  # the same of what is dreamt, and wavy
FACING, FACING_DREAMT = 0.9, 0.8  # cosines to a wall's normal, by which a point may be the wall's
SEEN, DREAMT = 0.012, 0.035  # shares of a view that have to agree upon a plane
STEP = 0.05  # log distance within which they agree
NEAREST = 0.15  # metres to a plane, at least
ON_SEEN, ON_DREAMT = 0.05, 0.2  # log depth by which what was seen, and what is dreamt, may be off its plane
MOST_WALLS = 6
PULL_SEEN, PULL_DREAMT = 3.0, 0.2  # what counts more in the choice of a wall, and less in that of the right angles
NARROWEST = 7  # columns of pixels in which a wall stands, at least
TALL = 16  # pixels of it in them
GAP = 6  # pixels at most between a wall and the ceiling that are nothing else


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

    def depth(self, rays: np.ndarray) -> np.ndarray:
        """Depth (...) float32 along rays (..., 3), infinite where they never meet the plane."""
        towards = np.minimum(rays @ self.normal, -1e-6)
        depth = (-self.distance / towards).astype(np.float32)
        return np.where(depth < 1e4, depth, np.float32(np.inf))


@dataclass(frozen=True)
class Layout:
    """planes: floor and ceiling, where there are any, before walls; azimuth: radians to one wall's normal, if any."""

    planes: tuple[Plane, ...]
    azimuth: float = 0.0

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


def find_layout(rays: np.ndarray, depth: np.ndarray, covered: np.ndarray, *, azimuth: float | None = None) -> Layout:
    """The planes of a view: rays (H, W, 3), depth (H, W) float32, covered (H, W) bool, what was seen and not dreamt.
    Walls are looked for under a ceiling alone: outside, what stands upright are things. azimuth: of a wall here, if it
    is known."""
    points, least = rays * depth[..., None], covered.size
    inner = lambda mask, side: cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0  # noqa: E731
    seen, dreamt = (depth < FAR) & inner(covered, 5), (depth < FAR) & inner(~covered, 9)
    normals = np.where(seen[..., None], _normals(points, 2), _normals(points, 4))
    has_normal = normals.any(-1)
    seen, dreamt, up, planes = seen & has_normal, dreamt & has_normal, normals[..., 2], []
    for sign in (1, -1):
        for who, share in ((seen, SEEN), (dreamt, DREAMT)):
            found = _agreed(-sign * points[..., 2][who & (sign * up > LEVEL)], share * least)
            if found:
                planes.append(Plane(np.array([0, 0, sign], np.float32), found[0]))
                break
    if not planes or planes[-1].is_floor:
        return Layout(tuple(planes))
    seen, dreamt = seen & (np.abs(up) < UPRIGHT), dreamt & (np.abs(up) < UPRIGHT_DREAMT)
    if azimuth is None:
        azimuth = _right_angles(normals, seen + np.float32(PULL_DREAMT) * dreamt)
    return Layout((*planes, *_walls(azimuth, rays, depth, normals, seen, dreamt)), azimuth)


def _walls(azimuth: float, rays, depth, normals, seen, dreamt) -> list[Plane]:
    """The walls that most of a view agrees upon, one after the other, each of what those before have left."""
    walls: list[Plane] = []
    angles = azimuth + np.arange(4) * math.pi / 2
    facing = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1).astype(np.float32)
    distances, cosines = -(rays @ facing.T) * depth[..., None], normals @ facing.T
    while len(walls) < MOST_WALLS:
        best, chosen = 0.0, None
        for k in range(4):
            for who, share, cosine, pull in (
                (seen, SEEN, FACING, PULL_SEEN),
                (dreamt, DREAMT, FACING_DREAMT, 1.0),
            ):
                found = _agreed(distances[..., k][who & (cosines[..., k] > cosine)], share * depth.size)
                if found and pull * found[1] > best:
                    best, chosen = pull * found[1], Plane(facing[k], found[0])
        if chosen is None:
            return walls
        walls.append(chosen)
        others = _off(depth, chosen.depth(rays)) > ON_DREAMT
        seen, dreamt = seen & others, dreamt & others
    return walls


def _off(depth: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far depths are apart, as the size of their ratio's logarithm; other may be infinite."""
    return np.abs(np.log(np.maximum(depth / other, 1e-9)))


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
def _normals(points, reach):
    """Unit normals (H, W, 3) of points (H, W, 3) by those `reach` pixels beside them; zero at the rim."""
    H, W = points.shape[:2]
    out = np.zeros((H, W, 3), np.float32)
    for v in range(reach, H - reach):
        for u in range(reach, W - reach):
            a = points[v + reach, u] - points[v - reach, u]
            b = points[v, u + reach] - points[v, u - reach]
            x, y, z = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
            length = max(np.sqrt(x * x + y * y + z * z), np.float32(1e-9))
            out[v, u, 0], out[v, u, 1], out[v, u, 2] = x / length, y / length, z / length
    return out


def assigned(
    layout: Layout, depths: np.ndarray, rays: np.ndarray, depth: np.ndarray, covered: np.ndarray, pose: Pose
) -> np.ndarray:
    """Which plane each pixel is of, (2, H, W) int64, -1 for none: as depth (H, W) has it, and as planes meet, in
    straight lines, where it is dreamt. depths (n, H, W): those of the planes."""
    off = _off(depth, depths)
    nearest = off.argmin(0)
    is_on = off.min(0) < np.where(covered, ON_SEEN, ON_DREAMT)
    first = np.where(is_on, nearest, -1)
    ballots = [cv2.boxFilter((first == k).astype(np.float32), -1, (7, 7)) for k in range(-1, len(depths))]
    even = np.where(covered, first, np.stack(ballots).argmax(0) - 1)
    return np.stack([first, np.where(covered, even, _met(layout, even, depths, rays, pose))])


def _met(layout: Layout, labels: np.ndarray, depths: np.ndarray, rays: np.ndarray, pose: Pose) -> np.ndarray:
    """Labels (H, W) where planes end at each other. One wall stands in each column, which is what lies in one direction
    on the level: what is as far as a nearer one is that wall, and what is as far as others behind it is seen through an
    opening. No wall goes on beyond floor or ceiling, and they do not go on a little beyond it where it stands: what is
    seen of the floor through an opening stays."""
    wall = _standing(layout, labels, rays, pose)
    at = lambda which: np.take_along_axis(depths, np.maximum(which, 0)[None], 0)[0]  # noqa: E731
    is_wall = np.append(layout.is_wall, False)[labels]
    out = np.where(is_wall & (wall >= 0) & (at(labels) < at(wall)), wall, labels)
    level = np.where(layout.is_wall[:, None, None], np.inf, depths)
    out = np.where(is_wall & (level.min(0) < at(out)), level.argmin(0), out)
    is_little_beyond = (at(labels) > at(wall)) & (at(labels) < math.exp(ON_DREAMT) * at(wall))
    strip = (labels >= 0) & ~is_wall & (wall >= 0) & is_little_beyond
    is_floor = np.array([plane.is_floor for plane in layout.planes] + [False])[labels]
    next_to = np.where(is_floor, _next(out, strip), _next(out[::-1], strip[::-1])[::-1])
    out = np.where(strip & (next_to == wall), wall, out)
    return np.where(_over_openings(layout, out, depths, wall), wall, out)


def _next(labels: np.ndarray, strip: np.ndarray) -> np.ndarray:
    """(H, W): the label of what lies over the strip that each pixel is in, -1 where nothing does."""
    rows = np.maximum.accumulate(np.where(strip, -1, np.arange(len(labels))[:, None]), 0)
    return np.where(rows >= 0, np.take_along_axis(labels, np.maximum(rows, 0), 0), -1)


def _over_openings(layout: Layout, labels: np.ndarray, depths: np.ndarray, wall: np.ndarray) -> np.ndarray:
    """Where (H, W) bool a wall that stands there goes up to the ceiling over what opens in it: no ceiling behind a wall
    is seen over it, nor a gap of a few pixels."""
    ceilings = [k for k, plane in enumerate(layout.planes) if not plane.is_wall and not plane.is_floor]
    if not ceilings:
        return np.zeros(labels.shape, bool)
    nearest = np.take_along_axis(depths, np.maximum(wall, 0)[None], 0)[0]
    under = (wall >= 0) & (nearest < depths[ceilings[0]])
    is_open = (labels < 0) & (np.cumsum(under & (labels < 0), 0) <= GAP)
    gap = under & ((labels == ceilings[0]) | is_open)
    return under & np.logical_and.accumulate(~under | gap, 0)


def _standing(layout: Layout, labels: np.ndarray, rays: np.ndarray, pose: Pose) -> np.ndarray:
    """Which wall stands in each pixel's column, (H, W) int64, -1 where none does."""
    H, W = labels.shape
    forward = math.atan2(pose.rotation[1, 2], pose.rotation[0, 2])
    aside = (np.arctan2(rays[..., 1], rays[..., 0]) - forward + math.pi) % (2 * math.pi) - math.pi
    places = W / 2 - Camera(W, H).focal * np.tan(np.clip(aside, -1.2, 1.2))
    column = np.clip(places.astype(np.int64), 0, W - 1)
    votes = np.zeros((len(layout.planes), W))
    for k in np.nonzero(layout.is_wall)[0]:
        votes[k] = np.convolve(np.bincount(column[labels == k], minlength=W), np.ones(NARROWEST), "same")
    return np.where(votes.max(0) >= TALL, votes.argmax(0), -1)[column]
