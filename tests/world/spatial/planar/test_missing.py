"""Walls that are too wavy for any plane to be found are there all the same, and are walls of the room's colours."""

from __future__ import annotations

import numpy as np
import pytest
from roam.world.pose import Pose
from roam.world.spatial.planar.continuation import continued
from roam.world.spatial.planar.missing import Assigned, with_missing
from roam.world.spatial.planar.planes import Layout, Plane, find_layout, rays_from
from roam.world.spatial.planar.room import columns_of
from roam.world.spatial.planar.texture import Looks, looks_of
from roam.world.spatial.warp import View

from .test_continuation import CAMERA, dreamt, room

POSE = Pose.at(0, 0, 1.5, yaw_deg=35)
RAYS = rays_from(POSE, CAMERA)
LEVEL = (Plane(np.array([0, 0, 1], np.float32), 1.5), Plane(np.array([0, 0, -1], np.float32), 1.3))
NOTHING_SEEN = np.zeros((CAMERA.height, CAMERA.width), bool)


def crumpled(depth: np.ndarray) -> np.ndarray:
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    return depth * np.exp(0.16 * np.sin(v / 5.0) * np.cos(u / 4.0)).astype(np.float32)


def test_walls_that_nothing_agrees_on_are_found_where_they_stand():
    _, depth = room(POSE)
    bare = Layout(LEVEL)
    labels = Assigned.of(bare, RAYS, crumpled(depth), NOTHING_SEEN, POSE, NOTHING_SEEN).labels
    layout, wall = with_missing(bare, labels, RAYS, crumpled(depth), columns_of(RAYS, POSE))
    walls = [plane for plane in layout.planes if plane.is_wall]
    assert sorted(
        round(float(np.log(plane.distance / true)), 1) for plane, true in zip(walls, (3.0, 2.5), strict=False)
    )
    at = np.stack([plane.depth(RAYS) for plane in layout.planes])
    there = np.take_along_axis(at, np.maximum(wall[columns_of(RAYS, POSE)], 0)[None], 0)[0]
    middle = np.s_[CAMERA.height // 2, 8:-8]
    assert (wall[8:-8] >= 0).mean() > 0.9
    assert np.median(np.abs(np.log(there[middle] / depth[middle]))) < 0.08


def test_a_layout_without_floor_or_ceiling_gets_no_walls():
    _, depth = room(POSE)
    labels = np.full(depth.shape, -1)
    for planes in (LEVEL[:1], LEVEL[1:]):
        layout, wall = with_missing(Layout(planes), labels, RAYS, depth, columns_of(RAYS, POSE))
        assert layout.planes == planes and (wall < 0).all()


def test_a_room_of_another_colour_has_the_pattern_of_the_one_that_was_seen():
    """Bricks or stripes go on in the next room in that room's colour: the painter alone gave it a plain haze."""
    truth, depth = room(POSE)
    painted, wavy, carried = dreamt(truth, depth, NOTHING_SEEN)
    is_wall = np.isclose(np.abs((RAYS * depth[..., None])[..., 0]), 3.0) | np.isclose(
        np.abs((RAYS * depth[..., None])[..., 1]), 2.5
    )
    painted[is_wall] = (150, 70, 60)
    seen = [looks_of(View(truth, depth, POSE))]
    plain, _ = continued(POSE, carried, painted, wavy, [Looks((), seen[0].eye, seen[0].azimuth, seen[0].level)])
    striped, _ = continued(POSE, carried, painted, wavy, seen)
    middle = is_wall & (np.abs(RAYS[..., 2]) < 0.2)
    assert plain[middle].std(0).max() < 8 < striped[middle].std(0).max()
    reds = striped[middle].astype(float)
    assert np.abs(np.median(reds / reds.sum(1, keepdims=True), 0) - np.array([150, 70, 60]) / 280).max() < 0.03


@pytest.mark.parametrize("known", [True, False])
def test_a_dreamt_floor_a_little_lower_than_the_known_one_is_that_floor(known):
    _, depth = room(POSE)
    lower = depth * np.where(RAYS[..., 2] < -0.2, 0.85, 1).astype(np.float32)
    layout = find_layout(RAYS, lower, NOTHING_SEEN, level=LEVEL if known else ())
    assert layout.floor is not None
    assert layout.planes[layout.floor].distance == pytest.approx(1.5 if known else 0.85 * 1.5, rel=0.03)
    assert len(layout.doubles) >= known


def test_the_first_dreams_tell_where_floor_and_ceiling_are_and_nothing_of_textures():
    pixels, depth = room(POSE)
    told = looks_of(View(pixels, depth, POSE, fresh=np.ones(depth.shape, bool), origin=1))
    assert not told.textures and told.azimuth is not None
    assert [round(plane.distance, 1) for plane in told.level] == [1.5, 1.3]
