"""A small U-Net that distinguishes sky, ground, structure and things, and whose bottleneck describes a picture.

It reads 64x64 pixels. Trained by recipe.py only on true views of training scenes; knows nothing of models or walks.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ...kernels.conv import channels_last
from ...scenes.scene import GROUND_ID, Scene
from ...world.files import DIGESTS, whole, why_damaged, write_digests

SIDE, CELLS, WIDTH = 64, 8, 128  # pixels a side that it looks at; cells a side and channels of the bottleneck
CLASSES = ("above", "ground", "structure", "thing")
ABOVE, GROUND, STRUCTURE, THING = range(4)
WEIGHTS = Path(__file__).parent / "weights" / "recogniser.safetensors"
REWARDING = WEIGHTS.with_name("rewarding.safetensors")  # of the one for rewards (rewards.py)
_HOUSE = 3.0  # metres across; anything at least this wide is a building
_HALL = 2.75  # metres: indoors, a solid that reaches up to here is part of the building; one that starts here, ceiling
_BATCH = 64


class Recogniser(nn.Module):
    """Pixels (B, 3, 64, 64) in [-1, 1] -> class logits (B, 4, 64, 64) and bottleneck (B, WIDTH, 8, 8)."""

    def __init__(self):
        super().__init__()
        self.stem = _conv(3, 24, stride=2)
        self.down1 = nn.Sequential(_conv(24, 24), _conv(24, 48, stride=2))
        self.down2 = nn.Sequential(_conv(48, 48), _conv(48, WIDTH, stride=2))
        self.bottom = nn.Sequential(_conv(WIDTH, WIDTH), _conv(WIDTH, WIDTH))
        self.up2 = nn.Sequential(_conv(WIDTH + 48, 48), _conv(48, 48))
        self.up1 = nn.Sequential(_conv(48 + 24, 32), _conv(32, 32))
        self.head = nn.Conv2d(32, 4 * len(CLASSES), 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        half = self.stem(pixels)
        quarter = self.down1(half)
        bottleneck = self.bottom(self.down2(quarter))
        x = self.up2(torch.cat([_twice(bottleneck), quarter], 1))
        x = self.up1(torch.cat([_twice(x), half], 1))
        return F.pixel_shuffle(self.head(x), 2), bottleneck


def labels_of(scene: Scene, ids: np.ndarray) -> np.ndarray:
    """The class of every pixel of instance ids (..., H, W): int64 of the same shape.

    above: the sky, and indoors the ceiling. structure: walls, houses and pillars. thing: all else that stands on the
    ground or hangs on a wall.
    """
    table = np.full(int(max(scene.ids.max(), GROUND_ID)) + 1, THING, np.int64)
    table[0], table[GROUND_ID] = ABOVE, GROUND
    for instance in np.unique(scene.ids):
        held = scene.ids == instance
        low = float((scene.centers - scene.halves)[held, 2].min())
        high = float((scene.centers + scene.halves)[held, 2].max())
        if scene.family == "rooms" and low >= _HALL:
            table[instance] = ABOVE
        elif 2 * float(scene.halves[held, :2].max()) >= _HOUSE or (scene.family == "rooms" and high >= _HALL):
            table[instance] = STRUCTURE
    return table[ids]


def shrunk_labels(labels: np.ndarray) -> np.ndarray:
    """The commonest class of each block of labels (n, H, W) int64: (n, SIDE, SIDE)."""
    n, H, W = labels.shape
    blocks = np.eye(len(CLASSES), dtype=np.float32)[labels]
    return blocks.reshape(n, SIDE, H // SIDE, SIDE, W // SIDE, -1).mean((2, 4)).argmax(-1)


def shrunk(pixels: np.ndarray) -> Tensor:
    """pixels (n, H, W, 3) uint8, H and W multiples of 64 -> (n, 3, 64, 64) float32 in [-1, 1], by means of blocks."""
    n, H, W, _ = pixels.shape
    small = pixels.reshape(n, SIDE, H // SIDE, SIDE, W // SIDE, 3).mean((2, 4), dtype=np.float32)
    return torch.from_numpy(small).movedim(-1, 1).div(127.5).sub(1).contiguous(memory_format=torch.channels_last)


class Recognised(NamedTuple):
    """classes (n, 64, 64) int64; features (n, 8, 8, WIDTH) float32, of the bottleneck; doubt (n, 64, 64) float32: the
    entropy of the classes in nats, 0 where there is none."""

    classes: np.ndarray
    features: np.ndarray
    doubt: np.ndarray


@torch.inference_mode()
def recognise(pixels: np.ndarray, network: Recogniser | None = None) -> Recognised:
    """What pixels (n, H, W, 3) uint8 show, to the network that judges or to another."""
    network, parts = network or shipped(), []
    for first in range(0, len(pixels), _BATCH):
        logits, bottleneck = network(shrunk(pixels[first : first + _BATCH]))
        sure = logits.log_softmax(1)
        doubt, features = -(sure.exp() * sure).sum(1), bottleneck.movedim(1, -1).contiguous()
        parts.append((logits.argmax(1).numpy(), features.numpy(), doubt.numpy()))
    return Recognised(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@cache
def shipped(weights: Path = WEIGHTS) -> Recogniser:
    """The network with weights that ship, in float32, ready to look. Raises ValueError if they are not as they were
    written, for what such a network measures would mean nothing."""
    network, data = Recogniser(), weights.read_bytes()
    if damage := why_damaged(weights, data):
        raise ValueError(f"{damage}; copy the folder again")
    network.load_state_dict({name: tensor.float() for name, tensor in load(data).items()}, strict=False)
    return channels_last(network.eval().requires_grad_(False))


def save(network: Recogniser, path: Path) -> None:
    """Write the weights in half precision, and their digest where the folder has digests."""
    held = {name: t.half().contiguous() for name, t in network.state_dict().items() if t.is_floating_point()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        save_file(held, partial)
    if (path.parent / DIGESTS).exists():
        write_digests(path.parent)


def _conv(inside: int, outside: int, *, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.SiLU())


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
