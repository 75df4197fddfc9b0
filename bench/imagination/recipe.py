"""Trains the recogniser: `python -m roam.bench.imagination.recipe`. True views of training scenes; one core, minutes.
With `--seed 1 --first-scene 800000` it trains the one for rewards (rewards.py), which judges no benchmark.

Every batch is drawn anew from training scenes that the world model's recordings do not use. Nothing is selected:
development scenes are evaluated once, at the end, for the card.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from ...kernels.conv import channels_last
from ...scenes.render import render
from ...scenes.scene import EYE_HEIGHT, Scene
from ...scenes.splits import make_scene
from ...world.pose import Camera, Pose
from .recogniser import CLASSES, WEIGHTS, Recogniser, labels_of, save, shrunk, shrunk_labels

FIRST_SCENE = 700_000  # of the training split


@dataclass(frozen=True)
class Recipe:
    """steps of `batch` views, `views` per scene; blurred: the share of views that are softened, by up to `blur` pixels;
    lr: AdamW's highest, on a cosine; dev_scenes: evaluated at the end; first_scene: number of the first training scene.

    Blur is for training only: a blurred tree is a tree. Sharpness is measured separately, and classes should not
    measure it again.
    """

    steps: int = 700
    batch: int = 32
    views: int = 4
    blurred: float = 0.4
    blur: float = 2.5
    lr: float = 3e-3
    weight_decay: float = 0.02
    seed: int = 0
    dev_scenes: int = 64
    first_scene: int = FIRST_SCENE


def views_of(scene: Scene, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` true views from where a walker can stand: pixels (n, 128, 128, 3) uint8 and classes (n, 64, 64)."""
    pixels: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    while len(pixels) < count:
        x, y = rng.uniform(-scene.half_extent, scene.half_extent, 2)
        if not scene.is_free(x, y):
            continue
        pitch = float(np.clip(rng.normal(0, 6), -25, 25))
        view = render(scene, Pose.at(x, y, EYE_HEIGHT, rng.uniform(-180, 180), pitch), Camera())
        pixels.append(view.pixels)
        labels.append(labels_of(scene, view.ids))
    return np.stack(pixels), shrunk_labels(np.stack(labels))


def batch_of(recipe: Recipe, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The views of one step: as many scenes indoors as outdoors, half of the views mirrored, some of them softened."""
    rng = np.random.default_rng([recipe.seed, step, 17])
    count = recipe.batch // recipe.views
    parts = [
        views_of(make_scene("train", recipe.first_scene + step * count + k), rng, recipe.views) for k in range(count)
    ]
    pixels, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    mirrored = rng.uniform(size=len(pixels)) < 0.5
    pixels[mirrored], labels[mirrored] = pixels[mirrored, :, ::-1], labels[mirrored, :, ::-1]
    for k in np.flatnonzero(rng.uniform(size=len(pixels)) < recipe.blurred):
        pixels[k] = cv2.GaussianBlur(pixels[k], (0, 0), rng.uniform(0.4, recipe.blur))
    return pixels, labels


def train(recipe: Recipe, log: Path) -> Recogniser:
    """The network after all steps; a line of the log every 25."""
    torch.manual_seed(recipe.seed)
    network = channels_last(Recogniser())
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    started, losses, right = time.perf_counter(), [], []
    with open(log, "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("step", "loss", "accuracy", "seconds"))
        for step in range(recipe.steps):
            warm, share = min(1.0, (step + 1) / 40), step / recipe.steps
            optimizer.param_groups[0]["lr"] = recipe.lr * warm * (0.5 + 0.5 * math.cos(math.pi * share))
            pixels, labels = batch_of(recipe, step)
            wanted = torch.from_numpy(labels.copy())
            logits, _ = network(shrunk(pixels))
            loss = F.cross_entropy(logits, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            right.append((logits.argmax(1) == wanted).float().mean().item())
            if (step + 1) % 25 == 0:
                seconds = time.perf_counter() - started
                rows.writerow((step + 1, f"{np.mean(losses):.4f}", f"{np.mean(right):.4f}", f"{seconds:.0f}"))
                file.flush()
                losses, right = [], []
    return network.eval()


@torch.inference_mode()
def accuracy(network: Recogniser, recipe: Recipe) -> dict[str, dict[str, float]]:
    """On development scenes, by family: the share of pixels that are right, and the recall and the precision of each
    class."""
    found = {}
    for family in ("rooms", "outdoors"):
        rng, table = np.random.default_rng([recipe.seed, 99]), np.zeros((len(CLASSES),) * 2)
        for number in range(recipe.dev_scenes // 2):
            pixels, labels = views_of(make_scene("dev", number, family), rng, recipe.views)
            guess = network(shrunk(pixels))[0].argmax(1).numpy()
            np.add.at(table, (labels.ravel(), guess.ravel()), 1)
        found[family] = {"pixels": float(table.trace() / table.sum())} | {
            f"{name} {what}": float(table[k, k] / max(table.sum(axis)[k], 1))
            for k, name in enumerate(CLASSES)
            for what, axis in (("found", 1), ("meant", 0))
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the recogniser of `roam bench imagine`.")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--first-scene", type=int, default=Recipe.first_scene, help="of the training split")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file for the weights; the log goes beside it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe(steps=options.steps, seed=options.seed, first_scene=options.first_scene)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    network = train(recipe, options.out.with_name(f"{options.out.stem}-log.csv"))
    save(network, options.out)
    print(asdict(recipe), f"{sum(p.numel() for p in network.parameters())} parameters")
    for family, shares in accuracy(network, recipe).items():
        print(family, {name: round(value, 3) for name, value in shares.items()})


if __name__ == "__main__":
    main()
