"""The rows: the model, the truth, and rows that are plausible, blurred, noisy or made without a model.

A row gives the pictures of an outing, and depth if it has it. Rows that do not walk themselves keep the seen part of
the truth; only the unseen part is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from ...scenes.render import render
from ...scenes.splits import SPLIT_SIZE, make_scene
from ...world.action import Action
from ...world.frame import Frame
from ...world.pose import Camera
from ...world.spatial.planar.continuation import continued
from ...world.spatial.planar.texture import looks_of
from ...world.spatial.view_memory import ViewMemory
from ...world.spatial.warp import View, warp, widened
from .recipe import FIRST_SCENE, views_of
from .recogniser import recognise
from .walks import Outing

BLUR, NOISE = 2.0, 25.0  # pixels; grey levels
CELL = 16  # pixels a side of what is shuffled
BANK_SCENES, BANK_VIEWS = 64, 4  # training views among which the nearest is looked for


@dataclass(frozen=True)
class Pictures:
    """What a row shows on an outing, from the first frame on: pixels (n + 1, H, W, 3) uint8 and depth (n + 1, H, W)
    float32 metres, or None."""

    pixels: np.ndarray
    depth: np.ndarray | None = None


Row = Callable[[Outing, int], Pictures]


def truth(outing: Outing, seed: int) -> Pictures:
    return Pictures(outing.pixels, np.stack([view.depth for view in outing.views]))


def blurred(outing: Outing, seed: int) -> Pictures:
    return _pasted(outing, [cv2.GaussianBlur(view.pixels, (0, 0), BLUR) for view in outing.views])


def noisy(outing: Outing, seed: int) -> Pictures:
    rng = np.random.default_rng([outing.number, seed, 7])
    grain = rng.normal(0, NOISE, outing.pixels.shape)
    return _pasted(outing, np.clip(outing.pixels + grain, 0, 255).astype(np.uint8))


def shuffled(outing: Outing, seed: int) -> Pictures:
    """The truth with the cells of each row of cells in another order: every colour, edge and class at a plausible
    place, and nothing whole. Meaningless to the eye, and correct on average."""
    rng = np.random.default_rng([outing.number, seed, 9])
    n, H, W, _ = outing.pixels.shape
    cells = outing.pixels.reshape(n, H // CELL, CELL, W // CELL, CELL, 3).transpose(0, 1, 3, 2, 4, 5)
    mixed = rng.permuted(np.broadcast_to(np.arange(W // CELL)[:, None], (n, H // CELL, W // CELL, 1)), axis=2)
    cells = np.take_along_axis(cells, mixed[..., None, None], 2)
    return _pasted(outing, cells.transpose(0, 1, 3, 2, 4, 5).reshape(outing.pixels.shape))


def mean_colour(outing: Outing, seed: int) -> Pictures:
    """The mean colour of what was shown, where nothing was."""
    colour = outing.views[0].pixels.mean((0, 1)).round().astype(np.uint8)
    return _pasted(outing, np.broadcast_to(colour, outing.pixels.shape))


def frozen(outing: Outing, seed: int) -> Pictures:
    """The one true frame again, where nothing was seen."""
    return _pasted(outing, np.broadcast_to(outing.views[0].pixels, outing.pixels.shape))


def other_scene(outing: Outing, seed: int) -> Pictures:
    """Another scene of the family from the same poses, another with every seed: plausible, in the wrong place."""
    number = (outing.number + SPLIT_SIZE // 2 + 2 * seed) % SPLIT_SIZE
    scene = make_scene("train", number, outing.scene.family)
    return _pasted(outing, [render(scene, pose, Camera()).pixels for pose in outing.poses])


def nearest_training_view(outing: Outing, seed: int) -> Pictures:
    """The training view whose colours and features are nearest to what was shown, pasted in wherever nothing was."""
    pixels, described = _bank(BANK_SCENES)
    best = int(np.linalg.norm(described - _described(outing.views[0].pixels[None]), axis=1).argmin())
    return _pasted(outing, np.broadcast_to(pixels[best], outing.pixels.shape))


def carried(outing: Outing, seed: int) -> Pictures:
    """No model: what was seen is carried by its TRUE depth, holes filled with the nearest colour and treated as seen
    from then on; with its own pixels, through no tokenizer. The strongest row without a model."""
    return _carried(outing)


def continued_without_model(outing: Outing, seed: int) -> Pictures:
    """The same, with its walls, floor and ceiling continued as the first view has them, as in a model's dreams:
    shows how much of them is not the model's."""
    return _carried(outing, is_continued=True)


def _carried(outing: Outing, *, is_continued: bool = False) -> Pictures:
    camera, first = Camera(), outing.views[0]
    looks = looks_of(View(first.pixels, first.depth, outing.poses[0]))
    memory = ViewMemory(camera).with_view(0, View(first.pixels, first.depth, outing.poses[0]))
    pixels, depths = [first.pixels], [first.depth]
    for index, pose in enumerate(outing.poses[1:], 1):
        shown = warp(memory.choose(pose), pose, camera)
        now, depth = shown.pixels, _filled(shown.depth, shown.covered)
        if is_continued:
            now, depth = continued(pose, shown, now, depth, [looks])
        memory = memory.with_view(index, View(now, depth, pose, widened(~shown.covered)))
        pixels.append(now)
        depths.append(depth)
    return Pictures(np.stack(pixels), np.stack(depths))


def dreamt(engine, outing: Outing, seed: int, *, more: Sequence[Action] = ()) -> tuple[Pictures, list[Frame]]:
    """An engine's dream of an outing from its one true frame, and the frames of `more` actions after it."""
    session = engine.session(outing.first, seed=seed)
    frames = [session.frame, *(session.step(action) for action in outing.actions)]
    later = [session.step(action) for action in more]
    session.close()
    depth = None if any(f.depth is None for f in frames) else np.stack([f.depth for f in frames])
    return Pictures(np.stack([f.pixels for f in frames]), depth), later


def through_tokenizer(engine, outing: Outing) -> Pictures:
    """The truth there and back through an engine's tokenizer: the ceiling of all that it can show."""
    shown = [engine.show(engine.encode(view.pixels)) for view in outing.views]
    pasted = _pasted(outing, [pixels for pixels, _ in shown])
    return Pictures(pasted.pixels, np.stack([depth for _, depth in shown]))


def _pasted(outing: Outing, pictures) -> Pictures:
    return Pictures(np.where(outing.unseen[..., None], np.stack(list(pictures)), outing.pixels))


def _filled(depth: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """depth (H, W) metres, holes with that of the nearest pixel that is covered."""
    if covered.all() or not covered.any():
        return np.where(covered, depth, np.float32(3.0))
    _, labels = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros(labels.max() + 1, np.float32)
    table[labels[covered]] = depth[covered]
    return table[labels]


@cache
def _bank(num_scenes: int) -> tuple[np.ndarray, np.ndarray]:
    """Training views, (n, H, W, 3) uint8, and the description (n, D) of each."""
    rng = np.random.default_rng(11)
    scenes = [make_scene("train", FIRST_SCENE - 1 - k) for k in range(num_scenes)]
    pixels = np.concatenate([views_of(scene, rng, BANK_VIEWS)[0] for scene in scenes])
    return pixels, _described(pixels)


def _described(pixels: np.ndarray) -> np.ndarray:
    """(n, D): colours of a coarse grid and features of the whole picture, weighing about the same."""
    colours = np.stack([cv2.resize(p, (4, 4), interpolation=cv2.INTER_AREA) for p in pixels]).reshape(len(pixels), -1)
    features = recognise(pixels).features.mean((1, 2))
    return np.concatenate([colours / 255.0, features / max(1.0, float(np.sqrt(features.shape[1])))], 1)


WITHOUT_MODEL: dict[str, Row] = {
    "warp, holes filled, own pixels": carried,
    "the same, surfaces continued": continued_without_model,
    "other scene": other_scene,
    "blurred truth": blurred,
    "noise": noisy,
    "truth, cells shuffled": shuffled,
    "nearest training view": nearest_training_view,
    "frozen": frozen,
    "mean colour": mean_colour,
}
SEEDED = ("other scene", "noise", "truth, cells shuffled")  # rows without a model that a seed changes
