"""Turns recordings into what the world model learns from: token grids, words, and the canvases that a walker starts from.

The canvases are made exactly as a session makes them: remembered frames are what the tokenizer's decoder shows, depth
is its own, and the pose is the commanded one, so that training sees the errors that service will bring.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from ..geometry import View, warp
from ..memory import ViewMemory
from ..pose import Camera, Motion
from ..text import TextTokenizer
from ..vision import VisionTokenizer
from .data import Walks

VIEWS = 4  # remembered views carried into a canvas


@dataclass(frozen=True)
class Canvases:
    """R walks of T frames on a grid of N cells: tokens, warped (R, T, N) int16 codes; coverage (R, T, N) float32, all
    zero at frame 0; text (R, T, L) int16 ids, -1 past the end, of the action that led to each frame."""

    tokens: np.ndarray
    warped: np.ndarray
    coverage: np.ndarray
    text: np.ndarray


def make_canvases(walks: Walks, vision: VisionTokenizer, text: TextTokenizer, capacity: int, *,
                  progress=None) -> Canvases:  # fmt: skip
    R, T = walks.pixels.shape[:2]
    N = vision.config.grid[0] * vision.config.grid[1]
    tokens, warped = np.zeros((R, T, N), np.int16), np.zeros((R, T, N), np.int16)
    coverage, words = np.zeros((R, T, N), np.float32), np.full((R, T, capacity), -1, np.int16)
    camera = Camera(vision.config.size, vision.config.size)
    for r in range(R):
        tokens[r], warped[r], coverage[r] = _one_walk(walks, r, vision, camera)
        for t, action in enumerate(walks.actions[r], 1):
            ids = text.encode(action.text)[:capacity]
            words[r, t, : len(ids)] = ids
        if progress:
            progress((r + 1) / R)
    return Canvases(tokens, warped, coverage, words)


@torch.inference_mode()
def _one_walk(walks: Walks, r: int, vision: VisionTokenizer, camera: Camera):
    device = vision.steps.device
    codes = vision.encode(torch.from_numpy(walks.pixels[r]).to(device))
    pixels, depth = (part.cpu().numpy() for part in vision.decode(codes))
    memory, warps = ViewMemory(camera), []
    for t, pose in enumerate(walks.poses[r]):
        if t:
            # the model is told the command, and learns from the frame what a wall made of it
            commanded = walks.poses[r][t - 1].moved(walks.actions[r][t - 1].motion or Motion())
            warps.append(warp(memory.choose(commanded, VIEWS), commanded, camera))
        memory = memory.with_view(t, View(pixels[t], depth[t], pose))
    grid = vision.config.grid
    carried = vision.encode(torch.from_numpy(np.stack([w.pixels for w in warps])).to(device))
    flat = codes.flatten(1).cpu().numpy()
    shares = np.stack([w.coverage(grid).ravel() for w in warps])
    return flat, np.concatenate([flat[:1], carried.flatten(1).cpu().numpy()]), np.concatenate([shares[:1] * 0, shares])


def save_canvases(canvases: Canvases, path: str | Path) -> None:
    partial = Path(path).with_suffix(".partial")
    save_file({name: getattr(canvases, name) for name in ("tokens", "warped", "coverage", "text")}, partial)
    partial.rename(path)


def load_canvases(path: str | Path) -> Canvases:
    return Canvases(**load_file(path))


