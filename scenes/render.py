"""Renders a scene at a pose: RGB, depth in metres and instance ids, by ray casting on the CPU. Knows nothing of paths.

Every solid is cast only within its bounding box on screen; textures are box-filtered over the pixel's footprint and
edges are cast again at four points per pixel, so that pictures at 128x128 have no crawling aliases.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..world.axes import in_axes, on_screen, ray_at
from ..world.compiled import njit
from ..world.pose import Camera, Pose
from .place import FAR, Place, TrueView
from .scene import BOX, BRICK, CHECKER, CYLINDER, GRASS, GROUND_ID, PLAIN, PLASTER, STRIPES, TILES, WOOD, Scene

NEAR = 0.05  # metres; nothing nearer than this is drawn
_SKY, _GROUND = -2, -1  # what a ray hits, if no solid
_TOP = 4  # the face that looks up: of solids, and of the ground
_LEVEL = -1e-9  # metres along a ray, per metre ahead, from which on it meets the ground
_NOTHING = 1e-12  # replaces 0, to avoid a division by zero
_STEEPEST = 0.15  # cosine to the surface below which a pixel's footprint grows no more
_AMBIENT, _DIRECT = 0.62, 0.38  # shares of the light: ambient, and directed
_EAST, _NORTH = 0.08, -0.05  # brightness of faces along world +X and +Y, so that the sides of a box differ
_ZENITH = 1.6  # how soon the sky has the zenith's colour: entirely from a sine of 1 over this up
_WHITE = 0.8  # of a cloud's middle
# clouds across a unit of the sky: the first over (the second + height), so that they shrink towards the horizon
_CLOUDS, _SINK = 4, 0.3
_UPRIGHT = 1e9  # metres: with such a half height an ellipsoid's side is as upright as a cylinder's
_LEAST_WIDTH = 1e-4  # of a texture's repeat: over less nothing is averaged
# shares that are not joint: of a brick's length and height, of a plank's width, of a tile's side
_BRICK_LONG, _BRICK_HIGH, _PLANK, _TILE = 0.92, 0.86, 0.95, 0.94
_BRICKS_DIFFER, _PLANKS_DIFFER = 0.16, 0.2  # in brightness
_JOINT, _GRAIN, _ROUGH = 0.75, 0.5, 0.6  # how much of the second colour joints and grain of wood, and plaster, have
_LAWN, _BLADES = 0.65, 0.35  # the same of grass, of its patches, and from near by of its blades


def render(scene: Scene | Place, pose: Pose, camera: Camera) -> TrueView:
    """One frame of `scene` as seen from `pose`, cast here; other places than scenes draw themselves."""
    if not isinstance(scene, Scene):
        return scene.view(pose, camera)
    height, width = camera.height, camera.width
    pixels = np.empty((height, width, 3), np.uint8)
    depth = np.empty((height, width), np.float32)
    ids = np.empty((height, width), np.int32)
    _cast(Eye(np.asarray(pose.position), pose.rotation, camera.focal), _solids(scene), _look(scene), pixels, depth, ids)
    return TrueView(pixels, depth, ids)


class Eye(NamedTuple):
    """The camera: position (3,) and rotation (3, 3) as in a Pose; focal in pixels."""

    position: np.ndarray
    rotation: np.ndarray
    focal: float


class Solids(NamedTuple):
    """The n solids of a scene: arrays as Scene has them. Room for what the compiled code works out once a frame: trig
    (n, 2), the cosine and sine of each yaw, and bounds (n, 4), the pixels that each can touch."""

    shapes: np.ndarray
    centers: np.ndarray
    halves: np.ndarray
    yaws: np.ndarray
    ids: np.ndarray
    trig: np.ndarray
    bounds: np.ndarray


class Look(NamedTuple):
    """What surfaces, sky and air look like: as Scene has them, light as a unit vector."""

    materials: np.ndarray
    textures: np.ndarray
    colors: np.ndarray
    scales: np.ndarray
    ground: int
    sky: np.ndarray
    light: np.ndarray
    haze: float


def _solids(scene: Scene) -> Solids:
    n = len(scene.shapes)
    trig, bounds = np.empty((n, 2)), np.empty((n, 4), np.int64)
    return Solids(scene.shapes, scene.centers, scene.halves, scene.yaws, scene.ids, trig, bounds)


def _look(scene: Scene) -> Look:
    light = scene.light / np.linalg.norm(scene.light)
    materials = (scene.materials, scene.textures, scene.colors, scene.scales)
    return Look(*materials, scene.ground, scene.sky, light, scene.haze)


@njit(cache=True, nogil=True, fastmath=True)
def _cast(eye, solids, look, out_pixels, out_depth, out_ids):
    height, width = out_depth.shape
    nearest = np.empty((height, width))
    hit = np.empty((height, width), np.int32)
    face = np.empty((height, width), np.int32)
    _find(eye, solids, nearest, hit, face)
    ray, color, total = np.empty(3), np.empty(3), np.empty(3)
    for v in range(height):
        for u in range(width):
            out_depth[v, u] = nearest[v, u]
            i = hit[v, u]
            out_ids[v, u] = 0 if i == _SKY else (GROUND_ID if i == _GROUND else solids.ids[i])
            total[:] = 0.0
            if _is_edge(hit, face, v, u):
                for sub in range(4):
                    fu, fv = u - 0.25 + 0.5 * (sub % 2), v - 0.25 + 0.5 * (sub // 2)
                    _ray(eye.rotation, ray_at(fu, eye.focal, width), ray_at(fv, eye.focal, height), ray)
                    met = _first_hit(eye.position, ray, u, v, solids)
                    _shade(met, eye.position, ray, eye.focal * 2, solids, look, color)
                    total += color * 0.25
            else:
                _ray(eye.rotation, ray_at(u, eye.focal, width), ray_at(v, eye.focal, height), ray)
                _shade((nearest[v, u], i, face[v, u]), eye.position, ray, eye.focal, solids, look, total)
            for k in range(3):
                out_pixels[v, u, k] = np.uint8(min(max(total[k], 0.0), 1.0) * 255 + 0.5)


@njit(cache=True, nogil=True, fastmath=True)
def _find(eye, solids, nearest, hit, face):
    """What each pixel's ray meets first: its distance, which solid, and which face of it."""
    height, width = nearest.shape
    position, rotation, focal = eye
    for i in range(solids.shapes.shape[0]):
        solids.trig[i, 0], solids.trig[i, 1] = math.cos(solids.yaws[i]), math.sin(solids.yaws[i])
        _screen_bounds(i, solids, eye, width, height)
    ray = np.empty(3)
    for v in range(height):
        for u in range(width):
            _ray(rotation, ray_at(u, focal, width), ray_at(v, focal, height), ray)
            t = -position[2] / ray[2] if ray[2] < _LEVEL else FAR
            hit[v, u] = _GROUND if t < FAR else _SKY
            nearest[v, u] = min(t, FAR)
            face[v, u] = _TOP
    for i in range(solids.shapes.shape[0]):
        _cast_solid(i, solids, eye, nearest, hit, face)


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _ray(rotation, x, y, out):
    for k in range(3):
        out[k] = rotation[k, 0] * x + rotation[k, 1] * y + rotation[k, 2]


@njit(cache=True, nogil=True)
def _screen_bounds(i, solids, eye, width, height):
    """Find the pixels (u0, v0, u1, v1) that the box of solid i can touch; its edges are clipped at the near plane."""
    position, rotation, focal = eye
    center, half, trig, out = solids.centers[i], solids.halves[i], solids.trig[i], solids.bounds[i]
    corners = np.empty((8, 3))
    for k in range(8):
        lx = half[0] if k & 1 else -half[0]
        ly = half[1] if k & 2 else -half[1]
        lz = half[2] if k & 4 else -half[2]
        wx = center[0] + trig[0] * lx - trig[1] * ly - position[0]
        wy = center[1] + trig[1] * lx + trig[0] * ly - position[1]
        wz = center[2] + lz - position[2]
        corners[k, 0], corners[k, 1], corners[k, 2] = in_axes(rotation, wx, wy, wz)
    low_u, low_v, high_u, high_v = 1e9, 1e9, -1e9, -1e9
    for k in range(8):
        for bit in range(3):
            j = k ^ (1 << bit)
            x, y, z = corners[k]
            if z < NEAR:
                if corners[j, 2] < NEAR:
                    continue
                f = (NEAR - z) / (corners[j, 2] - z)
                x, y, z = x + f * (corners[j, 0] - x), y + f * (corners[j, 1] - y), NEAR
            u, v = on_screen(x, z, focal, width), on_screen(y, z, focal, height)
            low_u, high_u = min(low_u, u), max(high_u, u)
            low_v, high_v = min(low_v, v), max(high_v, v)
    out[0] = int(min(max(math.floor(low_u), 0), width))
    out[1] = int(min(max(math.floor(low_v), 0), height))
    out[2] = int(max(min(math.ceil(high_u), width), 0))
    out[3] = int(max(min(math.ceil(high_v), height), 0))


@njit(cache=True, nogil=True, fastmath=True)
def _first_hit(eye, ray, u, v, solids):
    shapes, centers, halves, trig, bounds = solids.shapes, solids.centers, solids.halves, solids.trig, solids.bounds
    t = -eye[2] / ray[2] if ray[2] < _LEVEL else FAR
    t = min(t, FAR)
    hit = _GROUND if t < FAR else _SKY
    face = _TOP
    for i in range(shapes.shape[0]):
        if bounds[i, 0] <= u < bounds[i, 2] and bounds[i, 1] <= v < bounds[i, 3]:
            c, s = trig[i, 0], trig[i, 1]
            wx, wy = eye[0] - centers[i, 0], eye[1] - centers[i, 1]
            origin = (c * wx + s * wy, -s * wx + c * wy, eye[2] - centers[i, 2])
            towards = (c * ray[0] + s * ray[1], -s * ray[0] + c * ray[1], ray[2])
            ti, side = _hit_local(shapes[i], origin, towards, (halves[i, 0], halves[i, 1], halves[i, 2]), t)
            if ti < t:
                t, hit, face = ti, i, side
    return t, hit, face


@njit(cache=True, nogil=True, fastmath=True)
def _cast_solid(i, solids, eye, nearest, hit, face):
    """Cast every pixel within one solid's bounds; work that is the same for all pixels is done once."""
    height, width = nearest.shape
    position, rotation, focal = eye
    shape, center, half, trig, bound = (
        solids.shapes[i],
        solids.centers[i],
        solids.halves[i],
        solids.trig[i],
        solids.bounds[i],
    )
    c, s, own_half = trig[0], trig[1], (half[0], half[1], half[2])
    wx, wy, oz = position[0] - center[0], position[1] - center[1], position[2] - center[2]
    origin = (c * wx + s * wy, -s * wx + c * wy, oz)
    ax, ay, az = c * rotation[0, 0] + s * rotation[1, 0], -s * rotation[0, 0] + c * rotation[1, 0], rotation[2, 0]
    bx, by, bz = c * rotation[0, 1] + s * rotation[1, 1], -s * rotation[0, 1] + c * rotation[1, 1], rotation[2, 1]
    fx, fy, fz = c * rotation[0, 2] + s * rotation[1, 2], -s * rotation[0, 2] + c * rotation[1, 2], rotation[2, 2]
    for v in range(bound[1], bound[3]):
        y = ray_at(v, focal, height)
        rx, ry, rz = bx * y + fx, by * y + fy, bz * y + fz
        for u in range(bound[0], bound[2]):
            x = ray_at(u, focal, width)
            ray = (ax * x + rx, ay * x + ry, az * x + rz)
            t, side = _hit_local(shape, origin, ray, own_half, nearest[v, u])
            if t < nearest[v, u]:
                nearest[v, u], hit[v, u], face[v, u] = t, i, side


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _hit_local(shape, origin, ray, half, limit):
    """Depth of the first hit beyond NEAR and before `limit` (or FAR) and its face: 0, 1 +-x; 2, 3 +-y; 4, 5 +-z.
    Origin, ray and half sizes are in the solid's own axes."""
    if shape == BOX:
        return _hit_box(origin, ray, half, limit)
    if shape == CYLINDER:
        return _hit_cylinder(origin, ray, half, limit)
    return _hit_ellipsoid(origin, ray, half, limit)


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _hit_box(origin, ray, half, limit):
    """The slab test; a direction of zero is nudged, which moves the hit by less than a nanometre."""
    (ox, oy, oz), (dx, dy, dz), (h0, h1, h2) = origin, ray, half
    ix = 1.0 / (dx if abs(dx) > _NOTHING else _NOTHING)
    iy = 1.0 / (dy if abs(dy) > _NOTHING else _NOTHING)
    iz = 1.0 / (dz if abs(dz) > _NOTHING else _NOTHING)
    ex, ey, ez = -ox * ix - h0 * abs(ix), -oy * iy - h1 * abs(iy), -oz * iz - h2 * abs(iz)
    leave = min(-ox * ix + h0 * abs(ix), -oy * iy + h1 * abs(iy), -oz * iz + h2 * abs(iz))
    enter = max(ex, ey, ez)
    if enter > leave or enter < NEAR or enter >= limit:
        return FAR, 0
    if ex >= ey and ex >= ez:
        return enter, (1 if ix > 0 else 0)
    if ey >= ez:
        return enter, (3 if iy > 0 else 2)
    return enter, (5 if iz > 0 else 4)


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _hit_cylinder(origin, ray, half, limit):
    (ox, oy, oz), (dx, dy, dz), (r, _, h2) = origin, ray, half
    best, side = FAR, 0
    a, b, q = dx * dx + dy * dy, ox * dx + oy * dy, ox * ox + oy * oy - r * r
    disc = b * b - a * q
    if a > _NOTHING and disc >= 0:
        t = (-b - math.sqrt(disc)) / a
        if t > NEAR and abs(oz + t * dz) <= h2:
            best = t
    if abs(dz) > _NOTHING:
        t = ((h2 if oz > 0 else -h2) - oz) / dz
        if NEAR < t < best and (ox + t * dx) ** 2 + (oy + t * dy) ** 2 <= r * r:
            best, side = t, (4 if oz > 0 else 5)
    return (best, side) if best < limit else (FAR, 0)


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _hit_ellipsoid(origin, ray, half, limit):
    """The hit of a unit sphere, into which the ellipsoid is shrunk."""
    ox, oy, oz = origin[0] / half[0], origin[1] / half[1], origin[2] / half[2]
    dx, dy, dz = ray[0] / half[0], ray[1] / half[1], ray[2] / half[2]
    a, b, q = dx * dx + dy * dy + dz * dz, ox * dx + oy * dy + oz * dz, ox * ox + oy * oy + oz * oz - 1
    disc = b * b - a * q
    if disc < 0:
        return FAR, 0
    t = (-b - math.sqrt(disc)) / a
    return (t, 0) if NEAR < t < limit else (FAR, 0)


@njit(cache=True, nogil=True, inline="always")
def _is_edge(hit, face, v, u):
    i, f = hit[v, u], face[v, u]
    if u + 1 < hit.shape[1] and (hit[v, u + 1] != i or face[v, u + 1] != f):
        return True
    if v + 1 < hit.shape[0] and (hit[v + 1, u] != i or face[v + 1, u] != f):
        return True
    if u > 0 and (hit[v, u - 1] != i or face[v, u - 1] != f):
        return True
    return v > 0 and (hit[v - 1, u] != i or face[v - 1, u] != f)


@njit(cache=True, nogil=True, fastmath=True)
def _shade(met, eye, ray, focal, solids, look, out):
    """The colour of where a ray meets a solid, the ground or the sky, textures averaged over the pixel's footprint.
    met: how far, what and which face."""
    t, i, side = met
    sky, light, colors = look.sky, look.light, look.colors
    centers, halves, trig, shapes = solids.centers, solids.halves, solids.trig, solids.shapes
    length = math.sqrt(ray[0] ** 2 + ray[1] ** 2 + ray[2] ** 2)
    if i == _SKY:
        up = min(max(ray[2] / length * _ZENITH, 0.0), 1.0)
        a, b = ray[0] / length * _CLOUDS / (_SINK + up), ray[1] / length * _CLOUDS / (_SINK + up)
        cloud = max(_noise(a, b) - 0.5, 0.0) * up
        for k in range(3):
            out[k] = sky[0, k] + (sky[1, k] - sky[0, k]) * up
            out[k] += (1.0 - out[k]) * cloud * _WHITE
        return
    x, y, z = eye[0] + t * ray[0], eye[1] + t * ray[1], eye[2] + t * ray[2]
    nx, ny, nz, a, b = 0.0, 0.0, 1.0, x, y
    material, salt = look.ground, 0
    if i >= 0:
        material, salt = look.materials[i], i + 1
        c, s = trig[i, 0], trig[i, 1]
        lx, ly, lz = x - centers[i, 0], y - centers[i, 1], z - centers[i, 2]
        lx, ly = c * lx + s * ly, -s * lx + c * ly
        if shapes[i] == BOX or side >= 4:
            sign = -1.0 if side % 2 == 1 else 1.0
            if side < 2:
                nx, ny, nz, a, b = sign, 0.0, 0.0, ly, z
            elif side < 4:
                nx, ny, nz, a, b = 0.0, sign, 0.0, lx, z
            else:
                nx, ny, nz, a, b = 0.0, 0.0, sign, lx, ly
        else:
            hz = halves[i, 2] if shapes[i] != CYLINDER else _UPRIGHT
            nx, ny, nz = lx / halves[i, 0] ** 2, ly / halves[i, 1] ** 2, lz / hz**2
            n = math.sqrt(nx * nx + ny * ny + nz * nz)
            nx, ny, nz = nx / n, ny / n, nz / n
            a, b = math.atan2(ly, lx) * halves[i, 0], z
        nx, ny = c * nx - s * ny, s * nx + c * ny
    facing = abs(nx * ray[0] + ny * ray[1] + nz * ray[2]) / length
    footprint = t / focal / max(facing, _STEEPEST)
    mix, tint = _texture(look.textures[material], a, b, look.scales[material], footprint, salt)
    lit = _AMBIENT + _DIRECT * max(nx * light[0] + ny * light[1] + nz * light[2], 0.0) + _EAST * nx + _NORTH * ny
    air = 1.0 - math.exp(-look.haze * t)
    for k in range(3):
        base = colors[material, 0, k] + (colors[material, 1, k] - colors[material, 0, k]) * mix
        out[k] = base * tint * lit * (1 - air) + sky[0, k] * air


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _pulse(x, duty, width):
    """A train of pulses of period 1 and that duty, averaged over `width`: the integral's difference, exactly."""
    width = max(width, _LEAST_WIDTH)
    a, b = x - width / 2, x + width / 2
    fa, fb = math.floor(a), math.floor(b)
    return ((fb * duty + min(b - fb, duty)) - (fa * duty + min(a - fa, duty))) / width


@njit(cache=True, nogil=True, inline="always")
def _hash(i, j):
    """A number in [0, 1] that looks random, of two integers: multiplied by large odd numbers and mixed by shifts."""
    n = (i * 374761393 + j * 668265263) & 0xFFFFFFFF
    n = ((n ^ (n >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((n ^ (n >> 16)) & 0xFFFF) / 65535.0


@njit(cache=True, nogil=True)
def _noise(x, y):
    """Smooth value noise in [0, 1] with features about one unit wide."""
    i, j = math.floor(x), math.floor(y)
    fx, fy = x - i, y - j
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    i, j = int(i), int(j)
    top = _hash(i, j) * (1 - fx) + _hash(i + 1, j) * fx
    low = _hash(i, j + 1) * (1 - fx) + _hash(i + 1, j + 1) * fx
    return top * (1 - fy) + low * fy


@njit(cache=True, nogil=True, fastmath=True)
def _texture(kind, a, b, scale, footprint, salt):
    """Mix between a material's two colours and a brightness factor, at (a, b) metres on the surface."""
    a, b, w = a / scale, b / scale, footprint / scale
    fade = max(0.0, 1.0 - w)
    if kind == CHECKER:
        p, q = _pulse(a / 2, 0.5, w / 2), _pulse(b / 2, 0.5, w / 2)
        return p + q - 2 * p * q, 1.0
    if kind == STRIPES:
        return _pulse(a, 0.5, w), 1.0
    if kind == BRICK:
        row = math.floor(b * 2)
        joint = 1 - _pulse(a + 0.5 * (row % 2), _BRICK_LONG, w) * _pulse(b * 2, _BRICK_HIGH, w * 2)
        shade = _hash(math.floor(a + 0.5 * (row % 2)), int(row) + 977 * salt) - 0.5
        return joint, 1.0 + _BRICKS_DIFFER * shade * fade
    if kind == WOOD:
        plank = math.floor(b)
        shade = _hash(int(plank), 31 + salt) - 0.5
        joint = 1 - _pulse(b, _PLANK, w)
        grain = _noise(a * 0.7 + 10 * shade, b * 5) * fade
        return min(_JOINT * joint + _GRAIN * grain, 1.0), 1.0 + _PLANKS_DIFFER * shade * fade
    if kind == TILES:
        joint = 1 - _pulse(a, _TILE, w) * _pulse(b, _TILE, w)
        return joint, 1.0
    if kind == PLASTER:
        return _noise(a + 7.3 * salt, b) * _ROUGH * fade, 1.0
    if kind == GRASS:
        near = _noise(a * 3, b * 3) * max(0.0, 1.0 - 3 * w)
        return min(_LAWN * _noise(a * 0.6, b * 0.6) + _BLADES * near, 1.0), 1.0
    return 0.0, 1.0


assert PLAIN == 0, "the last return of _texture is PLAIN's"
