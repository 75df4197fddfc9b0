"""A panorama shows every direction in its place, and its distance."""

import numpy as np
import pytest
from roam.viewer.files.panorama import panorama
from roam.world.pose import Camera, Pose
from roam.world.sight import Gaze, LookError, Sight


class Ball:
    """A sphere of three metres around the viewer, coloured by direction; unknown below."""

    index, pose, camera = 4, Pose.at(2, 1, 1.5, 30, 20), Camera()

    def look(self, gaze: Gaze) -> Sight:
        rays = gaze.camera.rays.astype(float)
        length = np.linalg.norm(rays, axis=-1)
        ways = (rays / length[..., None]) @ gaze.pose.rotation.T
        pixels = np.rint((ways + 1) * 127).astype(np.uint8)
        return Sight(gaze, self.index, pixels, (3 / length).astype(np.float32), ways[..., 2] < -0.9)


def test_every_direction_is_where_an_equirectangular_picture_has_it():
    seen = panorama(Ball(), Ball.pose, height=128)
    assert seen.pixels.shape == (128, 256, 3)
    for v, u, yaw_deg, pitch_deg in ((64, 128, 30, 0), (64, 64, 120, 0), (64, 192, -60, 0), (32, 128, 30, 45)):
        way = Pose.at(0, 0, 0, yaw_deg, pitch_deg).rotation[:, 2]
        assert np.abs(seen.pixels[v, u] - (way + 1) * 127).max() < 6, (yaw_deg, pitch_deg)
    assert (seen.pixels[0, :, 2] > 250).all()  # up
    assert np.abs(seen.pixels[:, 0].astype(int) - seen.pixels[:, -1]).max() < 8  # its left and right sides meet


def test_distances_are_from_the_eye_and_zero_where_nothing_is_known():
    seen = panorama(Ball(), Ball.pose, height=64)
    known = ~seen.unknown
    assert np.allclose(seen.distance[known], 3, rtol=0.03)
    assert seen.unknown[-2:].all() and not seen.unknown[:40].any()
    assert (seen.millimetres[seen.unknown] == 0).all() and np.abs(seen.millimetres[known].astype(int) - 3000).max() < 90


def test_a_height_that_no_looks_can_fill_is_refused():
    with pytest.raises(LookError, match="wanted"):
        panorama(Ball(), Ball.pose, height=5000)
