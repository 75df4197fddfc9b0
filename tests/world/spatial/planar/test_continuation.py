"""What was seen of walls, floors and ceilings goes on in dreams; things and openings stay as they were dreamt."""

from __future__ import annotations

import numpy as np
import pytest
from roam.world.pose import Camera, Motion, Pose
from roam.world.spatial.planar.continuation import continued
from roam.world.spatial.planar.planes import find_layout, rays_from
from roam.world.spatial.planar.texture import looks_of
from roam.world.spatial.warp import View, Warp

CAMERA = Camera()
POSE = Pose.at(0, 0, 1.5, yaw_deg=35)
WALLS = {"+x": (0, 3.0), "+y": (1, 2.5), "-x": (0, -3.0), "-y": (1, -2.5)}


def room(pose: Pose, *, has_ceiling: bool = True, walls=WALLS) -> tuple[np.ndarray, np.ndarray]:
    """pixels (H, W, 3) uint8 and depth (H, W) of a room: checkers on the floor, stripes on the walls."""
    rays, eye = rays_from(pose, CAMERA), np.array(pose.position)
    depth = np.full(rays.shape[:2], 100.0, np.float32)
    pixels = np.full((*depth.shape, 3), (120, 160, 230), np.uint8)
    surfaces = [(2, 0.0), *([(2, 2.8), *walls.values()] if has_ceiling else [])]
    for axis, place in surfaces:
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = (place - eye[axis]) / rays[..., axis]
        points = eye + rays * reach[..., None]
        nearer = (reach > 0) & (reach < depth)
        if axis == 2:
            is_light = (np.floor(points[..., 0] / 0.5) + np.floor(points[..., 1] / 0.5)) % 2 == 0
            colours = np.where(is_light[..., None], (180, 160, 120), (120, 90, 60)) if place == 0 else (210, 210, 205)
        else:
            is_light = np.floor(points[..., 1 - axis] / 0.4) % 2 == 0
            colours = np.where(is_light[..., None], (90, 140, 170), (60, 100, 130))
        pixels = np.where(nearer[..., None], colours, pixels).astype(np.uint8)
        depth = np.where(nearer, reach, depth).astype(np.float32)
    return pixels, depth


def dreamt(pixels, depth, covered):
    """The view as a model would have it: soft colours and wavy depth where nothing is known."""
    import cv2

    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    wavy = depth * (1 + 0.06 * np.sin(v / 9.0) * np.cos(u / 7.0)).astype(np.float32)
    return (
        np.where(covered[..., None], pixels, cv2.GaussianBlur(pixels, (0, 0), 7)),
        np.where(covered, depth, wavy),
        Warp(pixels, covered, np.where(covered, depth, 0)),
    )


@pytest.fixture
def half() -> np.ndarray:
    covered = np.zeros((CAMERA.height, CAMERA.width), bool)
    covered[:, CAMERA.width // 2 :] = True
    return covered


def error(pixels, truth, where) -> float:
    return float(np.abs(pixels.astype(float) - truth)[where].mean())


@pytest.mark.parametrize("yaw", [35, 80, 215])
def test_walls_floor_and_ceiling_go_on_as_they_are(half, yaw):
    pose = Pose.at(0.3, -0.2, 1.5, yaw_deg=yaw)
    truth, depth = room(pose)
    painted, wavy, carried = dreamt(truth, depth, half)
    first = Pose.at(0.3, -0.2, 1.5, yaw_deg=yaw - 30)
    pixels, even = continued(pose, carried, painted, wavy, [looks_of(View(*room(first), first))])
    height = (rays_from(pose, CAMERA) * depth[..., None])[..., 2]
    level = ~half & ((height < -1.49) | (height > 1.29))  # the stripes of a wall that is out of view may be anywhere
    assert error(pixels, truth, level) < 0.5 * error(painted, truth, level)
    steps = lambda p: np.abs(np.diff(p.astype(float), axis=1))[:, :60].mean()  # noqa: E731
    assert abs(steps(pixels) / steps(truth) - 1) < 0.3 < abs(steps(painted) / steps(truth) - 1)
    off = lambda d: np.abs(np.log(d / depth))[~half].mean()  # noqa: E731
    assert off(even) < 0.25 * off(wavy)
    assert (pixels[half] == truth[half]).all() and (even[half] == depth[half]).all()


def test_a_wall_never_seen_looks_like_those_that_are_remembered():
    """After half a turn nothing is in view that was seen; the room's looks are those of the first view."""
    first = View(*room(POSE), POSE)
    behind = POSE.moved(Motion(yaw_deg=180))
    truth, depth = room(behind)
    nothing = np.zeros(depth.shape, bool)
    painted, wavy, carried = dreamt(truth, depth, nothing)
    alone, _ = continued(behind, carried, painted, wavy)
    pixels, even = continued(behind, carried, painted, wavy, [looks_of(first)])
    steps = lambda p: np.abs(np.diff(p.astype(float), axis=1)).mean()  # noqa: E731
    assert steps(pixels) > 2 * steps(alone) and abs(steps(pixels) / steps(truth) - 1) < 0.3
    assert np.median(np.abs(np.log(even / depth))) < 0.01


def test_what_stands_before_a_wall_and_what_opens_in_it_stay_as_they_were_dreamt(half):
    truth, depth = room(POSE)
    painted, wavy, carried = dreamt(truth, depth, half)
    thing, opening, picture = np.zeros((3, *half.shape), bool)
    thing[70:100, 4:20], opening[44:80, 24:34], picture[40:56, 44:58] = True, True, True
    painted[thing], wavy[thing] = (200, 30, 30), 0.6 * depth[thing]
    painted[opening], wavy[opening] = (40, 160, 60), 3.0 * depth[opening]
    painted[picture] = (250, 220, 40)  # as far as the wall: it hangs there
    pixels, even = continued(POSE, carried, painted, wavy)
    inside = lambda mask: mask & ~np.roll(mask, 3, 1) | mask & np.roll(mask, 3, 1) & np.roll(mask, -3, 1)  # noqa: E731
    for where, colour in ((thing, (200, 30, 30)), (opening, (40, 160, 60)), (picture, (250, 220, 40))):
        assert np.abs(np.median(pixels[inside(where)], 0) - colour).max() < 12
    for where in (thing, opening):
        assert np.median(np.abs(np.log(even / wavy))[where]) < 0.01


def test_a_dreamt_doorway_has_no_threshold(half):
    """Floor that was seen just behind a wall once counted as the wall's foot, and stopped whoever walked through."""
    pose = Pose.at(0, 0, 1.5, yaw_deg=20)
    truth, depth = room(pose)
    behind, further = room(pose, walls=WALLS | {"+x": (0, 4.5)})
    points = rays_from(pose, CAMERA) * depth[..., None] + np.array(pose.position)
    is_door = (np.abs(points[..., 0] - 3) < 1e-3) & (np.abs(points[..., 1] - 1.6) < 0.5) & (points[..., 2] < 2.2)
    truth, depth = np.where(is_door[..., None], behind, truth), np.where(is_door, further, depth)
    painted, wavy, carried = dreamt(truth, depth, half)
    _, even = continued(pose, carried, painted, np.where(half, depth, depth * (wavy / depth) ** 2).astype(np.float32))
    through = rays_from(pose, CAMERA) * even[..., None] + np.array(pose.position)
    columns = np.flatnonzero((is_door & ~half).sum(0) > 40)[3:-3]
    assert len(columns) > 8
    rows = np.arange(len(depth))[:, None]
    foot = (is_door & (points[..., 2] < 0.25))[:, columns] & (rows < len(depth) - 4)
    assert (np.abs(through[:, columns][foot][:, 2]) < 0.1).mean() > 0.95  # it is the floor, and not a wall


def test_outside_the_ground_goes_on_and_nothing_else(half):
    truth, depth = room(POSE, has_ceiling=False)
    rows, columns = np.mgrid[:128, :128]
    post = (rows >= 30) & (depth > 4) & (columns >= 40) & (columns < 46)
    truth = (0.9 * truth).astype(np.uint8)  # tiles that are more alike
    depth[post], truth[post] = 4.0, (150, 60, 60)
    painted, wavy, carried = dreamt(truth, depth, half)
    pixels, even = continued(POSE, carried, painted, wavy)
    ground = (depth < 8) & ~half
    ground[:75] = False
    assert error(pixels, truth, ground) < 0.5 * error(painted, truth, ground)
    others = ~half & (np.arange(128)[:, None] < 60)
    assert (pixels[others] == painted[others]).all() and (even[others & ~post] == wavy[others & ~post]).all()


def test_outside_nothing_lies_flat_on_the_ground(half):
    """A house that the model painted flat onto a meadow becomes ground; a thing that rises from the ground is kept."""
    truth, depth = room(POSE, has_ceiling=False)
    painted, wavy, carried = dreamt(truth, depth, half)
    stone, ghost = np.zeros((2, *half.shape), bool)
    stone[90:110, 6:24], ghost[90:110, 34:54] = True, True
    painted[stone | ghost], wavy[stone], wavy[ghost] = (200, 30, 160), 0.75 * depth[stone], depth[ghost]
    pixels, _ = continued(POSE, carried, painted, wavy, [looks_of(View(*room(POSE, has_ceiling=False), POSE))])
    assert error(pixels, truth, ghost) < 30 < 60 < error(pixels, truth, stone)


def test_plain_ground_goes_on_in_the_light_in_which_it_was_seen(half):
    """It took its mean colour, and an upright seam showed where what was seen ends."""
    truth, depth = room(POSE, has_ceiling=False)
    shade = np.linspace(60, 160, CAMERA.width)[None, :, None] + np.zeros_like(truth)
    truth = np.where(depth[..., None] < 100, shade, truth).astype(np.uint8)
    painted, wavy, carried = dreamt(truth, depth, half)
    painted[~half] = np.where(depth[..., None] < 100, 90, painted)[~half]
    pixels, _ = continued(POSE, carried, painted, wavy)
    first, last = CAMERA.width // 2 - 1, CAMERA.width // 2
    ground = np.flatnonzero(depth[:, first] < 20)
    step = lambda p: np.abs(p[ground, last].astype(float) - p[ground, first]).mean()  # noqa: E731
    assert step(pixels) < 3 < 15 < step(painted), (step(pixels), step(painted))


def test_ground_that_is_dreamt_in_another_tint_keeps_its_own_colour(half):
    """Each dream of a meadow is a little greener than the one before."""
    truth, depth = room(POSE, has_ceiling=False, walls={})
    painted, wavy, carried = dreamt(truth, depth, half)
    tint = np.where(half[..., None], 1.0, (0.85, 1.1, 0.85))
    painted = np.clip(painted * tint, 0, 255).astype(np.uint8)
    pixels, _ = continued(POSE, carried, painted, wavy, [looks_of(View(truth, depth, POSE))])
    ground = (depth < 8) & ~half
    hue = lambda p: p[ground].mean(0) / p[ground].mean()  # noqa: E731
    assert np.abs(hue(painted) - hue(truth)).max() > 0.1
    assert np.abs(hue(pixels) - hue(truth)).max() < 0.03


def test_where_there_are_no_planes_nothing_changes(half):
    rng = np.random.default_rng(0)
    pixels, depth = (
        rng.integers(0, 256, (128, 128, 3)).astype(np.uint8),
        rng.uniform(1, 50, (128, 128)).astype(np.float32),
    )
    carried = Warp(pixels, half, depth)
    same, as_far = continued(POSE, carried, pixels, depth, [looks_of(View(pixels, depth, POSE))])
    assert (same == pixels).all() and (as_far == depth).all()


def test_right_angles_are_found_and_kept_when_they_are_known(half):
    _, depth = room(POSE)
    layout = find_layout(rays_from(POSE, CAMERA), depth, np.ones_like(half))
    quarter = np.pi / 2
    assert min(layout.azimuth % quarter, quarter - layout.azimuth % quarter) < 0.02
    distances = sorted(round(plane.distance, 1) for plane in layout.planes)
    assert {1.3, 1.5, 2.5, 3.0} <= set(distances)
    told = find_layout(rays_from(POSE, CAMERA), depth, np.ones_like(half), azimuth=0.5)
    assert told.azimuth == 0.5


def test_a_stone_that_is_taken_for_ground_does_not_repeat_with_it():
    """The estimated depth did not show the stone, so it became a part of the ground's texture, on every other tile."""
    pixels, depth = room(POSE, has_ceiling=False)
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    stone = ((v - 100) / 14) ** 2 + ((u - 70) / 20) ** 2 < 1
    pixels[stone] = (90, 150, 140)
    (ground,) = looks_of(View(pixels, depth, POSE)).textures
    places = np.stack(np.meshgrid(np.linspace(-8, 8, 120), np.linspace(-8, 8, 120)), -1).reshape(-1, 2)
    shown = ground.at(places)
    assert ground.repeats and not (np.abs(shown - (90, 150, 140)).sum(-1) < 40).any()


def test_what_shows_beside_a_wall_in_another_colour_is_no_part_of_its_texture():
    pose, strange = Pose.at(0, 0, 1.5, yaw_deg=90), (190, 60, 160)
    pixels, depth = room(pose, walls={"ahead": (1, 2.5)})
    pixels[:, 40:], depth[:, 40:] = (90, 60, 40), 1.2
    pixels[25:95, 84:98], depth[25:95, 84:98] = strange, 2.5  # in an opening, and taken for more of the wall
    walls = [texture for texture in looks_of(View(pixels, depth, pose)).textures if texture.plane.is_wall]
    (wall,) = [wall for wall in walls if abs(wall.plane.distance - 2.5) < 0.1]
    assert not (wall.colours[wall.known] == strange).all(1).any()


def test_a_picture_that_fills_much_of_a_wall_is_no_part_of_its_texture():
    pose, strange = Pose.at(0, 0, 1.5, yaw_deg=90), (190, 60, 160)
    pixels, depth = room(pose, walls={"ahead": (1, 2.5)})
    pixels[44:84, 15:113] = strange  # two fifths of what is seen of the wall
    (wall,) = [t for t in looks_of(View(pixels, depth, pose)).textures if t.plane.is_wall]
    assert wall.repeats and not (wall.colours[wall.known] == strange).all(1).any()


def test_parts_of_a_picture_that_depth_tears_apart_are_no_part_of_a_walls_texture():
    pose, strange = Pose.at(0, 0, 1.5, yaw_deg=90), (190, 60, 160)
    pixels, depth = room(pose, walls={"ahead": (1, 2.5)})
    pixels[40:100, 30:75] = strange
    depth[40:100, 30:75] = 2.0
    for top, left, side in ((38, 28, 20), (38, 55, 22), (68, 28, 20), (85, 60, 20)):
        depth[top : top + side, left : left + side] = 2.5  # these parts are left on the wall
    (wall,) = [t for t in looks_of(View(pixels, depth, pose)).textures if abs(t.plane.distance - 2.5) < 0.1]
    assert wall.repeats and not (wall.colours[wall.known] == strange).all(1).any()


def test_before_a_wall_that_hides_the_ground_a_house_stays_where_the_ground_is_known():
    """The older dream has a house three metres off, that fills the view down to a strip; the painter melts it."""
    pose, older = Pose.at(0, 0, 1.5), np.full((CAMERA.height, CAMERA.width, 3), (200, 120, 140), np.uint8)
    rays = rays_from(pose, CAMERA)
    meadow, ground = room(pose, has_ceiling=False, walls={})
    upright = np.full(ground.shape, 2.2, np.float32)
    v, u = np.mgrid[: ground.shape[0], : ground.shape[1]]
    melted = upright * (1 + 0.2 * np.sin(u / 9.0)).astype(np.float32)
    nothing = np.zeros(ground.shape, bool)
    carried = Warp(older, nothing, upright, before=Warp(older, ~nothing, upright))
    painted = np.where((v + u)[..., None] % 40 < 20, older, (90, 160, 90)).astype(np.uint8)
    without = continued(pose, carried, painted, melted)
    assert (without[1] == melted).all(), "nothing tells how high the eye is"
    pixels, depth = continued(pose, carried, painted, melted, [looks_of(View(meadow, ground, pose))])
    wall = np.abs(1.5 + rays[..., 2] * 2.2 - 1.5) < 1.2
    assert np.abs(depth[wall] / 2.2 - 1).max() < 0.03
    assert np.abs(pixels[wall].astype(int) - (200, 120, 140)).mean() < 15
