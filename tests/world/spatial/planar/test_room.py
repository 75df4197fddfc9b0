"""Dreamt rooms have whole walls that open as rooms do, wherever the model had them ragged."""

from __future__ import annotations

import numpy as np
import pytest
from roam.world.pose import Pose
from roam.world.spatial.planar.continuation import continued
from roam.world.spatial.planar.planes import Layout, Plane, find_layout, rays_from
from roam.world.spatial.planar.room import assigned
from roam.world.spatial.planar.texture import texture_of

from .test_continuation import CAMERA, WALLS, dreamt, room

POSE = Pose.at(0, 0, 1.5, yaw_deg=20)
BEHIND = WALLS | {"+x": (0, 7.0)}


def points(pose: Pose, depth: np.ndarray) -> np.ndarray:
    """(H, W, 3) metres in the world."""
    return rays_from(pose, CAMERA) * depth[..., None] + np.array(pose.position)


def with_door(ragged) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pixels and depth of a room with a door in its +x wall, up to `ragged` (H, W) metres, and the columns of it."""
    (near, depth), (far, further) = room(POSE), room(POSE, walls=BEHIND)
    at = points(POSE, depth)
    within = (np.abs(at[..., 0] - 3) < 1e-3) & (np.abs(at[..., 1] - 1.6) < 0.5)
    is_door = within & (at[..., 2] < ragged)
    columns = np.flatnonzero((is_door & (at[..., 2] < 1.5)).sum(0) > 20)
    return np.where(is_door[..., None], far, near), np.where(is_door, further, depth), columns


@pytest.fixture
def half() -> np.ndarray:
    covered = np.zeros((CAMERA.height, CAMERA.width), bool)
    covered[:, CAMERA.width // 2 :] = True
    return covered


def test_walls_stand_over_their_openings_in_a_level_line(half):
    """The next room's ceiling once showed through a ragged or missing lintel, whose rest hung in the air."""
    rng = np.random.default_rng(3)
    ragged = np.repeat(rng.choice([1.9, 2.1, 2.9], 32), 4)[None, :] + np.zeros(half.shape)
    truth, depth, columns = with_door(ragged)
    painted, wavy, carried = dreamt(truth, depth, half)
    _, even = continued(POSE, carried, painted, wavy)
    seen = points(POSE, even)
    tops = []
    for c in columns[2:-2]:
        height = points(POSE, 3 / rays_from(POSE, CAMERA)[..., 0])[:, c, 2]  # of the wall's plane
        is_wall = np.abs(seen[:, c, 0] - 3) < 0.02
        assert is_wall[(height > 2.3) & (height < 2.75)].all()
        assert not is_wall[(height > 0.4) & (height < 1.6)].any()
        tops.append(height[~is_wall & (height < 2.75)].max())
    assert np.ptp(tops) < 0.2, tops  # two pixels


def test_what_is_behind_shows_in_all_of_an_opening(half):
    """Dreamt openings are rounded at the corners: the wall reaches into them."""
    arch = 2.0 - 2.0 * np.maximum(np.abs(points(POSE, room(POSE)[1])[..., 1] - 1.6) - 0.1, 0)
    truth, depth, columns = with_door(arch)
    painted, wavy, carried = dreamt(truth, depth, half)
    shown, even = continued(POSE, carried, painted, wavy)
    height = points(POSE, 3 / rays_from(POSE, CAMERA)[..., 0])[..., 2]  # of the wall's plane
    inside = np.zeros_like(half)
    inside[:, columns[1:-1]] = True
    inside &= (height > 0.4) & (height < 1.74)
    assert (points(POSE, depth)[inside][:, 0] < 3.1).sum() > 20  # the wall, as it was dreamt
    assert (points(POSE, even)[inside][:, 0] > 3.5).all()
    far = room(POSE, walls=BEHIND)[0]
    assert np.abs(shown[inside].astype(int) - far[inside]).mean() < 24


def test_a_wall_behind_an_opening_meets_the_ceiling_in_a_straight_line():
    """The ceiling was once dreamt to go on beyond it, in tongues, and the far room had a wavy edge."""
    pose = Pose.at(0, 0, 1.5)
    rays, towards = rays_from(pose, CAMERA), np.array([-1, 0, 0], np.float32)
    floor, ceiling = (Plane(np.array([0, 0, sign], np.float32), far) for sign, far in ((1, 1.5), (-1, 1.3)))
    layout = Layout((floor, ceiling, Plane(towards, 3.0), Plane(towards, 7.0)))
    depths = np.stack([plane.depth(rays) for plane in layout.planes])
    at = points(pose, depths[2])
    is_door = (np.abs(at[..., 1]) < 1) & (at[..., 2] < 2.2)
    truth = np.where(is_door, depths[[0, 1, 3]].min(0), depths[:3].min(0))
    is_top = is_door & (truth == depths[3]) & (points(pose, truth)[..., 2] > 2.3)
    goes_on = is_top & (np.arange(CAMERA.width) // 3 % 2 == 0)
    assert goes_on.sum() > 30
    labels = assigned(layout, depths, rays, np.where(goes_on, depths[1], truth), np.zeros_like(is_door), pose)[1]
    assert (labels == 3)[is_top].mean() > 0.95
    is_far_ceiling = is_door & (truth == depths[1])
    assert is_far_ceiling.sum() > 30 and (labels == 1)[is_far_ceiling].mean() > 0.9


def test_a_wall_that_is_dreamt_nearer_than_it_was_seen_is_that_wall(half):
    """Two walls that face the same way, a step apart, are one in a room."""
    truth, depth = room(POSE)
    painted, wavy, carried = dreamt(truth, depth, half)
    is_wall = np.abs(points(POSE, depth)[..., 0] - 3) < 1e-3
    wavy = np.where(is_wall & ~half, 0.8 * wavy, wavy).astype(np.float32)
    _, even = continued(POSE, carried, painted, wavy)
    off = np.abs(np.log(even / depth))[is_wall & ~half]
    assert np.median(off) < 0.01 and (off < 0.05).mean() > 0.95


def test_a_wall_that_was_seen_to_end_has_nothing_over_what_lies_beside_it(half):
    """A partition ends where the view past it reaches the ceiling; what is dreamt there gets no lintel."""
    (near, depth), (far, further) = room(POSE), room(POSE, walls=BEHIND)
    at = points(POSE, depth)
    is_past = (np.abs(at[..., 0] - 3) < 1e-3) & (np.arange(CAMERA.width) < CAMERA.width // 2 + 12)
    truth, depth = np.where(is_past[..., None], far, near), np.where(is_past, further, depth)
    painted, wavy, carried = dreamt(truth, depth, half)
    _, even = continued(POSE, carried, painted, wavy)
    upper = is_past & ~half & (at[..., 2] > 2.3) & (at[..., 2] < 2.7)
    assert upper.sum() > 100
    assert (np.abs(points(POSE, even)[..., 0] - 3)[upper] > 0.1).mean() > 0.9


def test_a_wall_dreamt_in_another_colour_does_not_look_like_the_one_that_was_seen(half):
    """In a dim room all colours are close to each other: a purple wall was once continued with the texture of
    a green one."""
    truth, depth = room(POSE)
    truth = (0.6 * truth).astype(np.uint8)
    painted, wavy, carried = dreamt(truth, depth, half)
    is_wall = np.abs(points(POSE, depth)[..., 0] - 3) < 1e-3
    painted[is_wall & ~half] = (75, 50, 60)
    pixels, _ = continued(POSE, carried, painted, wavy)
    left = is_wall & ~half & (np.arange(CAMERA.width) < CAMERA.width // 2 - 12)
    assert np.abs(np.median(pixels[left], 0) - (75, 50, 60)).max() < 12


def test_the_edge_of_another_wall_is_none_of_a_texture():
    """Estimated depth does not say to the pixel where a wall ends: a strip of the next wall once became part of
    its texture."""
    pose = Pose.at(0, 0, 1.5)
    pixels, depth = room(pose)
    rays, everywhere = rays_from(pose, CAMERA), np.ones(depth.shape, bool)
    layout: Layout = find_layout(rays, depth, everywhere)
    index = next(k for k, plane in enumerate(layout.planes) if plane.is_wall and plane.normal[0] < -0.9)
    where = np.abs(points(pose, depth)[..., 0] - 3) < 1e-3
    lit = pixels.copy()
    columns = np.flatnonzero(where.any(0))
    lit[:, columns[:14]] = (200, 230, 250)
    plain, edged = (texture_of(layout, index, pose, p, layout.planes[index].depth(rays), where) for p in (pixels, lit))
    assert plain is not None and edged is not None
    assert edged.colours[edged.known].max() <= plain.colours[plain.known].max() + 2
    assert edged.known.sum() > 0.7 * plain.known.sum()
