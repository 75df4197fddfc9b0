"""`roam bench approach`: what a walker sees of things that come near, from one true frame: sharp, whole and where they
are, or magnified, torn and in specks? Nothing is dreamt in what is measured: every pixel of it was in the first frame.

Beside the model stand the truth, the frozen first frame, and memory with the true depth: what the best depth could do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..scenes.render import FAR, View, render
from ..scenes.scene import GROUND_ID, Scene
from ..scenes.splits import make_scene, scene_seed
from ..world.action import Action, say
from ..world.dreamer import without_specks
from ..world.engine import Engine
from ..world.frame import Frame
from ..world.spatial.warp import View as Seen
from ..world.spatial.warp import warp
from ..world.pose import Camera, Motion, Pose
from .consistency.questions.places import find_start, free_poses, things
from .consistency.questions.visibility import reveal
from .machine import Machine

STRIDE = 0.4  # metres of a step
BEGIN, END = (2.6, 5.0), 0.9  # metres to what is walked up to, at first and at last
BESIDE = 0.4  # metres to the side at the end, where what is torn comes apart
APART = 24  # of 255 in any channel, by which a speck differs from all around it
PSNR_CAP = 60.0


@dataclass(frozen=True)
class Approach:
    """A walk up to something and a step past it. poses and views: one more than actions; seen (n + 1, H, W) bool: what
    the first view had shown, by the truth."""

    number: int
    actions: tuple[Action, ...]
    poses: tuple[Pose, ...]
    views: tuple[View, ...]
    seen: np.ndarray


def approach(number: int, *, split: str = "dev") -> Approach:
    """The number-th scene of a split: up to a thing in two scenes, to a wall or a house in the next two."""
    scene = make_scene(split, number)
    rng = np.random.default_rng([scene_seed(split, number), 53])
    wanted = set(things(scene)) if number // 2 % 2 == 0 else set(map(int, np.unique(scene.ids))) - set(things(scene))
    start = find_start(scene, rng, lambda pose: bool(_way(scene, pose, wanted)))
    if start is None:
        raise ValueError(f"scene {number} of {split}: nothing to walk up to was found")
    actions = _way(scene, start, wanted)
    poses = free_poses(scene, start, actions)
    views = tuple(render(scene, pose, Camera()) for pose in poses)
    first = views[0].depth[None], poses[0].rotation[None], np.array([poses[0].position])
    seen = [reveal(view.depth, pose, *first, Camera()) for view, pose in zip(views, poses, strict=True)]
    return Approach(number, tuple(actions), tuple(poses), views, np.stack(seen))


def _way(scene: Scene, pose: Pose, wanted: set[int]) -> list[Action]:
    """The steps up to what stands in the middle of the view, if that is wanted and the way is free; else none."""
    view = render(scene, pose, Camera(64, 64))
    middle = view.ids[26:38, 28:36]
    ids, counts = np.unique(middle[middle > GROUND_ID], return_counts=True)
    if not len(ids) or int(ids[counts.argmax()]) not in wanted:
        return []
    away = float(view.depth[26:38, 28:36][middle == ids[counts.argmax()]].min())
    if not BEGIN[0] <= away <= BEGIN[1]:
        return []
    steps = [Motion(forward=STRIDE)] * int((away - END) / STRIDE)
    for side in (1, -1):
        actions = [Action(say(m), m) for m in (*steps, Motion(right=side * BESIDE))]
        if free_poses(scene, pose, actions):
            return actions
    return []


def specks(pixels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels (H, W, 3) uint8 that differ from all eight around them."""
    wide = cv2.copyMakeBorder(pixels, 1, 1, 1, 1, cv2.BORDER_REFLECT_101).astype(np.int16)
    H, W = pixels.shape[:2]
    alone = np.ones((H, W), bool)
    for v in range(3):
        for u in range(3):
            if (v, u) != (1, 1):
                alone &= np.abs(wide[v : v + H, u : u + W] - pixels).max(-1) > APART
    return alone


def debris(pixels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels (H, W, 3) uint8 of shreds too small to be most of the 5 x 5 around them."""
    calm = cv2.medianBlur(np.ascontiguousarray(pixels), 5).astype(np.int16)
    return np.abs(calm - pixels).max(-1) > APART


def gradient(pixels: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32)
    x, y = (cv2.Sobel(grey, cv2.CV_32F, dx, 1 - dx, scale=0.125) for dx in (1, 0))
    return np.hypot(x, y)


def answers(engine: Engine, walk: Approach) -> dict[str, list[Frame]]:
    """What each row shows at every pose but the first."""
    first, camera = walk.views[0], Camera()
    truth = [Frame(i, v.pixels, depth=v.depth, pose=p)
             for i, (v, p) in enumerate(zip(walk.views, walk.poses, strict=True))]  # fmt: skip
    frozen = [Frame(i, first.pixels, depth=first.depth, pose=p) for i, p in enumerate(walk.poses)]
    known = [Seen(first.pixels, first.depth, walk.poses[0])]
    exact = []
    for i, pose in enumerate(walk.poses):
        carried = without_specks(warp(known, pose, camera))
        exact.append(Frame(i, carried.pixels, depth=carried.depth, pose=pose))
    session = engine.session(Frame(0, first.pixels, pose=walk.poses[0]), seed=walk.number)
    model = [session.frame] + [session.step(action) for action in walk.actions]
    session.close()
    return {"truth": truth, "frozen": frozen, "memory with the true depth": exact, "model": model}


MEASURES = ("sharpness", "specks", "debris", "depth", "psnr")


def scores(walk: Approach, frames: list[Frame]) -> np.ndarray:
    """(n, 6): of each frame but the first, where it had been seen: gradient and the truth's, specks and debris in
    thousandths of the pixels, relative error of depth, PSNR in dB."""
    rows = []
    for view, seen, frame in list(zip(walk.views, walk.seen, frames, strict=True))[1:]:
        count = max(seen.sum(), 1)
        near = seen & (view.depth < FAR)
        error = np.minimum(np.abs(frame.depth - view.depth) / view.depth, 1)[near].mean() if near.any() else 0.0
        squared = ((view.pixels.astype(np.float64) - frame.pixels) ** 2)[seen].mean() if seen.any() else 0.0
        rows.append((gradient(frame.pixels)[seen].mean(), gradient(view.pixels)[seen].mean(),
                     1e3 * specks(frame.pixels)[seen].sum() / count, 1e3 * debris(frame.pixels)[seen].sum() / count,
                     error, min(PSNR_CAP, 10 * np.log10(255**2 / max(squared, 1e-9)))))  # fmt: skip
    return np.array(rows)
