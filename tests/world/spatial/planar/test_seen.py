"""The depth of true pictures is put in order: no rims between two surfaces, no waves in a room, and ground as it is."""

from __future__ import annotations

import cv2
import numpy as np
from roam.world.pose import Camera, Pose
from roam.world.spatial.planar.planes import rays_from
from roam.world.spatial.planar.seen import settled

EYE, SIZE = 1.5, 128
POSE = Pose.at(0, 0, EYE)
RAYS = rays_from(POSE, Camera(SIZE, SIZE))


def off(depth: np.ndarray, other: np.ndarray | float) -> np.ndarray:
    return np.abs(np.log(depth / other))


def test_a_rim_between_a_thing_and_the_sky_is_as_far_as_one_of_them_and_ground_stays():
    up = RAYS[..., 2]
    true = np.where(up < -1e-3, EYE / np.maximum(-up, 1e-3), 100).clip(0, 100).astype(np.float32)
    pixels = np.where((up < 0)[..., None], (60, 120, 50), (130, 180, 230)).astype(np.uint8)
    thing = np.zeros((SIZE, SIZE), bool)
    thing[30:84, 50:80] = True
    true[thing], pixels[thing] = 5.0, (200, 120, 140)
    soft = np.exp(cv2.blur(np.log(true), (3, 3)))
    depth = np.where(cv2.dilate(thing.astype(np.uint8), np.ones((3, 3))) > 0, soft, true)
    sky = np.broadcast_to(up > 0.05, true.shape)
    assert (off(depth, true)[sky] > 0.3).sum() > 80
    found = settled(POSE, pixels, depth)
    assert (off(found, true)[sky] > 0.3).sum() < 8  # corners
    meadow = (up < -0.02) & (cv2.dilate(thing.astype(np.uint8), np.ones((9, 9))) == 0)
    assert np.array_equal(found[meadow], depth[meadow])


def test_walls_floor_and_ceiling_of_a_room_are_even_and_what_stands_before_them_is_left():
    x, y, up = (np.where(np.abs(part) < 1e-6, 1e-6, part) for part in np.moveaxis(RAYS, 2, 0))
    ways = [np.where(up > 0, 1.3 / up, EYE / -up), np.where(x > 0, 4.0 / x, np.inf), 3.0 / np.abs(y)]
    true = np.minimum.reduce([np.where(way > 0, way, np.inf) for way in ways]).astype(np.float32)
    surface = np.argmin([np.where(way > 0, way, np.inf) for way in ways], 0)
    pixels = np.stack([surface * np.where(y > 0, 40, 50) + 60] * 3, -1).astype(np.uint8)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    wavy = true * (1 + 0.03 * np.sin(columns / 3) * np.sin(rows / 4)).astype(np.float32)
    thing = np.zeros((SIZE, SIZE), bool)
    thing[60:90, 56:72] = True
    wavy[thing], pixels[thing] = 2.0, (200, 60, 60)
    found = settled(POSE, pixels, wavy)
    inner = ~(cv2.dilate(thing.astype(np.uint8), np.ones((9, 9))) > 0)
    assert off(wavy, true)[inner].mean() > 0.01 > 3 * off(found, true)[inner].mean()
    assert np.allclose(found[65:85, 60:68], 2.0, atol=0.01)


def test_a_part_of_a_wall_that_is_somewhat_off_it_is_put_on_it_and_a_thing_of_another_colour_is_not():
    true, surface = room_of_one_wall()
    pixels = np.stack([surface * 60 + 60] * 3, -1).astype(np.uint8)
    depth, dent, thing = true.copy(), np.zeros((SIZE, SIZE), bool), np.zeros((SIZE, SIZE), bool)
    dent[50:70, 20:50], thing[50:70, 80:110] = True, True
    depth[dent] *= 0.88
    depth[thing] *= 0.88
    pixels[thing] = (200, 60, 60)
    found = settled(POSE, pixels, depth)
    inner = np.zeros_like(dent)
    inner[54:66, 24:46] = True
    assert off(found, true)[inner].max() < 0.01
    assert off(found, depth)[56:64, 86:104].max() < 0.02


def test_a_view_of_walls_alone_is_put_on_flat_walls():
    """A wall that fills the view has nothing by which a network could tell its depth, and came out as a curtain."""
    x, y, _ = (np.where(np.abs(part) < 1e-6, 1e-6, part) for part in np.moveaxis(RAYS, 2, 0))
    turned = np.deg2rad(20)
    ways = [0.9 / (np.cos(turned) * x + np.sin(turned) * y), 1.1 / (-np.sin(turned) * x + np.cos(turned) * y)]
    true = np.minimum.reduce([np.where(way > 0, way, np.inf) for way in ways]).astype(np.float32)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    wavy = true * (1 + 0.08 * np.sin(columns / 9) * np.cos(rows / 13)).astype(np.float32)
    found = settled(POSE, np.full((SIZE, SIZE, 3), 140, np.uint8), wavy)
    assert off(found, true).mean() < 0.6 * off(wavy, true).mean()
    assert np.abs(np.diff(np.log(found), axis=0)).max() < 0.01  # upright


def room_of_one_wall() -> tuple[np.ndarray, np.ndarray]:
    """depth (H, W) of a wide wall between floor and ceiling, and whether, 1, the wall is seen."""
    x, up = (np.where(np.abs(RAYS[..., k]) < 1e-6, 1e-6, RAYS[..., k]) for k in (0, 2))
    ways = [np.where(up > 0, 1.3 / up, EYE / -up), np.where(x > 0, 3.0 / x, np.inf)]
    return np.minimum(*ways).astype(np.float32), np.argmin(ways, 0)
