"""The measures of things that come near: each one sees its damage, and the truth scores best."""

import cv2
import numpy as np
import pytest
from roam.bench.approach import MEASURES, approach, debris, markdown, past, scores, specks
from roam.world.frame import Frame
from roam.world.pose import Camera
from roam.world.spatial.warp import View, warp

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def walk():
    return approach(1)


def frames(walk, pixels):
    return [
        Frame(k, p, depth=v.depth, pose=q)
        for k, (p, v, q) in enumerate(zip(pixels, walk.views, walk.poses, strict=True))
    ]


def test_a_walk_up_to_something_ends_before_it(walk):
    assert len(walk.poses) == len(walk.actions) + 1 >= 4
    away = [float(np.median(view.depth[52:76, 56:72])) for view in walk.views[:-1]]
    assert away[0] > 2.0 and away[-1] < away[0] - 0.8
    assert walk.seen[0].all() and walk.seen[-1].mean() > 0.2


def test_the_truth_is_best_and_a_frozen_frame_is_worse_than_what_is_carried(walk):
    truth = [view.pixels for view in walk.views]
    first = View(truth[0], walk.views[0].depth, walk.poses[0])
    carried = [warp([first], pose, Camera()).pixels for pose in walk.poses]
    psnr = [scores(walk, frames(walk, pixels))[:, 5].mean() for pixels in (truth, carried, [truth[0]] * len(truth))]
    assert psnr[0] == 60 and psnr[0] > psnr[1] > psnr[2] + 2


def test_what_is_walked_past_is_torn_by_rims_that_are_as_far_as_nothing():
    walk = past(3)
    depth = walk.views[0].depth
    torn = cv2.GaussianBlur(depth, (5, 5), 0)  # between what is near and the sky behind
    begin, truth = walk.poses[0], walk.views[0].pixels
    whole, shreds = (
        scores(walk, frames(walk, [warp([View(truth, d, begin)], pose, Camera()).pixels for pose in walk.poses]))
        for d in (depth, torn)
    )
    assert shreds[:, 3].mean() > 1.2 * whole[:, 3].mean() and shreds[:, 5].mean() < whole[:, 5].mean()


def test_spray_is_counted_and_blur_is_seen(walk):
    truth = np.stack([view.pixels for view in walk.views])
    spray = truth.copy()
    spray[RNG.random(truth.shape[:3]) < 0.02] = (255, 0, 255)
    soft = (truth[:, ::2, ::2].repeat(2, 1).repeat(2, 2)).astype(np.uint8)
    clean, sprayed, blurred = (scores(walk, frames(walk, pixels)).mean(0) for pixels in (truth, spray, soft))
    assert sprayed[2] > clean[2] + 8 and sprayed[3] > clean[3] + 8
    assert blurred[5] < clean[5]


def test_one_odd_pixel_is_a_speck_and_a_line_is_none():
    picture = np.full((32, 32, 3), 100, np.uint8)
    picture[10, 10] = 200
    picture[20, :] = 200
    assert specks(picture).sum() == 1 and specks(picture)[10, 10]
    assert debris(picture)[10, 10] and not debris(np.full((32, 32, 3), 100, np.uint8)).any()


def test_the_table_names_every_measure_once_a_row():
    rows = {"truth": dict.fromkeys(MEASURES, 1.0)}
    report = {"scenes": [0], "scenes past": [0], "split": "dev", "rows": rows, "past": rows}
    assert markdown(report).count("|") == 2 * 3 * (len(MEASURES) + 2)
