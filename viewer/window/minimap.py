"""The small map in the corner: the path walked, seen from above, world +X to the right and +Y up."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...world.pose import Pose
from .sdl import pygame

SIDE = 132  # pixels
_MARGIN = 16  # pixels between the path and the edge
_ROUND = 8  # pixels, radius of the corners
_START_DOT, _WALKER_DOT, _REACH = 3, 4, 26  # pixels: radii of the dots, and length of the view cone
_LEAST_M = 4.0  # the map never covers less than this, or a first step would fill it
_MOST_POINTS = 2000  # newest poses of a path that are drawn
# red, green, blue, and opacity if that is less than 255
_BACK, _EDGE, _PATH, _START, _WALKER = (
    (12, 14, 18, 190),
    (255, 255, 255, 40),
    (124, 196, 255),
    (154, 160, 166),
    (255, 214, 102),
)
_SIGHT = (255, 214, 102, 60)
_SIGHT_DEG = 40.0  # half the camera's field of view


def draw_minimap(trail: Sequence[Pose]) -> pygame.Surface:
    """A (SIDE, SIDE) surface with the path of those poses, the last of which is the walker's."""
    surface = pygame.Surface((SIDE, SIDE), pygame.SRCALPHA)
    pygame.draw.rect(surface, _BACK, surface.get_rect(), border_radius=_ROUND)
    pygame.draw.rect(surface, _EDGE, surface.get_rect(), width=1, border_radius=_ROUND)
    if trail:
        points = _on_map(trail[-_MOST_POINTS:])
        _draw_sight(surface, points[-1], trail[-1].yaw_deg)
        if len(points) > 1:
            pygame.draw.aalines(surface, _PATH, False, points)
        pygame.draw.circle(surface, _START, points[0], _START_DOT)
        pygame.draw.circle(surface, _WALKER, points[-1], _WALKER_DOT)
    return surface


def _on_map(trail: Sequence[Pose]) -> list[tuple[float, float]]:
    xs, ys = [pose.position[0] for pose in trail], [pose.position[1] for pose in trail]
    middle_x, middle_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    per_metre = (SIDE - 2 * _MARGIN) / max(max(xs) - min(xs), max(ys) - min(ys), _LEAST_M)
    return [
        (SIDE / 2 + (x - middle_x) * per_metre, SIDE / 2 - (y - middle_y) * per_metre)
        for x, y in zip(xs, ys, strict=True)
    ]


def _draw_sight(surface: pygame.Surface, at: tuple[float, float], yaw_deg: float) -> None:
    angles = [math.radians(yaw_deg + turn) for turn in (-_SIGHT_DEG, 0, _SIGHT_DEG)]
    fan = [at] + [(at[0] + _REACH * math.cos(a), at[1] - _REACH * math.sin(a)) for a in angles]
    layer = pygame.Surface(surface.get_size(), pygame.SRCALPHA)
    pygame.draw.polygon(layer, _SIGHT, fan)
    surface.blit(layer, (0, 0))
