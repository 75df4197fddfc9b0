"""Places on true walks where a dream is asked for, each with the views before it, the carried view, and the truth.

A walk by keyframes through a scene gives one for each view that shows much for the first time. The views before it are
true, as at the beginning of a walk, with depth errors like those of estimates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ....scenes.recorder import keyframe_walk_of
from ...checkpoint import Checkpoint
from ...pose import Pose
from ...spatial.warp import View, Warp
from ...training.canvases import carried_views, scaled_off

LEAST_HOLES = 8  # cells to be decided, from which on a view is worth dreaming


@dataclass(frozen=True)
class Spot:
    """A view to be dreamt: the index-th of a walk through a scene. codes (index, N) int64 of the true views before it;
    words: the ids that led to each of these and to this one; seen: the true view before it, with its true depth;
    carried: what is known here; pixels (H, W, 3) uint8 and depth (H, W) float32 metres: the truth."""

    scene: int
    index: int
    pose: Pose
    codes: np.ndarray
    words: tuple[tuple[int, ...], ...]
    seen: View
    carried: Warp
    pixels: np.ndarray
    depth: np.ndarray


@torch.inference_mode()
def spots_of(split: str, number: int, frames: int, checkpoint: Checkpoint) -> list[Spot]:
    """The spots of the number-th scene's walk of so many frames; none where little is new on it."""
    walked, layout = keyframe_walk_of(split, number, frames), checkpoint.layout
    assert walked.depth is not None and walked.poses is not None, "scenes have both"
    rough = scaled_off(walked.depth, np.random.default_rng(number))
    warps = carried_views(walked.pixels, rough, walked.poses, walked.actions, is_true=True)
    device = checkpoint.model.lm_head.weight.device
    codes = checkpoint.vision.encode(torch.from_numpy(walked.pixels).to(device)).flatten(1).cpu().numpy()
    said = [tuple(checkpoint.text.encode(action.text)[: layout.text_capacity]) for action in walked.actions]
    words, depth = ((), *said), walked.depth.astype(np.float32)
    return [
        Spot(
            scene=number,
            index=t,
            pose=walked.poses[t],
            codes=codes[:t],
            words=words[: t + 1],
            seen=View(walked.pixels[t - 1], depth[t - 1], walked.poses[t - 1]),
            carried=carried,
            pixels=walked.pixels[t],
            depth=depth[t],
        )
        for t, carried in enumerate(warps, 1)
        if (carried.coverage(layout.grid) <= 0.5).sum() >= LEAST_HOLES
    ]
