"""The strip of branches along the bottom of the picture: a numbered thumbnail for each, the current one framed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .sdl import pygame

SIDE, _LEAST = 62, 8  # thumbnail side in pixels, and the smallest one that is drawn
_PAD, _GAP = 12, 6  # pixels to the edge of the picture, and between thumbnails
_LETTERS = 18  # pixels, height
# red, green, blue, and opacity if that is less than 255
_HERE, _OTHER, _LABEL, _TEXT = (255, 214, 102), (255, 255, 255, 90), (12, 14, 18, 215), (232, 234, 237)


def draw_branches(
    surface: pygame.Surface, area: pygame.Rect, frames: Sequence[np.ndarray], *, at: int, lift: int = 0
) -> None:
    """Draw the frames (H, W, 3) uint8 of all branches; `at` is the current one; `lift` leaves pixels free below."""
    font = pygame.font.Font(None, _LETTERS)
    side = min(SIDE, (area.width - 2 * _PAD) // len(frames) - _GAP)
    if side < _LEAST:
        return
    for number, pixels in enumerate(frames):
        left, top = area.left + _PAD + number * (side + _GAP), area.bottom - _PAD - side - lift
        tile = pygame.transform.smoothscale(_image(pixels), (side, side))
        pygame.draw.rect(tile, _LABEL[:3], (0, 0, 15, 16))
        tile.blit(font.render(str(number + 1), True, _HERE if number == at else _TEXT), (4, 2))
        pygame.draw.rect(tile, _HERE if number == at else _OTHER[:3], tile.get_rect(), width=2 if number == at else 1)
        surface.blit(tile, (left, top))


def _image(pixels: np.ndarray) -> pygame.Surface:
    return pygame.image.frombuffer(np.ascontiguousarray(pixels).data, (pixels.shape[1], pixels.shape[0]), "RGB")
