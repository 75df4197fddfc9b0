"""Turns recordings into training data of the world model: token grids, words, and the canvases that steps start from.

The canvases are made as a session makes them: depth is the model's estimate and the pose is the commanded one, so that
training has the same errors as service. In every other walk all remembered pixels are true ones, as after true frames;
in the others, parts that no view before has shown come from the decoder, as in a dream. Alternatively, three times as
fast, canvases are made from true pixels and the renderer's depth, with a scale error that varies over the picture. If
recordings have no poses nothing is carried, and the canvas is the previous frame.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from ..action import Action
from ..files import whole
from ..pose import Camera, Motion, Pose
from ..side_by_side.processes import deaf
from ..spatial.view_memory import ViewMemory
from ..spatial.warp import View, Warp, remembered, sharpened, warp
from ..tokens.depth import DepthRefiner
from ..tokens.text import TextTokenizer
from ..tokens.vision import MAX_DEPTH, MIN_DEPTH, VisionTokenizer
from .data import Walks

VIEWS = 8  # remembered views carried into a canvas, as a session does


@dataclass(frozen=True)
class Canvases:
    """R walks of T frames on a grid of N cells: tokens, warped (R, T, N) int16 codes; coverage (R, T, N) float32, all
    zero at frame 0; text (R, T, L) int16 ids, -1 past the end, of the action that led to each frame."""

    tokens: np.ndarray
    warped: np.ndarray
    coverage: np.ndarray
    text: np.ndarray


def make_canvases(
    walks: Walks,
    vision: VisionTokenizer,
    text: TextTokenizer,
    capacity: int,
    *,
    refiner: DepthRefiner | None = None,
    is_rendered: bool = False,
    device: str = "cpu",
    progress=None,
) -> Canvases:
    """Canvases of every frame of every walk, made in one process per core. is_rendered: from the renderer's depth.
    progress: called with the share done."""
    R, T = walks.pixels.shape[:2]
    words = np.full((R, T, capacity), -1, np.int16)
    for r in range(R):
        for t, action in enumerate(walks.actions[r], 1):
            ids = text.encode(action.text)[:capacity]
            words[r, t, : len(ids)] = ids
    has_fork = device == "cpu" and "fork" in torch.multiprocessing.get_all_start_methods()  # Windows has none
    context = torch.multiprocessing.get_context("fork" if has_fork else "spawn")
    depth: Any = walks.depth if is_rendered else [None] * R
    jobs = (
        (r, walks.pixels[r], depth[r], walks.poses and walks.poses[r], walks.actions[r], is_rendered or r % 2 == 0)
        for r in range(R)
    )
    parts = []
    with deaf():
        pool = context.Pool(os.cpu_count() if device == "cpu" else 1, _prepare, (vision, refiner, device))
    with pool:
        for part in pool.imap(_one_walk, jobs, chunksize=4):
            parts.append(part)
            if progress:
                progress(len(parts) / R)
    tokens, warped, coverage = (np.stack(column) for column in zip(*parts, strict=True))
    return Canvases(tokens.astype(np.int16), warped.astype(np.int16), coverage, words)


_worker: dict[str, Any] = {}  # the networks of a process, set when it begins


def _prepare(vision: VisionTokenizer, refiner: DepthRefiner | None, device: str) -> None:
    torch.set_num_threads(1)
    _worker["vision"], _worker["refiner"] = vision.to(device), None if refiner is None else refiner.to(device)


@torch.inference_mode()
def _one_walk(job) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One walk's tokens (T, N), carried tokens (T, N) and coverage (T, N)."""
    number, pixels, rendered, poses, actions, is_true = job
    vision, refiner = _worker["vision"], _worker["refiner"]
    device = vision.steps.device
    true = torch.from_numpy(pixels).to(device)
    codes = vision.encode(true)
    if poses is None:  # the camera's pose is unknown: nothing is carried, and a step begins with the previous frame
        flat = codes.flatten(1).cpu().numpy()
        return flat, np.concatenate([flat[:1], flat[:-1]]), np.zeros(flat.shape, np.float32)
    if rendered is not None:
        shown, depth = pixels, scaled_off(rendered, np.random.default_rng(number))
    else:
        shown, depth = vision.decode(codes)
        if refiner is not None:
            depth = refiner.refine(true if is_true else shown, depth)
        shown, depth = shown.cpu().numpy(), depth.cpu().numpy()
    warps = carried_views(pixels if is_true else shown, depth, poses, actions, is_true=is_true)
    grid = vision.config.grid
    carried = vision.encode(torch.from_numpy(np.stack([w.pixels for w in warps])).to(device))
    flat = codes.flatten(1).cpu().numpy()
    shares = np.stack([w.coverage(grid).ravel() for w in warps])
    return flat, np.concatenate([flat[:1], carried.flatten(1).cpu().numpy()]), np.concatenate([shares[:1] * 0, shares])


def carried_views(
    pixels: np.ndarray, depth: np.ndarray, poses: list[Pose], actions: list[Action], *, is_true: bool
) -> list[Warp]:
    """What the earlier frames show from the requested pose of each frame but the first: pixels (T, H, W, 3) and
    depth (T, H, W) of a walk, true ones or as they are shown."""
    memory, warps = ViewMemory(Camera(pixels.shape[2], pixels.shape[1])), []
    for t, pose in enumerate(poses):
        if t:
            # the model knows the command, and learns from the frame where a wall stopped it
            commanded = poses[t - 1].moved(actions[t - 1].motion or Motion())
            warps.append(warp(memory.choose(commanded, VIEWS), commanded, memory.camera))
        known = warps[-1] if t and commanded == pose else warp(memory.choose(pose, VIEWS), pose, memory.camera)
        memory = memory.with_view(t, _view(pixels[t], depth[t], pose, known, is_true))
    return warps


def scaled_off(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Depth (T, H, W) with the errors of an estimate: a scale that varies over the picture, by about a twelfth."""
    T, H, W = depth.shape
    scales = rng.normal(0, 0.08, (T, 4, 4)).astype(np.float32)
    wide = np.stack([cv2.resize(scale, (W, H), interpolation=cv2.INTER_CUBIC) for scale in scales])
    return np.clip(depth.astype(np.float32) * np.exp(wide), MIN_DEPTH, MAX_DEPTH)


def _view(pixels: np.ndarray, depth: np.ndarray, pose: Pose, known: Warp, is_true: bool) -> View:
    """What a session remembers of a frame: all of a true one, with its own depth; of a dreamt one the part where
    nothing was carried."""
    if is_true:
        return View(pixels, sharpened(depth, pixels), pose)
    return remembered(pixels, depth, pose, known, known.covered)


def save_canvases(canvases: Canvases, path: str | Path) -> None:
    with whole(path) as partial:
        save_file({name: getattr(canvases, name) for name in ("tokens", "warped", "coverage", "text")}, partial)


def load_canvases(path: str | Path) -> Canvases:
    return Canvases(**load_file(path))
